"""macvlan: an interface with a MAC address of its own on a link of the host.

To the network it is a machine of its own beside the host. The mode says whether the containers on
one parent reach each other; the host never reaches them through the parent itself.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pydantic import Field

from cni_main import parent as parents
from cni_main.mac import MacConf, requested_mac
from cni_main.parent import ParentedConf
from cnicore import ipam, verify
from cnicore.config import NetConf
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.hookspecs import hookimpl
from cnicore.net.interface import configure_interface
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace, namespaces
from cnicore.net.netlink import KernelError
from cnicore.net.sublink import MACVLAN_MODES, Macvlan
from cnicore.net.veth import require_free_name
from cnicore.request import Request
from cnicore.result import Interface, Result
from cnicore.rollback import OnFailure, rollback

KIND = "macvlan"
DEFAULT_MODE = "bridge"


class MacvlanConf(ParentedConf):
    """The keys of macvlan; values are looked at where they are needed, so that DEL needs none."""

    mode: str = Field(
        default="",
        description="Who reaches whom on one parent; unset: bridge.",
        json_schema_extra={"enum": ["", *MACVLAN_MODES]},
    )
    mac: str = Field(
        default="", description="MAC address; CNI_ARGS and the capability mac come before it."
    )
    bcqueuelen: int = Field(
        default=0,
        description="How many broadcasts may wait on the parent, in packets; 0: the kernel's 1000.",
        json_schema_extra={"minimum": 0, "maximum": 2**32 - 1},
    )
    runtime_config: MacConf = Field(
        default=MacConf(), description="What the runtime adds for the capability mac."
    )


@hookimpl
def cni_config() -> type[NetConf]:
    return MacvlanConf


@hookimpl
def cni_add(request: Request, conf: MacvlanConf) -> Result:
    wanted = wanted_macvlan(conf, request.args)
    with namespaces(request.netns) as ns, rollback() as on_failure:
        require_free_name(ns.container, request.ifname)
        where = parents.namespace_of_parent(ns, conf)
        parent = parents.find_parent(where, conf)
        parents.require_possible_mtu(conf, parent)
        with parents.making_child(on_failure, ns.container, request.ifname, parent):
            make(where, parent, ns.container, request.ifname, wanted)
        with naming_mac(wanted.mac, parent):
            leased = attach(request, conf, ns.container, on_failure)
        link = ns.container.link(request.ifname)
    interface = Interface(link.name, link.mac, request.netns)
    return Result((interface,), leased.ips, leased.routes, conf.dns.to_dns())


@hookimpl
def cni_del(request: Request, conf: MacvlanConf) -> None:
    parents.delete(request, conf)


@hookimpl
def cni_check(request: Request, conf: MacvlanConf) -> None:
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
def cni_gc(request: Request, conf: MacvlanConf) -> None:
    parents.collect(request, conf)


@hookimpl
def cni_status(request: Request, conf: MacvlanConf) -> None:
    wanted_macvlan(conf, "")
    parents.require_kind(KIND, conf)
    ipam.status(request, conf)


def wanted_macvlan(conf: MacvlanConf, arguments: str) -> Macvlan:
    """What is to be made. Raises InvalidNetworkConfig naming the key that is wrong."""
    if not 0 <= conf.bcqueuelen < 2**32:
        raise InvalidNetworkConfig(
            f"bcqueuelen: {conf.bcqueuelen} is no number of packets: set 0 to {2**32 - 1}"
        )
    mac = requested_mac(conf.runtime_config, arguments, conf.mac)
    return Macvlan(mode_of(conf), mac, conf.mtu, conf.bcqueuelen)


def mode_of(conf: MacvlanConf) -> str:
    mode = conf.mode or DEFAULT_MODE
    if mode not in MACVLAN_MODES:
        raise InvalidNetworkConfig(
            f'mode: unknown macvlan mode: "{mode}": set it to {", ".join(MACVLAN_MODES)}'
        )
    return mode


def make(where: Namespace, parent: Link, container: Namespace, name: str, wanted: Macvlan) -> None:
    """Create the link. Raises CniError saying what may be wrong with the parent."""
    try:
        where.add_macvlan(name, parent, container, wanted)
    except KernelError as error:
        if error.errno == errno.EBUSY:
            raise CniError(
                f"master: {parent.name} is a port of a bridge or bond, or has ipvlans:"
                " set master to that bridge or bond, or to another link"
            ) from error
        if error.errno != errno.EINVAL or error.details:  # what has details is said by the kernel
            raise
        taken = "has macvlans" if wanted.mode == "passthru" else "has a macvlan of mode passthru"
        raise CniError(
            f"master: {parent.name} takes no macvlan of mode {wanted.mode}: it {taken},"
            " or is no Ethernet link: set master to another link"
        ) from error


@contextmanager
def naming_mac(mac: str, parent: Link) -> Iterator[None]:
    """The kernel asks whose the MAC address is when the interface comes up, and does not say."""
    try:
        yield
    except KernelError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise CniError(
            f"mac: {mac} is the address of {parent.name} or of another macvlan on it:"
            " ask for another one"
        ) from error


def attach(
    request: Request, conf: MacvlanConf, container: Namespace, on_failure: OnFailure
) -> Result:
    """Lease addresses if there is ipam, and put the interface into service."""
    if not conf.ipam.type:
        container.set_up(request.ifname)
        return Result()
    leased = ipam.lease(request, conf, on_failure)
    ips = tuple(replace(ip, interface=0) for ip in leased.ips)
    # the neighbours may remember who had the addresses before
    container.tune_sysctl(f"net/ipv4/conf/{request.ifname}/arp_notify", "1")
    container.tune_sysctl(f"net/ipv6/conf/{request.ifname}/ndisc_notify", "1")
    configure_interface(container, request.ifname, ips, leased.routes)
    return replace(leased, ips=ips)


def verify_mode(link: Link, mode: str) -> None:
    if link.mode != mode:
        raise CniError(
            f"container macvlan mode {link.mode} does not match expected value: {mode}:"
            " delete the attachment and add it again"
        )
