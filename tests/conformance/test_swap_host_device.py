"""Devices given by one set of plugins, checked and brought home by the other, as on a live node."""

from __future__ import annotations

import pytest

from conformance.cases_bridge import V4, V6, host_local
from conformance.cases_host_device import DEVICE, MAC, host_device
from conformance.cases_tuning import tuning
from conformance.test_swap import pairs, remains

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

ROUTED = host_local(V4, V6, routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])
CONFS = {
    "dual stack": host_device(ipam=ROUTED),
    "l2": host_device(ipam={}),
    "hwaddr": host_device(device="", hwaddr=MAC),
    "both keys": host_device(hwaddr=MAC),
}
ORDERS = (("reference", "ours"), ("ours", "reference"))
SECOND = {"CNI_CONTAINERID": "c2", "CNI_NETNS": "/run/netns/c2"}


@pytest.fixture(autouse=True)
def before(stage):
    """What there is before anything is attached."""
    stage.sandbox.shell(DEVICE)
    return without_alias(remains(stage))


def without_alias(state):
    """The reference of that version leaves the device's own name as its alias."""
    return {key: value for key, value in state.items() if key != "host/link/hd0/ifalias"}


def device(stage, name="hd0", netns="host"):
    option = "" if netns == "host" else f"-n {netns}"
    (link,) = stage.sandbox.json(f"ip {option} -json link show {name}")
    return link


@pytest.mark.parametrize(("name", "first", "second"), pairs(CONFS))
def test_what_one_gave_the_other_finds_healthy_and_brings_home(stage, before, name, first, second):
    stage.use(first)
    added = stage.call("ADD", CONFS[name])
    assert added.status == 0, added.stdout
    chained = {**CONFS[name], "prevResult": added.document}

    stage.use(second)
    checked = stage.call("CHECK", chained)
    assert (checked.status, checked.stdout) == (0, b"")
    deleted = stage.call("DEL", chained)
    assert (deleted.status, deleted.stdout) == (0, b""), deleted.stderr

    assert without_alias(remains(stage)) == before
    stage.use("ours")
    assert stage.call("DEL", chained).status == 0
    assert without_alias(remains(stage)) == before


@pytest.mark.parametrize("name", CONFS)
def test_ours_brings_home_what_was_renamed_after_the_reference_gave_it(stage, name):
    stage.use("reference")
    added = stage.call("ADD", CONFS[name])
    stage.sandbox.shell("ip link set eth0 down; ip link set eth0 name lan", "c1")

    stage.use("ours")
    deleted = stage.call("DEL", {**CONFS[name], "prevResult": added.document})

    assert (deleted.status, deleted.stdout) == (0, b"")
    assert device(stage)["address"] == MAC


@pytest.mark.parametrize("name", CONFS)
def test_marks_that_the_reference_leaves_mislead_nobody(stage, name):
    """Ours gives, the reference brings home, gives to another container, and ours takes over."""
    stage.sandbox.container("c2")
    conf = CONFS[name]
    stage.use("ours")
    one = stage.call("ADD", conf).document
    stage.use("reference")
    assert stage.call("DEL", {**conf, "prevResult": one}).status == 0
    two = stage.call("ADD", conf, SECOND)
    assert two.status == 0, two.stdout
    assert len(device(stage, "eth0", "c2")["altnames"]) == 2

    stage.use("ours")
    late = stage.call("DEL", {**conf, "prevResult": one}, {"CNI_NETNS": ""})
    collected = stage.call("GC", {**conf, "cniVersion": "1.1.0", "cni.dev/valid-attachments": []})
    assert (late.stdout, collected.stdout) == (b"", b"")
    assert device(stage, "eth0", "c2")["ifalias"] == "hd0"
    chained = {**conf, "prevResult": two.document}
    healthy = {**chained, "ipam": {}} if conf["ipam"] else chained  # GC has given the lease back
    assert stage.call("CHECK", healthy, SECOND).stdout == b""
    assert stage.call("DEL", chained, SECOND).stdout == b""

    home = device(stage)
    assert (home["address"], "altnames" in home, home.get("ifalias")) == (MAC, False, None)


@pytest.mark.parametrize(("first", "second"), ORDERS)
def test_what_one_gave_and_tuned_the_other_brings_home(stage, first, second):
    conf, tuned = CONFS["dual stack"], tuning(mtu=1300)
    stage.use(first)
    added = stage.call("ADD", conf).document
    result = stage.call("ADD", {**tuned, "prevResult": added}).document

    stage.use(second)
    for one in (tuned, conf):
        chained = {**one, "prevResult": result}
        assert stage.call("CHECK", chained).stdout == b""
        assert stage.call("DEL", chained).stdout == b""

    assert (device(stage)["address"], device(stage)["mtu"]) == (MAC, 1500)


def test_an_address_is_not_leased_twice_by_the_two(stage):
    stage.sandbox.container("c2")
    stage.sandbox.shell("ip link add hd1 type veth peer name far1")
    stage.use("reference")
    one = stage.call("ADD", CONFS["dual stack"]).document
    stage.use("ours")
    two = stage.call("ADD", {**CONFS["dual stack"], "device": "hd1"}, SECOND).document

    assert [ip["address"] for ip in one["ips"]] == ["10.7.0.2/24", "fd07::2/64"]
    assert [ip["address"] for ip in two["ips"]] == ["10.7.0.3/24", "fd07::3/64"]
