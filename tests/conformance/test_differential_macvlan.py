"""macvlan beside a reference that knows all of its keys, in twin sandboxes; 1.3 is the first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.cases_macvlan import NEWER as CASES
from conformance.conftest import play_both
from conformance.differences import covers, differences
from conformance.intended_macvlan import NEWER
from conformance.newer import newer_reference

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

found: dict[str, list] = {}


@pytest.fixture(scope="module")
def both(suites):
    """Ours, and a reference of the releases that have tap and the keys."""
    return {**suites, "reference": newer_reference("tap")}


@pytest.mark.parametrize("macvlan_case", CASES, ids=lambda case: case.name)
def test_ours_does_what_the_reference_does(macvlan_case, both):
    played = play_both(macvlan_case, both)
    seen = list(differences(macvlan_case.name, played["reference"], played["ours"]))
    found[macvlan_case.name] = seen

    unintended = [str(one) for one in seen if not any(covers(entry, one) for entry in NEWER)]

    assert not unintended, "\n".join(unintended)
    first = next(iter(played["ours"].values()))
    assert macvlan_case.says in f"{first.get('error/msg')}"


def test_there_is_no_entry_that_nothing_needs():
    if found.keys() != {case.name for case in CASES}:
        pytest.skip("not all cases were selected")
    everything = [one for seen in found.values() for one in seen]
    parts = [
        *(replace(entry, cases=(name,)) for entry in NEWER for name in entry.cases),
        *(replace(entry, paths=(path,)) for entry in NEWER for path in entry.paths),
    ]

    unneeded = [part for part in parts if not any(covers(part, one) for one in everything)]

    assert [(part.what, part.cases, part.paths) for part in unneeded] == []
