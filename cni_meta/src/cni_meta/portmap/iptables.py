"""Forwarding with iptables: a chain per container, as the reference plugin names and fills it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

from cni_meta.portmap import iptables_rules as rules
from cni_meta.portmap.plan import Claim, Forward, Plan
from cnicore.attempts import attempt_all
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.single import rules_of
from cnicore.firewall.xtables import (
    PROGRAMS,
    Rejected,
    chains_in,
    jump_deletions,
    may_have,
    restore,
    save,
)
from cnicore.owner import Owner
from cnicore.rollback import OnFailure, rollback

TABLE, RAW = "nat", "raw"
ATTEMPTS = 5  # each is lost only to another process that changed the very same chain


def add(owner: Owner, plans: Sequence[Plan]) -> None:
    """Create the container's chain and what leads to it; a chain that is there is written anew.

    Raises CniError, naming the container that has one of the ports; Unavailable without the
    programs.
    """
    rules.require_words(plans)
    replaced: list[Forward] = []
    with rollback() as on_failure:
        for plan in plans:
            replaced += _add(owner, plan, on_failure)
    _warn(owner, replaced)


def require_unclaimed(owner: Owner, plans: Sequence[Plan]) -> None:
    """Raise CniError for a port that another container has."""
    for plan in plans:
        if plan.forwards and not plan.conditions and may_have(plan.version, TABLE, rules.DNAT):
            _require_unclaimed(plan, save(plan.version, TABLE), rules.container_chain(owner))


def delete(owner: Owner, claims: Sequence[Claim]) -> list[Forward]:  # noqa: ARG001  (the chain tells)
    """Remove the container's chains and every jump to them; returns what they forwarded."""
    names = _names(owner)
    removed: list[Forward] = []
    with attempt_all() as attempt:
        for version in PROGRAMS:
            if any(may_have(version, TABLE, name) for name in names):
                attempt(_remove, version, _those_of(owner), removed)
    return removed


def gc(network: str, valid: Iterable[Owner]) -> None:
    """Remove the chains whose jumps name the network and no valid container."""
    keep = {rules.comment(network, owner.container_id) for owner in valid}
    prefix = rules.comment(network, "").removesuffix('"')

    def select(lines: Sequence[str]) -> set[str]:
        return {
            chain
            for chain, comment in rules.identities_in(lines).items()
            if comment.startswith(prefix) and comment not in keep
        }

    with attempt_all() as attempt:
        for version in PROGRAMS:
            if may_have(version, TABLE, rules.DNAT):
                attempt(_remove, version, select)


def verify(owner: Owner, plans: Sequence[Plan]) -> None:
    """Raise CniError unless each rule is there that an ADD would write."""
    for plan in plans:
        program, chain = PROGRAMS[plan.version], rules.container_chain(owner)
        if not may_have(plan.version, TABLE, chain):
            raise CniError(f"{program} has no chain {chain} for {owner.tag}")
        for missing in rules.missing(owner, plan, save(plan.version, TABLE)):
            raise CniError(f"{program} lacks for {owner.tag}: {missing}")
        guard = _missing_guard() if _needs_guard(plan) else []
        if guard and f"-N {rules.GUARD}" not in guard:  # the reference makes none at all
            raise CniError(f"{program} lacks in the table {RAW}: {guard[0]}")


def require_usable() -> None:
    """Raise CniError if the table cannot be read."""
    save(4, TABLE)


def _add(owner: Owner, plan: Plan, on_failure: OnFailure) -> list[Forward]:
    """Returns what the chain forwarded elsewhere until now."""
    chain = rules.container_chain(owner)
    lines = save(plan.version, TABLE)
    _require_unclaimed(plan, lines, chain)
    _require_mark_chain(plan, lines)
    before = rules.forwards_in(lines, {chain})
    on_failure(_remove, plan.version, _those_of(owner))
    for _ in range(ATTEMPTS):
        if chain in chains_in(lines):
            own = [*jump_deletions(lines, {chain}), f"-F {chain}"]
        else:
            own = [f"-N {chain}"]
        commands = [
            *rules.frame(plan, lines),
            *own,
            *rules.forwarding(owner, plan),
            *rules.jumps(owner, plan),
        ]
        try:
            _restore(plan, commands)
        except Rejected as error:
            failure = error
            lines = save(plan.version, TABLE)
            _require_unclaimed(plan, lines, chain)
        else:
            return [one for one in before if one.address != plan.container.ip]
    if plan.conditions:
        raise InvalidNetworkConfig(
            f"conditionsV{plan.version}: {PROGRAMS[plan.version]} refuses the conditions"
            f" {' '.join(plan.conditions)!r}: write matches that it understands",
            failure.msg,
        ) from failure
    raise failure


