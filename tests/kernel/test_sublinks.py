"""ipvlan, vlan and dummy on the real kernel, with real packets."""

import dataclasses
import json
import re
import socket
import struct
from pathlib import Path

import pytest

from cnicore.net.namespace import host_namespace
from cnicore.net.switch import inside, open_netns
from cnicore.testing.faults import failing_at_every_call

pytestmark = [pytest.mark.kernel]

full_kernel = pytest.mark.full_kernel

PAGES = Path(__file__).parents[2] / "docs/reference/plugins"
KINDS = ("ipvlan", "vlan", "dummy")
ON_A_PARENT = ("ipvlan", "vlan")
DUAL = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
}
KEYS = {"ipvlan": {"master": "ens1"}, "vlan": {"master": "ens1", "vlanId": 100}, "dummy": {}}
SOL_PACKET, PACKET_AUXDATA, ETH_P_ALL = 263, 8, 3  # linux/socket.h, if_packet.h, if_ether.h
AUXDATA = struct.Struct("=IIIHHHH")
ECHO_REQUEST = re.compile(rb".{12}(\x08\x00.{9}\x01.{10}\x08|\x86\xdd.{6}\x3a.{33}\x80)", re.DOTALL)
"""Ethernet's type, the protocol in the header of IPv4 or IPv6, the type of ICMP."""
TP_STATUS_VLAN_VALID = 1 << 4


def conf(plugin, **changes):
    document = {"cniVersion": "1.1.0", "name": "net", "type": plugin, "ipam": DUAL}
    return {**document, **KEYS[plugin], **changes}


def require(kind):
    with host_namespace() as host:
        if not host.can_make(kind):
            pytest.skip(f"needs a kernel with links of the kind {kind}")


@pytest.fixture
def network(sandbox):
    """The host's ens1 leads to eth0 of a machine beyond, with the gateways' addresses."""
    path = sandbox.container("outside")
    sandbox.shell("ip link add ens1 type veth peer name eth0 netns outside && ip link set ens1 up")
    sandbox.shell("ip link set lo up && ip link set eth0 up", path)
    return path


@pytest.fixture
def callers(sandbox, call, network):
    """Call plugins for c1 and for c2."""
    return {
        name: dataclasses.replace(call, netns=sandbox.container(name), container_id=name)
        for name in ("c1", "c2")
    }


def give_gateways(sandbox, device="eth0"):
    for address in ("10.1.0.1/24", "fd00:1::1/64"):
        sandbox.shell(f"ip addr add {address} dev {device} nodad", "outside")


def reach(sandbox, source, target):
    sandbox.shell(f"ping -c1 -W5 {target}", source)


def is_cut_off(sandbox, source, target):
    sandbox.shell(f"! ping -c1 -W1 {target}", source)


def state(sandbox):
    """Everything that an attachment could leave, on the host and in the container.

    Without link-local addresses: when the kernel adds them is a matter of time.
    """
    look = (
        "ip -o -d link | sed 's/ state [A-Z]*//; s/[<,]LOWER_UP//; s/[<,]NO-CARRIER//';"
        "ip -o addr show scope global; ip -4 route show table all;"
        "ip -6 route show table all | grep -v 'fe80::\\|ff00::\\|anycast'; true"
    )
    places = {"host": sandbox.shell(look), "c1": sandbox.shell(look, "c1"), "": leases(sandbox)}
    return {f"{place}: {line}" for place, text in places.items() for line in text.splitlines()}


def leases(sandbox):
    return sandbox.shell("find /var/lib/cni -type f ! -name lock ! -name 'last_reserved_ip.*'")


@full_kernel
@pytest.mark.parametrize("target", ["10.1.0.3", "10.1.0.1", "fd00:1::3", "fd00:1::1"])
def test_ipvlans_reach_each_other_and_the_network_in_l2(sandbox, callers, target):
    require("ipvlan")
    give_gateways(sandbox)
    for caller in callers.values():
        caller.add(conf("ipvlan"))

    reach(sandbox, "c1", target)


@full_kernel
@pytest.mark.parametrize("mode", ["l3", "l3s"])
def test_ipvlans_are_routed_by_the_host_in_l3(sandbox, callers, mode):
    require("ipvlan")
    for where, device, number in (("", "ens1", 2), ("outside", "eth0", 1)):
        for address in (f"192.0.2.{number}/24", f"2001:db8::{number}/64"):
            sandbox.shell(f"ip addr add {address} dev {device} nodad", where)
    sandbox.shell("ip route add 10.1.0.0/24 via 192.0.2.2", "outside")
    sandbox.shell("ip -6 route add fd00:1::/64 via 2001:db8::2", "outside")
    for caller in callers.values():
        caller.add(conf("ipvlan", mode=mode))

    for target in ("10.1.0.3", "192.0.2.1", "fd00:1::3", "2001:db8::1"):
        reach(sandbox, "c1", target)


