"""bandwidth on the real kernel: what it makes, what is left, what CHECK sees."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from cnicore.net.link import Link
from cnicore.net.namespace import Namespace
from cnicore.net.netlink import KernelError
from cnicore.net.qdisc import Filter, TokenBucket
from cnicore.testing.faults import FaultyKernel

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).parents[2] / "docs/reference/plugins/bandwidth.md"

BRIDGE = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "bridge",
    "isGateway": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]},
}
BANDWIDTH = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "bandwidth",
    "ingressRate": 1_000_000,
    "ingressBurst": 2_000_000,
    "egressRate": 40_000_000_000,
    "egressBurst": 100_000_000,
}
IFB = "bwp623e1c388032"  # of network net and container c1
SECOND_IFB = "bwpa9ca95aef24f"  # of its eth1, where eth0 has that


@pytest.fixture
def caller(sandbox, call):
    return dataclasses.replace(call, netns=sandbox.container("c1"))


@pytest.fixture
def chained(caller):
    """The configuration with the result of a bridge before it."""
    return {**BANDWIDTH, "prevResult": caller.add(BRIDGE)}


def state(sandbox):
    """Links, queues and filters of the host."""
    links = [
        (link["ifname"], link.get("master"), link.get("ifalias"), link["mtu"], link["flags"])
        for link in sandbox.json("ip -json link")
    ]
    qdiscs = sandbox.shell("tc qdisc show")
    filters = [
        sandbox.shell(f"tc filter show dev {name} ingress") for name, *_ in links if name != "lo"
    ]
    return links, qdiscs, filters


def veths(sandbox):
    return [link["ifname"] for link in sandbox.json("ip -json link show type veth")]


def ifbs(sandbox):
    return [link["ifname"] for link in sandbox.json("ip -json link show type ifb")]


# --- the handle


@pytest.fixture
def host(sandbox):
    sandbox.shell("ip link add v0 mtu 9000 type veth peer name v1")
    namespace = Namespace()
    yield namespace
    namespace.close()


def test_a_bucket_is_read_as_it_was_written(host, sandbox):
    small, large = (
        TokenBucket(125_000, 253_125, 31_250_000),
        TokenBucket(5_000_000_000, 137_500_000, 39_062),
    )
    v0, v1 = host.link("v0"), host.link("v1")

    host.add_bucket(v0, small)
    host.add_bucket(v1, large)

    assert {one.link: one.bucket for one in host.qdiscs() if one.is_root and one.bucket} == {
        v0.index: small,
        v1.index: large,
    }
    assert "rate 40Gbit" in sandbox.shell("tc qdisc show dev v1")
    for _ in range(2):
        host.delete_bucket(v0)
    assert "tbf" not in sandbox.shell("tc qdisc show dev v0")


def test_an_ifb_is_up_and_has_no_queue_of_its_own(host, sandbox):
    host.add_ifb("x", mtu=9000)

    (link,) = sandbox.json("ip -json -details link show x")
    assert (link["mtu"], "UP" in link["flags"], link.get("txqlen", 0)) == (9000, True, 0)
    assert link["linkinfo"]["info_kind"] == "ifb"
    with pytest.raises(KernelError, match="create the ifb x: File exists"):
        host.add_ifb("x", mtu=1500)


def test_a_redirection_is_told_from_other_filters(host, sandbox):
    host.add_ifb("x", mtu=1500)
    v0, target = host.link("v0"), host.link("x")
    assert host.filters(v0) == []

    host.add_ingress(v0)
    assert host.filters(v0) == []
    host.add_redirect(v0, target)
    sandbox.shell(
        "tc filter add dev v0 ingress pref 2 protocol ip u32 match ip dport 80 0xffff"
        " action mirred egress redirect dev x"
    )
    sandbox.shell("tc filter add dev v0 ingress pref 3 protocol all u32 match u32 0 0 flowid 1:2")
    sandbox.shell(
        "tc filter add dev v0 ingress pref 4 protocol all u32 match u32 0 0"
        " action mirred egress mirror dev x"
    )

    ours, others = Filter("u32", target.index), [Filter("u32")] * 3
    assert host.filters(v0) == [ours, *others]
    host.delete_link("x")
    assert host.filters(v0) == [Filter("u32", 0), *others]
    for _ in range(2):
        host.delete_redirect(v0)
        assert host.filters(v0) == others
    for _ in range(2):
        host.delete_ingress(v0)
    assert host.filters(v0) == []


def test_the_queues_of_others_are_neither_replaced_nor_removed(host, sandbox):
    sandbox.shell("tc qdisc add dev v0 root pfifo limit 7 && tc qdisc add dev v0 clsact")
    v0, before = host.link("v0"), sandbox.shell("tc qdisc show dev v0")

    host.delete_bucket(v0)
    host.delete_ingress(v0)
    with pytest.raises(KernelError, match="limit the rate of v0: File exists"):
        host.add_bucket(v0, TokenBucket(1, 1, 15_625_000))
    with pytest.raises(KernelError, match="filter what arrives at v0: File exists"):
        host.add_ingress(v0)

    assert sandbox.shell("tc qdisc show dev v0") == before


def test_looking_for_what_the_kernel_can_do_changes_nothing(host, sandbox):
    before = state(sandbox)

    assert (host.can_limit_rates(), host.can_make("ifb"), host.can_make("no-such")) == (
        True,
        True,
        False,
    )

    assert state(sandbox) == before


def test_a_link_that_is_gone_has_nothing_to_remove(host):
    gone = Link(4711, "gone")

    host.delete_bucket(gone)
    host.delete_redirect(gone)
    host.delete_ingress(gone)

    assert host.filters(gone) == []


# --- the plugin


def test_add_makes_both_buckets_and_the_redirection(sandbox, caller, chained):
    document = caller.add(chained)

    (veth,) = veths(sandbox)
    (ifb,) = sandbox.json(f"ip -json link show {IFB}")
    assert document["interfaces"][-1] == {"name": IFB, "mac": ifb["address"]}
    assert ifb["ifalias"] == "cni:net/c1/eth0"
    assert "rate 1Mbit burst 250000b lat 25ms" in sandbox.shell(f"tc qdisc show dev {veth} root")
    assert "tbf 1: root refcnt 2 rate 40Gbit" in sandbox.shell(f"tc qdisc show dev {IFB}")
    assert f"Redirect to device {IFB}) stolen" in sandbox.shell(
        f"tc filter show dev {veth} ingress"
    )


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("netns", ["/run/netns/c1", ""])
def test_del_leaves_nothing_also_when_the_namespace_is_gone(sandbox, caller, chained, netns, gone):
    if gone:
        sandbox.shell(f"ip link delete {veths(sandbox)[0]}")
        caller("DEL", BRIDGE)
        before = state(sandbox)
        chained = {**BANDWIDTH, "prevResult": caller.add(BRIDGE)}
    else:
        before = state(sandbox)
    caller.add(chained)

    if gone:
        sandbox.remove_container("c1")
    for _ in range(2):
        assert caller("DEL", BANDWIDTH, CNI_NETNS=netns).text == ""
    if gone:
        wait_until_gone(sandbox)

    assert ifbs(sandbox) == []
    assert strip(state(sandbox)) == strip(before)


def wait_until_gone(sandbox):
    """The kernel takes a namespace's interfaces away after its name."""
    sandbox.shell("for i in $(seq 500); do ip link show type veth | grep -q . || break; done")


