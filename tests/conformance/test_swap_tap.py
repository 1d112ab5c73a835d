"""Taps that one set of plugins made, checked and deleted by the other, as on a live node."""

from __future__ import annotations

import pytest

from conformance.cases_bridge import V4, V6, host_local
from conformance.cases_tap import BOTH, MAC, MAKE_BRIDGE, tap
from conformance.newer import newer_reference
from conformance.snapshot import Symbols, snapshot
from conformance.stage import staged

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

CONFS = {
    "tap": tap(),
    "tap dual stack": tap(ipam=host_local(V4, V6, routes=[{"dst": "0.0.0.0/0"}])),
    "tap l2": tap(ipam={}),
    "tap owner and group": tap(**BOTH),
    "tap owner": tap(owner=5),
    "tap multi-queue": tap(multiQueue=True, owner=5, group=6),
    "tap mtu and mac": tap(mtu=1400, mac=MAC, group=6),
    "tap mac owner and group": tap(mac=MAC, **BOTH),
    "tap bridge": tap(bridge="br7", ipam={}),
    "tap bridge addresses": tap(bridge="br7", **BOTH),
}
ORDERS = (("reference", "ours"), ("ours", "reference"))
KEPT = (
    *("files/n1/last_reserved_ip.", "files/n1/lock", "files/n1/mode", "sysctl/"),
    "c1/link/br7/mac",  # the kernel keeps no address of a bridge that has lost its last port
)


@pytest.fixture
def tap_stage(suites):
    with staged({**suites, "reference": newer_reference("tap")}) as stage:
        stage.sandbox.shell(MAKE_BRIDGE)
        yield stage


def remains(stage):
    state = snapshot(stage.sandbox, ["c1"], Symbols(""))
    return {key: value for key, value in state.items() if not any(kept in key for kept in KEPT)}


@pytest.mark.parametrize(("first", "second"), ORDERS)
@pytest.mark.parametrize("name", CONFS)
def test_what_one_attached_the_other_checks_and_deletes(tap_stage, name, first, second):
    before = remains(tap_stage)
    tap_stage.use(first)
    added = tap_stage.call("ADD", CONFS[name])
    assert added.status == 0, added.stdout
    chained = {**CONFS[name], "prevResult": added.document}

    tap_stage.use(second)
    for verb in ("CHECK", "DEL", "DEL"):
        called = tap_stage.call(verb, chained)
        assert (called.status, called.stdout) == (0, b""), called.stderr

    assert remains(tap_stage) == before


def test_check_tells_of_the_mtu_that_the_reference_ignored(tap_stage):
    conf = tap(mtu=1400, **BOTH)
    tap_stage.use("reference")
    added = tap_stage.call("ADD", conf)

    tap_stage.use("ours")
    checked = tap_stage.call("CHECK", {**conf, "prevResult": added.document})

    assert checked.document["msg"].startswith("eth0 has mtu 1500, not 1400")
