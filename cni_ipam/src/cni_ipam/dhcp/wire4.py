"""What carries DHCPv4 messages: a port, what opens it, and the way that a message takes."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import IPv4Address

from cni_ipam.dhcp.port4 import BROADCAST_MAC, EVERYBODY, NOBODY, Port4

opener: ContextVar[Callable[[int | None, str], Port4]] = ContextVar("opener", default=Port4)
"""What opens the ports. Tests put one with a server of their own behind it in its place."""


@dataclass(frozen=True, slots=True)
class Way:
    """From which address a message goes to whom; without more to all."""

    source: IPv4Address = NOBODY
    destination: IPv4Address = EVERYBODY
    to: bytes = BROADCAST_MAC
