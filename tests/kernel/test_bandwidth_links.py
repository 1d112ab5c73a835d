"""bandwidth on links of the real kernel that are no pair with the container's: whose they are."""

import dataclasses

import pytest

from cnicore.testing.faults import FaultyKernel

pytestmark = pytest.mark.kernel

INGRESS = {"ingressRate": 1_000_000, "ingressBurst": 2_000_000}
EGRESS = {"egressRate": 8_000_000, "egressBurst": 800_000}
DIRECTIONS = {"both": {**INGRESS, **EGRESS}, "ingress": INGRESS, "egress": EGRESS}
BANDWIDTH = {"cniVersion": "1.1.0", "name": "net", "type": "bandwidth"}
BOTH = {**BANDWIDTH, **DIRECTIONS["both"]}
IFB = "bwp623e1c388032"  # of network net and container c1
MARK = "bandwidth:cni:net/c1/eth0"
TAG = "cni:net/c1/eth0"


@pytest.fixture
def caller(sandbox, call):
    return dataclasses.replace(call, netns=sandbox.container("c1"))


@pytest.fixture
def result(sandbox, caller):
    """A tap on the host and one in the container, as a virtual machine's plugin makes them."""
    sandbox.shell("ip tuntap add vm0 mode tap && ip link set vm0 up")
    sandbox.shell("ip tuntap add t0 mode tap && ip link set t0 netns c1 name eth0")
    return reporting("vm0", netns=caller.netns)


def reporting(*names, netns="/run/netns/c1"):
    links = [{"name": name} for name in names]
    return {"cniVersion": "1.1.0", "interfaces": [*links, {"name": "eth0", "sandbox": netns}]}


def state(sandbox):
    links = [
        (link["ifname"], link.get("master"), link.get("ifalias"), link["mtu"])
        for link in sandbox.json("ip -json link")
    ]
    filters = [sandbox.shell(f"tc filter show dev {name} ingress") for name, *_ in links]
    return links, sandbox.shell("tc qdisc show"), filters


def alias(sandbox, name="vm0"):
    return sandbox.json(f"ip -json link show {name}")[0].get("ifalias")


# --- ADD


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_the_link_that_the_result_reports_is_shaped_and_marked(sandbox, caller, result, directions):
    document = caller.add({**BANDWIDTH, **DIRECTIONS[directions], "prevResult": result})

    queues = sandbox.shell("tc qdisc show")
    assert ("dev vm0 root refcnt 2 rate 1Mbit burst 250000b" in queues) is (directions != "egress")
    shaped = f"tbf 1: dev {IFB} root refcnt 2 rate 8Mbit burst 100000b" in queues
    redirected = f"to device {IFB}" in sandbox.shell("tc filter show dev vm0 ingress")
    assert (shaped, redirected) == (directions != "ingress",) * 2
    assert [one["name"] for one in document["interfaces"]] == [
        *("vm0", "eth0"),
        *([IFB] if directions != "ingress" else []),
    ]
    assert alias(sandbox) == MARK


def test_a_virtual_machines_link_may_be_in_no_namespace(sandbox, caller, result):
    sandbox.shell("ip -n c1 link delete eth0")
    before = state(sandbox)
    of_host = {"cniVersion": "1.1.0", "interfaces": [{"name": "vm0"}]}

    attached = {**BOTH, "prevResult": caller.add({**BOTH, "prevResult": of_host})}

    assert caller("CHECK", attached).text == ""
    assert caller("DEL", BOTH).text == ""
    assert state(sandbox) == before


def test_add_that_fails_at_any_call_of_the_kernel_leaves_nothing(sandbox, caller, result):
    conf = {**BOTH, "prevResult": result}
    before = state(sandbox)
    failures = 0
    for number in range(1, 100):
        kernel = FaultyKernel(number)
        with kernel.in_place():
            outcome = caller("ADD", conf)
        if outcome.status == 0:
            break
        failures += 1
        assert state(sandbox) == before, f"call {number}: {outcome.text}"
    assert outcome.status == 0
    assert failures > 15


@pytest.mark.parametrize("own_alias", ["", "mine", TAG])
def test_a_second_add_replaces_what_the_first_made(sandbox, caller, result, own_alias):
    sandbox.shell(f"ip link set vm0 alias '{own_alias}'")
    conf = {**BOTH, "prevResult": result}
    caller.add(conf)

    caller.add({**conf, "ingressRate": 2_000_000})

    assert "rate 2Mbit" in sandbox.shell("tc qdisc show dev vm0 root")
    assert sandbox.shell("tc filter show dev vm0 ingress").count("Redirect to device") == 1
    assert alias(sandbox) == (own_alias or MARK)


