"""The dialogue with DHCPv4 servers: a lease is asked for, extended and given back (RFC 2131)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import TypeVar

from cni_ipam.dhcp import clock
from cni_ipam.dhcp.dialogue import Complaints, Question, Refused, Unanswered, ask
from cni_ipam.dhcp.journal import Journal
from cni_ipam.dhcp.message4 import OWN_CODES, Kind4, Malformed, Message4, decode, encode
from cni_ipam.dhcp.options4 import lease_of
from cni_ipam.dhcp.port4 import EVERYBODY, NOBODY, Port4
from cni_ipam.dhcp.release4 import Release
from cni_ipam.dhcp.terms import DHCPV4, Lease4, Place, Wish
from cni_ipam.dhcp.wire4 import Way, opener
from cnicore.errors import CniError

SUBNET_MASK, REQUESTED_ADDRESS, LEASE_TIME, SERVER_ID = 1, 50, 51, 54
PARAMETERS, REASON, LARGEST_MESSAGE, CLIENT_ID = 55, 56, 57, 61
OUR_LARGEST = (1500).to_bytes(2, "big")
XID = slice(4, 8)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Client4:
    """Who asks, where, and for what; without `netns` the container is gone and can only release."""

    netns: int | None
    place: Place
    wish: Wish
    client_id: bytes
    broadcast: bool = False

    @property
    def identity(self) -> dict[int, bytes]:
        """Option 61, which the configuration may replace: every message has it."""
        own = dict(self.wish.send).get(CLIENT_ID)
        return {CLIENT_ID: b"\0" + self.client_id if own is None else own}

    @property
    def options(self) -> dict[int, bytes]:
        """What every message but RELEASE has."""
        options = {code: value for code, value in self.wish.send if code not in OWN_CODES}
        if self.wish.request:
            options[PARAMETERS] = bytes(self.wish.request)
        return {**options, **self.identity, LARGEST_MESSAGE: OUR_LARGEST}


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's message that belongs to this exchange, and the MAC that it came from."""

    message: Message4
    mac: bytes


class Exchange4:
    """A Dialogue about one DHCPv4 lease."""

    protocol = DHCPV4

    def __init__(self, client: Client4, journal: Journal) -> None:
        self._client = client
        self._journal = journal

    async def obtain(self, seconds: float, since: float) -> Lease4:
        """DISCOVER, OFFER, REQUEST, ACK. Raises CniError if the ACK has no subnet mask."""
        deadline = clock.now() + seconds
        with self._open() as port:
            talk = Talk(port, self._journal)
            discover = Message4(
                Kind4.DISCOVER,
                secrets.randbits(32),
                port.mac,
                self._client.options,
                broadcast=self._client.broadcast,
                secs=min(int(clock.now() - since), 0xFFFF),
            )
            offer = await talk.ask(discover, Way(), seconds, offer_in)
            self._journal.note(
                f"{offer.message.yiaddr} is offered by the server {offer.message.server}"
            )
            return await self._request(talk, discover, offer, deadline)

    async def _request(
        self, talk: Talk, discover: Message4, offer: Answer, deadline: float
    ) -> Lease4:
        server = offer.message.options[SERVER_ID]
        chosen = {REQUESTED_ADDRESS: offer.message.yiaddr.packed, SERVER_ID: server}
        options = {**discover.options, **chosen}
        begin = clock.now()
        try:
            return await talk.ask(
                replace(discover, kind=Kind4.REQUEST, options=options),
                Way(),
                deadline - begin,
                lambda answer: lease_in(answer, server, begin),
            )
        except (Unanswered, Refused, OSError):
            raise
        except BaseException:  # cancelled, or of no use: the server may count it as leased
            self._give_back(talk.port, offer)
            raise

    def _give_back(self, port: Port4, offer: Answer) -> None:
        offered, server = offer.message, offer.message.server or EVERYBODY
        release = self._release(offered.yiaddr, server)
        try:
            port.send(encode(release), source=offered.yiaddr, destination=server, to=offer.mac)
        except OSError as error:
            self._journal.warn(f"could not send the DHCPRELEASE of {offered.yiaddr}: {error}")

    async def extend(self, lease: Lease4, *, of_all: bool, seconds: float) -> Lease4:
        """REQUEST of what is had, and ACK (RFC 2131, 4.3.2 and 4.4.5)."""
        address = lease.address.ip
        way = Way(address) if of_all else Way(address, lease.server, lease.server_mac)
        server = None if of_all else lease.server.packed
        mask = lease.address.netmask.packed
        with self._open() as port:
            request = Message4(
                Kind4.REQUEST,
                secrets.randbits(32),
                port.mac,
                self._client.options,
                ciaddr=address,
            )
            begin = clock.now()
            return await Talk(port, self._journal, repeats=False).ask(
                request, way, seconds, lambda answer: lease_in(answer, server, begin, mask)
            )

    def release(self, lease: Lease4) -> None:
        """One message: there is no answer to it."""
        message = self._release(lease.address.ip, lease.server)
        release = Release(encode(message), lease, self._client.netns, self._client.place)
        release.send(self._journal)

    def _release(self, address: IPv4Address, server: IPv4Address) -> Message4:
        options = {**self._client.identity, SERVER_ID: server.packed}
        mac = self._client.place.mac
        return Message4(Kind4.RELEASE, secrets.randbits(32), mac, options, ciaddr=address)

    def _open(self) -> Port4:
        return opener.get()(self._client.netns, self._client.place.ifname)