def strip(state):
    """Without the bridge's carrier, which comes and goes with its ports."""
    links, *others = state
    flags = {"NO-CARRIER", "LOWER_UP"}
    return [(*link[:-1], sorted({*link[-1]} - flags)) for link in links], *others


def test_add_that_fails_at_any_call_of_the_kernel_leaves_nothing(sandbox, caller, chained):
    before = state(sandbox)
    failures = 0
    for number in range(1, 100):
        kernel = FaultyKernel(number)
        with kernel.in_place():
            outcome = caller("ADD", chained)
        if outcome.status == 0:
            break
        failures += 1
        assert state(sandbox) == before, f"call {number}: {outcome.text}"
    assert outcome.status == 0
    assert failures > 15


def test_a_second_add_replaces_what_the_first_made(sandbox, caller, chained):
    caller.add(chained)

    again = caller.add({**chained, "ingressRate": 2_000_000})

    (veth,) = veths(sandbox)
    assert "rate 2Mbit" in sandbox.shell(f"tc qdisc show dev {veth} root")
    assert (ifbs(sandbox), again["interfaces"][-1]["name"]) == ([IFB], IFB)
    assert sandbox.shell(f"tc filter show dev {veth} ingress").count("Redirect to device") == 1


def test_two_interfaces_of_one_container_in_one_network(sandbox, caller):
    results = {name: caller.add(BRIDGE, CNI_IFNAME=name) for name in ("eth0", "eth1")}
    confs = {name: {**BANDWIDTH, "prevResult": results[name]} for name in results}
    before = state(sandbox)
    for name, conf in confs.items():
        caller.add(conf, CNI_IFNAME=name)
    assert sorted(ifbs(sandbox)) == sorted([IFB, SECOND_IFB])

    for name, conf in confs.items():
        assert caller("CHECK", conf, CNI_IFNAME=name).text == ""
    assert caller("DEL", BANDWIDTH).text == ""
    assert ifbs(sandbox) == [SECOND_IFB]
    assert caller("CHECK", confs["eth1"], CNI_IFNAME="eth1").text == ""
    assert caller("CHECK", confs["eth0"]).status == 1
    assert caller("DEL", BANDWIDTH, CNI_IFNAME="eth1").text == ""

    assert state(sandbox) == before