SHARED = {
    "nothing on the host": ([], ""),
    "a bridge": (["br0"], "br0 is of kind bridge, which is shared"),
    "a bridge and its port": (["br0", "port0"], "port0 leads to another link"),
    "what has ports": (["lo", "none0"], "lo is the host's own, none0 is not there"),
    "another container's": (["vm1"], "vm1 belongs to another attachment"),
    "the way out": (["wan0"], "wan0 has the host's default route"),
    "a macvlan": (["mac0"], "mac0 leads to another link"),
}
LINKS = """
ip link add br0 type bridge
ip link add port0 master br0 type veth peer name port1
ip tuntap add vm1 mode tap; ip link set vm1 alias bandwidth:cni:net/c2/eth0
ip tuntap add wan0 mode tap; ip addr add 192.0.2.2/24 dev wan0; ip link set wan0 up
ip route add default via 192.0.2.1
ip link add link br0 name mac0 type macvlan
"""


@pytest.mark.parametrize("case", SHARED)
def test_what_is_not_the_containers_alone_is_refused_and_named(sandbox, caller, result, case):
    sandbox.shell(LINKS)
    names, why = SHARED[case]
    before = state(sandbox)

    document = caller("ADD", {**BOTH, "prevResult": reporting(*names)}).document

    assert document["code"] == 7
    assert document["msg"].startswith("eth0 is of kind tun and has no other end on the host, and")
    assert why in document["msg"]
    assert "remove bandwidth from this network or attach with bridge or ptp" in document["msg"]
    assert state(sandbox) == before


def test_of_several_links_none_is_chosen(sandbox, caller, result):
    sandbox.shell("ip tuntap add vm1 mode tap")
    before = state(sandbox)

    document = caller("ADD", {**BOTH, "prevResult": reporting("vm0", "vm1")}).document

    assert document["code"] == 7
    assert "in prevResult vm0 and vm1 could be its own: let the plugin before" in document["msg"]
    assert state(sandbox) == before


def test_what_a_macvlan_stands_on_is_not_its_end(sandbox, caller):
    """Also where the indexes are such that parent and macvlan seem to name each other."""
    sandbox.container("c2")
    sandbox.shell("ip link add p0 index 50 type veth peer name x index 51 netns c2")
    sandbox.shell("ip link add link p0 name eth0 index 51 netns c1 type macvlan")
    sandbox.shell("tc qdisc add dev p0 root handle 1: tbf rate 1mbit burst 250000 latency 25ms")
    before = state(sandbox)

    document = caller("ADD", {**BOTH, "prevResult": reporting("p0")}).document

    assert document["msg"].startswith("eth0 is of kind macvlan and has no other end on the host")
    assert "(p0 is what eth0 stands on)" in document["msg"]
    for netns in ("/run/netns/c1", ""):
        conf = {**BOTH, "prevResult": reporting("p0")}
        assert caller("DEL", conf, CNI_NETNS=netns).text == ""
        assert state(sandbox) == before


# --- DEL


def life(sandbox, caller, result, directions, own_alias=""):
    """Attach a link that may have an alias: the state before, and what CHECK and DEL are given."""
    sandbox.shell(f"ip link set vm0 alias '{own_alias}'")
    before = state(sandbox)
    conf = {**BANDWIDTH, **DIRECTIONS[directions]}
    attached = {**conf, "prevResult": caller.add({**conf, "prevResult": result})}
    assert caller("CHECK", attached).text == ""
    return before, attached


SIGNS = [
    (directions, own_alias, has_result)
    for directions in DIRECTIONS
    for own_alias in ("", "mine", TAG)
    for has_result in (True, False)
    # the one case in which nothing tells whose the link is
    if (directions, own_alias, has_result) != ("ingress", "mine", False)
]


@pytest.mark.parametrize("netns", ["there", "empty", "gone"])
@pytest.mark.parametrize("signs", SIGNS, ids=str)
def test_del_leaves_nothing(sandbox, caller, result, signs, netns):
    directions, own_alias, has_result = signs
    before, attached = life(sandbox, caller, result, directions, own_alias)
    if netns == "gone":
        sandbox.remove_container("c1")

    for _ in range(2):
        variables = {"CNI_NETNS": ""} if netns == "empty" else {}
        assert caller("DEL", attached if has_result else BANDWIDTH, **variables).text == ""
        assert state(sandbox) == before


def test_del_after_the_link_is_gone_removes_the_ifb(sandbox, caller, result):
    _, attached = life(sandbox, caller, result, "both")
    sandbox.shell("ip link delete vm0")

    assert caller("DEL", attached).text == ""

    assert sandbox.json("ip -json link show type ifb") == []


