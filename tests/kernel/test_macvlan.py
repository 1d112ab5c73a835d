"""Who reaches whom through macvlans on the real kernel, with real packets."""

import dataclasses

import pytest

from kernel.lan import FIRST, HOST, PARENT, SECOND, SWITCH, Lan

pytestmark = pytest.mark.kernel

CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "macvlan",
    "master": PARENT,
    "ipam": {
        "type": "host-local",
        "ranges": [
            [{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.2"}],
            [{"subnet": "fd00:1::/64", "rangeStart": "fd00:1::2"}],
        ],
    },
}


@pytest.fixture
def lan(sandbox):
    return Lan(sandbox)


@pytest.fixture
def attach(lan, call):
    """Attach a container with changes to the configuration; returns who calls for it."""

    def attach(name, **changes):
        caller = dataclasses.replace(call, netns=lan.container(name), container_id=name)
        caller.add({**CONF, **changes})
        return caller

    return attach


@pytest.mark.parametrize("mode", ["private", "vepa", "bridge", "passthru"])
def test_every_mode_reaches_the_network_and_never_the_host(lan, attach, mode):
    attach("c1", mode=mode)

    lan.require_reach("c1", *SWITCH)
    lan.require_reach("lan", *FIRST)
    lan.require_no_reach("c1", *HOST)
    lan.require_no_reach("", *FIRST)


@pytest.mark.parametrize("reflects", [False, True])
@pytest.mark.parametrize("mode", ["private", "vepa", "bridge"])
def test_the_mode_says_whether_siblings_reach_each_other(lan, attach, mode, reflects):
    if reflects:
        lan.reflect()
    attach("c1", mode=mode)
    attach("c2", mode=mode)

    lan.require_reach("c1", *SWITCH)
    lan.require_reach("c2", *SWITCH)
    if mode == "bridge" or (mode == "vepa" and reflects):
        lan.require_reach("c1", *SECOND)
        lan.require_reach("c2", *FIRST)
    else:
        lan.require_no_reach("c1", *SECOND)
        lan.require_no_reach("c2", *FIRST)


@pytest.mark.parametrize("address", ["10.1.0.255", "239.1.2.3", "ff02::4242"])
@pytest.mark.parametrize(
    ("mode", "reflects"), [("bridge", False), ("private", False), ("vepa", False), ("vepa", True)]
)
def test_broadcasts_and_multicasts_go_where_other_packets_go(lan, attach, mode, reflects, address):
    if reflects:
        lan.reflect()
    attach("c1", mode=mode)
    attach("c2", mode=mode)
    hears = mode == "bridge" or reflects

    with lan.listening("c2", last="sibling" if hears else "switch") as heard:
        lan.say("c1", address, "sibling")
        lan.say("lan", address, "switch")

        assert ("sibling" in heard()) == hears


def test_passthru_has_the_parent_and_its_mac_address_for_itself(sandbox, lan, attach, call):
    """The second attachment is refused, in whatever mode, and possible after the first is gone."""
    first = attach("c1", mode="passthru", mac="02:00:5e:10:00:01")
    second = dataclasses.replace(call, netns=lan.container("c2"), container_id="c2")

    (parent,) = sandbox.json(f"ip -json link show {PARENT}")
    (link,) = sandbox.json("ip -json link show eth0", "c1")
    assert link["address"] == parent["address"]
    for mode, why in (("passthru", "it has macvlans"), ("bridge", "it has a macvlan of mode pass")):
        refused = second("ADD", {**CONF, "mode": mode}).document["msg"]
        assert refused.startswith(f"master: up0 takes no macvlan of mode {mode}: {why}")
    assert second("ADD", {**CONF, "mode": "passthru"}).status == 1
    lan.require_reach("c1", *SWITCH)
    first("DEL", CONF)
    second.add({**CONF, "mode": "passthru"})
    lan.require_reach("c2", *SWITCH)


def test_macvlans_of_another_mode_may_share_the_parent(lan, attach):
    """Only those in mode bridge reach each other without the switch's help."""
    attach("c1")
    attach("c2", mode="private")
    attach("c3", mode="bridge", mtu=1400)

    lan.require_reach("c1", "10.1.0.4", "fd00:1::4")
    lan.require_no_reach("c1", *SECOND)


def test_the_host_reaches_containers_through_a_macvlan_of_its_own(sandbox, lan, attach):
    attach("c1")
    sandbox.shell(f"ip link add shim link {PARENT} type macvlan mode bridge; ip link set shim up")
    sandbox.shell("ip addr add 10.1.0.253/32 dev shim; ip route add 10.1.0.2/32 dev shim")
    sandbox.shell("ip addr add fd00:1::fd/128 dev shim; ip route add fd00:1::2/128 dev shim")

    lan.require_reach("", *FIRST)
    lan.require_reach("c1", "10.1.0.253", "fd00:1::fd")


def test_a_switch_that_reflects_leads_to_the_host_as_well(lan, attach):
    lan.reflect()
    attach("c1")

    lan.require_reach("c1", *HOST)
    lan.require_reach("", *FIRST)


def test_neighbours_that_remember_another_owner_of_the_address_are_told(sandbox, lan, attach):
    wrong = "lladdr 02:00:00:00:00:99 dev sw nud reachable"
    for address in FIRST:
        sandbox.shell(f"ip neigh add {address} {wrong}", "lan")

    attach("c1")

    (link,) = sandbox.json("ip -json link show eth0", "c1")
    for address in FIRST:
        known = f"ip neigh show {address} | grep -q {link['address']}"
        sandbox.shell(f"for n in $(seq 200); do {known} && exit 0; sleep 0.05; done; exit 1", "lan")


def test_the_mac_address_that_was_asked_for_is_the_one_on_the_wire(sandbox, lan, attach):
    attach("c1", runtimeConfig={"mac": "02:00:5E:10:00:01"})

    lan.require_reach("c1", SWITCH[0])

    assert "02:00:5e:10:00:01" in sandbox.shell(f"ip neigh show {FIRST[0]}", "lan")


def test_the_mtu_holds_on_the_wire(sandbox, lan, attach):
    attach("c1", mtu=1400)

    sandbox.shell("ping -c1 -w20 -M do -s 1372 10.1.0.1", "c1")
    with pytest.raises(AssertionError, match="too long"):
        sandbox.shell("ping -c1 -W1 -M do -s 1373 10.1.0.1", "c1")


def test_a_parent_that_is_down_may_come_up_later(sandbox, lan, attach):
    """Its state is the host's business: it is left as it was."""
    sandbox.shell(f"ip link set {PARENT} down")
    attach("c1", ipam={"type": "static", "addresses": [{"address": "10.1.0.2/24"}]})
    (parent,) = sandbox.json(f"ip -json link show {PARENT}")
    assert "UP" not in parent["flags"]

    sandbox.shell(f"ip link set {PARENT} up")

    lan.require_reach("c1", SWITCH[0])


def test_a_parent_in_the_container_leads_to_its_network(sandbox, lan, call):
    """The host's namespace has no part in it: its links stay as they were."""
    caller = dataclasses.replace(call, netns=lan.container("c1"))
    sandbox.shell(
        "ip link add net1 type veth peer name port1 netns lan && ip link set net1 netns c1"
    )
    sandbox.shell("ip link set port1 master sw; ip link set port1 up", "lan")
    sandbox.shell("ip link set net1 up", "c1")
    before = sandbox.shell("ip -o link")

    result = caller.add(conf := {**CONF, "master": "net1", "linkInContainer": True})

    assert sandbox.shell("ip -o link") == before
    lan.require_reach("c1", *SWITCH)
    assert caller("CHECK", {**conf, "prevResult": result}).text == ""
    assert caller("DEL", conf).text == ""
    assert "eth0" not in sandbox.shell("ip -o link", "c1")


def test_a_macvlan_as_parent_makes_a_sibling(sandbox, lan, attach):
    """The kernel puts it on that one's own parent."""
    sandbox.shell(f"ip addr flush dev {PARENT}")
    sandbox.shell(f"ip link add m0 link {PARENT} type macvlan mode bridge; ip link set m0 up")
    sandbox.shell("ip addr add 10.1.0.200/24 dev m0; ip addr add fd00:1::200/64 dev m0")

    attach("c1", master="m0")

    lan.require_reach("c1", "10.1.0.200", "fd00:1::200", *SWITCH)
