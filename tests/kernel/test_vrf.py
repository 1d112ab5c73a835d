"""vrf on the real kernel, with real packets."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from cnicore.net.namespace import Namespace, host_namespace
from cnicore.net.netlink import KernelError
from cnicore.testing.faults import failing_at_every_call

pytestmark = pytest.mark.kernel

full_kernel = pytest.mark.full_kernel

PAGE = Path(__file__).parents[2] / "docs/reference/plugins/vrf.md"
DUAL = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]]
BRIDGE = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "bridge",
    "isGateway": True,
    "ipam": {
        "type": "host-local",
        "ranges": DUAL,
        "routes": [
            {"dst": "0.0.0.0/0"},
            {"dst": "::/0"},
            {"dst": "10.9.0.0/16", "priority": 7, "mtu": 1400},
        ],
    },
}
PTP = {**BRIDGE, "name": "p2p", "type": "ptp"}
VRF = {"cniVersion": "1.1.0", "name": "net", "type": "vrf", "vrfname": "blue"}


def has_vrf():
    with host_namespace() as host:
        return host.can_make("vrf")


@pytest.fixture
def lacking(sandbox):
    if has_vrf():
        pytest.skip("is about a kernel without VRFs")


@pytest.fixture
def caller(sandbox, call):
    if not has_vrf():
        pytest.skip("needs a kernel with VRFs: the module vrf")
    return dataclasses.replace(call, netns=sandbox.container("c1"))


@pytest.fixture(params=[BRIDGE, PTP], ids=["bridge", "ptp"])
def main(request):
    return request.param


@pytest.fixture
def chained(caller, main):
    """The configuration with the result of a plugin that has made eth0."""
    return {**VRF, "prevResult": caller.add(main)}


def state(sandbox):
    """Links, addresses and routes of the container."""
    links = [
        (link["ifname"], link.get("master"), link["mtu"], link["address"], "UP" in link["flags"])
        for link in sandbox.json("ip -json link", "c1")
    ]
    addresses = [
        (link["ifname"], address["local"], address["prefixlen"])
        for link in sandbox.json("ip -json addr", "c1")
        for address in link["addr_info"]
    ]
    return links, addresses, routes(sandbox, "all")


def routes(sandbox, table):
    lines = []
    for version in "46":
        text = sandbox.shell(f"ip -{version} route show table {table} 2>/dev/null || true", "c1")
        # the kernel's own: multicast, and what a nexthop is numbered by
        text = re.sub(r" (proto \w+|linkdown|pref \w+|nhid \d+)", "", text)
        lines += [f"{version} {' '.join(line.split())}" for line in text.splitlines()]
    return sorted(line for line in lines if "ff00::" not in line and "fe80::" not in line)


def unicast(lines):
    own = ("local", "broadcast", "anycast", "multicast")
    return [line for line in lines if line.split()[1] not in own]


def members(sandbox):
    return [
        link["ifname"]
        for link in sandbox.json("ip -json link", "c1")
        if link.get("master") == "blue"
    ]


# --- a kernel without


def test_add_and_status_say_which_module_the_kernel_lacks(sandbox, call, lacking):
    caller = dataclasses.replace(call, netns=sandbox.container("c1"))
    result = caller.add(BRIDGE)
    before = state(sandbox)

    added = caller("ADD", {**VRF, "prevResult": result}).document
    status = caller("STATUS", VRF).document

    assert "create the VRF blue with table 1: Operation not supported" in added["msg"]
    assert "the kernel has no VRFs: load the module vrf" in added["msg"]
    assert (status["code"], "load the module vrf" in status["msg"]) == (50, True)
    assert state(sandbox) == before
    assert caller("DEL", VRF).text == ""
    assert caller("CHECK", {**VRF, "prevResult": result}).status == 1


def test_a_link_can_be_released_from_any_master(sandbox):
    sandbox.shell("ip link add b0 type bridge && ip link add v0 master b0 type veth peer name v1")
    host = Namespace()
    assert host.link("v0").master == host.link("b0").index

    host.release("v0")

    assert host.link("v0").master == 0
    host.close()


# --- the handle


@full_kernel
def test_a_vrf_is_up_and_tells_its_table(sandbox, caller):
    host = Namespace()
    host.add_vrf("blue", 4_000_000_000)

    vrf = host.link("blue")
    assert (vrf.kind, vrf.table, vrf.is_up) == ("vrf", 4_000_000_000, True)
    with pytest.raises(KernelError, match="create the VRF blue with table 7: File exists"):
        host.add_vrf("blue", 7)
    host.close()


# --- the plugin


@full_kernel
def test_the_interface_has_its_addresses_and_its_routes_in_the_vrfs_table(
    sandbox, caller, chained, main
):
    links, addresses, _ = state(sandbox)
    main_table = routes(sandbox, "main")

    assert caller.add({**chained, "table": 1001}) == chained["prevResult"]

    assert members(sandbox) == ["eth0"]
    assert [one for one in state(sandbox)[1] if one[0] == "eth0"] == [
        one for one in addresses if one[0] == "eth0"
    ]
    assert unicast(routes(sandbox, 1001)) == main_table
    assert routes(sandbox, "main") == []
    assert links[0][0] == "lo"


@full_kernel
def test_packets_leave_by_the_vrf(sandbox, caller, chained):
    caller.add(chained)

    for command in ("ping -c1 -W5 -I blue 10.1.0.1", "ping -6 -c1 -W5 -I blue fd00:1::1"):
        sandbox.shell(command, "c1")
    assert "unreachable" in sandbox.shell("ping -c1 -W1 10.1.0.1 2>&1 || true", "c1").lower()


@full_kernel
def test_two_vrfs_have_the_same_address(sandbox, caller):
    """Each reaches its own gateway, which has the same address too."""
    for name, vrf, ifname in (("red", "red", "eth1"), ("net", "blue", "eth0")):
        conf = {**BRIDGE, "name": name, "bridge": f"br-{name}"}
        if name == "red":  # its gateway is elsewhere, as the host cannot have an address twice
            conf |= {"isGateway": False}
        result = caller.add(conf, CNI_IFNAME=ifname)
        vrf_conf = {**VRF, "name": name, "vrfname": vrf, "prevResult": result}
        caller.add(vrf_conf, CNI_IFNAME=ifname)
    sandbox.container("gateway")
    sandbox.shell(
        "echo 1 >/proc/sys/net/ipv4/conf/br-red/arp_ignore"
        " && ip link add to-gw master br-red up type veth peer name eth0 netns gateway"
        " && ip -n gateway addr add 10.1.0.1/24 dev eth0 && ip -n gateway link set eth0 up"
    )

    for vrf in ("blue", "red"):
        sandbox.shell(f"ping -c1 -W5 -I {vrf} 10.1.0.1", "c1")

    neighbours = {
        one["dev"]: one["lladdr"] for one in sandbox.json("ip -json neigh show 10.1.0.1", "c1")
    }
    (gateway,) = sandbox.json("ip -json link show eth0", "gateway")
    assert neighbours["eth1"] == gateway["address"] != neighbours["eth0"]
    addresses = {
        link["ifname"]: [one["local"] for one in link["addr_info"] if one["scope"] == "global"]
        for link in sandbox.json("ip -json addr", "c1")
    }
    assert addresses["eth0"] == addresses["eth1"] == ["10.1.0.2", "fd00:1::2"]


@full_kernel
@pytest.mark.parametrize("keep", ["0", "1"])
@pytest.mark.parametrize("accept_dad", ["0", "1"])
def test_ipv6_addresses_survive_whatever_the_kernel_is_told_to_keep(
    sandbox, caller, keep, accept_dad
):
    result = caller.add(BRIDGE)
    for key, value in (("keep_addr_on_down", keep), ("accept_dad", accept_dad)):
        sandbox.shell(f"echo {value} >/proc/sys/net/ipv6/conf/eth0/{key}", "c1")
    before = routes(sandbox, "main")

    caller.add({**VRF, "table": 1001, "prevResult": result})

    (link,) = sandbox.json("ip -json -6 addr show eth0", "c1")
    (address,) = [one for one in link["addr_info"] if one["scope"] == "global"]
    assert (address["local"], address.get("tentative")) == ("fd00:1::2", None)
    assert unicast(routes(sandbox, 1001)) == before
    sandbox.shell("ping -6 -c1 -W5 -I blue fd00:1::1", "c1")


@full_kernel
def test_del_of_the_last_member_deletes_the_vrf(sandbox, caller, chained, main):
    before = state(sandbox)
    caller.add(chained)
    second = caller.add({**main, "name": "second"}, CNI_IFNAME="eth1")
    caller.add({**VRF, "prevResult": second}, CNI_IFNAME="eth1")

    for _ in range(2):
        assert caller("DEL", VRF).text == ""
        assert members(sandbox) == ["eth1"]
    for _ in range(2):
        assert caller("DEL", VRF, CNI_IFNAME="eth1").text == ""
        assert sandbox.json("ip -json link show type vrf", "c1") == []

    assert caller("DEL", {**main, "name": "second"}, CNI_IFNAME="eth1").text == ""
    assert state(sandbox)[:2] == before[:2]


@full_kernel
def test_del_after_the_interface_or_the_namespace_is_gone(sandbox, caller, chained):
    caller.add(chained)
    sandbox.shell("ip link delete eth0", "c1")

    assert caller("DEL", VRF).text == ""
    assert sandbox.json("ip -json link show type vrf", "c1") == []
    sandbox.remove_container("c1")
    for netns in ("", "/run/netns/c1"):
        assert caller("DEL", VRF, CNI_NETNS=netns).text == ""


@full_kernel
@pytest.mark.parametrize("prepared", ["nothing", "a VRF that is down"])
def test_add_that_fails_at_any_call_of_the_kernel_leaves_nothing(
    sandbox, caller, chained, prepared
):
    if prepared != "nothing":
        sandbox.shell("ip link add blue type vrf table 10", "c1")
    before = state(sandbox)
    failures = 0

    def attempt():
        nonlocal failures
        failures += caller("ADD", chained).status

    for number in failing_at_every_call(attempt):
        assert state(sandbox) == before, f"call {number}"

    assert failures >= 14
    assert members(sandbox) == ["eth0"]


@full_kernel
@pytest.mark.parametrize("tables", [[], [1, 2, 3, 5]])
def test_without_a_table_the_smallest_free_one_is_taken(sandbox, caller, chained, tables):
    for table in tables:
        sandbox.shell(f"ip link add vrf{table} type vrf table {table}", "c1")

    for _ in range(2):
        caller.add(chained)

    (blue,) = sandbox.json("ip -json -details link show blue", "c1")
    assert blue["linkinfo"]["info_data"]["table"] == (4 if tables else 1)


@full_kernel
@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        ("ip link add blue type vrf table 11", "already exist with different routing table 11"),
        ("ip link add blue type bridge", "is no VRF but of kind bridge"),
        (
            "ip link add br7 type bridge; ip link set eth0 master br7",
            "eth0 has already a master set: br7",
        ),
        (
            "ip link add red type vrf table 12; ip link set eth0 master red",
            "eth0 has already a master set: red",
        ),
    ],
)
def test_what_is_in_the_way_is_named_and_left_alone(sandbox, caller, chained, prepare, words):
    sandbox.shell(prepare, "c1")
    before = state(sandbox)

    assert words in caller("ADD", {**chained, "table": 10}).document["msg"]

    assert state(sandbox) == before


TAMPERING = [
    "ip link set eth0 nomaster",
    "ip link delete blue",
    "ip link set blue down",
    "ip link set eth0 down",
    "ip link delete eth0",
    "ip link delete blue; ip link add blue up type vrf table 11; ip link set eth0 master blue",
    "ip addr flush dev eth0 scope global",
    "ip route delete default table 10",
    "ip -6 route delete default table 10",
]


@full_kernel
@pytest.mark.parametrize("command", TAMPERING)
def test_check_fails_after_tampering_and_not_before(sandbox, caller, command):
    conf = {**VRF, "table": 10, "prevResult": caller.add(BRIDGE)}
    caller.add(conf)
    assert caller("CHECK", conf).text == ""

    sandbox.shell(command, "c1")

    assert caller("CHECK", conf).status == 1


@full_kernel
def test_status_and_gc_change_nothing(sandbox, caller, chained):
    caller.add(chained)
    before = state(sandbox)

    assert caller("STATUS", VRF).text == ""
    assert caller("GC", {**VRF, "cni.dev/valid-attachments": []}).text == ""

    assert state(sandbox) == before


@full_kernel
def test_the_example_of_the_page_makes_what_the_page_shows(sandbox, caller):
    conf_list, shown = re.findall(
        r"```(?:json)?\n(\{.*?|default.*?)```", PAGE.read_text(), re.DOTALL
    )
    document = json.loads(conf_list)
    common = {key: document[key] for key in ("cniVersion", "name")}
    result = {}
    for plugin in document["plugins"]:
        result = caller.add({**plugin, **common, **({"prevResult": result} if result else {})})

    lines = sandbox.shell("ip route show vrf blue", "c1").splitlines()
    assert [line.strip() for line in lines] == shown.splitlines()
    for plugin in reversed(document["plugins"]):
        assert caller("DEL", {**plugin, **common}).text == ""
