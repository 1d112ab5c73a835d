"""The container's interface: which it is, what leads to it, and what of a lease is on it."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cni_ipam.dhcp.terms import DHCPV6, Place
from cnicore.addresses import parse_mac
from cnicore.errors import CniError
from cnicore.net.interface import enable_ipv6, first_gateways, with_gateway
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace, host_namespace, opener
from cnicore.net.netlink import KernelError
from cnicore.net.switch import NetnsGone, inside, open_netns
from cnicore.result import IpConfig, Route

SIOCGIFINDEX, IFREQ = 0x8933, struct.Struct("16s24x")  # linux/sockios.h, struct ifreq
SHARED_BY_PARENT = {"macvlan", "ipvlan", "vlan"}


class LinkState(NamedTuple):
    """What a link is now."""

    mac: bytes
    is_up: bool


class Belongings(NamedTuple):
    """What of a lease is on the interface; nothing of it if there is no lease."""

    ips: tuple[IpConfig, ...] = ()
    routes: tuple[Route, ...] = ()


@contextmanager
def handle(netns: int) -> Iterator[Namespace]:
    """The namespace of the file descriptor. Raises CniError."""
    opened = opener.get()(f"/proc/thread-self/fd/{netns}")
    try:
        yield opened
    finally:
        opened.close()


def identity(netns: int) -> tuple[int, int]:
    """Device and inode of the namespace: no other has these as long as it lives."""
    status = os.fstat(netns)
    return status.st_dev, status.st_ino


def is_at(path: str, place: Place) -> bool:
    """Whether the place's namespace is the one at the path. Raises OSError if nobody can tell."""
    try:
        status = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return (status.st_dev, status.st_ino) == (place.device, place.inode)


def open_place(place: Place) -> int | None:
    """A descriptor of the place's namespace, None if that is gone. Raises CniError."""
    path = place.netns or _path_of_process(place)
    with suppress(NetnsGone):
        netns = open_netns(path)
        if identity(netns) == (place.device, place.inode):
            return netns
        os.close(netns)
    return None


def _path_of_process(place: Place) -> str:
    """Where to find a namespace whose path is not known; empty if no process is in it."""
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        with suppress(OSError):  # it may end meanwhile
            if is_at(str(path), place):
                return str(path)
    return ""


def link_of(netns: int, ifname: str) -> LinkState:
    """The link's address, and whether it was up; it is now. Raises CniError.

    LinkNotFound if there is none.
    """
    with handle(netns) as ns:
        link = ns.link(ifname)
        if not link.is_up:
            ns.set_up(ifname)
        return LinkState(_mac(link), link.is_up)


def mac_of(netns: int, ifname: str) -> bytes | None:
    """The link's address, None if there is no such link. Raises CniError."""
    with handle(netns) as ns:
        link = ns.find_link(ifname)
        return None if link is None else _mac(link)


def is_there(netns: int, ifname: str) -> bool:
    """Whether the namespace has the link: asked for every lease again and again. Raises OSError."""
    with (
        inside(netns),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asker,
    ):
        try:
            fcntl.ioctl(asker, SIOCGIFINDEX, IFREQ.pack(ifname.encode()))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return False
    return True


looker: ContextVar[Callable[[int, str], bool]] = ContextVar("looker", default=is_there)
"""What looks for the link, at a sixth of what a handle costs. Tests put theirs in its place."""


def allow_ipv6(netns: int, ifname: str) -> None:
    """Runtimes switch IPv6 off, and DHCPv6 needs an address of the link. Raises CniError."""
    with handle(netns) as ns:
        enable_ipv6(ns, ifname)


def via(netns: int, ifname: str) -> tuple[str, ...]:
    """The host's links that lead where the container's does, for when that is gone.

    The bridge that a veth's other end is a port of; what a macvlan, an ipvlan or a VLAN stands on.
    Raises CniError.
    """
    with handle(netns) as ns, host_namespace() as host:
        link = ns.link(ifname)
        if not link.peer or link.peer_is_here:
            return ()
        return _leading(host, link)


def _leading(host: Namespace, link: Link) -> tuple[str, ...]:
    other = host.find_link_by_index(link.peer)
    if other is None:
        return ()
    if link.kind in SHARED_BY_PARENT:
        return (other.name,)
    # indexes are of a namespace: the other end must be a veth whose other end is this
    if (other.kind, other.peer) != ("veth", link.index) or not other.master:
        return ()
    bridge = host.find_link_by_index(other.master)
    return (bridge.name,) if bridge else ()


def exchange(netns: int, ifname: str, old: Belongings, new: Belongings) -> None:
    """Put what belongs to the new lease on the interface and take away what only the old one had.

    Raises CniError.
    """
    gone = [ip.address for ip in old.ips if ip.address not in addresses_of(new)]
    with handle(netns) as ns:
        add_addresses(ns, ifname, new)
        for route in _kernel_routes(old, without=new):
            with suppress(KernelError):  # what the operator has changed since is theirs
                ns.delete_route(ifname, route.dst)
        for address in gone:
            ns.delete_address(ifname, address)
        if gone:  # an address goes with the first one of its subnet, and the routes with it
            add_addresses(ns, ifname, new)
        for route in _kernel_routes(new):
            ns.add_route(ifname, route)


def add_addresses(ns: Namespace, ifname: str, belongings: Belongings) -> None:
    for ip in belongings.ips:
        ns.add_address(ifname, ip.address)


def addresses_of(belongings: Belongings) -> set[object]:
    return {ip.address for ip in belongings.ips}


def _kernel_routes(belongings: Belongings, without: Belongings | None = None) -> Sequence[Route]:
    """The routes as main plugins add them."""
    gateways = first_gateways(belongings.ips)
    routes = [with_gateway(route, gateways) for route in belongings.routes]
    if without is None:
        return routes
    kept = _kernel_routes(without)
    return [route for route in routes if route not in kept]


def prepare(netns: int, place: Place, protocols: Sequence[str]) -> Place:
    """Make the interface able to ask, and note what is to be known of it. Raises CniError."""
    state = link_of(netns, place.ifname)
    if DHCPV6 in protocols:
        allow_ipv6(netns, place.ifname)
    device, inode = identity(netns)
    return replace(place, device=device, inode=inode, mac=state.mac, via=via(netns, place.ifname))


def _mac(link: Link) -> bytes:
    try:
        return bytes.fromhex(parse_mac(link.mac).replace(":", ""))
    except ValueError as error:
        raise CniError(f"{link.name} is no Ethernet link: DHCP needs one") from error
