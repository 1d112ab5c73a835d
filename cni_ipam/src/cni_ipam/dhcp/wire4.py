"""What carries DHCPv4 messages: a port, what opens it, and the way that a message takes."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import IPv4Address
from types import TracebackType
from typing import Protocol, Self

from cni_ipam.dhcp.port4 import BROADCAST_MAC, EVERYBODY, NOBODY, Port4


class Port(Protocol):
    """What Port4 is, as far as the dialogue needs it."""

    mac: bytes

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def fileno(self) -> int: ...
    def receive(self) -> tuple[bytes, bytes] | None: ...
    def send(
        self,
        payload: bytes,
        *,
        source: IPv4Address = NOBODY,
        destination: IPv4Address = EVERYBODY,
        to: bytes = BROADCAST_MAC,
        sender: bytes | None = None,
    ) -> None: ...


opener: ContextVar[Callable[[int | None, str], Port]] = ContextVar("opener", default=Port4)
"""What opens the ports. Tests put one with a server of their own behind it in its place."""


@dataclass(frozen=True, slots=True)
class Way:
    """From which address a message goes to whom; without more to all."""

    source: IPv4Address = NOBODY
    destination: IPv4Address = EVERYBODY
    to: bytes = BROADCAST_MAC