def _warn(owner: Owner, replaced: Iterable[Forward]) -> None:
    """Say on stderr whose ports are gone: the chain's name does not tell interfaces apart."""
    addresses = ", ".join(sorted({str(one.address) for one in replaced}))
    if addresses:
        words = (
            f"portmap: warning: the ports of {owner.ifname} replace those that led to {addresses}:"
            " with iptables the interfaces of a container in one network share their ports; set"
            " backend to nftables to keep them apart"
        )
        print(words, file=sys.stderr)  # noqa: T201  (stdout is the answer's alone)


def _restore(plan: Plan, commands: Sequence[str]) -> None:
    """One run of the program for the rules and, where it is missing, the guard of localhost."""
    guard = _missing_guard() if _needs_guard(plan) else []
    raw = ["COMMIT", f"*{RAW}", *guard] if guard else []
    restore(plan.version, TABLE, [*commands, *raw])


def _needs_guard(plan: Plan) -> bool:
    return bool(plan.sources) and plan.version == 4  # noqa: PLR2004  (the IP version)


def _missing_guard() -> list[str]:
    """Mostly the rules of iptables-nft are there, which costs no process to see."""
    try:
        drops = [one for one in rules_of("ip", RAW, rules.GUARD) if "drop" in one.words]
        is_entered = any(rules.GUARD in one.words for one in rules_of("ip", RAW, "PREROUTING"))
        if is_entered and len(drops) >= len(rules.DIRECTIONS):
            return []
    except Unavailable:
        pass
    return list(rules.guard(save(4, RAW) if may_have(4, RAW, rules.GUARD) else []))


def _require_unclaimed(plan: Plan, lines: Sequence[str], own_chain: str) -> None:
    """Raise CniError for a port that another container has; with conditions both may have it."""
    if plan.conditions:
        return
    for forward in plan.forwards:
        held = rules.holder(lines, forward.claim, own_chain)
        if held:
            raise CniError(
                f'hostPort {forward.claim} is already mapped to container "{held[1]}" (network'
                f' "{held[0]}"): delete that container or choose another port'
            )


def _require_mark_chain(plan: Plan, lines: Sequence[str]) -> None:
    name = plan.mark_chain
    if plan.sources and plan.forwards and name is not None and name not in chains_in(lines):
        raise InvalidNetworkConfig(
            f"externalSetMarkChain: the table {TABLE} of {PROGRAMS[plan.version]} has no chain"
            f' "{name}": create it first'
        )


def _names(owner: Owner) -> set[str]:
    return {rules.container_chain(owner), owner.chain(rules.LEGACY_SNAT)}


def _those_of(owner: Owner) -> Callable[[Sequence[str]], set[str]]:
    return lambda lines: _names(owner) & set(chains_in(lines))


def _remove(
    version: int,
    select: Callable[[Sequence[str]], set[str]],
    removed: list[Forward] | None = None,
) -> None:
    """Remove the selected chains with all jumps to them; what they forwarded goes to `removed`."""
    for _ in range(ATTEMPTS):
        lines = save(version, TABLE)
        chains = select(lines)
        emptying = [f"-F {chain}" for chain in chains]
        deletion = [f"-X {chain}" for chain in chains]
        try:
            if chains:
                restore(version, TABLE, [*jump_deletions(lines, chains), *emptying, *deletion])
        except Rejected as error:
            failure = error
        else:
            if removed is not None and chains:
                removed.extend(rules.forwards_in(lines, chains))
            return
    raise failure
