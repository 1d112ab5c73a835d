"""Interfaces whose routes one set of plugins moved, checked and deleted by the other."""

from __future__ import annotations

import json
import subprocess

import pytest

from conformance.cases_bridge import bridge
from conformance.cases_ptp import ptp
from conformance.cases_sbr import BOTH, SECOND, sbr
from conformance.snapshot import Symbols, snapshot
from conformance.stage import PLUGINS, environment

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

MAINS = {"bridge": bridge(isGateway=True, ipam=BOTH), "ptp": ptp(ipam=BOTH)}
ORDERS = (("reference", "ours"), ("ours", "reference"))
NET2 = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "net2", "sandbox": "/run/netns/c1"}],
    "ips": [{"address": "10.66.0.2/24", "gateway": "10.66.0.1", "interface": 0}],
}


def attach(stage, main, suite):
    """Attach with the reference and move the routes with the suite; returns both results."""
    stage.use("reference")
    attached = stage.call("ADD", main)
    assert attached.status == 0, attached.stdout
    stage.use(suite)
    moved = stage.call("ADD", sbr(prevResult=attached.document))
    assert moved.status == 0, moved.stdout
    return attached.document, moved.document


@pytest.mark.parametrize("main", MAINS)
@pytest.mark.parametrize(("first", "second"), ORDERS)
def test_what_one_moved_the_other_finds_healthy_and_deletes(stage, main, first, second):
    before = remains(stage)
    attached, moved = attach(stage, MAINS[main], first)
    stage.use(second)

    checked = stage.call("CHECK", sbr(prevResult=moved))
    assert (checked.status, checked.stdout) == (0, b"")
    for _ in range(2):
        deleted = stage.call("DEL", sbr(prevResult=moved))
        assert (deleted.status, deleted.stdout) == (0, b"")
    assert rules(stage) == []

    assert stage.call("DEL", {**MAINS[main], "prevResult": attached}).status == 0
    assert remains(stage) == before


@pytest.mark.parametrize(
    "keys", [{}, {"addSourceHints": True}, {"gateways": ["10.7.0.254"]}], ids=str
)
@pytest.mark.parametrize(
    "found",
    [
        "ip -n c1 route del default dev eth0",
        "ip -n c1 route replace default via 10.7.0.9 dev eth0",
        "ip -n c1 route add default via 10.7.0.9 dev eth0 metric 7",
        "ip -n c1 -6 route replace default via fd07::9 dev eth0",
        "ip -n c1 -6 route add default via fd07::9 dev eth0 metric 7",
    ],
)
def test_ours_finds_healthy_what_the_reference_found_and_moved(stage, found, keys):
    """This version of the reference knows neither key."""
    if "gateways" in keys and "replace default via 10.7.0.9" in found:
        keys = {"gateways": ["10.7.0.9"]}  # else that route would have had to go
    moved = move_with_reference(stage, found)

    checked = stage.call("CHECK", sbr(prevResult=moved, **keys))

    assert (checked.status, checked.stdout) == (0, b"")


@pytest.mark.parametrize(
    "found",
    [
        "ip -n c1 route replace default via 10.7.0.1 dev eth0",
        "ip -n c1 route replace default via 10.7.0.9 dev eth0",
    ],
)
@pytest.mark.parametrize(
    "tampering",
    [
        "ip -n c1 rule del from 10.7.0.2",
        "ip -n c1 -6 rule del from fd07::2",
        "ip -n c1 route del default table 100",
        "ip -n c1 route del 10.7.0.0/24 table 100",
        "ip -n c1 -6 route del fd07::/64 table 101",
        "ip -n c1 route replace default via 10.9.0.77 onlink dev eth0 table 100",
        "ip -n c1 route replace default dev eth0 table 100",
        "ip -n c1 route add default via 10.7.0.1 dev eth0 onlink",
        "ip -n c1 -6 route add default via fd07::1 dev eth0 onlink",
        "ip -n c1 link set eth0 down",
    ],
)
def test_ours_misses_what_is_gone_of_what_the_reference_moved(stage, found, tampering):
    moved = move_with_reference(stage, found)
    assert stage.call("CHECK", sbr(prevResult=moved)).status == 0

    stage.sandbox.shell(tampering)

    assert stage.call("CHECK", sbr(prevResult=moved)).status == 1


