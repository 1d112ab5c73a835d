"""Containers shaped by one set of plugins, checked and deleted by the other, as on a live node."""

from __future__ import annotations

import pytest

from conformance.cases_bandwidth import BOTH, EGRESS, FROM_CONTAINERD, INGRESS, bandwidth
from conformance.cases_bridge import bridge
from conformance.cases_ptp import ptp
from conformance.snapshot import Symbols, snapshot

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

CONFS = {
    "both": bandwidth(**BOTH),
    "ingress": bandwidth(**INGRESS),
    "egress": bandwidth(**EGRESS),
    "64-bit rate": bandwidth(egressRate=40_000_000_000, egressBurst=100_000_000),
    "of the runtime": bandwidth(runtimeConfig={"bandwidth": BOTH}),
}
ORDERS = (("reference", "ours"), ("ours", "reference"))
KEPT = ("/sysctl/", "host/link/br0/", "host/route/4 main 10.7.0.0/24 ", "files/n1")
"""What bridge and ptp of the reference leave too."""


def pairs(names):
    return [
        pytest.param(name, *order, id=f"{name}, {order[0]} then {order[1]}")
        for name in names
        for order in ORDERS
    ]


def attach(stage, before, conf, suite):
    """Attach with the reference and shape with the suite; returns both results."""
    stage.use("reference")
    attached = stage.call("ADD", before)
    assert attached.status == 0, attached.stdout
    stage.use(suite)
    shaped = stage.call("ADD", {**conf, "prevResult": attached.document})
    assert shaped.status == 0, shaped.stdout
    return attached.document, shaped.document


@pytest.mark.parametrize(("name", "first", "second"), pairs(CONFS))
@pytest.mark.parametrize("main", [bridge(), ptp()], ids=["bridge", "ptp"])
def test_what_one_shaped_the_other_finds_healthy_and_deletes(stage, main, name, first, second):
    before = remains(stage)
    attached, shaped = attach(stage, main, CONFS[name], first)
    stage.use(second)

    checked = stage.call("CHECK", {**CONFS[name], "prevResult": shaped})
    assert (checked.status, checked.stdout) == (0, b"")
    for _ in range(2):
        deleted = stage.call("DEL", {**CONFS[name], "prevResult": shaped})
        assert (deleted.status, deleted.stdout) == (0, b"")
    assert stage.sandbox.json("ip -json link show type ifb") == []

    assert stage.call("DEL", {**main, "prevResult": attached}).status == 0
    assert remains(stage) == before


@pytest.mark.parametrize("netns", ["/run/netns/c1", ""])
def test_ours_ends_all_shaping_of_the_reference(stage, netns):
    stage.use("reference")
    attached = stage.call("ADD", bridge())
    alone = shaping(stage)
    shaped = stage.call("ADD", {**CONFS["both"], "prevResult": attached.document})
    assert (shaped.status, shaping(stage) == alone) == (0, False)
    stage.use("ours")

    assert stage.call("DEL", CONFS["both"], {"CNI_NETNS": netns}).status == 0

    assert stage.sandbox.json("ip -json link show type ifb") == []
    if netns:  # else nothing tells which interface of the reference it was
        assert shaping(stage) == alone


def test_what_containerd_asks_for_is_healthy_as_the_reference_made_it(stage):
    conf = bandwidth(**FROM_CONTAINERD)
    _, shaped = attach(stage, bridge(), conf, "reference")
    stage.use("ours")

    assert stage.call("CHECK", {**conf, "prevResult": shaped}).stdout == b""


def test_the_mtu_of_the_references_ifb_is_looked_at(stage):
    conf = CONFS["egress"]
    _, shaped = attach(stage, ptp(mtu=9000), conf, "reference")
    stage.use("ours")
    assert stage.call("CHECK", {**conf, "prevResult": shaped}).stdout == b""
    (ifb,) = stage.sandbox.json("ip -json link show type ifb")

    stage.sandbox.shell(f"ip link set {ifb['ifname']} mtu 1500")

    message = stage.call("CHECK", {**conf, "prevResult": shaped}).document["msg"]
    assert message.startswith(f"the ifb {ifb['ifname']} has an MTU of 1500, veth")


def test_a_second_add_takes_over_from_the_reference(stage):
    attached, shaped = attach(stage, bridge(), CONFS["both"], "reference")
    stage.use("ours")

    again = stage.call("ADD", {**CONFS["both"], "prevResult": attached})

    assert [link["name"] for link in again.document["interfaces"]] == [
        link["name"] for link in shaped["interfaces"]
    ]
    (ifb,) = stage.sandbox.json("ip -json link show type ifb")
    assert ifb["ifalias"] == "cni:n1/c1/eth0"


def shaping(stage):
    state = snapshot(stage.sandbox, ["c1"], Symbols(""))
    return {key: state[key] for key in ("host/qdiscs", "host/filters")}


def remains(stage):
    """Links, queues, filters and the rest, without what the reference leaves too."""
    state = snapshot(stage.sandbox, ["c1"], Symbols(""))
    return {key: value for key, value in state.items() if not any(kept in key for kept in KEPT)}
