"""The firewall plugin's iptables rules are the reference's to the byte, but for what is ours by intent."""

from __future__ import annotations

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
            assert without_owners(ours) == newest(expected.get(f"host/{program}")), step


def without_owners(rules):
    return [rule for rule in rules if OURS not in rule]


def newest(rules):
    """As the newest reference writes them: what serves all policies says so."""
    policy = "(ingressPolicy: same-bridge)"
    return [
        rule if " ! -o " in rule else rule.replace(policy, "(ingressPolicy: same-bridge|isolated)")
        for rule in rules
    ]