def move_with_reference(stage, before):
    """The result of a bridge and sbr of the reference, with a command between the two."""
    stage.use("reference")
    attached = stage.call("ADD", MAINS["bridge"])
    stage.sandbox.shell(before)
    moved = stage.call("ADD", sbr(prevResult=attached.document))
    assert moved.status == 0, moved.stdout
    stage.use("ours")
    return moved.document


@pytest.mark.parametrize(("first", "second"), ORDERS)
def test_two_interfaces_are_each_deleted_by_the_other(stage, first, second):
    stage.sandbox.shell(SECOND)
    _, moved = attach(stage, MAINS["bridge"], first)
    stage.use(second)
    other = stage.call("ADD", sbr(prevResult=NET2), {"CNI_IFNAME": "net2"})
    assert other.status == 0, other.stdout

    assert stage.call("DEL", sbr(prevResult=moved)).status == 0

    assert [rule.partition(" lookup ")[0] for rule in rules(stage)] == ["from 10.66.0.2"]
    stage.use(first)
    assert stage.call("DEL", sbr(prevResult=NET2), {"CNI_IFNAME": "net2"}).status == 0
    assert rules(stage) == []


def test_ours_empties_the_tables_of_an_interface_that_stays(stage):
    attach(stage, MAINS["bridge"], "reference")
    stage.use("ours")

    assert stage.call("DEL", sbr()).status == 0

    assert rules(stage) == []
    left = stage.sandbox.shell("ip -n c1 route show table all; ip -n c1 -6 route show table 101")
    assert "table 100" not in left


def test_ours_goes_on_with_the_tables_of_the_reference(stage):
    attached, _ = attach(stage, MAINS["ptp"], "reference")
    made = stage.sandbox.shell("ip -n c1 rule; ip -n c1 route show table 100")
    stage.use("ours")

    again = stage.call("ADD", sbr(prevResult=attached))

    assert again.status == 0, again.stdout
    assert stage.sandbox.shell("ip -n c1 rule; ip -n c1 route show table 100") == made


def test_adds_of_both_at_the_same_time_choose_different_tables(stage):
    """Both lock the file of the namespace."""
    stage.sandbox.shell(SECOND)
    stage.use("reference")
    attached = stage.call("ADD", MAINS["bridge"]).document
    orders = [("eth0", attached, "reference"), ("net2", NET2, "ours")]
    for _ in range(5):
        running = [start(stage.suites[suite], ifname, prev) for ifname, prev, suite in orders]
        for process in running:
            assert process.wait(30) == 0
        tables = [rule.rpartition(" ")[2] for rule in rules(stage)]
        assert len(tables) == len(set(tables)) == 3
        stage.use("ours")
        for ifname, prev, _ in orders:
            assert stage.call("DEL", sbr(prevResult=prev), {"CNI_IFNAME": ifname}).status == 0
        stage.sandbox.shell(
            "ip -n c1 route replace 10.7.0.0/24 dev eth0 proto kernel scope link src 10.7.0.2;"
            "ip -n c1 route replace 10.66.0.0/24 dev net2 proto kernel scope link src 10.66.0.2;"
            "ip -n c1 -6 route replace fd07::/64 dev eth0 proto kernel metric 256"
        )


def start(directory, ifname, prev):
    process = subprocess.Popen(
        [directory / "sbr"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment("ADD", {"CNI_IFNAME": ifname, "CNI_PATH": str(PLUGINS)}),
    )
    process.stdin.write(json.dumps(sbr(prevResult=prev)).encode())
    process.stdin.close()
    return process


def rules(stage):
    return snapshot(stage.sandbox, ["c1"], Symbols(""))["c1/rules"]


def remains(stage):
    """Routes and rules of the container."""
    state = snapshot(stage.sandbox, ["c1"], Symbols(""))
    return {key: value for key, value in state.items() if key.startswith(("c1/route", "c1/rules"))}