TAMPERING = [
    "tc qdisc delete dev VETH root",
    "tc qdisc replace dev VETH root pfifo limit 9",
    "tc qdisc change dev VETH root tbf rate 2mbit burst 250000 latency 25ms",
    "tc qdisc change dev VETH root tbf rate 1mbit burst 250000 latency 50ms",
    "tc qdisc change dev VETH root tbf rate 1mbit burst 100000 limit 253125",
    "tc qdisc delete dev VETH ingress",
    "tc filter delete dev VETH ingress",
    f"tc qdisc delete dev {IFB} root",
    f"tc qdisc change dev {IFB} root tbf rate 1gbit burst 12500000 latency 25ms",
    f"ip link set {IFB} down",
    f"ip link delete {IFB}",
    f"ip link delete {IFB}; ip link add {IFB} up type ifb",
    f"ip link set {IFB} name other",
    f"ip link set {IFB} mtu 1400",
]


@pytest.mark.parametrize("command", TAMPERING)
def test_check_fails_after_tampering_and_not_before(sandbox, caller, chained, command):
    attached = {**chained, "prevResult": caller.add(chained)}
    assert caller("CHECK", attached).text == ""

    if "name other" in command:
        command = f"ip link set {IFB} down; {command}"
    sandbox.shell(command.replace("VETH", veths(sandbox)[0]))

    assert caller("CHECK", attached).status == 1


def test_the_kernels_refusal_is_explained(sandbox, caller, chained):
    (veth,) = veths(sandbox)
    for place, kind in (("root", "root pfifo limit 9"), ("ingress", "clsact")):
        sandbox.shell(f"tc qdisc add dev {veth} {kind}")
        before = state(sandbox)

        message = caller("ADD", chained).document["msg"]

        assert message.endswith(f"remove it with tc qdisc delete dev {veth} {place}")
        assert state(sandbox) == before
        sandbox.shell(f"tc qdisc delete dev {veth} {kind.partition(' ')[0]}")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        ("ip tuntap add eth0 mode tap; ip link set eth0 netns c1", "kind tun"),
        (
            "ip link add b0 type bridge; ip link add link b0 name m0 type macvlan;"
            " ip link set m0 netns c1; ip -n c1 link set m0 name eth0",
            "kind macvlan",
        ),
    ],
)
def test_an_interface_without_an_end_on_the_host_is_named(sandbox, caller, make, words):
    sandbox.shell(make)
    result = {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": caller.netns}]}

    document = caller("ADD", {**BANDWIDTH, "prevResult": result}).document

    assert (document["code"], words in document["msg"]) == (7, True)
    assert "remove bandwidth from this network or attach with bridge or ptp" in document["msg"]


@pytest.mark.parametrize("index", [51, 52])
def test_a_pair_whose_other_end_is_elsewhere_is_not_shaped(sandbox, caller, index):
    """The index of its other end is that of an innocent link here, whose peer may have its own."""
    sandbox.container("c2")
    sandbox.shell("ip link add victim index 50 type veth peer name v1 index 51")
    sandbox.shell(f"ip -n c2 link add x index 50 type veth peer name eth0 index {index} netns c1")
    result = {"cniVersion": "1.1.0", "interfaces": [{"name": "victim"}]}
    before = state(sandbox)

    document = caller("ADD", {**BANDWIDTH, "prevResult": result}).document

    assert "other end of eth0 (index 50) is not on the host" in document["msg"]
    assert state(sandbox) == before
    sandbox.shell("tc qdisc add dev victim root handle 1: tbf rate 1mbit burst 99k latency 9ms")
    before = state(sandbox)
    assert caller("DEL", BANDWIDTH).text == ""
    assert state(sandbox) == before


def test_gc_of_the_chain_removes_a_container_that_nobody_deleted(sandbox, caller, chained):
    caller.add(chained)
    other = dataclasses.replace(caller, netns=sandbox.container("c2"), container_id="c2")
    before = strip(state(sandbox))
    other.add({**BANDWIDTH, "prevResult": other.add(BRIDGE)})
    valid = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}

    for conf in (BRIDGE, BANDWIDTH):
        assert other("GC", {**conf, **valid}).text == ""

    assert strip(state(sandbox)) == before
    assert caller("CHECK", chained).text == ""


def test_status_changes_nothing(sandbox, caller):
    before = state(sandbox)

    assert caller("STATUS", BANDWIDTH).text == ""

    assert state(sandbox) == before


def test_the_example_of_the_page_makes_what_the_page_shows(sandbox, caller):
    conf_list, shown = re.findall(r"```(?:json)?\n(\{.*?|qdisc.*?)```", PAGE.read_text(), re.DOTALL)
    document = json.loads(conf_list)
    common = {key: document[key] for key in ("cniVersion", "name")}
    result = {}
    for plugin in document["plugins"]:
        result = caller.add({**plugin, **common, **({"prevResult": result} if result else {})})

    queues = re.sub(r"veth[0-9a-f]{8}", "veth1a2b3c4d", sandbox.shell("tc qdisc show"))
    queues = queues.replace(result["interfaces"][-1]["name"], "bwp70a29d9dc18b")
    lines = [line.strip() for line in queues.splitlines()]
    assert [line for line in lines if re.match("qdisc (tbf|ingress)", line)] == shown.splitlines()
