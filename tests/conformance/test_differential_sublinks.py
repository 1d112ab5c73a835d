"""ipvlan, vlan and dummy of both sets of plugins in twin sandboxes, on a kernel that has them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cnicore.net.namespace import host_namespace
from conformance.cases_sublinks import CASES, KEYS, NEWER
from conformance.conftest import play_both
from conformance.differences import Difference, covers, differences
from conformance.intended_sublinks import NEWER_SUBLINKS, SUBLINKS
from conformance.newer import full_kernel_if_newer, newer_reference
from conformance.scenario import LIFE, REFUSED

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

SUCCEEDS = {
    LIFE: [True, True, False, True, True],
    REFUSED: [False, True],
    ("ADD",): [False],
    ("DEL",): [True],
}
"""Which of the verbs of a case succeed with ours."""

found: dict[str, list[Difference]] = {}


@pytest.fixture(autouse=True)
def _kernel(suites):
    with host_namespace() as host:
        for kind in KEYS:
            if not host.can_make(kind):
                pytest.skip(f"needs a kernel with links of the kind {kind}")


def id_of(link_case):
    return link_case.name


@pytest.mark.full_kernel
@pytest.mark.parametrize("link_case", CASES, ids=id_of)
def test_ours_does_what_the_reference_does(link_case, suites):
    compare(link_case, suites, SUBLINKS)


@full_kernel_if_newer
@pytest.mark.parametrize("link_case", NEWER, ids=id_of)
def test_ours_does_what_the_newer_reference_does(link_case, suites):
    compare(link_case, {**suites, "reference": newer_reference("dummy")}, NEWER_SUBLINKS)


@pytest.mark.full_kernel
def test_there_is_no_entry_that_nothing_needs():
    require_all_needed(CASES, SUBLINKS)


@full_kernel_if_newer
def test_there_is_no_entry_about_newer_ones_that_nothing_needs():
    require_all_needed(NEWER, NEWER_SUBLINKS)


def compare(link_case, suites, table):
    played = play_both(link_case, suites)
    seen = list(differences(link_case.name, played["reference"], played["ours"]))
    found[link_case.name] = seen

    unintended = [str(one) for one in seen if not any(covers(entry, one) for entry in table)]

    assert not unintended, "\n".join(unintended)
    answers = list(played["ours"].values())
    assert [answer["status"] == 0 for answer in answers] == SUCCEEDS[link_case.verbs]
    assert link_case.says in f"{answers[0].get('error/msg')}"


def require_all_needed(cases, table):
    if not {case.name for case in cases} <= found.keys():
        pytest.skip("not all cases were selected")
    everything = [one for case in cases for one in found[case.name]]
    parts = [
        *(replace(entry, cases=(name,)) for entry in table for name in entry.cases),
        *(replace(entry, paths=(path,)) for entry in table for path in entry.paths),
    ]

    unneeded = [part for part in parts if not any(covers(part, one) for one in everything)]

    assert [(part.what, part.cases, part.paths) for part in unneeded] == []
