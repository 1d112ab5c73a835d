"""The same environment and stdin to the reference plugins and to ours, in twin sandboxes."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import (
    cases_bandwidth,
    cases_bridge,
    cases_firewall,
    cases_host_device,
    cases_ipam,
    cases_macvlan,
    cases_portmap,
    cases_protocol,
    cases_ptp,
    cases_sbr,
    cases_tuning,
    cases_vrf,
)
from conformance.differences import Difference, covers, differences, page
from conformance.intended import INTENDED

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

CASES = [
    *cases_protocol.CASES,
    *cases_bridge.CASES,
    *cases_ptp.CASES,
    *cases_ipam.CASES,
    *cases_portmap.CASES,
    *cases_bandwidth.CASES,
    *cases_firewall.CASES,
    *cases_tuning.CASES,
    *cases_vrf.CASES,
    *cases_sbr.CASES,
    *cases_macvlan.CASES,
    *cases_host_device.CASES,
]
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "differences-from-the-reference.md"

seen: dict[str, list[Difference]] = {}
"""What differed, by case, for the test that looks for entries that nothing needs."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ours_does_what_the_reference_does(case, play):
    played = play(case)
    found = list(differences(case.name, played["reference"], played["ours"]))
    seen[case.name] = found

    unintended = [
        difference
        for difference in found
        if not any(covers(entry, difference) for entry in INTENDED)
    ]

    assert not unintended, explain(unintended, played)


@pytest.mark.parametrize("case", [case for case in CASES if case.says], ids=lambda case: case.name)
def test_our_error_names_what_is_wrong(case, play):
    first = next(iter(play(case)["ours"].values()))

    assert case.says in f"{first.get('error/msg')} {first.get('error/details')}"


def test_there_is_no_entry_that_nothing_needs():
    if seen.keys() != {case.name for case in CASES}:
        pytest.skip("not all cases were selected")
    everything = [difference for found in seen.values() for difference in found]

    unused = [
        f"{entry.what} {unneeded}"
        for entry in INTENDED
        for unneeded in [*unneeded_cases(entry, everything), *unneeded_paths(entry, everything)]
    ]

    assert not unused, "\n".join(unused)


def test_the_documentation_says_where_we_differ():
    assert PAGE.read_text() == page()


def unneeded_cases(entry, found):
    needed = [one for one in found if covers(entry, one)]
    for name in entry.cases:
        if not any(covers(narrowed(entry, cases=(name,)), one) for one in needed):
            yield name


def unneeded_paths(entry, found):
    needed = [one for one in found if covers(entry, one)]
    for path in entry.paths:
        if not any(covers(narrowed(entry, paths=(path,)), one) for one in needed):
            yield path


def narrowed(entry, **changes):
    from dataclasses import replace

    return replace(entry, **changes)


def explain(unintended, played):
    """The differences, and what both said in words."""
    lines = [str(difference) for difference in unintended]
    for step, table in played["reference"].items():
        for suite in ("reference", "ours"):
            words = [
                played[suite][step].get(key) for key in ("error/msg", "error/details", "stderr")
            ]
            if any(words):
                lines.append(f"{step}, {suite} said: {words}")
        del table
    return "\n".join(lines)
