"""The dialogue with DHCPv6 servers about one address (RFC 8415)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import TypeVar

from cni_ipam.dhcp import clock, interface
from cni_ipam.dhcp.answers6 import Offer, answer_in, lease_in, offer_in
from cni_ipam.dhcp.dialogue import (
    FIRST_WAIT,
    Complaints,
    Question,
    Unanswered,
    ask,
    listen,
)
from cni_ipam.dhcp.journal import Journal
from cni_ipam.dhcp.message6 import (
    DNS_SERVERS,
    DOMAIN_LIST,
    Ia,
    IaAddress,
    Kind6,
    Message6,
    encode,
)
from cni_ipam.dhcp.options4 import DNS_SERVERS as DNS_SERVERS_4
from cni_ipam.dhcp.options4 import DOMAIN_NAME, SEARCH_LIST
from cni_ipam.dhcp.port6 import Port6, usable_link_local
from cni_ipam.dhcp.terms import DHCPV6, Lease6, Place, Wish
from cnicore.errors import CniError
from cnicore.net.namespace import host_namespace

DUID_UUID = b"\0\4"  # RFC 6355
SURE = 255  # a server of this preference waits for no other
REQUESTED = {DNS_SERVERS_4: DNS_SERVERS, DOMAIN_NAME: DOMAIN_LIST, SEARCH_LIST: DOMAIN_LIST}
LINK_LOCAL_PAUSE = 0.1

T = TypeVar("T")


opener: ContextVar[Callable[[int | None, str], Port6]] = ContextVar("opener", default=Port6)
"""What opens the ports. Tests put one with a server of their own behind it in its place."""


@dataclass(frozen=True, slots=True)
class Client6:
    """Who asks, where, and for what; without `netns` the container is gone and can only release."""

    netns: int | None
    place: Place
    wish: Wish
    client_id: bytes

    @property
    def duid(self) -> bytes:
        """The same whenever the same attachment asks."""
        return DUID_UUID + sha256(self.client_id).digest()[:16]

    @property
    def ia(self) -> Ia:
        return Ia(int.from_bytes(sha256(self.place.ifname.encode()).digest()[:4], "big"))

    def message(self, kind: Kind6, lease: Lease6 | None = None) -> Message6:
        """A message of our own, about the lease if there is one."""
        addresses = (IaAddress(lease.address),) if lease else ()
        codes = (REQUESTED[code] for code in self.wish.request if code in REQUESTED)
        return Message6(
            kind,
            secrets.randbits(24),
            client=self.duid,
            server=lease.server if lease else None,
            ia=replace(self.ia, addresses=addresses),
            request=tuple(dict.fromkeys(codes)),
        )


class Exchange6:
    """A Dialogue about one DHCPv6 lease."""

    protocol = DHCPV6

    def __init__(self, client: Client6, journal: Journal) -> None:
        self._client = client
        self._journal = journal

    async def obtain(self, seconds: float, since: float) -> Lease6:
        """SOLICIT, ADVERTISE, REQUEST, REPLY."""
        deadline = clock.now() + seconds
        await self._wait_for_link_local(deadline)
        with self._open() as port:
            talk = Talk(port, self._journal, since)
            offer = await self._solicit(talk, deadline)
            self._journal.note(f"{offer.address} is offered by a DHCPv6 server")
            ia = replace(self._client.ia, addresses=(IaAddress(offer.address),))
            request = replace(
                self._client.message(Kind6.REQUEST), server=offer.message.server, ia=ia
            )
            begin = clock.now()
            read = partial(lease_in, begin=begin)
            return await talk.ask(request, deadline - begin, read)

    async def _wait_for_link_local(self, deadline: float) -> None:
        """A new link has to find out first whether its address is its own."""
        netns, ifname = self._client.netns, self._client.place.ifname
        while usable_link_local(netns, ifname) is None:
            if clock.now() >= deadline:
                raise Unanswered(
                    f"{ifname} has no link-local IPv6 address that can be used:"
                    " is IPv6 off, or the link without carrier?"
                )
            await clock.Alarm().wait_until(clock.now() + LINK_LOCAL_PAUSE)

    async def _solicit(self, talk: Talk, deadline: float) -> Offer:
        """The best of what is advertised within the first second, else what comes first.

        The second is less where there is less time: the REQUEST needs half of it.
        """
        begin = clock.now()
        until = begin + min(FIRST_WAIT, (deadline - begin) / 2)
        solicit = self._client.message(Kind6.SOLICIT)
        offers = [await talk.ask(solicit, deadline - begin, offer_in)]

        def collect(message: Message6) -> Offer | None:
            offer = offer_in(message)
            offers.extend([offer] if offer else [])
            return offer if offer and offer.message.preference == SURE else None

        if offers[0].message.preference != SURE:
            await talk.listen(solicit, until, collect)
        return max(offers, key=lambda offer: offer.message.preference)

    async def extend(self, lease: Lease6, *, of_all: bool, seconds: float) -> Lease6:
        """RENEW or REBIND of what is had, and REPLY."""
        begin = clock.now()
        message = self._client.message(Kind6.REBIND if of_all else Kind6.RENEW, lease)
        if of_all:
            message = replace(message, server=None)
        with self._open() as port:
            talk = Talk(port, self._journal, begin, repeats=False)
            read = partial(lease_in, begin=begin, server=message.server)
            return await talk.ask(message, seconds, read)

    def release(self, lease: Lease6) -> None:
        """One message, through the container's link or the first of the host's that is there."""
        payload = encode(self._client.message(Kind6.RELEASE, lease))
        try:
            netns, link = self._link()
            with opener.get()(netns, link) as port:
                port.send(payload)
        except (OSError, CniError) as error:
            self._journal.warn(f"could not send the DHCPv6 RELEASE of {lease.address}: {error}")
        else:
            where = link if netns is not None else f"{link} of the host"
            self._journal.note(f"released {lease.address} through {where}")

    def _link(self) -> tuple[int | None, str]:
        """Raises CniError if no link is left."""
        netns, place = self._client.netns, self._client.place
        if netns is not None and interface.mac_of(netns, place.ifname) == place.mac:
            return netns, place.ifname
        with host_namespace() as host:
            for name in place.via:
                if host.find_link(name):
                    return None, name
        raise CniError("its link is gone, and nothing of the host leads to where it led")

    def _open(self) -> Port6:
        return opener.get()(self._client.netns, self._client.place.ifname)


class Talk:
    """Questions to servers through one open port; `since` is when the first one was asked."""

    def __init__(
        self, port: Port6, journal: Journal, since: float, *, repeats: bool = True
    ) -> None:
        self._port = port
        self._since = since
        self._repeats = repeats
        self._complaints = Complaints(journal, DHCPV6)

    async def ask(
        self, message: Message6, seconds: float, read: Callable[[Message6], T | None]
    ) -> T:
        """What `read` makes of the first answer that it makes something of.

        Raises Unanswered, with what was wrong with the answers that came, and OSError.
        """

        def send() -> None:
            elapsed = int((clock.now() - self._since) * 100)
            self._port.send(encode(replace(message, elapsed=elapsed)))

        question = Question(send, seconds, repeats=self._repeats)
        try:
            return await ask(self._port, question, self._reader(message, read))
        except Unanswered:
            raise Unanswered(self._complaints.last) from None

    async def listen(
        self, message: Message6, until: float, read: Callable[[Message6], T | None]
    ) -> T | None:
        """As `ask`, for answers to a message that has been sent."""
        return await listen(self._port, until, self._reader(message, read))

    def _reader(
        self, question: Message6, read: Callable[[Message6], T | None]
    ) -> Callable[[bytes], T | None]:
        def read_packet(packet: bytes) -> T | None:
            message = answer_in(packet, question)
            return read(message) if message else None

        return self._complaints(read_packet)
