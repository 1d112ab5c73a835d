"""dhcp of both sets of plugins in twin sandboxes, each with its own daemon and the same server."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from conformance.cases_dhcp import CASES
from conformance.dhcp_hosts import hosted
from conformance.differences import covers, differences
from conformance.intended import INTENDED
from conformance.intended_dhcp import DHCP
from conformance.scenario import answer_table, call
from conformance.snapshot import Symbols, snapshot

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

SUITES = ("reference", "ours")
found: dict[str, list] = {}


def play(served, suites, suite):
    """What was seen after each verb, as scenario.play gives it."""
    case, seen, previous = served.case, {}, None
    with hosted(suites, served.lines) as host:
        if not served.is_away:
            host.daemon(suite)
        if case.prepare:
            host.stage.sandbox.shell(case.prepare)
        host.stage.use(suite)
        symbols = Symbols(json.dumps(asdict(case)))
        for number, verb in enumerate(case.verbs, 1):
            answer = call(host.stage, case, verb, None if verb == "ADD" else previous)
            state = snapshot(host.stage.sandbox, ["c1"], symbols)
            seen[f"{number} {verb}"] = dict(answer_table(answer, symbols)) | state
            if verb == "ADD" and answer.status == 0:
                previous = answer.document
    return seen


@pytest.mark.parametrize("served", CASES, ids=lambda served: served.case.name)
def test_ours_does_what_the_reference_does(served, suites):
    name = served.case.name
    played = {suite: play(served, suites, suite) for suite in SUITES}
    seen = list(differences(name, played["reference"], played["ours"]))
    found[name] = seen

    table = (*DHCP, *INTENDED)  # bridge differs with every address manager
    unintended = [str(one) for one in seen if not any(covers(entry, one) for entry in table)]

    assert not unintended, "\n".join(unintended)
    first = next(iter(played["ours"].values()))
    assert served.case.says in f"{first.get('error/msg')} {first.get('error/details')}"


def test_there_is_no_entry_that_nothing_needs():
    if found.keys() != {served.case.name for served in CASES}:
        pytest.skip("not all cases were selected")
    everything = [one for seen in found.values() for one in seen]
    parts = [
        *(replace(entry, cases=(name,)) for entry in DHCP for name in entry.cases),
        *(replace(entry, paths=(path,)) for entry in DHCP for path in entry.paths),
    ]

    unneeded = [part for part in parts if not any(covers(part, one) for one in everything)]

    assert [(part.what, part.cases, part.paths) for part in unneeded] == []
