"""What the options of a DHCPACK mean: the lease (RFC 2132, 2131 4.4.5, 3442, 3397).

What a lease cannot be without is checked strictly. What only adds to it, such as routes or name
servers, counts as not sent if it makes no sense: a container without them is better than none.
"""

from __future__ import annotations

import math
import struct
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from cni_ipam.dhcp.message4 import NOBODY, Malformed, Message4
from cni_ipam.dhcp.names import read_names, safe_name
from cni_ipam.dhcp.terms import INFINITE, Lease4, Term
from cnicore.result import Route

SUBNET_MASK, ROUTERS, DNS_SERVERS, DOMAIN_NAME, INTERFACE_MTU = 1, 3, 6, 15, 26
STATIC_ROUTES, LEASE_TIME, RENEWAL_TIME, REBINDING_TIME = 33, 51, 58, 59
SEARCH_LIST, CLASSLESS_ROUTES = 119, 121
DEFAULT_LEASE_TIME = 3600
RENEWAL_PART, REBINDING_PART = 0.5, 0.875
SMALLEST_MTU = 68
LINK_SCOPE = 253
EVERYWHERE = IPv4Interface("0.0.0.0/0")
ADDRESS_LENGTH, ADDRESS_BITS = 4, 32
# The classes of RFC 791 by the first byte; behind them are multicast and what is reserved.
CLASSES = ((128, 8), (192, 16), (224, 24))


def lease_of(ack: Message4, server_mac: bytes, begin: float) -> Lease4:
    """The lease that the DHCPACK grants, counted from `begin`. Raises Malformed if it grants none.

    `server_mac` is where the ACK came from, `begin` when its request was sent.
    """
    if ack.server is None:
        raise Malformed("DHCP option Server Identifier not found in DHCPACK")
    gateway = next(iter(_addresses(ack, ROUTERS)), NOBODY)
    gateway_or_none = None if gateway == NOBODY else gateway
    return Lease4(
        address=_address(ack),
        server=ack.server,
        server_mac=server_mac,
        term=_term(ack, begin),
        gateway=gateway_or_none,
        routes=_routes(ack, gateway_or_none),
        mtu=_mtu(ack),
        dns=_addresses(ack, DNS_SERVERS),
        domain=safe_name(ack.options.get(DOMAIN_NAME, b"").rstrip(b"\0").decode("latin-1")),
        search=_search(ack),
    )


def _address(ack: Message4) -> IPv4Interface:
    address = ack.yiaddr
    if address == NOBODY or address.is_loopback or address.is_multicast or address.is_reserved:
        raise Malformed(f"no host can have the address {address} that the DHCPACK grants")
    return IPv4Interface((address, _prefix_length(ack)))


def _prefix_length(ack: Message4) -> int:
    mask = ack.options.get(SUBNET_MASK)
    if mask is None:
        raise Malformed("DHCP option Subnet Mask not found in DHCPACK")
    bits = f"{int.from_bytes(mask, 'big'):032b}"
    if len(mask) != ADDRESS_LENGTH or not bits.startswith("1") or "01" in bits:
        raise Malformed(f"DHCP option Subnet Mask is no mask in DHCPACK: {mask.hex()}")
    return bits.count("1")


def _term(ack: Message4, begin: float) -> Term:
    lasts = _lease_time(ack)
    if lasts == INFINITE:
        return Term(begin, math.inf, math.inf, math.inf)
    renew = _seconds(ack, RENEWAL_TIME, lasts * RENEWAL_PART)
    rebind = _seconds(ack, REBINDING_TIME, lasts * REBINDING_PART)
    if not 0 < renew < rebind < lasts:
        renew, rebind = lasts * RENEWAL_PART, lasts * REBINDING_PART
    return Term(begin, begin + renew, begin + rebind, begin + lasts)


def _lease_time(ack: Message4) -> int:
    value = ack.options.get(LEASE_TIME)
    if value is None:
        return DEFAULT_LEASE_TIME
    seconds = int.from_bytes(value, "big")
    if len(value) != ADDRESS_LENGTH or not seconds:
        raise Malformed(f"DHCP option Lease Time is no time in DHCPACK: 0x{value.hex()}")
    return seconds


def _seconds(ack: Message4, code: int, default: float) -> float:
    value = ack.options.get(code, b"")
    return int.from_bytes(value, "big") if len(value) == ADDRESS_LENGTH else default


def _addresses(ack: Message4, code: int) -> tuple[IPv4Address, ...]:
    value = ack.options.get(code, b"")
    if len(value) % ADDRESS_LENGTH:
        return ()
    return tuple(IPv4Address(raw) for (raw,) in struct.iter_unpack("4s", value))


def _mtu(ack: Message4) -> int:
    value = ack.options.get(INTERFACE_MTU, b"")
    mtu = int.from_bytes(value, "big") if len(value) == struct.calcsize("!H") else 0
    return mtu if mtu >= SMALLEST_MTU else 0


def _search(ack: Message4) -> tuple[str, ...]:
    try:
        return read_names(ack.options.get(SEARCH_LIST, b""), compressed=True)
    except Malformed:
        return ()


def _routes(ack: Message4, gateway: IPv4Address | None) -> tuple[Route, ...]:
    """The classless routes if there are any, else all others (RFC 3442)."""
    classless = _classless_routes(ack.options.get(CLASSLESS_ROUTES, b""))
    if classless:
        return classless
    static = _static_routes(ack.options.get(STATIC_ROUTES, b""))
    return (*static, Route(EVERYWHERE, gateway)) if gateway else static


def _classless_routes(value: bytes) -> tuple[Route, ...]:
    """Each a prefix length, as many bytes of the prefix as it needs, and the router.

    No routes if one of them is none: which then is which cannot be told.
    """
    routes = []
    rest = value
    while rest:
        length = rest[0]
        end = 1 + (length + 7) // 8
        prefix, router = rest[1:end], rest[end : end + ADDRESS_LENGTH]
        if length > ADDRESS_BITS or len(router) < ADDRESS_LENGTH:
            return ()
        routes.append(_route(prefix.ljust(ADDRESS_LENGTH, b"\0"), length, IPv4Address(router)))
        rest = rest[end + ADDRESS_LENGTH :]
    return tuple(routes)


def _static_routes(value: bytes) -> tuple[Route, ...]:
    """Pairs of a destination, whose class tells the mask, and a router.

    The default route is not allowed here, and bytes that are no pair are left over.
    """
    pairs = value[: len(value) // 8 * 8]
    return tuple(
        _route(destination, length, IPv4Address(router))
        for destination, router in struct.iter_unpack("4s4s", pairs)
        if any(destination) and (length := _classful_length(destination))
    )


def _classful_length(destination: bytes) -> int:
    return next((length for limit, length in CLASSES if destination[0] < limit), 0)


def _route(prefix: bytes, length: int, router: IPv4Address) -> Route:
    """A router of zeros is the link itself: the reference tells that by the scope."""
    network = IPv4Network((prefix, length), strict=False)
    scope = LINK_SCOPE if router == NOBODY else None
    return Route(IPv4Interface(network), router, scope=scope)
