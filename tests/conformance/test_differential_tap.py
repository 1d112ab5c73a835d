"""tap of both sets of plugins in twin sandboxes; Debian's first release that has it is 1.9."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from conformance.cases_tap import CASES
from conformance.conftest import play_both
from conformance.differences import covers, differences
from conformance.intended_tap import TAP
from conformance.newer import newer_reference

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

found: dict[str, list] = {}


@pytest.fixture(scope="module")
def plays(suites, request):
    """What both sets do with each case that was selected, by name; they start together."""
    both = {**suites, "reference": newer_reference("tap")}
    items = [getattr(item, "callspec", None) for item in request.session.items]
    cases = [item.params["tap_case"] for item in items if item and "tap_case" in item.params]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        yield {case.name: pool.submit(play_both, case, both) for case in cases}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("tap_case", CASES, ids=lambda case: case.name)
def test_ours_does_what_the_reference_does(tap_case, plays):
    played = plays[tap_case.name].result()
    seen = list(differences(tap_case.name, played["reference"], played["ours"]))
    found[tap_case.name] = seen

    unintended = [str(one) for one in seen if not any(covers(entry, one) for entry in TAP)]

    assert not unintended, "\n".join(unintended)
    first = next(iter(played["ours"].values()))
    assert tap_case.says in f"{first.get('error/msg')} {first.get('error/details')}"


def test_there_is_no_entry_that_nothing_needs():
    if found.keys() != {case.name for case in CASES}:
        pytest.skip("not all cases were selected")
    everything = [one for seen in found.values() for one in seen]
    parts = [
        *(replace(entry, cases=(name,)) for entry in TAP for name in entry.cases),
        *(replace(entry, paths=(path,)) for entry in TAP for path in entry.paths),
    ]

    unneeded = [part for part in parts if not any(covers(part, one) for one in everything)]

    assert [(part.what, part.cases, part.paths) for part in unneeded] == []
