"""ipvlan: an interface with its parent's MAC address and addresses of its own.

For networks that admit one MAC address per port. The mode says where packets are looked at: in l2
by the parent's neighbours, in l3 and l3s by the host's routes, in l3s by its firewall as well.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from cni_main import parent as parents
from cni_main.parent import ParentedConf
from cnicore import ipam, verify
from cnicore.config import NetConf
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.hookspecs import hookimpl
from cnicore.net.interface import configure_interface
from cnicore.net.link import IPVLAN_MODES, Link
from cnicore.net.namespace import Namespace, namespaces
from cnicore.net.veth import require_free_name
from cnicore.request import Request
from cnicore.result import Interface, Result
from cnicore.rollback import OnFailure, rollback

KIND = "ipvlan"
DEFAULT_MODE = "l2"


class IpvlanConf(ParentedConf):
    """The keys of ipvlan; values are looked at where they are needed, so that DEL needs none."""

    mode: str = Field(
        default="",
        description="Where packets are looked at; unset: l2.",
        json_schema_extra={"enum": ["", *IPVLAN_MODES]},
    )


@hookimpl
def cni_config() -> type[NetConf]:
    return IpvlanConf


@hookimpl
def cni_add(request: Request, conf: IpvlanConf) -> Result:
    mode, earlier = mode_of(conf), request.prev_result
    require_addresses(conf, earlier)
    conf = on_earlier_interface(conf, earlier)
    with namespaces(request.netns) as ns, rollback() as on_failure:
        require_free_name(ns.container, request.ifname)
        where = parents.namespace_of_parent(ns, conf)
        parent = parents.find_parent(where, conf)
        parents.require_possible_mtu(conf, parent)
        with parents.making_child(on_failure, ns.container, request.ifname, parent):
            where.add_ipvlan(request.ifname, parent, ns.container, mode=mode, mtu=conf.mtu)
        leased = addresses(request, conf, earlier, on_failure)
        configure(ns.container, request.ifname, leased)
        link = ns.container.link(request.ifname)
    interface = Interface(link.name, link.mac, request.netns)
    return Result((interface,), leased.ips, leased.routes, conf.dns.to_dns())


@hookimpl
def cni_del(request: Request, conf: IpvlanConf) -> None:
    parents.delete(request, conf)


@hookimpl
def cni_check(request: Request, conf: IpvlanConf) -> None:
    result = verify.required_prev_result(request)
    ipam.forward(request, conf)
    expected = verify.container_interface(result, request)
    with namespaces(request.netns) as ns:
        link = verify.verify_link(ns.container, expected, KIND)
        parents.verify_parent(parents.namespace_of_parent(ns, conf), conf, link)
        verify_mode(link, mode_of(conf))
        verify.verify_addresses(ns.container, request.ifname, result.ips)
        verify.verify_routes(ns.container, link, result.ips, result.routes)


@hookimpl
def cni_gc(request: Request, conf: IpvlanConf) -> None:
    parents.collect(request, conf)


@hookimpl
def cni_status(request: Request, conf: IpvlanConf) -> None:
    mode_of(conf)
    parents.require_kind(KIND, conf)
    ipam.status(request, conf)


def mode_of(conf: IpvlanConf) -> str:
    """The mode. Raises InvalidNetworkConfig for one that there is not."""
    mode = conf.mode or DEFAULT_MODE
    if mode not in IPVLAN_MODES:
        raise InvalidNetworkConfig(
            f'mode: unknown ipvlan mode: "{mode}": set it to {", ".join(IPVLAN_MODES)}'
        )
    return mode


def require_addresses(conf: IpvlanConf, earlier: Result | None) -> None:
    """Raise InvalidNetworkConfig if neither ipam nor a plugin before this one gives addresses."""
    if not (earlier and earlier.ips):
        ipam.require_plugin(conf)


def on_earlier_interface(conf: IpvlanConf, earlier: Result | None) -> IpvlanConf:
    """A chained ipvlan without a master stands on the interface that is in the result so far.

    Raises InvalidNetworkConfig unless that is a single one.
    """
    if conf.master or not earlier:
        return conf
    names = [interface.name for interface in earlier.interfaces]
    if len(names) != 1 or not names[0]:
        raise InvalidNetworkConfig(
            "master: chained master failure. PrevResult lacks a single named interface:"
            " set master to the one to stand on"
        )
    return conf.model_copy(update={"master": names[0]})


def addresses(
    request: Request, conf: IpvlanConf, earlier: Result | None, on_failure: OnFailure
) -> Result:
    """From ipam or, without it, from the plugin before this one; all are for this interface."""
    reused = None if conf.ipam.type else earlier
    leased = reused or ipam.lease(request, conf, on_failure)
    return replace(leased, ips=tuple(replace(ip, interface=0) for ip in leased.ips))


def configure(container: Namespace, name: str, leased: Result) -> None:
    # the neighbours may remember who had the addresses before
    container.tune_sysctl(f"net/ipv4/conf/{name}/arp_notify", "1")
    container.tune_sysctl(f"net/ipv6/conf/{name}/ndisc_notify", "1")
    configure_interface(container, name, leased.ips, leased.routes)


def verify_mode(link: Link, mode: str) -> None:
    if link.mode != mode:
        raise CniError(
            f"Container IPVlan mode {link.mode} does not match expected value: {mode}:"
            " delete the attachment and add it again"
        )
