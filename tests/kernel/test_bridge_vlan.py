"""VLANs of bridge on a kernel whose bridges filter them, with the tags that are seen on the wire."""

import dataclasses

import pytest

from kernel.frames import Place, crossing

pytestmark = [pytest.mark.kernel, pytest.mark.full_kernel]

LAYER_2 = {"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0"}
ROUTED = {
    **LAYER_2,
    "vlan": 100,
    "isDefaultGateway": True,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
    },
}
WIRE = Place("/run/netns/lan", "trunk", "wire")
TRUNK = """
ip link add br0 type bridge vlan_filtering 1 && ip link set br0 up
ip netns add lan
ip link add trunk type veth peer name wire netns lan
ip link set trunk master br0 up && ip -n lan link set wire up
bridge vlan add dev trunk vid 2-4094
"""
"""An uplink of the bridge that carries every VLAN tagged, but for the bridge's own, 1."""
PINGS = "ping -c1 -w20 {0} && ping -c1 -w20 {1}"


@pytest.fixture(autouse=True)
def filtering(sandbox):
    try:
        sandbox.shell("ip link add probe type bridge vlan_filtering 1 && ip link delete probe")
    except AssertionError:
        pytest.skip("needs a kernel whose bridges filter VLANs")
    sandbox.shell("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad")


@pytest.fixture
def container(sandbox, call):
    """Makes a container and gives the caller for its attachments."""

    def make(name="c1"):
        return dataclasses.replace(call, netns=sandbox.container(name), container_id=name)

    return make


@pytest.fixture
def trunk(sandbox):
    sandbox.shell(TRUNK)


@pytest.fixture
def place(container):
    """Attaches a container to layer 2; gives the place of its interface."""

    def attach(name="c1", **keys):
        caller = container(name)
        result = caller.add({**LAYER_2, **keys})
        return Place(caller.netns, result["interfaces"][1]["name"])

    return attach


def port_vlans(sandbox, port):
    """The VLANs of a port, each with what else is said of it."""
    (vlans,) = sandbox.json(f"bridge -json vlan show dev {port}")
    found = {}
    for one in vlans["vlans"]:
        for vid in range(one["vlan"], one.get("vlanEnd", one["vlan"]) + 1):
            found[vid] = " ".join(one.get("flags", []))
    return found


def ports(sandbox):
    return {link["ifname"] for link in sandbox.json("ip -json link show master br0")}


# --- vlan


def test_a_new_bridge_filters_and_its_port_is_in_the_vlan_alone(sandbox, place):
    port = place(vlan=100).behind

    (bridge,) = sandbox.json("ip -json -details link show br0")
    assert bridge["linkinfo"]["info_data"]["vlan_filtering"] == 1
    assert port_vlans(sandbox, port) == {100: "PVID Egress Untagged"}


def test_without_vlan_a_new_bridge_does_not_filter(sandbox, place):
    place()

    (bridge,) = sandbox.json("ip -json -details link show br0")
    assert bridge["linkinfo"]["info_data"]["vlan_filtering"] == 0


def test_what_the_container_sends_has_the_tag_on_the_trunk(trunk, place):
    assert crossing(place(vlan=100), WIRE, None) == {None: 100}


def test_what_comes_with_the_tag_reaches_the_container_without(trunk, place):
    assert crossing(WIRE, place(vlan=100), 100, 200, None, 99, 101) == {100: None}


def test_a_tag_that_the_container_sets_itself_is_not_believed(trunk, place):
    assert crossing(place(vlan=100), WIRE, 200, 1, None) == {None: 100}


@pytest.mark.parametrize("vlan", [1, 2, 4094])
def test_the_first_and_the_last_vlan(sandbox, trunk, place, vlan):
    one = place(vlan=vlan)

    assert port_vlans(sandbox, one.behind) == {vlan: "PVID Egress Untagged"}
    assert crossing(one, WIRE, None) == {None: None if vlan == 1 else vlan}


def test_frames_stay_in_their_vlan(trunk, place):
    one, same, other, none = (
        place("c1", vlan=100),
        place("c2", vlan=100),
        place("c3", vlan=200),
        place("c4"),
    )

    assert crossing(one, same, None) == {None: None}
    assert crossing(one, other, None, 200) == {}
    assert crossing(other, one, None, 100) == {}
    assert crossing(none, one, None, 100) == {}
    assert crossing(one, none, None, 1) == {}


