"""The rules of the iptables backend: the reference's, to the byte as iptables saves them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from cni_meta.firewall.backend import ISOLATED
from cnicore.firewall.xtables import chains_in, commented
from cnicore.owner import Owner
from cnicore.result import Address

HOOK, CHAIN = "FORWARD", "CNI-FORWARD"
STAGE_1, STAGE_2 = "CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"
OWNERS = "CNI-FORWARD-OWNERS"
"""No packet comes here: its rules say in their comments whose the addresses in CHAIN are."""

RULES_COMMENT, ADMIN_COMMENT = "CNI firewall plugin rules", "CNI firewall plugin admin overrides"
OWN = {CHAIN, STAGE_1}

JUMP = f"-A {HOOK} {commented(RULES_COMMENT)} -j {CHAIN}"
BOTH_POLICIES = commented(f"{RULES_COMMENT} (ingressPolicy: same-bridge|isolated)")
STAGE_JUMP = f"-A {HOOK} {BOTH_POLICIES} -j {STAGE_1}"


@dataclass(frozen=True)
class Saved:
    """The table `filter` as it was saved."""

    lines: Sequence[str]

    @cached_property
    def positions(self) -> dict[str, int]:
        """Where each line is for the first time."""
        return {line: number for number, line in reversed(list(enumerate(self.lines)))}

    def __contains__(self, rule: str) -> bool:
        return bool(self.actual(rule))

    def actual(self, rule: str) -> str:
        """The rule as it is there, empty if it is not; older references knew one policy only."""
        forms = (rule, rule.replace("same-bridge|isolated", "same-bridge"))
        return next((form for form in forms if form in self.positions), "")

    def missing_chains(self, *names: str) -> Iterator[str]:
        present = chains_in(self.lines)
        yield from (f"-N {name}" for name in names if name not in present)

    def position(self, rule: str) -> int:
        return self.positions[self.actual(rule)]

    def is_rewritten(self, prefix: str) -> bool:
        """Whether the rules of an address are the reference's, by their order."""
        sending, answers = passing(prefix)
        if sending not in self or answers not in self:
            return False
        return self.position(answers) < self.position(sending)

    def owners(self, *words: str) -> list[tuple[str, str, str]]:
        """Rule, address with its length, and tag for each address that is somebody's.

        With words only of the rules that have one of them, because to take one apart costs time.
        """
        marks = [
            line
            for line in self.lines
            if line.startswith(f"-A {OWNERS} -s ")
            and (not words or any(word in line for word in words))
        ]
        return [(line, *_address_and_tag(line)) for line in marks]


def _address_and_tag(line: str) -> tuple[str, str]:
    words = shlex.split(line)
    return words[3], words[-1].replace("\\'", "'")  # which iptables-save escapes, and a shell not


def admin_jump(admin_chain: str) -> str:
    return f"-A {CHAIN} {commented(ADMIN_COMMENT)} -j {admin_chain}"


def host_prefix(address: Address) -> str:
    return f"{address}/{address.max_prefixlen}"


