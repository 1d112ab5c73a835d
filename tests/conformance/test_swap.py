"""Containers attached by one set of plugins, checked and deleted by the other, as on a live node."""

from __future__ import annotations

import pytest

from conformance.cases_bridge import V4, V6, bridge, host_local
from conformance.cases_ptp import ptp
from conformance.snapshot import Symbols, snapshot

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

BOTH = host_local(V4, V6)
DEFAULT = [{"dst": "0.0.0.0/0"}]
CONFS = {
    "bridge": bridge(isGateway=True),
    "bridge l2": bridge(ipam={}),
    "bridge dual stack": bridge(ipam=BOTH, isDefaultGateway=True),
    "bridge masquerade": bridge(
        ipam=BOTH, isDefaultGateway=True, ipMasq=True, ipMasqBackend="iptables"
    ),
    "bridge spoof check": bridge(macspoofchk=True, isGateway=True),
    "ptp": ptp(ipam=host_local(V4, routes=DEFAULT)),
    "ptp dual stack": ptp(ipam=BOTH),
    "ptp masquerade": ptp(ipam=BOTH, ipMasq=True, ipMasqBackend="iptables"),
}
CHECKED = [name for name in CONFS if name != "bridge l2"]  # the reference's CHECK needs an IPAM
KEPT = (
    "sysctl/",  # forwarding stays on
    "host/link/br0/",
    "host/route/4 main 10.7.0.0/24 ",
    "host/route/6 main fd07::/64 ",
    "files/n1/last_reserved_ip.",
    "files/n1/lock",
    "files/n1/mode",
)
"""What the reference's own DEL leaves too."""


def pairs(names):
    return [
        pytest.param(name, *order, id=f"{name}, {order[0]} then {order[1]}")
        for name in names
        for order in (("reference", "ours"), ("ours", "reference"))
    ]


@pytest.mark.parametrize(("name", "first", "second"), pairs(CONFS))
def test_what_one_attached_the_other_deletes(stage, name, first, second):
    before = remains(stage)
    stage.use(first)
    added = stage.call("ADD", CONFS[name])
    assert added.status == 0, added.stdout

    stage.use(second)
    for _ in range(2):
        deleted = stage.call("DEL", {**CONFS[name], "prevResult": added.document})
        assert (deleted.status, deleted.stdout) == (0, b""), deleted.stderr

    assert remains(stage) == before


@pytest.mark.parametrize(("name", "first", "second"), pairs(CHECKED))
def test_what_one_attached_the_other_finds_healthy(stage, name, first, second):
    stage.use(first)
    added = stage.call("ADD", CONFS[name])
    assert added.status == 0, added.stdout

    stage.use(second)
    checked = stage.call("CHECK", {**CONFS[name], "prevResult": added.document})

    assert (checked.status, checked.stdout) == (0, b"")


@pytest.mark.parametrize(
    ("name", "first", "second"), pairs(["bridge masquerade", "ptp masquerade"])
)
def test_deleting_leaves_the_neighbour_that_the_other_attached(stage, name, first, second):
    stage.sandbox.container("c2")
    neighbour = {"CNI_CONTAINERID": "c2", "CNI_NETNS": "/run/netns/c2"}
    stage.use(first)
    assert stage.call("ADD", CONFS[name], neighbour).status == 0
    alone = remains(stage)
    stage.use(second)
    added = stage.call("ADD", CONFS[name])
    assert added.status == 0, added.stdout

    stage.use(first)
    assert stage.call("DEL", {**CONFS[name], "prevResult": added.document}).status == 0

    assert remains(stage) == alone


@pytest.mark.parametrize(
    ("name", "first", "second"), pairs(["bridge masquerade", "ptp masquerade"])
)
def test_an_address_is_not_leased_twice_by_the_two(stage, name, first, second):
    stage.sandbox.container("c2")
    stage.use(first)
    one = stage.call("ADD", CONFS[name]).document
    stage.use(second)
    two = stage.call(
        "ADD", CONFS[name], {"CNI_CONTAINERID": "c2", "CNI_NETNS": "/run/netns/c2"}
    ).document

    assert [ip["address"] for ip in one["ips"]] == ["10.7.0.2/24", "fd07::2/64"]
    assert [ip["address"] for ip in two["ips"]] == ["10.7.0.3/24", "fd07::3/64"]


def remains(stage):
    """Links, addresses, routes, rules and files, without what the reference leaves too."""
    state = snapshot(stage.sandbox, ["c1"], Symbols(""))
    return {
        key: rule_lines(value)
        for key, value in state.items()
        if not any(kept in key for kept in KEPT) and rule_lines(value) != []
    }


def rule_lines(value):
    """Of an nft table: its rules and own chains; base chains and tables stay, empty."""
    if not isinstance(value, list):
        return value
    return [line for line in value if not line.startswith(("chain PREROUTING", "type ", "}"))]
