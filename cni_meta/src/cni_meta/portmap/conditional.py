"""Ports that lead to a container only under conditions: rules of a chain of the attachment's own.

Conditions are written in nft's language, so they cannot be elements. The rule that jumps to the
chain has them; what is in the chain is like any other attachment's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cni_meta.portmap.frame import (
    CONDITIONAL,
    FAMILY,
    HOSTPORTS,
    IN_TABLE,
    TABLE,
    equals,
    payload,
    rule,
)
from cni_meta.portmap.plan import Forward, Plan
from cni_meta.portmap.table import owner_key
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.firewall.libnftables import Command, Refused, chain_names, run
from cnicore.firewall.single import has_chain, rules_of
from cnicore.owner import Owner

PREFIX = f"{HOSTPORTS}-of-"
NOT_IN_A_CONDITION = re.compile(r"[^\x20-\x7e]|[;#$\\]")
PAIRS = (("{", "}"), ("(", ")"), ("[", "]"))
# what decides about a packet, changes it, or remembers it
NO_CONDITION = re.compile(
    r"\b(?:accept|add|comment|continue|delete|dnat|drop|dup|flow|fwd|goto|jump|masquerade|notrack"
    r"|queue|redirect|reject|return|set|snat|synproxy|tproxy|update|vmap)\b"
)


def require_conditions(plans: Iterable[Plan]) -> None:
    """Raise InvalidNetworkConfig if the tokens of a plan would be more than conditions."""
    for plan in plans:
        text = " ".join(plan.conditions)
        for reason in _objections(text):
            raise InvalidNetworkConfig(f"conditionsV{plan.version}: {reason}")


def chain_of(owner: Owner) -> str:
    return f"{PREFIX}{owner_key(owner)}"


def creation(owner: Owner, plans: Iterable[Plan]) -> Iterator[Command]:
    """Creates the chain with a rule for each port; nothing without conditions."""
    forwards = [forward for plan in plans if plan.conditions for forward in plan.forwards]
    if not forwards:
        return
    yield {"create": {"chain": {**IN_TABLE, "name": chain_of(owner)}}}
    for forward in forwards:
        yield rule(chain_of(owner), list(_translation(forward)), owner.tag)


def enter(owner: Owner, plans: Sequence[Plan]) -> None:
    """Let packets that match into the chain. Raises InvalidNetworkConfig, Refused."""
    rules = [
        f"add rule {FAMILY} {TABLE} {CONDITIONAL} meta nfproto ipv{plan.version}"
        f" {' '.join(plan.conditions)} jump {chain_of(owner)}\n"
        for plan in plans
        if plan.conditions
    ]
    if not rules:
        return
    try:
        run("add the rules with conditions", "".join(rules))
    except Refused as error:
        if error.errno:
            raise
        keys = ", ".join(f"conditionsV{plan.version}" for plan in plans if plan.conditions)
        raise InvalidNetworkConfig(
            f"{keys}: nft does not understand the conditions: write matches of its language",
            error.msg,
        ) from error


def removal(owner: Owner) -> list[Command]:
    """What deletes the chain and the jumps to it; nothing if it is not there."""
    name = chain_of(owner)
    return removal_of(name) if has_chain(FAMILY, TABLE, name) else []


def removal_of(name: str) -> list[Command]:
    at = {"chain": {**IN_TABLE, "name": name}}
    jumps = [
        {"delete": {"rule": {**IN_TABLE, "chain": CONDITIONAL, "handle": one.handle}}}
        for one in rules_of(FAMILY, TABLE, CONDITIONAL)
        if name in one.words
    ]
    return [*jumps, {"flush": at}, {"delete": at}]


def chains() -> list[str]:
    """The chains of all attachments with conditions."""
    return [name for name in chain_names(FAMILY, TABLE) if name.startswith(PREFIX)]


def verify(owner: Owner, plans: Sequence[Plan]) -> None:
    """Raise CniError unless each plan with conditions has its jump, and the chain all its rules."""
    conditional = [plan for plan in plans if plan.conditions]
    if not conditional:
        return
    name = chain_of(owner)
    entered = [one for one in rules_of(FAMILY, TABLE, CONDITIONAL) if name in one.words]
    own = [one.values for one in rules_of(FAMILY, TABLE, name) if one.comment == owner.tag]
    forwards = [forward for plan in conditional for forward in plan.forwards]
    wanted = [(one.address.packed, one.port.to_bytes(2, "big")) for one in forwards]
    if len(entered) < len(conditional) or sorted(own) != sorted(wanted):
        raise CniError(f"nftables does not forward under the conditions of {owner.tag}")


def _objections(text: str) -> Iterator[str]:
    forbidden = NOT_IN_A_CONDITION.search(text)
    if forbidden:
        yield f"the character {forbidden[0]!r} is not allowed: remove it"
    outside = text.split('"')[::2]
    if text.count('"') % 2:
        yield f"a quotation mark is missing in {text!r}: add it"
    bare = " ".join(outside)
    for left, right in PAIRS:
        if not _is_balanced(bare, left, right):
            yield f"{left} and {right} do not match in {text!r}: add or remove one"
    word = NO_CONDITION.search(bare)
    if word:
        yield f'"{word[0]}" is no condition: remove it, only matches can be conditions'


def _is_balanced(text: str, left: str, right: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == left) - (character == right)
        if depth < 0:
            return False
    return depth == 0


def _translation(forward: Forward) -> Iterator[Any]:
    claim = forward.claim
    yield equals({"meta": {"key": "nfproto"}}, f"ipv{claim.version}")
    if claim.host_ip:
        yield equals(payload(claim.version, "daddr"), str(claim.host_ip))
    dport = {"payload": {"protocol": claim.protocol, "field": "dport"}}
    yield equals(dport, claim.host_port)
    family = "ip" if claim.version == 4 else "ip6"  # noqa: PLR2004  (the IP version)
    yield {"dnat": {"family": family, "addr": str(forward.address), "port": forward.port}}
