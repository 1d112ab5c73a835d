"""An attachment's leases as a JSON document, and back: what a record says."""

from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address

from cni_ipam.dhcp.marks import FORMAT, owner_of
from cni_ipam.dhcp.terms import (
    DHCPV4,
    DHCPV6,
    Holding,
    Lease4,
    Lease6,
    Place,
    Term,
    Wish,
)
from cnicore.addresses import parse_address, parse_cidr
from cnicore.documents import Document
from cnicore.result import Route

TERM = ("begin", "renew", "rebind", "expire")


def document_of(holding: Holding) -> Document:
    owner, place = holding.owner, holding.place
    return {
        "format": FORMAT,
        "network": owner.network,
        "containerID": owner.container_id,
        "ifname": owner.ifname,
        "clientID": holding.client_id.hex(),
        "place": {
            "netns": place.netns,
            "device": place.device,
            "inode": place.inode,
            "ifname": place.ifname,
            "mac": place.mac.hex(),
            "via": list(place.via),
        },
        "wish": _of_wish(holding.wish),
        "lease4": holding.lease4 and _of_lease4(holding.lease4),
        "lease6": holding.lease6 and _of_lease6(holding.lease6),
    }


def _of_wish(wish: Wish) -> Document:
    return {
        "protocols": list(wish.protocols),
        "request": list(wish.request),
        "send": [[code, value.hex()] for code, value in wish.send],
        "priority": wish.priority,
    }


def _of_lease4(lease: Lease4) -> Document:
    return {
        "address": str(lease.address),
        "server": str(lease.server),
        "serverMAC": lease.server_mac.hex(),
        **_of_term(lease.term),
        "gateway": lease.gateway and str(lease.gateway),
        "routes": [_of_route(route) for route in lease.routes],
        "mtu": lease.mtu,
        "dns": [str(server) for server in lease.dns],
        "domain": lease.domain,
        "search": list(lease.search),
    }


def _of_lease6(lease: Lease6) -> Document:
    return {
        "address": str(lease.address),
        "server": lease.server.hex(),
        **_of_term(lease.term),
        "preferred": _of_moment(lease.preferred),
        "dns": [str(server) for server in lease.dns],
        "search": list(lease.search),
    }


def _of_term(term: Term) -> Document:
    return {name: _of_moment(getattr(term, name)) for name in TERM}


def _of_moment(moment: float) -> float | None:
    """JSON has no infinity."""
    return None if math.isinf(moment) else moment


def _of_route(route: Route) -> Document:
    return {"dst": str(route.dst), "gw": route.gw and str(route.gw), "scope": route.scope}


def holding_of(document: Document) -> Holding:
    """Raises KeyError, TypeError or ValueError if the document is none of `document_of`."""
    owner = owner_of(document)
    place, wish = document["place"], document["wish"]
    four, six = document["lease4"], document["lease6"]
    return Holding(
        owner=owner,
        place=replace(
            Place(_text(place["netns"]), int(place["device"]), int(place["inode"]), owner.ifname),
            mac=bytes.fromhex(place["mac"]),
            via=_texts(place["via"]),
        ),
        wish=_wish(wish),
        lease4=_lease4(four) if four else None,
        lease6=_lease6(six) if six else None,
        client_id=bytes.fromhex(document["clientID"]),
    )


def _wish(document: Document) -> Wish:
    protocols = _texts(document["protocols"])
    if not protocols or not {DHCPV4, DHCPV6}.issuperset(protocols):
        raise ValueError(f"protocols: {protocols} are unknown")
    return Wish(
        protocols=protocols,
        request=tuple(bytes(document["request"])),
        send=tuple((bytes([code])[0], bytes.fromhex(value)) for code, value in document["send"]),
        priority=int(document["priority"]),
    )


def _lease4(document: Document) -> Lease4:
    gateway = document["gateway"]
    return Lease4(
        address=IPv4Interface(parse_cidr(document["address"])),
        server=IPv4Address(document["server"]),
        server_mac=bytes.fromhex(document["serverMAC"]),
        term=_term(document),
        gateway=IPv4Address(gateway) if gateway else None,
        routes=tuple(_route(route) for route in document["routes"]),
        mtu=int(document["mtu"]),
        dns=tuple(IPv4Address(server) for server in document["dns"]),
        domain=_text(document["domain"]),
        search=_texts(document["search"]),
    )


def _lease6(document: Document) -> Lease6:
    return Lease6(
        address=IPv6Address(document["address"]),
        server=bytes.fromhex(document["server"]),
        term=_term(document),
        preferred=_moment(document["preferred"]),
        dns=tuple(IPv6Address(server) for server in document["dns"]),
        search=_texts(document["search"]),
    )


def _term(document: Document) -> Term:
    return Term(*(_moment(document[name]) for name in TERM))


def _moment(value: float | None) -> float:
    return math.inf if value is None else float(value)


def _route(document: Document) -> Route:
    gw, scope = document["gw"], document["scope"]
    return Route(
        dst=parse_cidr(document["dst"]),
        gw=parse_address(gw) if gw else None,
        scope=None if scope is None else bytes([scope])[0],
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _texts(values: list[object]) -> tuple[str, ...]:
    return tuple(map(_text, values))
