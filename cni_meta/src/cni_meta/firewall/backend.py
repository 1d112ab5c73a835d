"""What a backend must offer: a module of these five functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cnicore.owner import Owner
from cnicore.result import Address

OPEN, SAME_BRIDGE, ISOLATED = "open", "same-bridge", "isolated"
POLICIES = (OPEN, SAME_BRIDGE, ISOLATED)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says about the backends, and where the system bus is."""

    backend: str = ""
    admin_chain: str = "CNI-ADMIN"
    zone: str = "trusted"
    bus: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """Whose traffic passes, and who may reach it.

    `bridge` is the host's interface that all its packets pass, `ports` are the other ones that the
    host has for it; both are empty with the policy `open`.
    """

    owner: Owner
    addresses: tuple[Address, ...]
    policy: str = OPEN
    bridge: str = ""
    ports: tuple[str, ...] = ()

    def of(self, version: int) -> list[Address]:
        """The addresses of a family."""
        return [address for address in self.addresses if address.version == version]

    @property
    def versions(self) -> list[int]:
        return sorted({address.version for address in self.addresses})


@dataclass(frozen=True, slots=True)
class Departure:
    """Who leaves, and the addresses that it was given as far as they are known.

    `present` gives those that its interface has now: what nobody has recorded may be another's by
    now, but not if it is still there.
    """

    owner: Owner
    addresses: Sequence[Address] = ()
    present: Callable[[], Sequence[Address]] = tuple


class Backend(Protocol):
    """One kind of host firewall. Each raises CniError, Unavailable if the host lacks it."""

    def add(self, attachment: Attachment, settings: Settings) -> None:
        """Let the traffic pass and enforce the policy; what is there already stays."""

    def delete(self, departure: Departure, settings: Settings) -> None:
        """Remove what the owner has, and what the reference made for the addresses."""

    def gc(self, network: str, valid: Iterable[Owner], settings: Settings) -> None:
        """Remove what the network has for attachments that are not valid."""

    def verify(self, attachment: Attachment, settings: Settings) -> None:
        """Raise CniError unless the traffic passes and the policy is enforced."""

    def require_usable(self, settings: Settings) -> None:
        """Raise CniError if an ADD could not succeed."""
