"""The programs iptables and ip6tables in both variants: a host may have rules in either, or both.

What `iptables` is called decides the distribution. The other variant matters where somebody
polices the host with it: an accept in one does not save a packet from the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnicore.errors import CniError
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.libnftables import read_if_there
from cnicore.firewall.xtables import DIRECTORIES, LEGACY_TABLES, NFT_FAMILIES, PROGRAMS, Rejected

if TYPE_CHECKING:
    import subprocess

TABLE = "filter"
NFT, LEGACY = "nft", "legacy"


@dataclass(frozen=True, slots=True)
class Program:
    """One variant for one IP version; `name` is what its program files begin with."""

    version: int
    variant: str
    name: str

    def save(self) -> list[str]:
        """The table `filter`, line by line. Raises CniError."""
        done = run([f"{self.name}-save", "-t", TABLE], "")
        if done.returncode:
            raise CniError(f"could not list the table {TABLE} with {self.name}-save: {words(done)}")
        return done.stdout.splitlines()

    def restore(self, commands: Sequence[str]) -> None:
        """Run the commands as one transaction. Raises Rejected."""
        text = "\n".join([f"*{TABLE}", *commands, "COMMIT", ""])
        done = run([f"{self.name}-restore", "--noflush", "--wait"], text)
        if done.returncode:
            raise Rejected(
                f"could not change the table {TABLE} with {self.name}-restore: {words(done)}"
            )

    def may_have(self, chain: str) -> bool:
        """Whether it could have the chain; costs a netlink request instead of a process."""
        if self.variant == LEGACY:
            return TABLE in legacy_tables(self.version)
        try:
            at = {"family": NFT_FAMILIES[self.version], "table": TABLE, "name": chain}
            return bool(read_if_there(f"look for {chain}", chain=at))
        except Unavailable:
            return True


def installed(version: int) -> list[Program]:
    """The variants that the host has, that of the name `iptables` first."""
    default = find(f"{PROGRAMS[version]}-restore")
    if not default:
        return []
    variant = NFT if "nft" in os.path.realpath(default) else LEGACY
    other = LEGACY if variant == NFT else NFT
    found = [Program(version, variant, PROGRAMS[version])]
    if find(f"{PROGRAMS[version]}-{other}-restore"):
        found.append(Program(version, other, f"{PROGRAMS[version]}-{other}"))
    return found


def require_installed(version: int) -> list[Program]:
    """As `installed`. Raises Unavailable if there is none."""
    found = installed(version)
    if not found:
        raise Unavailable(f"{PROGRAMS[version]}-restore is missing: install the package iptables")
    return found


def those_with(chain: str) -> Iterator[Program]:
    """Every program, of both IP versions, that could have the chain."""
    for version in PROGRAMS:
        yield from (program for program in installed(version) if program.may_have(chain))


def legacy_tables(version: int) -> list[str]:
    path = f"/proc/thread-self/net/{LEGACY_TABLES[version]}"
    try:
        with open(path, encoding="ascii") as names:
            return names.read().split()
    except OSError:
        return []  # the kernel has no such tables


def find(name: str) -> str:
    """The path of a program, empty if it is missing. A plugin's environment may have no PATH."""
    paths = (f"{directory}/{name}" for directory in DIRECTORIES)
    return next(filter(os.path.isfile, paths), "")


def run(command: Sequence[str], stdin: str) -> subprocess.CompletedProcess[str]:
    import subprocess  # noqa: PLC0415  (lazy: mostly may_have says that there is nothing to run)

    path = find(command[0])
    if not path:
        raise Unavailable(f"{command[0]} is missing: install the package iptables")
    environ = {"PATH": ":".join(DIRECTORIES)}
    return subprocess.run(
        [path, *command[1:]], input=stdin, env=environ, capture_output=True, text=True, check=False
    )


def words(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().partition("\n")[0] or f"exit status {done.returncode}"
