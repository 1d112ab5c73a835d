"""DHCP servers in memory, and the ports that lead to them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address

from cni_ipam.dhcp import clock, exchange6, message4, message6, wire4
from cni_ipam.dhcp.message4 import Kind4, Message4
from cni_ipam.dhcp.message6 import Ia, IaAddress, Kind6, Message6, Status
from cni_ipam.dhcp.wire4 import Way

MAC, SERVER_MAC = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
SERVER = IPv4Address("10.1.0.1")
ADDRESS = IPv4Address("10.1.0.50")
DUID = bytes.fromhex("00030001020000000001")
ADDRESS6 = IPv6Address("fd00::50")


@dataclass(frozen=True)
class Heard:
    """A message of a client: when it came, through which link and in which way."""

    moment: float
    message: Message4
    link: str
    way: Way
    sender: bytes | None = None


@dataclass
class Server4:
    """A DHCPv4 server with one address, for `seconds`; `answers` are the kinds that it answers.

    `change` may make another message of every answer, `naks` are the kinds that it says no to.
    """

    address: IPv4Address = ADDRESS
    seconds: int = 1000
    answers: set[Kind4] = field(default_factory=lambda: {Kind4.DISCOVER, Kind4.REQUEST})
    naks: set[Kind4] = field(default_factory=set)
    options: dict[int, bytes] = field(default_factory=dict)
    change: Callable[[Message4], Message4 | bytes] = lambda message: message
    error: OSError | None = None
    heard: list[Heard] = field(default_factory=list)
    open_ports: int = 0

    def kinds(self) -> list[str]:
        return [one.message.kind.name for one in self.heard]

    def of(self, kind: Kind4) -> list[Heard]:
        return [one for one in self.heard if one.message.kind is kind]

    def reply(self, message: Message4) -> Message4 | None:
        if message.kind in self.naks:
            return self._answer(message, Kind4.NAK)
        if message.kind not in self.answers:
            return None
        kinds = {Kind4.DISCOVER: Kind4.OFFER, Kind4.REQUEST: Kind4.ACK}
        return self._answer(message, kinds[message.kind])

    def _answer(self, message: Message4, kind: Kind4) -> Message4:
        options = {54: SERVER.packed}
        if kind is not Kind4.NAK:
            options |= {1: bytes([255, 255, 255, 0]), 3: SERVER.packed}
            options |= {51: self.seconds.to_bytes(4, "big"), **self.options}
        address = IPv4Address(0) if kind is Kind4.NAK else self.address
        return Message4(kind, message.xid, message.mac, options, yiaddr=address, reply=True)


class FakePort:
    """A port whose packets come from memory; a byte in a pair of sockets wakes who waits."""

    def __init__(self, server) -> None:
        self.server = server
        self._ours, self._theirs = socket.socketpair()
        self._packets: list = []

    def __enter__(self):
        self.server.open_ports += 1
        return self

    def __exit__(self, *_):
        self.server.open_ports -= 1
        self._ours.close()
        self._theirs.close()

    def fileno(self) -> int:
        return self._ours.fileno()

    def receive(self):
        if not self._packets:
            return None
        self._ours.recv(1)
        return self._packets.pop(0)

    def deliver(self, packet) -> None:
        self._packets.append(packet)
        self._theirs.send(b"x")


class FakePort4(FakePort):
    def __init__(self, server: Server4, link: str) -> None:
        super().__init__(server)
        self.mac = MAC
        self._link = link

    def send(
        self,
        payload,
        *,
        source=wire4.NOBODY,
        destination=wire4.EVERYBODY,
        to=wire4.BROADCAST_MAC,
        sender=None,
    ):
        if self.server.error:
            raise self.server.error
        message = message4.decode(payload)
        way = Way(source, destination, to)
        self.server.heard.append(Heard(clock.now(), message, self._link, way, sender))
        if reply := self.server.reply(message):
            changed = self.server.change(reply)
            packet = changed if isinstance(changed, bytes) else message4.encode(changed)
            self.deliver((packet, SERVER_MAC))


@contextmanager
def serving4(server: Server4):
    """Let every port of DHCPv4 lead to the server."""
    token = wire4.opener.set(lambda _, link: FakePort4(server, link))
    try:
        yield server
    finally:
        wire4.opener.reset(token)
        assert server.open_ports == 0


@dataclass(frozen=True)
class Heard6:
    moment: float
    message: Message6
    link: str


@dataclass
class Server6:
    """A DHCPv6 server with one address; `status` is what it says instead, by kind of message."""

    address: IPv6Address = ADDRESS6
    preferred: int = 500
    valid: int = 1000
    answers: set[Kind6] = field(
        default_factory=lambda: {Kind6.SOLICIT, Kind6.REQUEST, Kind6.RENEW, Kind6.REBIND}
    )
    status: dict[Kind6, Status] = field(default_factory=dict)
    times: tuple[int, int] = (0, 0)
    more: dict[str, object] = field(default_factory=dict)
    change: Callable[[Message6], Message6 | bytes] = lambda message: message
    heard: list[Heard6] = field(default_factory=list)
    open_ports: int = 0

    def kinds(self) -> list[str]:
        return [one.message.kind.name for one in self.heard]

    def of(self, kind: Kind6) -> list[Heard6]:
        return [one for one in self.heard if one.message.kind is kind]

    def replies(self, message: Message6) -> list[Message6]:
        if message.kind not in self.answers:
            return []
        kind = Kind6.ADVERTISE if message.kind is Kind6.SOLICIT else Kind6.REPLY
        addresses = (IaAddress(self.address, self.preferred, self.valid),)
        status = self.status.get(message.kind)
        ia = replace(message.ia, addresses=() if status else addresses, status=status)
        ia = replace(ia, t1=self.times[0], t2=self.times[1])
        answer = Message6(kind, message.xid, message.client, DUID, ia)
        return [replace(answer, **self.more)]


class FakePort6(FakePort):
    def __init__(self, server: Server6, link: str) -> None:
        super().__init__(server)
        self._link = link

    def send(self, payload):
        message = message6.decode(payload)
        self.server.heard.append(Heard6(clock.now(), message, self._link))
        for reply in self.server.replies(message):
            changed = self.server.change(reply)
            packet = changed if isinstance(changed, bytes) else message6.encode(changed)
            asyncio.get_running_loop().call_soon(self.deliver, packet)


@contextmanager
def serving6(server: Server6):
    """Let every port of DHCPv6 lead to the server."""
    token = exchange6.opener.set(lambda _, link: FakePort6(server, link))
    try:
        yield server
    finally:
        exchange6.opener.reset(token)
        assert server.open_ports == 0


def ia_of(message: Message6) -> Ia:
    assert message.ia is not None
    return message.ia
