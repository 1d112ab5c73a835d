"""What servers answer to DHCPv6 messages: an offer, a lease, or why there is none (RFC 8415)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from ipaddress import IPv6Address

from cni_ipam.dhcp.dialogue import Refused
from cni_ipam.dhcp.message4 import Malformed
from cni_ipam.dhcp.message6 import FROM_SERVERS, Ia, IaAddress, Kind6, Message6, decode
from cni_ipam.dhcp.terms import INFINITE, Lease6, Term

RENEWAL_PART, REBINDING_PART = 0.5, 0.8  # of the preferred lifetime, RFC 8415, 21.4
XID = slice(1, 4)
STATUSES = {
    1: "UnspecFail",
    2: "NoAddrsAvail",
    3: "NoBinding",
    4: "NotOnLink",
    5: "UseMulticast",
}


@dataclass(frozen=True, slots=True)
class Offer:
    """An ADVERTISE and the address in it."""

    message: Message6
    address: IPv6Address


def answer_in(packet: bytes, question: Message6) -> Message6 | None:
    """A server's answer to the question, None if the packet is about something else.

    Raises Malformed.
    """
    if packet[XID] != question.xid.to_bytes(3, "big"):
        return None
    message = decode(packet)
    if message.kind not in FROM_SERVERS or message.client != question.client:
        return None
    if not message.server:
        raise Malformed("it does not say which server it is from (option 2)")
    if message.ia and question.ia and message.ia.iaid != question.ia.iaid:
        raise Malformed("it is about another association (IAID)")
    return message


def offer_in(message: Message6) -> Offer | None:
    """The address that is advertised. Raises Malformed if none is."""
    if message.kind is not Kind6.ADVERTISE:
        return None
    if failure := _failure(message):
        raise Malformed(f"the server advertises no address: {failure}")
    granted = message.ia.granted if message.ia else None
    if granted is None or not _is_usable(granted.address):
        raise Malformed("the server advertises no address that can be used")
    return Offer(message, granted.address)


def lease_in(message: Message6, *, begin: float, server: bytes | None = None) -> Lease6 | None:
    """The lease that a REPLY grants, None if it is none of the server (None: of any).

    Raises Refused if it grants nothing, Malformed.
    """
    if message.kind is not Kind6.REPLY or (server and message.server != server):
        return None
    if failure := _failure(message):
        raise Refused(f"the DHCPv6 server said no: {failure}")
    granted = message.ia.granted if message.ia else None
    if message.ia is None or granted is None or not _is_usable(granted.address):
        raise Refused("the DHCPv6 server granted no address")
    return Lease6(
        address=granted.address,
        server=message.server or b"",
        term=_term(message.ia, granted, begin),
        preferred=begin + _lasting(granted.preferred),
        dns=message.dns,
        search=message.search,
    )


def _is_usable(address: IPv6Address) -> bool:
    return not (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or address.is_link_local
    )


def _failure(message: Message6) -> str:
    """The server's words for why not, empty if all is well."""
    for status in (message.status, message.ia.status if message.ia else None):
        if status and status.code:
            name = STATUSES.get(status.code, f"status {status.code}")
            return f"{name}: {status.text}" if status.text else name
    return ""


def _term(ia: Ia, granted: IaAddress, begin: float) -> Term:
    lasts, preferred = _lasting(granted.valid), _lasting(granted.preferred)
    renew, rebind = _lasting(ia.t1), _lasting(ia.t2)
    if not 0 < renew < rebind < lasts:
        base = preferred if 0 < preferred < math.inf else lasts
        renew, rebind = base * RENEWAL_PART, base * REBINDING_PART
    return Term(begin, begin + renew, begin + rebind, begin + lasts)


def _lasting(seconds: int) -> float:
    return math.inf if seconds == INFINITE else seconds