def test_hosts_behind_the_trunk_are_reached_in_the_same_vlan_only(sandbox, trunk, container):
    container().add({**ROUTED, "isDefaultGateway": False})
    for vlan in (100, 200):
        name = f"host{vlan}"
        sandbox.container(name)
        sandbox.shell(f"ip -n lan link add link wire name eth0 netns {name} type vlan id {vlan}")
        sandbox.shell(
            f"ip addr add 10.1.0.{vlan}/24 dev eth0; ip addr add fd00:1::{vlan}/64 dev eth0 nodad"
            "; ip link set eth0 up",
            name,
        )

    sandbox.shell(PINGS.format("10.1.0.100", "fd00:1::100"), "c1")
    for address in ("10.1.0.200", "fd00:1::200"):
        with pytest.raises(AssertionError, match="100% packet loss"):
            sandbox.shell(f"ping -c1 -W1 {address}", "c1")


# --- vlanTrunk

RANGES = {"vlanTrunk": [{"id": 101}, {"minID": 200, "maxID": 202}]}
TAGS = (100, 101, 102, 199, 200, 201, 202, 203)
CARRIED = {101: 101, 200: 200, 201: 201, 202: 202}


def test_the_vlans_of_a_trunk_keep_the_containers_tags(sandbox, trunk, place):
    one = place(**RANGES)

    assert port_vlans(sandbox, one.behind) == {
        1: "PVID Egress Untagged",
        **dict.fromkeys(CARRIED, ""),
    }
    assert crossing(one, WIRE, None, *TAGS) == {None: None, **CARRIED}
    assert crossing(WIRE, one, None, *TAGS) == {None: None, **CARRIED}


def test_a_trunk_with_a_vlan_for_what_has_no_tag(sandbox, trunk, place):
    one = place(**RANGES, vlan=100)

    assert port_vlans(sandbox, one.behind) == {
        100: "PVID Egress Untagged",
        **dict.fromkeys(CARRIED, ""),
    }
    assert crossing(one, WIRE, None, 101, 102, 202) == {None: 100, 101: 101, 202: 202}
    assert crossing(WIRE, one, None, *TAGS) == {100: None, **CARRIED}


def test_the_vlan_of_untagged_frames_stays_so_when_the_trunk_names_it_too(sandbox, trunk, place):
    one = place(vlan=201, **RANGES)

    assert port_vlans(sandbox, one.behind)[201] == "PVID Egress Untagged"
    assert crossing(one, WIRE, None, 202) == {None: 201, 202: 202}


def test_an_empty_trunk_makes_a_filtering_bridge_and_changes_no_port(sandbox, place):
    port = place(vlanTrunk=[]).behind

    (bridge,) = sandbox.json("ip -json -details link show br0")
    assert bridge["linkinfo"]["info_data"]["vlan_filtering"] == 1
    assert port_vlans(sandbox, port) == {1: "PVID Egress Untagged"}


def test_the_first_and_the_last_vlan_of_a_trunk(sandbox, trunk, place):
    one = place(vlanTrunk=[{"minID": 1, "maxID": 2}, {"minID": 4093, "maxID": 4094}])

    assert list(port_vlans(sandbox, one.behind)) == [1, 2, 4093, 4094]
    assert crossing(one, WIRE, 2, 4092, 4094, None) == {2: 2, 4094: 4094, None: None}


def test_a_trunks_vlan_and_a_plain_vlan_meet(trunk, place):
    """The container behind the trunk tags by itself what the other one gets without a tag."""
    many, one = place("c1", vlanTrunk=[{"id": 100}]), place("c2", vlan=100)

    assert crossing(many, one, None, 100) == {100: None}
    assert crossing(one, many, None) == {None: 100}


def test_a_containers_own_vlan_interface_reaches_hosts_behind_the_trunk(sandbox, trunk, place):
    place(**RANGES)
    for name, link, last in (("c1", "eth0", 2), ("lan", "wire", 77)):
        sandbox.shell("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad", name)
        for vlan in (101, 102):
            sandbox.shell(
                f"ip link add link {link} name v{vlan} type vlan id {vlan}; ip link set v{vlan} up"
                f"; ip addr add 10.{vlan}.0.{last}/24 dev v{vlan}"
                f"; ip addr add fd00:{vlan}::{last}/64 dev v{vlan}",
                name,
            )

    sandbox.shell(PINGS.format("10.101.0.77", "fd00:101::77"), "c1")
    for address in ("10.102.0.77", "fd00:102::77"):
        with pytest.raises(AssertionError, match="100% packet loss"):
            sandbox.shell(f"ping -c1 -W1 {address}", "c1")


