"""Masquerading with iptables: a chain per attachment, as the reference plugins name and fill it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence

from cnicore.attempts import attempt_all
from cnicore.errors import CniError
from cnicore.firewall.xtables import (
    PROGRAMS,
    Rejected,
    chains_in,
    comment_text,
    commented,
    jump_deletions,
    may_have,
    restore,
    save,
    target_of,
)
from cnicore.owner import Owner
from cnicore.result import Address, Cidr, IpConfig

TABLE, HOOK = "nat", "POSTROUTING"
CHAIN_PREFIX = "CNI-"
MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}
ATTEMPTS = 5  # each is lost only to another process that changed the very same chain


def add(owner: Owner, ips: Sequence[IpConfig]) -> None:
    """Create the owner's chain and jump to it; a chain that is there already is written anew.

    Raises CniError, Unavailable without the programs.
    """
    for version in PROGRAMS:
        cidrs = [ip.address for ip in ips if ip.address.version == version]
        if cidrs:
            _add(version, owner, cidrs)


def delete(owner: Owner, addresses: Iterable[Address]) -> None:  # noqa: ARG001  (the chain tells)
    """Remove the owner's chain and every jump to it, whatever address the jump is about."""
    chain = owner.chain()

    def select(lines: Sequence[str]) -> set[str]:
        return {chain} & set(chains_in(lines))

    _remove_in_all(chain, select)


def gc(network: str, valid: Iterable[Owner]) -> None:
    """Remove the chains whose comments name the network and no valid container."""
    keep = {_comment(owner.network, owner.container_id) for owner in valid}
    prefix = comment_text(f'name: "{network}" id: "')

    def select(lines: Sequence[str]) -> set[str]:
        return {
            chain
            for chain, comment in _commented_chains(lines)
            if comment.startswith(prefix) and comment not in keep
        }

    _remove_in_all(HOOK, select)


def verify(owner: Owner, ips: Sequence[IpConfig]) -> None:
    """Raise CniError unless each address jumps to the owner's chain, which masquerades."""
    for version in PROGRAMS:
        cidrs = [ip.address for ip in ips if ip.address.version == version]
        if cidrs and not _masquerades(version, owner.chain(), cidrs):
            raise CniError(
                f"{PROGRAMS[version]} does not masquerade"
                f" {', '.join(str(cidr.ip) for cidr in cidrs)} for {owner.tag}"
            )


def _add(version: int, owner: Owner, cidrs: Sequence[Cidr]) -> None:
    chain = owner.chain()
    preparation = [f"-N {chain}"]
    for _ in range(ATTEMPTS):
        try:
            restore(version, TABLE, [*preparation, *_rules(version, owner, cidrs)])
        except Rejected as error:
            failure = error
            lines = save(version, TABLE)
            if chain in chains_in(lines):
                preparation = [*jump_deletions(lines, {chain}), f"-F {chain}"]
            else:
                preparation = [f"-N {chain}"]
        else:
            return
    raise failure


def _rules(version: int, owner: Owner, cidrs: Sequence[Cidr]) -> Iterator[str]:
    """Every ACCEPT before the MASQUERADE, or traffic to the second subnet would lose its source."""
    chain = owner.chain()
    comment = commented(_comment(owner.network, owner.container_id))
    for cidr in cidrs:
        yield f"-A {chain} -d {cidr.network} {comment} -j ACCEPT"
    yield f"-A {chain} ! -d {MULTICAST[version]} {comment} -j MASQUERADE"
    for cidr in cidrs:
        yield f"-A {HOOK} -s {cidr.ip} {comment} -j {chain}"


def _comment(network: str, container_id: str) -> str:
    return comment_text(f'name: "{network}" id: "{container_id}"')


def _remove_in_all(trace: str, select: Callable[[Sequence[str]], set[str]]) -> None:
    """Remove the selected chains in both families; without the chain `trace` there is none."""
    with attempt_all() as attempt:
        for version in PROGRAMS:
            if may_have(version, TABLE, trace):
                attempt(_remove, version, select)


def _remove(version: int, select: Callable[[Sequence[str]], set[str]]) -> None:
    for _ in range(ATTEMPTS):
        lines = save(version, TABLE)
        chains = select(lines)
        emptying = [f"-F {chain}" for chain in chains]
        removal = [f"-X {chain}" for chain in chains]
        try:
            if chains:
                restore(version, TABLE, [*jump_deletions(lines, chains), *emptying, *removal])
        except Rejected as error:
            failure = error
        else:
            return
    raise failure


def _commented_chains(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Chain and comment of each rule that is in a chain of ours or jumps to one."""
    for line in lines:
        if line.startswith("-A ") and " --comment " in line:
            words = shlex.split(line)
            comment = words[words.index("--comment") + 1]
            for chain in (words[1], target_of(line)):
                if chain.startswith(CHAIN_PREFIX):
                    yield chain, comment


def _masquerades(version: int, chain: str, cidrs: Sequence[Cidr]) -> bool:
    if not may_have(version, TABLE, chain):
        return False
    lines = save(version, TABLE)
    ends_well = any(
        line.startswith(f"-A {chain} ") and target_of(line) == "MASQUERADE" for line in lines
    )
    return ends_well and all(_jumps(lines, cidr, chain) for cidr in cidrs)


def _jumps(lines: Iterable[str], cidr: Cidr, chain: str) -> bool:
    """Whether the address jumps to the chain; old versions of the reference wrote its subnet."""
    sources = (f"-s {cidr.ip}/{cidr.max_prefixlen} ", f"-s {cidr.network} ")
    return any(
        line.startswith(f"-A {HOOK} {source}") and target_of(line) == chain
        for line in lines
        for source in sources
    )
