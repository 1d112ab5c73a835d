"""Ports published by one set of plugins, checked and deleted by the other, as on a live node."""

from __future__ import annotations

import pytest

from conformance.cases_portmap import DNS, DNS6, DUAL, WEB, portmap
from conformance.snapshot import Symbols, snapshot

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

CONFS = {
    "tcp": portmap(WEB),
    "host addresses": portmap(WEB, DNS, DNS6),
    "no snat": portmap(WEB, snat=False),
    "another bit": portmap(WEB, DNS, markMasqBit=5),
    "external chain": portmap(WEB, externalSetMarkChain="KUBE-MARK-MASQ"),
    "conditions": portmap(WEB, conditionsV4=["-s", "192.0.2.0/24"], conditionsV6=["-i", "eth7"]),
    "seventeen ports": portmap(*({**WEB, "hostPort": port} for port in range(9017, 9000, -1))),
}
ORDERS = (("reference", "ours"), ("ours", "reference"))
NEIGHBOUR = {"CNI_CONTAINERID": "c2", "CNI_NETNS": "/run/netns/c2"}
EXTERNAL = "for p in iptables ip6tables; do $p -t nat -N KUBE-MARK-MASQ; done"

# what newer references write with their nftables backend
NFT_TABLE = """
nft 'table {family} cni_hostport {{
 comment "CNI portmap plugin"
 chain hostports {{
 }}
 chain hostip_hostports {{
 }}
 chain hostports_all {{ jump hostip_hostports ; jump hostports
 }}
 chain prerouting {{ type nat hook prerouting priority -100
  fib daddr type local jump hostports_all
 }}
 chain masquerading {{ type nat hook postrouting priority 100
 }}
}}'
"""
NFT_RULES = """
nft add rule {family} cni_hostport hostports tcp dport {port} dnat to {to} comment '"{id}"'
nft add rule {family} cni_hostport hostip_hostports {family} daddr {host} udp dport 53 dnat to {to} \
    comment '"{id}"'
nft add rule {family} cni_hostport masquerading {family} saddr {ip} {family} daddr {ip} masquerade \
    comment '"{id}"'
"""


@pytest.fixture
def attached(stage):
    """The result of bridge for c1; c2 is there too."""
    stage.sandbox.shell(EXTERNAL)
    stage.use("reference")
    results = {"c1": add(stage, DUAL)}
    stage.sandbox.container("c2")
    results["c2"] = add(stage, DUAL, NEIGHBOUR)
    return results


def add(stage, conf, variables=None):
    answer = stage.call("ADD", conf, variables)
    assert answer.status == 0, answer.stdout
    return answer.document


def rules(stage):
    """Every rule and chain of a container."""
    state = snapshot(stage.sandbox, ["c1", "c2"], Symbols(""))
    lines = [line for key in ("iptables", "ip6tables") for line in state[f"host/{key}"]]
    nft = [line for key, value in state.items() if key.startswith("host/nft/") for line in value]
    return [line for line in lines if "CNI-DN-" in line or "CNI-SN-" in line] + [
        line for line in nft if "comment" in line and "plugin" not in line
    ]


def pairs(names):
    return [
        pytest.param(name, *order, id=f"{name}, {order[0]} then {order[1]}")
        for name in names
        for order in ORDERS
    ]


@pytest.mark.parametrize(("name", "first", "second"), pairs(CONFS))
def test_what_one_published_the_other_deletes(stage, attached, name, first, second):
    conf = {**CONFS[name], "prevResult": attached["c1"]}
    neighbour = {**portmap({**WEB, "hostPort": 7070}), "prevResult": attached["c2"]}
    stage.use(first)
    add(stage, neighbour, NEIGHBOUR)
    alone = rules(stage)
    add(stage, conf)
    assert len(rules(stage)) > len(alone)

    stage.use(second)
    for _ in range(2):
        deleted = stage.call("DEL", conf)
        assert (deleted.status, deleted.stdout) == (0, b""), deleted.stderr

    assert rules(stage) == alone


@pytest.mark.parametrize("name", CONFS)
def test_ours_finds_what_the_reference_published_healthy(stage, attached, name):
    """Not the other way round: CHECK of this reference fails whoever published."""
    conf = {**CONFS[name], "prevResult": attached["c1"]}
    add(stage, conf)
    stage.use("ours")

    checked = stage.call("CHECK", conf)

    # the reference has no switch for 127.0.0.1 to forget
    assert (checked.status, checked.stdout) == (0, b"")