@full_kernel
def test_an_ipvlan_has_its_parents_mac_address_and_the_mtu_that_was_asked_for(sandbox, callers):
    require("ipvlan")

    result = callers["c1"].add(conf("ipvlan", mtu=1400))

    (parent,) = sandbox.json("ip -json link show ens1")
    (link,) = sandbox.json("ip -json -d link show eth0", "c1")
    assert result["interfaces"][0]["mac"] == parent["address"] == link["address"]
    assert link["mtu"] == 1400
    assert link["linkinfo"]["info_data"]["mode"] == "l2"


@full_kernel
def test_what_a_vlan_sends_is_tagged_on_the_wire(sandbox, callers, network):
    require("vlan")
    with inside(open_netns(network)):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    wire.bind(("eth0", ETH_P_ALL))
    wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    wire.settimeout(10)
    sandbox.shell("ip link add link eth0 name eth0.100 type vlan id 100", "outside")
    sandbox.shell("ip link set eth0.100 up", "outside")
    give_gateways(sandbox, "eth0.100")

    callers["c1"].add(conf("vlan"))
    for target in ("10.1.0.1", "fd00:1::1"):
        reach(sandbox, "c1", target)

    seen = [tag_of(wire) for _ in range(2)]
    wire.close()
    assert seen == [100, 100]


def tag_of(wire):
    """The 802.1Q tag of the next echo request: the kernel takes it out and tells it beside."""
    while True:
        frame, (control,), _, _ = wire.recvmsg(2048, socket.CMSG_SPACE(AUXDATA.size))
        if ECHO_REQUEST.match(frame):
            status, *_, tci, _ = AUXDATA.unpack(control[2])
            return tci & 0xFFF if status & TP_STATUS_VLAN_VALID else None


@full_kernel
def test_vlans_of_one_parent_are_kept_apart(sandbox, callers):
    require("vlan")
    for vlan_id in (100, 200):
        sandbox.shell(
            f"ip link add link eth0 name eth0.{vlan_id} type vlan id {vlan_id}", "outside"
        )
        sandbox.shell(f"ip link set eth0.{vlan_id} up", "outside")
    give_gateways(sandbox, "eth0.100")
    callers["c1"].add(conf("vlan", vlanId=100))
    callers["c2"].add(conf("vlan", vlanId=200))

    reach(sandbox, "c1", "10.1.0.1")
    is_cut_off(sandbox, "c2", "10.1.0.1")
    is_cut_off(sandbox, "c2", "fd00:1::1")
    is_cut_off(sandbox, "c2", "10.1.0.2")


@full_kernel
def test_a_vlan_that_another_container_has_is_refused_and_leaves_nothing(sandbox, callers):
    require("vlan")
    callers["c2"].add(conf("vlan"))
    before = state(sandbox)

    outcome = callers["c1"]("ADD", conf("vlan"))

    assert "vlanId: ens1 has VLAN 100 already" in outcome.document["msg"]
    assert state(sandbox) ^ before == set()


@full_kernel
def test_a_dummy_has_its_addresses_and_answers_on_them(sandbox, callers):
    require("dummy")

    callers["c1"].add(conf("dummy"))

    sandbox.shell("ip link set lo up", "c1")
    reach(sandbox, "c1", "10.1.0.2")
    reach(sandbox, "c1", "fd00:1::2")


@full_kernel
@pytest.mark.parametrize("kind", ON_A_PARENT)
def test_an_interface_of_the_host_with_the_same_name_is_no_obstacle(sandbox, callers, kind):
    require(kind)
    sandbox.shell("ip link add eth0 type bridge")

    callers["c1"].add(conf(kind))

    (link,) = sandbox.json("ip -json -d link show eth0", "c1")
    assert link["linkinfo"]["info_kind"] == kind
    assert sandbox.json("ip -json -d link show eth0")[0]["linkinfo"]["info_kind"] == "bridge"


@full_kernel
@pytest.mark.parametrize("kind", ON_A_PARENT)
def test_the_parent_may_be_in_the_container(sandbox, callers, kind):
    require(kind)
    sandbox.shell("ip link set ens1 netns c1 && ip -n c1 link set ens1 up")
    device = "eth0.100" if kind == "vlan" else "eth0"
    if kind == "vlan":
        sandbox.shell("ip link add link eth0 name eth0.100 type vlan id 100", "outside")
        sandbox.shell("ip link set eth0.100 up", "outside")
    give_gateways(sandbox, device)
    conf_in = conf(kind, linkInContainer=True)

    result = callers["c1"].add(conf_in)

    reach(sandbox, "c1", "10.1.0.1")
    assert callers["c1"]("CHECK", {**conf_in, "prevResult": result}).status == 0
    assert callers["c1"]("DEL", conf_in).status == 0
    assert [link["ifname"] for link in sandbox.json("ip -json link", "c1")] == ["lo", "ens1"]