# --- preserveDefaultVlan


@pytest.mark.parametrize("keys", [{"vlan": 100}, {"vlanTrunk": [{"id": 100}], "vlan": 200}])
@pytest.mark.parametrize("kept", [True, False])
def test_the_bridges_own_vlan_is_kept_on_demand(sandbox, trunk, place, keys, kept):
    one, plain = place("c1", **keys, preserveDefaultVlan=kept), place("c2")

    assert (1 in port_vlans(sandbox, one.behind)) == kept
    assert crossing(plain, one, None) == ({None: None} if kept else {})
    assert crossing(one, WIRE, None) == {None: keys["vlan"]}


def test_the_bridges_own_vlan_may_have_another_number(sandbox, trunk, place):
    sandbox.shell("ip link set br0 type bridge vlan_default_pvid 7")

    assert list(port_vlans(sandbox, place("c1", vlan=100).behind)) == [100]
    assert list(port_vlans(sandbox, place("c2", vlan=100, preserveDefaultVlan=True).behind)) == [
        7,
        100,
    ]


# --- the gateway of a VLAN


def test_the_gateway_of_a_vlan_is_reached_in_it_only(sandbox, trunk, container):
    result = container("c1").add(ROUTED)
    container("c2").add({**LAYER_2, "vlan": 200})
    sandbox.shell(
        "ip addr add 10.1.0.77/24 dev eth0 && ip addr add fd00:1::77/64 dev eth0 nodad", "c2"
    )

    device = result["interfaces"][3]["name"]
    (link,) = sandbox.json(f"ip -json addr show {device}")
    found = {
        f"{one['local']}/{one['prefixlen']}"
        for one in link["addr_info"]
        if one["scope"] == "global"
    }
    assert (device, found) == ("br0.100", {"10.1.0.1/24", "fd00:1::1/64"})
    sandbox.shell(PINGS.format("10.1.0.1", "fd00:1::1"), "c1")
    for address in ("10.1.0.1", "fd00:1::1"):
        with pytest.raises(AssertionError, match="100% packet loss"):
            sandbox.shell(f"ping -c1 -W1 {address}", "c2")


def test_what_the_gateway_sends_has_the_tag_on_the_trunk(sandbox, trunk, container):
    container().add(ROUTED)
    (device,) = sandbox.json("ip -json link show br0.100")
    end = device["link"]
    gateway = Place("", end, "br0.100")

    assert port_vlans(sandbox, end) == {100: "PVID Egress Untagged"}
    assert crossing(gateway, WIRE, None) == {None: 100}
    assert crossing(WIRE, gateway, 100, 200, None) == {100: None}


def test_the_gateway_routes_to_a_host_beyond(sandbox, container):
    container().add(ROUTED)
    outside = sandbox.outside()
    sandbox.shell("ip -6 addr add fd00:9::1/64 dev uplink nodad")
    sandbox.shell("ip -6 addr add fd00:9::2/64 dev eth0 nodad", outside)
    for way in (
        "-4 route add 10.1.0.0/24 via 203.0.113.1",
        "-6 route add fd00:1::/64 via fd00:9::1",
    ):
        sandbox.shell(f"ip {way}", outside)

    sandbox.shell(PINGS.format("203.0.113.2", "fd00:9::2"), "c1")


def test_each_vlan_has_a_gateway_of_its_own_and_the_host_routes_between_them(sandbox, container):
    container("c1").add(ROUTED)
    ranges = [[{"subnet": "10.2.0.0/24"}], [{"subnet": "fd00:2::/64"}]]
    other = {
        **ROUTED,
        "name": "other",
        "vlan": 200,
        "ipam": {"type": "host-local", "ranges": ranges},
    }
    container("c2").add(other)

    assert (
        len({link["ifname"] for link in sandbox.json("ip -json link")} & {"br0.100", "br0.200"})
        == 2
    )
    sandbox.shell(PINGS.format("10.2.0.2", "fd00:2::2"), "c1")


def test_the_gateways_port_keeps_the_bridges_own_vlan_on_demand(sandbox, container):
    container().add({**ROUTED, "preserveDefaultVlan": True})

    (device,) = sandbox.json("ip -json link show br0.100")
    assert list(port_vlans(sandbox, device["link"])) == [1, 100]