class Talk:
    """Questions to servers through one open port."""

    def __init__(self, port: Port4, journal: Journal, *, repeats: bool = True) -> None:
        self.port = port
        self._repeats = repeats
        self._complaints = Complaints(journal, DHCPV4)

    async def ask(
        self, message: Message4, way: Way, seconds: float, read: Callable[[Answer], T | None]
    ) -> T:
        """What `read` makes of the first answer that it makes something of.

        Raises Unanswered, with what was wrong with the answers that came, and OSError.
        """
        payload = encode(message)

        def send() -> None:
            self.port.send(payload, source=way.source, destination=way.destination, to=way.to)

        def read_packet(packet: tuple[bytes, bytes]) -> T | None:
            answer = answer_in(packet, message)
            return read(answer) if answer else None

        question = Question(send, seconds, repeats=self._repeats)
        try:
            return await ask(self.port, question, self._complaints(read_packet))
        except Unanswered:
            raise Unanswered(self._complaints.last) from None


def answer_in(packet: tuple[bytes, bytes], question: Message4) -> Answer | None:
    """A server's answer to the question, None if the packet is about something else.

    Raises Malformed.
    """
    payload, mac = packet
    if payload[XID] != question.xid.to_bytes(4, "big"):
        return None
    message = decode(payload)
    if not message.reply or message.mac != question.mac:
        return None
    if message.server in {None, NOBODY}:
        raise Malformed("it does not say which server it is from (option 54)")
    return Answer(message, mac)


def offer_in(answer: Answer) -> Answer | None:
    """The answer if it is an OFFER that can be taken. Raises Malformed."""
    offer = answer.message
    if offer.kind is not Kind4.OFFER:
        return None
    address = offer.yiaddr
    if address == NOBODY or address.is_loopback or address.is_multicast or address.is_reserved:
        raise Malformed(f"the server {offer.server} offers {address}, which no host can have")
    if not int.from_bytes(offer.options.get(LEASE_TIME, b"\1"), "big"):
        raise Malformed(f"the server {offer.server} offers {address} for 0 s")
    return answer


def lease_in(
    answer: Answer, server: bytes | None, begin: float, mask: bytes = b""
) -> Lease4 | None:
    """The lease that the answer grants, None if it is no verdict of the server (None: of any).

    `mask` is for an ACK that has none. Raises Refused for a NAK, Malformed, CniError.
    """
    message = answer.message
    is_of_server = server is None or message.options[SERVER_ID] == server
    if not is_of_server or message.kind not in {Kind4.ACK, Kind4.NAK}:
        return None
    if message.kind is Kind4.NAK:
        raise Refused(f"the server {message.server} said no (DHCPNAK): {_reason(message)}")
    if not mask and SUBNET_MASK not in message.options:
        raise CniError(
            f"DHCP option Subnet Mask not found in DHCPACK of the server {message.server}:"
            " let it send option 1"
        )
    ack = replace(
        message, options={SUBNET_MASK: mask, **message.options} if mask else message.options
    )
    return lease_of(ack, answer.mac, begin)


def _reason(nak: Message4) -> str:
    """The server's words go into errors and logs: they are not to break their lines."""
    words = nak.options.get(REASON, b"").decode("ascii", "replace").strip("\0 ")
    return "".join(one if one.isprintable() else "?" for one in words) or "without reason"