@pytest.mark.parametrize(("first", "second"), ORDERS)
def test_an_add_of_the_other_replaces_what_is_there(stage, attached, first, second):
    conf = {**CONFS["host addresses"], "prevResult": attached["c1"]}
    stage.use(first)
    add(stage, conf)
    before = rules(stage)
    stage.use(second)
    add(stage, conf)

    assert sorted(rules(stage)) == sorted(before)


@pytest.mark.parametrize("missing", ["prevResult", "runtimeConfig"])
def test_ours_deletes_without_knowing_what_was_published(stage, attached, missing):
    add(stage, {**CONFS["host addresses"], "prevResult": attached["c1"]})
    stage.use("ours")
    conf = {**CONFS["host addresses"], "prevResult": attached["c1"], missing: None}
    conf["backend"] = "nftables"

    assert stage.call("DEL", conf, {"CNI_NETNS": ""}).status == 0

    assert rules(stage) == []


@pytest.mark.parametrize("backend", ["iptables", "nftables", ""])
def test_a_port_that_the_reference_published_is_taken(stage, attached, backend):
    add(stage, {**portmap(WEB), "prevResult": attached["c1"]})
    before = rules(stage)
    stage.use("ours")
    conf = {**portmap(WEB), "prevResult": attached["c2"], "backend": backend}

    answer = stage.call("ADD", conf, NEIGHBOUR)

    assert 'hostPort 8080/tcp is already mapped to container "c1"' in answer.document["msg"]
    assert rules(stage) == before


def test_an_add_with_nftables_takes_over_what_the_reference_published(stage, attached):
    conf = {**portmap(WEB), "prevResult": attached["c1"]}
    add(stage, conf)
    stage.use("ours")
    add(stage, {**conf, "backend": ""})

    assert not [line for line in rules(stage) if "CNI-DN-" in line]
    checked = stage.call("CHECK", {**conf, "backend": ""})
    assert (checked.status, checked.stdout) == (0, b"")


def test_ours_deletes_chains_of_very_old_releases(stage, attached):
    add(stage, {**portmap(WEB), "prevResult": attached["c1"]})
    chain = next(line.split()[1][1:] for line in rules(stage) if ":CNI-DN-" in line)
    snat = chain.replace("DN", "SN")
    stage.sandbox.shell(
        f"iptables -t nat -N CNI-HOSTPORT-SNAT; iptables -t nat -N {snat};"
        f"iptables -t nat -A CNI-HOSTPORT-SNAT -s 127.0.0.1 -j {snat};"
        f"iptables -t nat -A {snat} -j MASQUERADE"
    )
    stage.use("ours")

    assert stage.call("DEL", portmap(WEB)).status == 0

    assert rules(stage) == []


class TestTheReferencesNftables:
    """Debian's reference has no such backend, so its rules are written by hand."""

    @pytest.fixture
    def published(self, stage, attached):
        for family, own, host in (
            ("ip", "10.7.0.{}", "192.0.2.1"),
            ("ip6", "fd07::{}", "2001:db8::1"),
        ):
            stage.sandbox.shell(NFT_TABLE.format(family=family))
            for number, name in ((2, "c1"), (3, "c2")):
                ip = own.format(number)
                to = f"{ip}:80" if family == "ip" else f"[{ip}]:80"
                port = 8078 + number
                words = {"family": family, "ip": ip, "to": to, "port": port, "host": host}
                stage.sandbox.shell(NFT_RULES.format(**words, id=name))
        stage.use("ours")
        stage.sandbox.shell("echo 1 >/proc/sys/net/ipv4/conf/br0/route_localnet")
        return {**portmap(WEB), "prevResult": attached["c1"]}

    def test_ours_finds_the_rules_healthy_and_deletes_them(self, stage, published):
        of_neighbour = [line for line in rules(stage) if '"c2"' in line]
        checked = stage.call("CHECK", published)
        assert (checked.status, checked.stdout) == (0, b"")

        for _ in range(2):
            assert stage.call("DEL", published).status == 0

        assert rules(stage) == of_neighbour
        assert len(of_neighbour) == 6

    @pytest.mark.parametrize("missing", ["prevResult", "runtimeConfig"])
    def test_ours_needs_to_know_nothing_to_delete_them(self, stage, published, missing):
        assert stage.call("DEL", {**published, missing: None}, {"CNI_NETNS": ""}).status == 0

        assert not [line for line in rules(stage) if '"c1"' in line]

    def test_ours_misses_rules_that_are_gone(self, stage, published):
        stage.sandbox.shell("nft flush chain ip6 cni_hostport hostports")
        stage.sandbox.shell("nft flush chain ip6 cni_hostport hostip_hostports")

        assert stage.call("CHECK", published).status == 1
