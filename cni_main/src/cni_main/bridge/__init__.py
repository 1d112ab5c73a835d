"""bridge: plug containers into a bridge of the host, which may be their gateway.

One veth pair per container; its host end is a port of the bridge. Without ipam the container gets
no address, and the bridge is all there is.
"""

from __future__ import annotations

from cni_main.bridge import spoof_check
from cni_main.bridge.checks import rules_of, verify_attachment
from cni_main.bridge.configuration import (
    BridgeConf,
    requested_mac,
    require_answerable,
    require_sound,
)
from cni_main.bridge.device import ensure_bridge, obstacle_to_use, wait_for_port
from cni_main.bridge.gateway import answer_as_gateway, with_gateways
from cni_main.bridge.vlans import admit, port_vlans
from cnicore import ipam, masquerade, verify
from cnicore.attempts import attempt_all
from cnicore.config import NetConf
from cnicore.errors import CniError, PluginNotAvailable
from cnicore.hookspecs import hookimpl
from cnicore.net.interface import configure_interface
from cnicore.net.link import Link
from cnicore.net.namespace import (
    Namespace,
    Namespaces,
    host_namespace,
    namespaces,
    remaining_namespaces,
)
from cnicore.net.veth import (
    create_veth,
    delete_owned_links,
    delete_stale_links,
    require_free_name,
)
from cnicore.request import Request
from cnicore.result import Interface, Result
from cnicore.rollback import OnFailure, rollback
from cnicore.teardown import promised_addresses


@hookimpl
def cni_config() -> type[NetConf]:
    return BridgeConf


@hookimpl
def cni_add(request: Request, conf: BridgeConf) -> Result:
    require_sound(conf)
    require_answerable(conf, request.cni_version)
    vlans, mac = port_vlans(conf), requested_mac(conf, request.args)
    with namespaces(request.netns) as ns, rollback() as on_failure:
        require_free_name(ns.container, request.ifname)
        with ns.host.bridges_locked():
            ensure_bridge(ns.host, conf, on_failure)
            port, container = create_veth(
                ns, request.owner, on_failure, mtu=conf.mtu, mac=mac, master=conf.bridge
            )
        ns.host.set_bridge_port(port.name, hairpin=conf.hairpin_mode, isolated=conf.port_isolation)
        admit(ns.host, port.name, vlans)
        if conf.macspoofchk:
            on_failure(spoof_check.delete, request.owner)
            spoof_check.add(request.owner, port.name, container.mac)
        leased = attach(request, conf, ns, port, on_failure)
        interfaces = describe(ns, conf, port, container)
    return Result(interfaces, leased.ips, leased.routes, conf.dns.or_leased(leased.dns))


@hookimpl
def cni_del(request: Request, conf: BridgeConf) -> None:
    with remaining_namespaces(request.netns) as ns, attempt_all() as attempt:
        with ipam.releasing(request, conf, attempt):
            if ns.container:
                attempt(ns.container.delete_link, request.ifname)  # its other end goes with it
            attempt(delete_owned_links, ns.host, request.owner)
        if conf.macspoofchk:
            attempt(spoof_check.delete, request.owner)
        if conf.ip_masq:
            attempt(masquerade.delete, request.owner, promised_addresses(request))


@hookimpl
def cni_check(request: Request, conf: BridgeConf) -> None:
    result = verify.required_prev_result(request)
    ipam.forward(request, conf)
    with namespaces(request.netns) as ns:
        verify_attachment(ns, conf, request, result)
    if conf.ip_masq and conf.ipam.type:
        masquerade.verify(request.owner, result.ips)


@hookimpl
def cni_gc(request: Request, conf: BridgeConf) -> None:
    valid = request.valid_attachments
    if valid is None:
        return
    with host_namespace() as host, attempt_all() as attempt:
        attempt(ipam.forward, request, conf)
        attempt(delete_stale_links, host, request.network, valid)
        attempt(masquerade.gc, request.network, valid)
        if conf.macspoofchk:
            attempt(spoof_check.gc, request.network, valid)


@hookimpl
def cni_status(request: Request, conf: BridgeConf) -> None:
    require_sound(conf)
    port_vlans(conf)
    with host_namespace() as host:
        bridge = host.find_link(conf.bridge)
    obstacle = obstacle_to_use(bridge, conf) if bridge else ""
    if conf.macspoofchk:
        obstacle = obstacle or obstacle_to_filtering()
    if obstacle:
        raise PluginNotAvailable(obstacle)
    if conf.ip_masq and conf.ipam.type:
        masquerade.require(conf.ip_masq_backend)
    ipam.status(request, conf)


def attach(
    request: Request, conf: BridgeConf, ns: Namespaces, port: Link, on_failure: OnFailure
) -> Result:
    """Lease addresses if there is ipam, and put the container's interface into service."""
    leased = Result()
    if conf.ipam.type:
        leased = with_gateways(ipam.lease(request, conf, on_failure), conf)
        tune(ns.container, request.ifname, conf)
        configure_interface(
            ns.container,
            request.ifname,
            leased.ips,
            leased.routes,
            detect_duplicates=conf.enabledad,
        )
    elif not conf.disable_container_interface:
        ns.container.set_up(request.ifname)
    if conf.has_gateway and leased.ips:
        answer_as_gateway(ns.host, conf, leased.ips, port.name, on_failure)
    if conf.ip_masq and leased.ips:
        on_failure(masquerade.delete, request.owner, [ip.address.ip for ip in leased.ips])
        masquerade.add(request.owner, leased.ips, conf.ip_masq_backend)
    if not conf.disable_container_interface:
        wait_for_port(ns.host, port.name)
        announce(ns.container, request.ifname)
    return leased


def obstacle_to_filtering() -> str:
    """Why no spoof check could be set up, or empty."""
    try:
        rules_of(spoof_check.BASE_CHAIN)
    except CniError as error:
        return f"macspoofchk needs nftables: {error}"
    return ""


def tune(container: Namespace, ifname: str, conf: BridgeConf) -> None:
    """Announce the addresses, and detect duplicates only if asked to: ipam hands each out once."""
    ipv6 = f"net/ipv6/conf/{ifname}"
    if conf.enabledad:
        container.tune_sysctl(f"{ipv6}/enhanced_dad", "1")
    container.tune_sysctl(f"{ipv6}/accept_dad", "1" if conf.enabledad else "0")
    container.tune_sysctl(f"{ipv6}/ndisc_notify", "1")
    container.tune_sysctl(f"net/ipv4/conf/{ifname}/arp_notify", "1")


def announce(container: Namespace, ifname: str) -> None:
    """Tell the neighbours whose the addresses are now: they may remember an earlier container.

    The kernel does so when the interface comes up, but then the bridge does not forward yet. It
    does it again when a MAC address is written, be it the same.
    """
    container.set_mac(ifname, container.link(ifname).mac)


def describe(
    ns: Namespaces, conf: BridgeConf, port: Link, container: Link
) -> tuple[Interface, ...]:
    """The interfaces as they are now: a bridge's MAC address may have changed with its ports."""
    bridge, port = ns.host.link(conf.bridge), ns.host.link(port.name)
    interfaces = (
        Interface(bridge.name, bridge.mac),
        Interface(port.name, port.mac),
        Interface(container.name, container.mac, ns.container.path),
    )
    if not (conf.vlan and conf.has_gateway and conf.ipam.type):
        return interfaces
    device = ns.host.link(conf.gateway_device)
    return (*interfaces, Interface(device.name, device.mac))
