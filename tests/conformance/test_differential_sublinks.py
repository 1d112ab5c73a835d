"""ipvlan, vlan and dummy of both sets of plugins in twin sandboxes, on a kernel that has them."""

from __future__ import annotations

import pytest

from cnicore.net.namespace import host_namespace
from conformance.cases_sublinks import CASES
from conformance.conftest import play_both
from conformance.differences import covers, differences
from conformance.intended import INTENDED
from conformance.intended_sublinks import SUBLINKS

pytestmark = [pytest.mark.conformance, pytest.mark.kernel, pytest.mark.full_kernel]

TABLE = (*INTENDED, *SUBLINKS)
found: dict[str, list] = {}


@pytest.fixture(autouse=True)
def _kernel(suites):
    with host_namespace() as host:
        for kind in ("ipvlan", "vlan", "dummy"):
            if not host.can_make(kind):
                pytest.skip(f"needs a kernel with links of the kind {kind}")


@pytest.mark.parametrize("link_case", CASES, ids=lambda case: case.name)
def test_ours_does_what_the_reference_does(link_case, suites):
    played = play_both(link_case, suites)
    seen = list(differences(link_case.name, played["reference"], played["ours"]))
    found[link_case.name] = seen

    unintended = [str(one) for one in seen if not any(covers(entry, one) for entry in TABLE)]

    assert not unintended, "\n".join(unintended)
    first = next(iter(played["ours"].values()))
    assert link_case.says in f"{first.get('error/msg')}"


def test_there_is_no_entry_that_nothing_needs():
    if found.keys() != {case.name for case in CASES}:
        pytest.skip("not all cases were selected")
    everything = [one for seen in found.values() for one in seen]

    unneeded = [e.what for e in SUBLINKS if not any(covers(e, one) for one in everything)]
    assert unneeded == []
