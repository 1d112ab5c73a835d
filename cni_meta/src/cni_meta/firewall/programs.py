"""The table `filter` in both variants of iptables and ip6tables: a host may have rules in each.

The variant that `iptables` is not matters where somebody polices the host with it: an accept in one
does not save a packet from the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnicore.firewall import xtables
from cnicore.firewall.backend import Unavailable

TABLE = "filter"
NFT, LEGACY = "nft", "legacy"


@dataclass(frozen=True, slots=True)
class Program:
    """One variant for one IP version; `suffix` is empty for what `iptables` itself is."""

    version: int
    variant: str
    suffix: str = ""

    @property
    def name(self) -> str:
        return xtables.program_name(self.version, self.suffix)

    def save(self) -> list[str]:
        """The table, line by line. Raises CniError."""
        return xtables.save(self.version, TABLE, self.suffix)

    def restore(self, commands: Sequence[str]) -> None:
        """Run the commands as one transaction. Raises Rejected."""
        xtables.restore(self.version, TABLE, commands, self.suffix)

    def may_have(self, chain: str) -> bool:
        """Whether it could have the chain; costs a netlink request instead of a process."""
        if self.variant == LEGACY:
            return xtables.has_legacy_table(self.version, TABLE)
        try:
            return xtables.has_nft_chain(self.version, TABLE, chain)
        except Unavailable:
            return True


def installed(version: int) -> list[Program]:
    """The variants that the host has, that of the name `iptables` first."""
    default = xtables.find(f"{xtables.PROGRAMS[version]}-restore")
    if not default:
        return []
    variant = NFT if "nft" in os.path.realpath(default) else LEGACY
    other = LEGACY if variant == NFT else NFT
    found = [Program(version, variant)]
    if xtables.find(f"{xtables.program_name(version, other)}-restore"):
        found.append(Program(version, other, suffix=other))
    return found


def require_installed(version: int) -> list[Program]:
    """As `installed`. Raises Unavailable if there is none."""
    found = installed(version)
    if not found:
        name = f"{xtables.PROGRAMS[version]}-restore"
        raise Unavailable(f"{name} is missing: install the package iptables")
    return found


def those_with(chain: str) -> Iterator[Program]:
    """Every program, of both IP versions, that could have the chain."""
    for version in xtables.PROGRAMS:
        yield from (program for program in installed(version) if program.may_have(chain))
