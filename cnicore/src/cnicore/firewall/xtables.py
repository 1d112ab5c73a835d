"""The programs iptables and ip6tables: one save to read a table, one restore to change it."""

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
        at = {"family": NFT_FAMILIES[version], "table": table, "name": chain}
        found = read_if_there(f"look for {chain}", chain=at)
    except Unavailable:
        return _has_legacy_table(version, table) or _can_list(version, table)
    return bool(found) or _has_legacy_table(version, table)


def save(version: int, table: str) -> list[str]:
    """The table as iptables-save writes it, line by line. Raises Unavailable, CniError."""
    name = f"{PROGRAMS[version]}-save"
    done = _run([_program(name), "-t", table], "")
    if done.returncode:
        raise CniError(f"could not list the table {table} with {name}: {_words(done)}")
    return done.stdout.splitlines()


def restore(version: int, table: str, commands: Sequence[str]) -> None:
    """Run the commands as one transaction. Raises Unavailable, Rejected."""
    name = f"{PROGRAMS[version]}-restore"
    text = "\n".join([f"*{table}", *commands, "COMMIT", ""])
    done = _run([_program(name), "--noflush", "--wait"], text)
    if done.returncode:
        raise Rejected(f"could not change the table {table} with {name}: {_words(done)}")


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


def _has_legacy_table(version: int, table: str) -> bool:
    try:
        with open(f"/proc/thread-self/net/{LEGACY_TABLES[version]}", encoding="ascii") as names:
            return table in names.read().split()
    except OSError:
        return False  # the kernel has no such tables


def _program(name: str) -> str:
    """Where the program is; PATH may be empty in a plugin's environment. Raises Unavailable."""
    for directory in DIRECTORIES:
        if os.path.isfile(f"{directory}/{name}"):
            return f"{directory}/{name}"
    raise Unavailable(f"{name} is missing: install the package iptables")


def _run(command: Sequence[str], stdin: str) -> subprocess.CompletedProcess[str]:
    import subprocess  # noqa: PLC0415  (lazy: mostly may_have says that there is nothing to run)

    environ = {"PATH": ":".join(DIRECTORIES)}
    return subprocess.run(
        command, input=stdin, env=environ, capture_output=True, text=True, check=False
    )


def _words(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().partition("\n")[0] or f"exit status {done.returncode}"
