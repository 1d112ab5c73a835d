"""Macvlans made by one set of plugins, checked and deleted by the other, as on a live node."""

from __future__ import annotations

import pytest

from conformance.cases_bridge import V4, V6, host_local
from conformance.cases_macvlan import MAC, PARENT, macvlan
from conformance.cases_tuning import tuning
from conformance.test_swap import pairs, remains

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

ROUTED = host_local(V4, V6, routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])
CONFS = {
    "dual stack": macvlan(ipam=ROUTED),
    "l2": macvlan(ipam={}),
    "private": macvlan(mode="private", mac=MAC, mtu=1400),
    "vepa": macvlan(mode="vepa"),
    "passthru": macvlan(mode="passthru"),
    "default route": macvlan(master="", ipam=ROUTED),
    "on a macvlan": macvlan(master="m0", ipam=ROUTED),
}


@pytest.fixture
def before(stage):
    """What there is before anything is attached."""
    stage.sandbox.shell(f"{PARENT}; ip addr add 192.0.2.2/24 dev up0")
    stage.sandbox.shell("ip route add default via 192.0.2.1")
    return remains(stage)


def add_sibling(stage, name):
    if name == "on a macvlan":
        stage.sandbox.shell("ip link add m0 link up0 type macvlan mode bridge")


@pytest.mark.parametrize(("name", "first", "second"), pairs(CONFS))
def test_what_one_attached_the_other_finds_healthy_and_deletes(stage, before, name, first, second):
    add_sibling(stage, name)
    stage.use(first)
    added = stage.call("ADD", CONFS[name])
    assert added.status == 0, added.stdout
    chained = {**CONFS[name], "prevResult": added.document}

    stage.use(second)
    checked = stage.call("CHECK", chained)
    assert (checked.status, checked.stdout) == (0, b"")
    for _ in range(2):
        deleted = stage.call("DEL", chained)
        assert (deleted.status, deleted.stdout) == (0, b""), deleted.stderr

    stage.sandbox.shell("ip link delete m0 2>/dev/null || true")
    assert remains(stage) == before


@pytest.mark.parametrize(("first", "second"), [("reference", "ours"), ("ours", "reference")])
def test_what_one_attached_and_tuned_the_other_finds_healthy(stage, before, first, second):
    """tuning writes the new MAC address into the result; nobody compares the MTU."""
    tuned = tuning(mac=MAC, mtu=1300)
    stage.use(first)
    added = stage.call("ADD", CONFS["dual stack"])
    result = stage.call("ADD", {**tuned, "prevResult": added.document}).document

    stage.use(second)
    for conf in (CONFS["dual stack"], tuned):
        checked = stage.call("CHECK", {**conf, "prevResult": result})
        assert (checked.status, checked.stdout) == (0, b"")


@pytest.mark.parametrize(("first", "second"), [("reference", "ours"), ("ours", "reference")])
def test_siblings_of_the_two_have_addresses_of_their_own_and_reach_each_other(
    stage, before, first, second
):
    stage.sandbox.container("c2")
    stage.use(first)
    one = stage.call("ADD", CONFS["dual stack"]).document
    stage.use(second)
    two = stage.call(
        "ADD", CONFS["dual stack"], {"CNI_CONTAINERID": "c2", "CNI_NETNS": "/run/netns/c2"}
    ).document

    assert [ip["address"] for ip in one["ips"]] == ["10.7.0.2/24", "fd07::2/64"]
    assert [ip["address"] for ip in two["ips"]] == ["10.7.0.3/24", "fd07::3/64"]
    stage.sandbox.shell("ping -c1 -w20 10.7.0.3 && ping -c1 -w20 fd07::3", "c1")