def test_del_after_the_ifb_is_gone_ends_the_redirection(sandbox, caller, result):
    before, _ = life(sandbox, caller, result, "both")
    sandbox.shell(f"ip link delete {IFB}")

    assert caller("DEL", BANDWIDTH).text == ""

    assert state(sandbox) == before


@pytest.mark.parametrize(
    "conf", [BANDWIDTH, BOTH, {**BOTH, "ingressRate": -1}], ids=["none", "both", "wrong"]
)
@pytest.mark.parametrize("has_container", [True, False])
def test_del_leaves_the_queues_of_others(sandbox, caller, result, conf, has_container):
    """A bucket with bandwidth's handle, at a link that the result reports but nobody marked."""
    sandbox.shell("tc qdisc add dev vm0 root handle 1: tbf rate 5mbit burst 250000 latency 25ms")
    sandbox.shell("tc qdisc add dev vm0 ingress")
    sandbox.shell("tc filter add dev vm0 ingress protocol ip u32 match u32 0 0 flowid 1:2")
    before = state(sandbox)

    variables = {} if has_container else {"CNI_NETNS": ""}
    assert caller("DEL", {**conf, "prevResult": result}, **variables).text == ""

    assert state(sandbox) == before


def test_a_broken_result_does_not_keep_del_from_cleaning(sandbox, caller, result):
    before, _ = life(sandbox, caller, result, "both")

    assert caller("DEL", {**BOTH, "prevResult": {"cniVersion": "9.9.9"}}).text == ""

    assert state(sandbox) == before


# --- CHECK, GC


def test_check_is_not_misled_by_what_is_reported_or_routed_later(sandbox, caller, result):
    attached = caller.add({**BOTH, "prevResult": result})
    sandbox.shell("ip tuntap add later0 mode tap")
    sandbox.shell("ip addr add 10.1.0.1/24 dev vm0; ip route add default via 10.1.0.2")
    attached["interfaces"].append({"name": "later0"})

    assert caller("CHECK", {**BOTH, "prevResult": attached}).text == ""
    sandbox.shell("tc filter delete dev vm0 ingress")
    message = caller("CHECK", {**BOTH, "prevResult": attached}).document["msg"]
    assert message.startswith(f"vm0 does not redirect to the ifb {IFB}")


@pytest.mark.parametrize("directions", DIRECTIONS)
@pytest.mark.parametrize("own_alias", ["", TAG])
def test_gc_ends_the_shaping_of_attachments_that_are_gone(
    sandbox, caller, result, directions, own_alias
):
    conf = {**BANDWIDTH, **DIRECTIONS[directions]}
    before, _ = life(sandbox, caller, result, directions, own_alias)
    shaped = state(sandbox)
    valid = [{"containerID": "c1", "ifname": "eth0"}]

    assert caller("GC", {**conf, "cni.dev/valid-attachments": valid}).text == ""
    assert caller("GC", {**conf, "name": "n2", "cni.dev/valid-attachments": []}).text == ""
    assert state(sandbox) == shaped
    for _ in range(2):
        assert caller("GC", {**conf, "cni.dev/valid-attachments": []}).text == ""
        assert state(sandbox) == before


def test_gc_finds_the_link_that_redirects_where_its_alias_is_somebodys(sandbox, caller, result):
    before, _ = life(sandbox, caller, result, "both", "mine")

    assert caller("GC", {**BOTH, "cni.dev/valid-attachments": []}).text == ""

    assert state(sandbox) == before


def test_containers_of_one_network_do_not_touch_each_other(sandbox, caller, result):
    other = dataclasses.replace(caller, netns=sandbox.container("c2"), container_id="c2")
    sandbox.shell("ip tuntap add vm1 mode tap && ip link set vm1 up")
    sandbox.shell("ip tuntap add t0 mode tap && ip link set t0 netns c2 name eth0")
    attached = caller.add({**BOTH, "prevResult": result})
    before = state(sandbox)
    of_other = other.add({**BOTH, "prevResult": reporting("vm1", netns=other.netns)})

    message = other("ADD", {**BOTH, "prevResult": result}).document["msg"]
    assert "vm0 belongs to another attachment" in message
    assert other("CHECK", {**BOTH, "prevResult": of_other}).text == ""
    assert other("DEL", {**BOTH, "prevResult": of_other}, CNI_NETNS="").text == ""

    assert state(sandbox) == before
    assert caller("CHECK", {**BOTH, "prevResult": attached}).text == ""
