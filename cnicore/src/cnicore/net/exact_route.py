"""A route with all that the kernel says of it, to be put into another table or back unchanged.

Attributes are kept as bytes: what this module has no name for is copied too.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface
from typing import NamedTuple

from cnicore.addresses import any_cidr
from cnicore.net.raw import RawMessage, attribute, attributes_of
from cnicore.result import Address, Cidr

# linux/rtnetlink.h
RTMSG = struct.Struct("=BBBBBBBBI")
NEXTHOP = struct.Struct("=HBBi")
NUMBER = struct.Struct("=I")
EXPIRES = struct.Struct("=8xi")  # struct rta_cacheinfo: the third member, in ticks for users
TICKS = 100
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH = 1, 4, 5, 6, 7, 9
RTA_CACHEINFO, RTA_TABLE, RTA_VIA, RTA_ENCAP_TYPE, RTA_ENCAP = 12, 15, 18, 21, 22
RTA_EXPIRES, RTA_NH_ID = 23, 30
RTNH_F_PERVASIVE, RTNH_F_ONLINK = 2, 4
CHOSEN_FLAGS = RTNH_F_PERVASIVE | RTNH_F_ONLINK
"""The flags that somebody sets; the others report a state, and the kernel refuses them."""

OF_NEXTHOP = (RTA_OIF, RTA_GATEWAY, RTA_VIA, RTA_ENCAP_TYPE, RTA_ENCAP)
"""What the kernel reports of a nexthop object, and refuses beside its number."""


class Header(NamedTuple):
    """struct rtmsg; `table` is only for numbers of one byte."""

    family: int
    dst_len: int
    src_len: int
    tos: int
    table: int
    protocol: int
    scope: int
    kind: int
    flags: int


@dataclass(frozen=True, slots=True)
class ExactRoute:
    """A route of one next hop, or of several if `link` is 0; attributes in ascending order."""

    header: Header
    table: int
    attributes: tuple[tuple[int, bytes], ...]
    expires: int = field(default=0, compare=False)  # seconds; it runs

    @property
    def version(self) -> int:
        return 4 if self.header.family == socket.AF_INET else 6

    @property
    def dst(self) -> Cidr:
        data = self._get(RTA_DST)
        if not data:
            return any_cidr(self.version)
        return ip_interface(f"{ip_address(data)}/{self.header.dst_len}")

    @property
    def link(self) -> int:
        """The index of the link that it leaves by."""
        return self._number(RTA_OIF)

    @property
    def gateway(self) -> Address | None:
        via = self._get(RTA_VIA)  # of the other family: two bytes say which
        data = via[2:] if via else self._get(RTA_GATEWAY)
        return ip_address(data) if data else None

    @property
    def source(self) -> Address | None:
        """The address that it prefers for packets that have none yet."""
        data = self._get(RTA_PREFSRC)
        return ip_address(data) if data else None

    @property
    def priority(self) -> int:
        return self._number(RTA_PRIORITY)

    @property
    def rank(self) -> tuple[object, ...]:
        """What routes have in common of which the kernel uses only the first."""
        header = self.header
        return header.family, self.table, header.tos, self.dst, self.priority

    @property
    def is_default(self) -> bool:
        return not self.header.dst_len

    def in_table(self, table: int) -> ExactRoute:
        return replace(self, table=table)

    def with_source(self, source: Address) -> ExactRoute:
        others = [pair for pair in self.attributes if pair[0] != RTA_PREFSRC]
        return replace(self, attributes=tuple(sorted([*others, (RTA_PREFSRC, source.packed)])))

    def message(self) -> RawMessage:
        """The route as the kernel takes it."""
        kept = dict(self.attributes)
        for kind in OF_NEXTHOP if RTA_NH_ID in kept else ():
            kept.pop(kind, None)
        kept[RTA_TABLE] = NUMBER.pack(self.table)
        if self.expires > 0:
            kept[RTA_EXPIRES] = NUMBER.pack(self.expires)
        byte = self.table if self.table < 256 else 0  # noqa: PLR2004  (one byte; the attribute has it whole)
        header = RTMSG.pack(*self.header._replace(table=byte))
        return RawMessage(payload=header + b"".join(attribute(*pair) for pair in kept.items()))

    def _get(self, kind: int) -> bytes:
        return next((data for kind_, data in self.attributes if kind_ == kind), b"")

    def _number(self, kind: int) -> int:
        data = self._get(kind)
        number: int = NUMBER.unpack(data)[0] if data else 0
        return number


def all_routes_of(version: int) -> RawMessage:
    """The request for every route of a family."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6  # noqa: PLR2004  (the IP version)
    return RawMessage(payload=RTMSG.pack(family, *[0] * 8))


def decode(payload: bytes) -> Iterator[ExactRoute]:
    """The route in a message of the kernel.

    Of IPv6 each next hop is a route: so the kernel has them, and only shows them as one.
    """
    header = Header._make(RTMSG.unpack_from(payload))
    attributes = attributes_of(payload[RTMSG.size :])
    table = NUMBER.unpack(attributes.pop(RTA_TABLE, NUMBER.pack(header.table)))[0]
    cached = attributes.pop(RTA_CACHEINFO, b"")
    expires = EXPIRES.unpack_from(cached)[0] // TICKS if len(cached) >= EXPIRES.size else 0
    header = header._replace(table=0, flags=header.flags & CHOSEN_FLAGS)
    route = ExactRoute(header, table, tuple(sorted(attributes.items())), expires)
    if route.version == 4 or RTA_MULTIPATH not in attributes:  # noqa: PLR2004  (the IP version)
        yield route
        return
    for hop in _hops(attributes.pop(RTA_MULTIPATH)):
        yield replace(route, attributes=tuple(sorted((attributes | hop).items())))


def _hops(data: bytes) -> Iterator[dict[int, bytes]]:
    """Link and gateway of each next hop, as attributes of a route of its own."""
    while len(data) >= NEXTHOP.size:
        length, _, _, link = NEXTHOP.unpack_from(data)
        yield {RTA_OIF: NUMBER.pack(link), **attributes_of(data[NEXTHOP.size : length])}
        data = data[max((length + 3) & ~3, NEXTHOP.size) :]
