"""Devices of the host that move into a container and back, and what they leave behind there."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cnicore.net.address import RTM_GETADDR, RTM_NEWADDR
from cnicore.net.exact_route import (
    NUMBER,
    RTA_OIF,
    ExactRoute,
    all_routes_of,
    decode,
)
from cnicore.net.link import RTM_GETLINK, RTM_SETLINK, Link, decode_link
from cnicore.net.messages import ifinfmsg
from cnicore.net.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    KernelError,
    Netlink,
    is_absent,
    tolerate,
)
from cnicore.net.raw import RawMessage, attribute
from cnicore.net.route import FAMILIES, RTM_GETROUTE, RTM_NEWROUTE
from cnicore.net.switch import OWN, inside

if TYPE_CHECKING:
    from cnicore.net.namespace import Namespace

RTM_NEWLINKPROP, RTM_DELLINKPROP = 108, 109  # linux/rtnetlink.h
SO_NETNS_COOKIE = 71  # asm-generic/socket.h
NUMBER64 = struct.Struct("=Q")
IFADDRMSG = struct.Struct("=BBBBI")  # linux/if_addr.h; the last member is the link's index
RTPROT_KERNEL = 2
NO_ALTNAMES = (errno.EOPNOTSUPP, errno.EINVAL)  # kernels before 5.5


@dataclass(frozen=True, slots=True)
class Device:
    """A link with what tells it from all others, whatever it is called.

    `altnames` are its other names, up to 127 bytes each, which go with it into another namespace.
    `parent` is the device that it is a function of, by its name on its bus, such as a PCI address;
    `permanent_mac` is burnt in. Both are empty for what is not of hardware.
    """

    link: Link
    altnames: tuple[str, ...] = ()
    parent: str = ""
    permanent_mac: str = ""


@dataclass(frozen=True, slots=True)
class Belongings:
    """The addresses of a link and the routes through it: it loses them when it moves."""

    addresses: tuple[bytes, ...] = ()
    routes: tuple[ExactRoute, ...] = ()


class Devices:
    """The part of a namespace handle that moves devices. Every method raises KernelError."""

    netlink: Netlink
    fd: int | None

    def devices(self) -> list[Device]:
        """Every link of the namespace."""
        messages = self.netlink.dump("list devices", RTM_GETLINK, ifinfmsg())
        return [_device(message) for message in messages]

    def find_device(self, altname: str) -> Device | None:
        """The link with that other name, or None."""
        message = ifinfmsg()
        message["attrs"] = [("IFLA_ALT_IFNAME", altname)]
        return self._find_device(f"look up {altname}", message)

    def find_device_by_index(self, index: int) -> Device | None:
        return self._find_device(f"look up link {index}", _message(index))

    def add_altname(self, link: Link, altname: str) -> bool:
        """Give the link another name; whether the kernel has such names. Having it is no success.

        Raises KernelError (EEXIST) if this or another link of the namespace has the name.
        """
        act = f"give {link.name} the other name {altname}"
        with tolerate(*NO_ALTNAMES):
            message = _property(link, altname)
            flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_APPEND
            self.netlink.change(act, RTM_NEWLINKPROP, message, flags)
            return True
        return False

    def delete_altname(self, link: Link, altname: str) -> None:
        """Take another name from the link; absent is as wished."""
        act = f"take the other name {altname} from {link.name}"
        with tolerate(errno.ENOENT, *NO_ALTNAMES):
            self.netlink.change(act, RTM_DELLINKPROP, _property(link, altname))

    def move_device(self, link: Link, into: Namespace, name: str) -> None:
        """Move the link into the other namespace, where it is renamed before anybody can see it.

        If the name is taken there, the link moves all the same and keeps its old one.
        """
        with _descriptor(into) as fd:
            message = _message(link.index, [("IFLA_IFNAME", name), ("IFLA_NET_NS_FD", fd)])
            place = into.path or "the host"
            act = f"move {link.name} to {place} as {name}"
            self.netlink.change(act, RTM_SETLINK, message)

    def cookie(self) -> str:
        """A text that only this namespace has, until the next boot."""
        with inside(self.fd), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as probe:
            try:
                return str(
                    NUMBER64.unpack(probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0]
                )
            except OSError:  # kernels before 5.14; the number may come again
                return f"i{os.stat(OWN).st_ino}"

    @contextmanager
    def moving_devices(self) -> Iterator[None]:
        """Keep others from choosing or returning a device of this namespace meanwhile."""
        fd = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC) if self.fd is None else os.dup(self.fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def belongings(self, link: Link) -> Belongings:
        request = RawMessage(payload=IFADDRMSG.pack(0, 0, 0, 0, link.index))
        addresses = self.netlink.dump(f"list the addresses of {link.name}", RTM_GETADDR, request)
        payloads = (address.payload for address in addresses)
        return Belongings(
            tuple(data for data in payloads if IFADDRMSG.unpack_from(data)[-1] == link.index),
            tuple(route for version in FAMILIES for route in self._routes(version, link)),
        )

    def put_addresses(self, link: Link, belongings: Belongings) -> None:
        """Give the link these addresses back; one that it has is as wished."""
        for payload in belongings.addresses:
            *members, _ = IFADDRMSG.unpack_from(payload)
            header = IFADDRMSG.pack(*members, link.index)
            message = RawMessage(payload=header + payload[IFADDRMSG.size :])
            with tolerate(errno.EEXIST):
                act = f"give {link.name} an address back"
                self.netlink.change(act, RTM_NEWADDR, message, NLM_F_CREATE | NLM_F_EXCL)

    def put_routes(self, link: Link, belongings: Belongings) -> None:
        """Lead these routes through the link again; one that is there is as wished."""
        for route in belongings.routes:
            others = [pair for pair in route.attributes if pair[0] != RTA_OIF]
            through = (RTA_OIF, NUMBER.pack(link.index))
            message = replace(route, attributes=tuple(sorted([*others, through]))).message()
            with tolerate(errno.EEXIST):
                act = f"put route {route.dst} through {link.name} back"
                self.netlink.change(act, RTM_NEWROUTE, message, NLM_F_CREATE | NLM_F_APPEND)

    def _routes(self, version: int, link: Link) -> list[ExactRoute]:
        """Those through the link, without the kernel's own ones, which come by themselves."""
        request = all_routes_of(version)
        # newer kernels sort out the others: a router may have a million
        request.payload += attribute(RTA_OIF, NUMBER.pack(link.index))
        messages = self.netlink.dump(f"list routes of {link.name}", RTM_GETROUTE, request)
        return [
            route
            for message in messages
            for route in decode(message.payload)
            if route.link == link.index and route.header.protocol != RTPROT_KERNEL
        ]

    def _find_device(self, act: str, message: Any) -> Device | None:
        try:
            return _device(self.netlink.get(act, RTM_GETLINK, message))
        except KernelError as error:
            if is_absent(error) or error.errno in NO_ALTNAMES:
                return None
            raise


@contextmanager
def _descriptor(ns: Namespace) -> Iterator[int]:
    """Of the namespace; the handle of the one that this process is in has none."""
    if ns.fd is not None:
        yield ns.fd
        return
    fd = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _message(index: int, attributes: list[Any] | None = None) -> Any:
    message = ifinfmsg()
    message["index"] = index
    message["attrs"] = attributes or []
    return message


def _property(link: Link, altname: str) -> Any:
    names = {"attrs": [("IFLA_ALT_IFNAME", altname)]}
    return _message(link.index, [("IFLA_PROP_LIST", names)])


def _device(message: Any) -> Device:
    names = message.get_attr("IFLA_PROP_LIST")
    values = [value for _, value in names["attrs"]] if names else []
    return Device(
        link=decode_link(message),
        altnames=tuple(_text(value) for value in values),
        parent=_text(message.get_attr("IFLA_PARENT_DEV_NAME") or ""),
        permanent_mac=message.get_attr("IFLA_PERM_ADDRESS") or "",
    )


def _text(value: str | bytes) -> str:
    """Anybody may have named a link with bytes that are no text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
