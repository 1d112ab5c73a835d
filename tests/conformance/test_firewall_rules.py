"""The firewall plugin's iptables rules are the reference's to the byte, but for what is ours by intent."""

from __future__ import annotations

import re

import pytest

from conformance.cases_firewall import ADMISSION, POLICIES

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

OURS = "CNI-FORWARD-OWNERS"
"""The chain that says whose the addresses are."""


@pytest.mark.parametrize(
    "case",
    [case for case in [*ADMISSION, *POLICIES] if case.verbs != ("CHECK",)],
    ids=lambda case: case.name,
)
def test_the_rules_are_the_references(case, play):
    played = play(case)

    for step, expected in played["reference"].items():
        for program in ("iptables", "ip6tables"):
            ours = played["ours"][step].get(f"host/{program}")
            assert as_written(ours) == newest(expected.get(f"host/{program}")), step


def as_written(rules):
    """Ours without the owners, and the two rules of each address the other way round."""
    theirs = "\n".join(rule for rule in rules if OURS not in rule)
    return re.sub(r"(filter -A CNI-FORWARD -s .*)\n(.*)", r"\2\n\1", theirs).splitlines()


def newest(rules):
    """As the newest reference writes them: what serves all policies says so."""
    policy = "(ingressPolicy: same-bridge)"
    return [
        rule if " ! -o " in rule else rule.replace(policy, "(ingressPolicy: same-bridge|isolated)")
        for rule in rules
    ]
