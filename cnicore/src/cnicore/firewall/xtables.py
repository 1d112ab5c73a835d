"""The programs iptables and ip6tables: one save to read a table, one restore to change it.

Each comes in two variants, nft and legacy; the distribution decides what `iptables` leads to.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from cnicore.errors import CniError
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.libnftables import read_if_there

if TYPE_CHECKING:
    import subprocess

PROGRAMS = {4: "iptables", 6: "ip6tables"}
NFT_FAMILIES = {4: "ip", 6: "ip6"}
LEGACY_TABLES = {4: "ip_tables_names", 6: "ip6_tables_names"}
DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin", *os.defpath.split(":"))
LONGEST_COMMENT = 255  # bytes, linux/netfilter/xt_comment.h with the terminating zero


class Rejected(CniError):
    """A restore was refused as a whole, and nothing changed."""


def may_have(version: int, table: str, chain: str) -> bool:
    """Whether a program run could find the chain; costs a netlink request instead of a process.

    What iptables-nft wrote is a chain of that name in an nftables table of that name; what
    iptables-legacy wrote needs its table in the kernel. Without nftables the program is asked.
    """
    try:
        found = has_nft_chain(version, table, chain)
    except Unavailable:
        return has_legacy_table(version, table) or _can_list(version, table)
    return found or has_legacy_table(version, table)


def has_nft_chain(version: int, table: str, chain: str) -> bool:
    """Whether iptables-nft would find the chain. Raises Unavailable."""
    at = {"family": NFT_FAMILIES[version], "table": table, "name": chain}
    return bool(read_if_there(f"look for {chain}", chain=at))


def has_legacy_table(version: int, table: str) -> bool:
    """Whether iptables-legacy could find anything."""
    try:
        with open(f"/proc/thread-self/net/{LEGACY_TABLES[version]}", encoding="ascii") as names:
            return table in names.read().split()
    except OSError:
        return False  # the kernel has no such tables


def save(version: int, table: str, variant: str = "") -> list[str]:
    """The table as iptables-save writes it, line by line. Raises Unavailable, CniError."""
    name = f"{program_name(version, variant)}-save"
    done = _run([_program(name), "-t", table], "")
    if done.returncode:
        raise CniError(f"could not list the table {table} with {name}: {_words(done)}")
    return done.stdout.splitlines()


def restore(version: int, table: str, commands: Sequence[str], variant: str = "") -> None:
    """Run the commands as one transaction. Raises Unavailable, Rejected."""
    name = f"{program_name(version, variant)}-restore"
    text = "\n".join([f"*{table}", *commands, "COMMIT", ""])
    done = _run([_program(name), "--noflush", "--wait"], text)
    if done.returncode:
        raise Rejected(f"could not change the table {table} with {name}: {_words(done)}")


def program_name(version: int, variant: str = "") -> str:
    """What the programs of a variant begin with; without a variant those that are the default."""
    return f"{PROGRAMS[version]}-{variant}" if variant else PROGRAMS[version]


def find(name: str) -> str:
    """The path of a program, empty if it is missing. A plugin's environment may have no PATH."""
    paths = (f"{directory}/{name}" for directory in DIRECTORIES)
    return next(filter(os.path.isfile, paths), "")


def commented(comment: str) -> str:
    """The match that carries a comment, quoted for a restore, cut where iptables would refuse."""
    escaped = comment_text(comment).replace("\\", "\\\\").replace('"', '\\"')
    return f'-m comment --comment "{escaped}"'


def comment_text(comment: str) -> str:
    """The comment as iptables keeps it."""
    return comment.encode()[:LONGEST_COMMENT].decode(errors="ignore")


def chains_in(lines: Iterable[str]) -> list[str]:
    """The chains of a saved table, built-in ones included."""
    return [line[1:].split()[0] for line in lines if line.startswith(":")]


def target_of(line: str) -> str:
    """Where a saved rule jumps; a jump to a chain of ours has nothing after it."""
    before, _, target = line.rpartition(" -j ")
    return target if before else ""


def jump_deletions(lines: Iterable[str], chains: Collection[str]) -> list[str]:
    """A deletion for every saved rule that jumps to one of the chains, duplicates included."""
    return [
        line.replace("-A", "-D", 1)
        for line in lines
        if line.startswith("-A ") and target_of(line) in chains
    ]


def _can_list(version: int, table: str) -> bool:
    """Not where there is no IPv6, for example; then there is nothing to remove either."""
    try:
        save(version, table)
    except CniError:
        return False
    return True


def _program(name: str) -> str:
    path = find(name)
    if not path:
        raise Unavailable(f"{name} is missing: install the package iptables")
    return path


def _run(command: Sequence[str], stdin: str) -> subprocess.CompletedProcess[str]:
    import subprocess  # noqa: PLC0415  (lazy: mostly may_have says that there is nothing to run)

    environ = {"PATH": ":".join(DIRECTORIES)}
    return subprocess.run(
        command, input=stdin, env=environ, capture_output=True, text=True, check=False
    )


def _words(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().partition("\n")[0] or f"exit status {done.returncode}"
