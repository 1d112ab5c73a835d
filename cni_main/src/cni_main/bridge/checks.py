"""CHECK: are the bridge, the container's port and the gateway still as the ADD left them."""

from __future__ import annotations

from typing import Any

from cni_main.bridge.configuration import BridgeConf
from cni_main.bridge.device import obstacle_to_use
from cni_main.bridge.gateway import gateway_addresses
from cni_main.bridge.spoof_check import BASE_CHAIN, FAMILY, TABLE, chain_of
from cni_main.bridge.vlans import port_vlans
from cnicore import verify
from cnicore.errors import CniError
from cnicore.firewall import libnftables
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace, Namespaces
from cnicore.owner import Owner
from cnicore.request import Request
from cnicore.result import Interface, Result

REMEDY = "delete the attachment and add it again"


def verify_attachment(ns: Namespaces, conf: BridgeConf, request: Request, result: Result) -> None:
    """Raise CniError for the first thing that differs, the container's end first."""
    expected = verify.container_interface(result, request)
    container = verify.verify_link(ns.container, expected, "veth")
    if conf.ipam.type:
        verify.verify_addresses(ns.container, request.ifname, result.ips)
        verify.verify_routes(ns.container, container, result.ips, result.routes)
    elif not conf.disable_container_interface:
        require_up(container)
    bridge = verify_bridge(ns.host, conf, result)
    verify_port(ns.host, conf, result, container, bridge)
    if conf.has_gateway:
        verify_gateway(ns.host, conf, result)
    if conf.macspoofchk:
        verify_spoof_check(request.owner)


def require_up(link: Link) -> None:
    if not link.is_up:
        raise CniError(f"Interface {link.name} is down: set it up again")


def verify_bridge(host: Namespace, conf: BridgeConf, result: Result) -> Link:
    """The bridge; that somebody else made it promiscuous, too, is none of our business.

    Its MAC address counts only where it was pinned: without a gateway it may follow the ports.
    """
    expected = interface_named(result, conf.bridge)
    pinned = expected if conf.has_gateway and not conf.vlan else Interface(conf.bridge)
    bridge = verify.verify_link(host, pinned, "bridge")
    require_up(bridge)
    if obstacle := obstacle_to_use(bridge, conf):
        raise CniError(obstacle)
    if conf.promisc_mode and not bridge.promiscuity:
        raise CniError(
            f"Bridge interface {bridge.name} configured Promisc Mode true"
            " doesn't match current state: false"
        )
    return bridge


def interface_named(result: Result, name: str) -> Interface:
    """The host's interface of that name in the result. Raises CniError if there is none."""
    for interface in result.interfaces:
        if interface.name == name and not interface.sandbox:
            return interface
    raise CniError(
        f'prevResult has no interface "{name}" of the host: Interface name {name} not found'
    )


def verify_port(
    host: Namespace, conf: BridgeConf, result: Result, container: Link, bridge: Link
) -> None:
    """The container's other end is one that the result names, on the bridge, with its options."""
    port = host.find_link_by_index(container.peer)
    if port is None or port.peer != container.index or port.master != bridge.index:
        raise CniError(
            f"CNI veth created for bridge {conf.bridge} was not found:"
            f" the other end of {container.name} is no port of it"
        )
    verify.verify_link(host, interface_named(result, port.name), "veth")
    require_up(port)
    for option, wanted, found in (
        ("hairpinMode", conf.hairpin_mode, port.hairpin),
        ("portIsolation", conf.port_isolation, port.isolated),
    ):
        if wanted and not found:
            raise CniError(f"bridge port {port.name} has lost {option}: {REMEDY}")
    verify_vlans(host, conf, port.name)


def verify_vlans(host: Namespace, conf: BridgeConf, port: str) -> None:
    wanted = port_vlans(conf).ids
    missing = sorted(wanted.difference(host.port_vlans(port))) if wanted else []
    if missing:
        raise CniError(f"bridge port {port} is no longer in VLAN {missing[0]}: {REMEDY}")


def verify_gateway(host: Namespace, conf: BridgeConf, result: Result) -> None:
    device = conf.gateway_device
    if host.find_link(device) is None:
        raise CniError(f"Interface {device} not found: it was deleted after the ADD")
    present = {address.cidr for address in host.addresses(device)}
    for cidr in gateway_addresses(result.ips):
        if cidr not in present:
            raise CniError(f"{device} has lost the gateway's address {cidr}: {REMEDY}")


def verify_spoof_check(owner: Owner) -> None:
    """The chain that drops is there and what comes from the port jumps to it."""
    chain = chain_of(owner)
    targets = [jump_target(rule) for rule in rules_of(BASE_CHAIN)]
    if chain not in targets or not rules_of(chain) or not rules_of(f"{chain}-mac"):
        raise CniError(f"the spoof check of {owner.ifname} is gone: {REMEDY}")


def rules_of(chain: str) -> list[dict[str, Any]]:
    place = {"family": FAMILY, "table": TABLE, "name": chain}
    listing = libnftables.read_if_there("look for the spoof check", chain=place)
    return [entry["rule"] for entry in listing if "rule" in entry]


def jump_target(rule: dict[str, Any]) -> str:
    """Where the rule jumps to, or empty."""
    return next((str(one["jump"]["target"]) for one in rule["expr"] if "jump" in one), "")
