"""What a firewall must offer to masquerade with: a module of these five functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from cnicore.errors import CniError
from cnicore.owner import Owner
from cnicore.result import Address, IpConfig


class Unavailable(CniError):
    """The host lacks what the backend needs: a library, a program or a kernel module."""


class Backend(Protocol):
    """One way to masquerade. Every function raises CniError, Unavailable if the host lacks it."""

    def add(self, owner: Owner, ips: Sequence[IpConfig]) -> None:
        """Masquerade what leaves the own subnets of the addresses; all of them or none."""

    def delete(self, owner: Owner, addresses: Iterable[Address]) -> None:
        """Remove what the owner has, also what the reference plugins made for it."""

    def gc(self, network: str, valid: Iterable[Owner]) -> None:
        """Remove what the network has for attachments that are not valid."""

    def require(self) -> None:
        """Raise CniError, mostly Unavailable, unless an ADD could masquerade on this host."""

    def verify(self, owner: Owner, ips: Sequence[IpConfig]) -> None:
        """Raise CniError unless each address is masqueraded for the owner."""