@full_kernel
@pytest.mark.parametrize("kind", KINDS)
def test_add_that_fails_at_any_call_leaves_nothing(sandbox, callers, kind):
    require(kind)
    caller, statuses = callers["c1"], []
    # waiting for duplicates of an IPv6 address again and again would take minutes
    quick = conf(kind, ipam={"type": "host-local", "ranges": DUAL["ranges"][:1]})
    before = state(sandbox)

    for number in failing_at_every_call(lambda: statuses.append(caller("ADD", quick).status)):
        if statuses[-1] == 0:  # the failure of some calls is tolerated
            caller("DEL", quick)
        assert state(sandbox) ^ before == set(), f"call {number}"

    assert statuses.count(1) >= 8


@full_kernel
@pytest.mark.parametrize("gone", ["", "namespace", "parent"])
@pytest.mark.parametrize("kind", KINDS)
def test_del_leaves_nothing_whatever_is_gone(sandbox, callers, kind, gone):
    require(kind)
    callers["c1"].add(conf(kind))
    if gone == "namespace":
        sandbox.remove_container("c1")
    if gone == "parent":
        sandbox.shell("ip link delete ens1")

    for _ in range(2):
        assert callers["c1"]("DEL", conf(kind)).status == 0

    assert leases(sandbox) == ""
    if gone != "namespace":
        assert [link["ifname"] for link in sandbox.json("ip -json link", "c1")] == ["lo"]


TAMPERINGS = {
    "address": "ip addr del 10.1.0.2/24 dev eth0",
    "route": "ip route del default",
    "down": "ip link set eth0 down",
    "gone": "ip link del eth0",
    "replaced": "ip link del eth0; ip link add eth0 type bridge; ip link set eth0 up",
}


@full_kernel
@pytest.mark.parametrize("kind", KINDS)
def test_check_passes_untouched_and_fails_after_tampering(sandbox, callers, kind):
    require(kind)
    caller = callers["c1"]
    for what, tamper in TAMPERINGS.items():
        checked = {**conf(kind), "prevResult": caller.add(conf(kind))}
        assert caller("CHECK", checked).status == 0

        sandbox.shell(tamper, "c1")

        assert caller("CHECK", checked).status == 1, what
        assert caller("DEL", checked).status == 0


@full_kernel
@pytest.mark.parametrize("kind", KINDS)
def test_status_and_gc(sandbox, callers, kind):
    require(kind)
    callers["c1"].add(conf(kind))
    assert callers["c1"]("STATUS", conf(kind)).status == 0
    assert callers["c1"]("GC", {**conf(kind), "cni.dev/valid-attachments": []}).status == 0
    assert "10.1.0.2" not in sandbox.shell("ls /var/lib/cni/networks/net")

    sandbox.shell("ip link delete ens1")

    outcome = callers["c1"]("STATUS", conf(kind))
    assert outcome.status == (kind in ON_A_PARENT)
    if outcome.status:
        assert outcome.document["code"] == 50


@full_kernel
@pytest.mark.parametrize("kind", KINDS)
def test_the_example_gives_the_result_on_the_page(sandbox, callers, kind):
    require(kind)
    text = (PAGES / f"{kind}.md").read_text()
    example, shown = map(json.loads, re.findall(r"```json\n(.*?)```", text, re.DOTALL)[:2])

    result = callers["c1"].add(example)

    assert example["type"] == kind
    assert without_macs(result) == without_macs(shown)
    chained = {**example, "prevResult": result}
    for verb in ("CHECK", "STATUS", "DEL", "DEL"):
        assert callers["c1"](verb, chained).status == 0


def without_macs(document):
    return json.loads(re.sub(r'"[0-9a-f]{2}(:[0-9a-f]{2}){5}"', '"…"', json.dumps(document)))


@pytest.mark.parametrize(
    ("kind", "module"), [("ipvlan", "ipvlan"), ("vlan", "8021q"), ("dummy", "dummy")]
)
def test_a_kernel_without_such_links_is_told_of(sandbox, callers, kind, module):
    with host_namespace() as host:
        if host.can_make(kind):
            pytest.skip("is about a kernel without them")
    before = state(sandbox)

    added = callers["c1"]("ADD", conf(kind))
    status = callers["c1"]("STATUS", conf(kind))

    words = f"the kernel has no {kind} links: load its module {module}"
    assert words in added.document["msg"]
    assert (status.document["code"], status.document["msg"]) == (50, words)
    assert state(sandbox) ^ before == set()
