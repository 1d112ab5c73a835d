"""Containers let through by one set of plugins, checked and deleted by the other, as on a live node."""

from __future__ import annotations

import pytest

from conformance.cases_bridge import bridge
from conformance.cases_firewall import BUSY, DROPS, DUAL, firewall

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

CONFS = {
    "iptables": (firewall(), "true"),
    "iptables, the host drops": (firewall(), DROPS),
    "default, the host drops": (firewall(backend=""), DROPS),
    "default, the host has rules": (firewall(backend=""), BUSY),
    "default, the host is open": (firewall(backend=""), "true"),
    "admin chain": (firewall(iptablesAdminChainName="MY-ADMIN"), "true"),
    "same-bridge": (firewall(ingressPolicy="same-bridge"), "true"),
    "same-bridge, default": (firewall(backend="", ingressPolicy="same-bridge"), DROPS),
}
ORDERS = (("reference", "ours"), ("ours", "reference"))
OUTSIDE = "ping -c1 -W10 10.9.0.2"


def pairs(names):
    return [
        pytest.param(name, *order, id=f"{name}, {order[0]} then {order[1]}")
        for name in names
        for order in ORDERS
        # ours needs no iptables on an open host, so there is nothing that the reference could find
        if name != "default, the host is open" or order == ORDERS[0]
    ]


@pytest.fixture
def attached(stage):
    """The result of bridge for c1; c2 is the world outside."""
    stage.use("reference")
    answer = stage.call("ADD", DUAL)
    assert answer.status == 0, answer.stdout
    stage.sandbox.container("c2")
    stage.sandbox.shell(
        "ip link add uplink type veth peer name eth0 netns c2; ip addr add 10.9.0.1/24 dev uplink;"
        "ip link set uplink up; ip -n c2 addr add 10.9.0.2/24 dev eth0; ip -n c2 link set eth0 up;"
        "ip -n c2 route add default via 10.9.0.1; ip -n c1 route add default via 10.7.0.1"
    )
    return answer.document


def succeed(stage, suite, verb, conf, previous):
    stage.use(suite)
    answer = stage.call(verb, {**conf, "prevResult": previous})
    assert answer.status == 0, answer.stdout


@pytest.mark.parametrize(("name", "first", "second"), pairs(CONFS))
def test_what_one_let_through_the_other_finds_healthy_and_stops(
    stage, attached, name, first, second
):
    conf, prepare = CONFS[name]
    stage.sandbox.shell(prepare)
    succeed(stage, first, "ADD", conf, attached)
    assert "10.7.0.2" in rules(stage)
    stage.sandbox.shell(OUTSIDE, "c1")

    succeed(stage, second, "CHECK", conf, attached)
    for _ in range(2):
        succeed(stage, second, "DEL", conf, attached)

    assert "10.7.0.2" not in rules(stage)
    assert "fd07::2" not in rules(stage)


@pytest.mark.parametrize(("name", "first", "second"), pairs(CONFS))
def test_a_second_add_by_the_other_changes_no_rule(stage, attached, name, first, second):
    conf, prepare = CONFS[name]
    stage.sandbox.shell(prepare)
    succeed(stage, first, "ADD", conf, attached)
    before = rules(stage)

    succeed(stage, second, "ADD", conf, attached)

    if "same-bridge" not in name or first == "reference":  # that of Debian knows other comments
        # ours puts the two rules of an address into its own order, which tells whose they are
        arranged = sorted if second == "ours" else list
        assert arranged(rules(stage).splitlines()) == arranged(before.splitlines())


def test_ours_stops_what_the_reference_let_through_without_a_result(stage, attached):
    conf, _ = CONFS["iptables"]
    succeed(stage, "reference", "ADD", conf, attached)
    stage.use("ours")

    assert stage.call("DEL", conf).status == 0  # the container still has its addresses

    assert "10.7.0.2" not in rules(stage)
    assert "fd07::2" not in rules(stage)


def test_a_neighbour_that_the_other_let_through_stays(stage, attached):
    conf, prepare = CONFS["default, the host drops"]
    stage.sandbox.shell(prepare)
    stage.sandbox.container("c3")
    names = {"CNI_CONTAINERID": "c3", "CNI_NETNS": "/run/netns/c3"}
    stage.use("reference")
    neighbour = stage.call("ADD", DUAL, names).document
    assert stage.call("ADD", {**conf, "prevResult": neighbour}, names).status == 0
    alone = rules(stage)

    succeed(stage, "ours", "ADD", conf, attached)
    succeed(stage, "ours", "DEL", conf, attached)

    assert rules(stage) == alone


def test_ours_needs_neither_a_result_nor_the_container_for_what_ours_made(stage, attached):
    conf, _ = CONFS["iptables"]
    succeed(stage, "ours", "ADD", conf, attached)
    stage.use("reference")
    assert stage.call("DEL", {**bridge(), "prevResult": attached}).status == 0
    stage.sandbox.remove_container("c1")
    stage.use("ours")

    assert stage.call("DEL", conf, {"CNI_NETNS": ""}).status == 0

    assert "10.7.0.2" not in rules(stage)


def rules(stage):
    """The iptables rules of the firewall, without the chain that says whose they are."""
    saved = stage.sandbox.shell("iptables-save -t filter; ip6tables-save -t filter").splitlines()
    lines = [line for line in saved if line.startswith("-A") and "CNI-FORWARD-OWNERS" not in line]
    return "\n".join(lines)
