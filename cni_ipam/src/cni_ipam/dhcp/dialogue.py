"""What the dialogues with DHCPv4 and DHCPv6 servers have in common: send, wait, send again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from random import SystemRandom
from typing import Protocol, TypeVar

from cni_ipam.dhcp import clock
from cni_ipam.dhcp.journal import Journal
from cni_ipam.dhcp.message4 import Malformed
from cni_ipam.dhcp.terms import Patience

FIRST_WAIT = 1.0
JITTER = 0.1  # of a wait, so that containers started together do not ask together
MOST_AT_ONCE = 64  # packets read before others get their turn
SHORT_PAUSE, SHORT_PAUSES = 2.0, 4
LONG_PAUSE, PAUSE_JITTER, SHORTEST_PAUSE = 4.0, 1.0, 0.1

T = TypeVar("T")
L = TypeVar("L")
P = TypeVar("P")
R_co = TypeVar("R_co", covariant=True)


class Unanswered(Exception):
    """No server gave a usable answer in time; the text says what was heard instead, if anything."""


class Refused(Exception):
    """The server does not grant what was asked for; the text has its words."""


class Dialogue(Protocol[L]):
    """Talks with servers about one lease of one interface.

    Methods raise Unanswered, Refused and OSError; CniError where trying again would not help.
    """

    protocol: str

    async def obtain(self, seconds: float, since: float) -> L:
        """One attempt to get a lease; `since` is when the first one began."""

    async def extend(self, lease: L, *, of_all: bool, seconds: float) -> L:
        """One attempt to have it longer, from its server, or from any server."""

    def release(self, lease: L) -> None:
        """Tell the server that it is not needed any more; failures are for the journal only."""


class Receiving(Protocol[R_co]):
    """A port that is open."""

    def fileno(self) -> int: ...
    def receive(self) -> R_co | None: ...


@dataclass(frozen=True, slots=True)
class Question:
    """How to ask: `send` is called for each repetition, until `seconds` have passed.

    `repeats` is false for a message that is sent only once.
    """

    send: Callable[[], None]
    seconds: float
    repeats: bool = True


async def ask(port: Receiving[P], question: Question, read: Callable[[P], T | None]) -> T:
    """Send and wait until `read` makes something of a packet. Raises Unanswered and OSError."""
    deadline = clock.now() + question.seconds
    for wait in waits():
        question.send()
        until = min(deadline, clock.now() + wait) if question.repeats else deadline
        answer = await listen(port, until, read)
        if answer is not None:
            return answer
        if clock.now() >= deadline:
            break
    raise Unanswered


async def listen(port: Receiving[P], until: float, read: Callable[[P], T | None]) -> T | None:
    """What `read` makes of the first packet that it makes something of, None if there is none."""
    while True:
        for _ in range(MOST_AT_ONCE):
            packet = port.receive()
            if packet is None:
                break
            answer = read(packet)
            if answer is not None:
                return answer
        remaining = until - clock.now()
        if remaining <= 0:
            return None
        await readable(port.fileno(), remaining)


async def readable(descriptor: int, seconds: float) -> None:
    """Return when there is something to read, or when the time is over."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def waits() -> Iterator[float]:
    """How long to wait before each repetition of a message (RFC 2131, 4.1; RFC 8415, 15)."""
    wait = FIRST_WAIT
    while True:
        yield wait * (1 + jitter(JITTER))
        wait *= 2


def pauses(patience: Patience) -> Iterator[float]:
    """How long to pause before each further attempt: short ones first, then longer and longer."""
    for _ in range(SHORT_PAUSES):
        yield _pause(SHORT_PAUSE)
    pause = min(LONG_PAUSE, patience.resend_max)
    while True:
        yield _pause(pause)
        pause = min(2 * pause, patience.resend_max)


def _pause(seconds: float) -> float:
    return max(SHORTEST_PAUSE, seconds + jitter(PAUSE_JITTER))


def jitter(limit: float) -> float:
    return SystemRandom().uniform(-limit, limit)


class Complaints:
    """What was wrong with packets: each complaint is told once, the last one is kept."""

    def __init__(self, journal: Journal, protocol: str) -> None:
        self._journal = journal
        self._protocol = protocol
        self._told: set[str] = set()
        self.last = ""

    def note(self, complaint: str) -> None:
        self.last = complaint
        if complaint not in self._told and len(self._told) < MOST_AT_ONCE:
            self._told.add(complaint)
            self._journal.warn(f"ignored a {self._protocol} message: {complaint}")

    def __call__(self, read: Callable[[P], T | None]) -> Callable[[P], T | None]:
        """Let the reader pass over what is malformed."""

        def tolerant(packet: P) -> T | None:
            try:
                return read(packet)
            except Malformed as error:
                self.note(str(error))
                return None

        return tolerant