def passing(prefix: str) -> tuple[str, str]:
    """All that the address sends passes, and what answers it; the reference has it reversed."""
    return (
        f"-A {CHAIN} -s {prefix} -j ACCEPT",
        f"-A {CHAIN} -d {prefix} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    )


def admission(saved: Saved, admin_chain: str, addresses: Iterable[Address]) -> Iterator[str]:
    """What is missing for the addresses to pass."""
    yield from saved.missing_chains(CHAIN, admin_chain)
    if JUMP not in saved:
        yield inserted(JUMP)
        if STAGE_JUMP in saved:  # the new jump stands before it
            yield deleted(saved.actual(STAGE_JUMP))
            yield inserted(STAGE_JUMP)
    if admin_jump(admin_chain) not in saved:
        yield inserted(admin_jump(admin_chain))
    for prefix in map(host_prefix, addresses):
        yield from acceptance(saved, prefix)


def acceptance(saved: Saved, prefix: str) -> Iterator[str]:
    """What is missing for the address to pass, by rules that are ours."""
    sending, answers = passing(prefix)
    if sending not in saved:
        yield sending
    if sending not in saved or answers not in saved or saved.is_rewritten(prefix):
        yield from (deleted(line) for line in saved.lines if line == answers)
        yield answers


def ownership(saved: Saved, owner: Owner, addresses: Iterable[Address]) -> Iterator[str]:
    """What is missing for the addresses to be known as the owner's and nobody else's."""
    yield from saved.missing_chains(OWNERS)
    for prefix in map(host_prefix, addresses):
        marks = {tag: line for line, marked, tag in saved.owners(prefix) if marked == prefix}
        yield from (deleted(line) for tag, line in marks.items() if tag != owner.tag)
        if owner.tag not in marks:
            yield f"-A {OWNERS} -s {prefix} {commented(owner.tag)}"


def removal(saved: Saved, prefixes: Iterable[str]) -> Iterator[str]:
    """Every rule about the addresses, duplicates included."""
    gone = set(prefixes)
    if not gone:
        return
    rules = {rule for prefix in gone for rule in passing(prefix)}
    yield from (deleted(line) for line in saved.lines if line in rules)
    yield from (deleted(line) for line, prefix, _ in saved.owners(*gone) if prefix in gone)


def policy(saved: Saved, name: str, bridge: str) -> Iterator[str]:
    """What is missing for the bridge to be kept apart from others, and its ports if isolated."""
    yield from saved.missing_chains(STAGE_1, STAGE_2)
    yield from _stage_jump_first(saved)
    for rule in policy_rules(name, bridge):
        if rule not in saved:
            yield rule if rule.endswith("-j RETURN") else inserted(rule)


def policy_rules(name: str, bridge: str) -> list[str]:
    """In the reference's order; those that return are the last of their chain, the others first."""
    this_policy = commented(f"{RULES_COMMENT} (ingressPolicy: {name})")
    within = f"-A {STAGE_1} -i {bridge} -o {bridge} {this_policy} -j DROP"
    return [
        f"-A {STAGE_1} -i {bridge} ! -o {bridge} {this_policy} -j {STAGE_2}",
        *([within] if name == ISOLATED else []),
        f"-A {STAGE_1} {BOTH_POLICIES} -j RETURN",
        f"-A {STAGE_2} -o {bridge} {BOTH_POLICIES} -j DROP",
        f"-A {STAGE_2} {BOTH_POLICIES} -j RETURN",
    ]


def _stage_jump_first(saved: Saved) -> Iterator[str]:
    """An accepted packet would never come to the policy, so that stands before the acceptance."""
    if STAGE_JUMP not in saved:
        yield inserted(STAGE_JUMP)
    elif JUMP in saved and saved.position(STAGE_JUMP) > saved.position(JUMP):
        yield deleted(saved.actual(STAGE_JUMP))
        yield inserted(STAGE_JUMP)


def absent(saved: Saved, admin_chain: str, addresses: Iterable[Address]) -> list[str]:
    """The rules that the addresses need and do not have."""
    rules = [JUMP, admin_jump(admin_chain)]
    rules += [rule for address in addresses for rule in passing(host_prefix(address))]
    return [rule for rule in rules if rule not in saved]


def absent_of_policy(saved: Saved, name: str, bridge: str) -> list[str]:
    """The rules that the policy needs and does not have, or has too late."""
    rules = [STAGE_JUMP, *policy_rules(name, bridge)]
    missing = [rule for rule in rules if rule not in saved]
    if not missing and JUMP in saved and saved.position(STAGE_JUMP) > saved.position(JUMP):
        return [STAGE_JUMP]
    return missing


def inserted(rule: str) -> str:
    chain = rule.split()[1]
    return rule.replace(f"-A {chain}", f"-I {chain} 1", 1)


def deleted(rule: str) -> str:
    return rule.replace("-A", "-D", 1)
