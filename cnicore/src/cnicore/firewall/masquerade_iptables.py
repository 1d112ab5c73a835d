"""Masquerading with iptables: a chain per attachment, as the reference plugins name and fill it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

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
from cnicore.net.namespace import host_namespace
from cnicore.owner import Owner
from cnicore.result import Address, Cidr, IpConfig

TABLE, HOOK = "nat", "POSTROUTING"
CHAIN_PREFIX = "CNI-"
MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}
Network = IPv4Network | IPv6Network
ATTEMPTS = 5  # each is lost only to another process that changed the very same chain


def add(owner: Owner, ips: Sequence[IpConfig]) -> None:
    """Fill the container's chain and jump to it; what another interface has there stays.

    Raises CniError, Unavailable without the programs.
    """
    for version in PROGRAMS:
        cidrs = [ip.address for ip in ips if ip.address.version == version]
        if cidrs:
            _add(version, owner, cidrs)


def delete(owner: Owner, addresses: Iterable[Address]) -> None:
    """Remove the jumps of the addresses, and with the last jump the container's chain.

    Without addresses all jumps go, unless the container has another interface in the network: then
    its DEL removes them.
    """
    chain, known = owner.chain(), tuple(addresses)
    if not known and _has_sibling(owner):
        return
    _remove_in_all(chain, lambda lines: _deletions(lines, chain, known))


def gc(network: str, valid: Iterable[Owner]) -> None:
    """Remove the chains whose comments name the network and no valid container."""
    keep = {_comment(owner.network, owner.container_id) for owner in valid}
    prefix = comment_text(f'name: "{network}" id: "')

    def deletions(lines: Sequence[str]) -> list[str]:
        return _removal(
            lines,
            {
                chain
                for chain, comment in _commented_chains(lines)
                if comment.startswith(prefix) and comment not in keep
            },
        )

    _remove_in_all(HOOK, deletions)


def require() -> None:
    """Raise Unavailable without the programs, CniError where they do not work."""
    save(4, TABLE)


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
    lines: list[str] = []
    for _ in range(ATTEMPTS):
        commands = [*_missing(version, owner, cidrs, lines)]
        try:
            if commands:
                restore(version, TABLE, commands)
        except Rejected as error:
            failure = error
            lines = save(version, TABLE)
        else:
            return
    raise failure


def _missing(
    version: int, owner: Owner, cidrs: Sequence[Cidr], lines: Sequence[str]
) -> Iterator[str]:
    """What the table lacks for the addresses.

    Every ACCEPT before the MASQUERADE, or traffic to the second subnet would lose its source.
    """
    chain = owner.chain()
    comment = commented(_comment(owner.network, owner.container_id))
    own = [line for line in lines if line.startswith(f"-A {chain} ")]
    ends = [number for number, line in enumerate(own) if target_of(line) == "MASQUERADE"]
    if chain not in chains_in(lines):
        yield f"-N {chain}"
    for cidr in reversed(cidrs):  # each goes to the head
        if not _accepts(own[: ends[0]] if ends else own, cidr):
            yield f"-I {chain} -d {cidr.network} {comment} -j ACCEPT"
    if not ends:
        yield f"-A {chain} ! -d {MULTICAST[version]} {comment} -j MASQUERADE"
    for cidr in cidrs:
        if not _jumps(lines, cidr, chain):
            yield f"-A {HOOK} -s {cidr.ip} {comment} -j {chain}"


def _accepts(rules: Iterable[str], cidr: Cidr) -> bool:
    return any(target_of(rule) == "ACCEPT" and f" -d {cidr.network} " in rule for rule in rules)


def _deletions(lines: Sequence[str], chain: str, addresses: Collection[Address]) -> list[str]:
    """What removes the jumps of the addresses, or all, and what only they needed."""
    jumps = [line for line in lines if line.startswith(f"-A {HOOK} ") and target_of(line) == chain]
    gone = [line for line in jumps if not addresses or _is_about(line, addresses)]
    if len(gone) == len(jumps):
        return _removal(lines, {chain} & set(chains_in(lines)))
    kept = [network for line in jumps if line not in gone and (network := _network(line, "-s"))]
    unneeded = [
        line
        for line in lines
        if line.startswith(f"-A {chain} ")
        and target_of(line) == "ACCEPT"
        and (network := _network(line, "-d"))
        and not any(network.overlaps(one) for one in kept)
    ]
    return [line.replace("-A", "-D", 1) for line in [*gone, *unneeded]]


def _is_about(line: str, addresses: Iterable[Address]) -> bool:
    network = _network(line, "-s")
    return network is not None and any(address in network for address in addresses)


def _network(line: str, option: str) -> Network | None:
    """What follows the option in a saved rule."""
    words = line.split()
    return ip_network(words[words.index(option) + 1]) if option in words else None


def _has_sibling(owner: Owner) -> bool:
    """Whether a link of the host belongs to another interface of the container in the network."""
    prefix = owner.tag.removesuffix(owner.ifname)
    with host_namespace() as host:
        aliases = [link.alias for link in host.links()]
    return any(alias.startswith(prefix) and alias != owner.tag for alias in aliases)


def _comment(network: str, container_id: str) -> str:
    return comment_text(f'name: "{network}" id: "{container_id}"')


def _removal(lines: Iterable[str], chains: Collection[str]) -> list[str]:
    """What removes the chains and every jump to them."""
    emptying = [f"-F {chain}" for chain in chains]
    return [*jump_deletions(lines, chains), *emptying, *(f"-X {chain}" for chain in chains)]


def _remove_in_all(trace: str, deletions: Callable[[Sequence[str]], Sequence[str]]) -> None:
    """Run what `deletions` finds in each family; without the chain `trace` there is nothing."""
    with attempt_all() as attempt:
        for version in PROGRAMS:
            if may_have(version, TABLE, trace):
                attempt(_remove, version, deletions)


def _remove(version: int, deletions: Callable[[Sequence[str]], Sequence[str]]) -> None:
    for _ in range(ATTEMPTS):
        commands = deletions(save(version, TABLE))
        try:
            if commands:
                restore(version, TABLE, commands)
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
