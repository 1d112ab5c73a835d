"""Interfaces tuned by one set of plugins, checked and restored by the other, as on a live node."""

from __future__ import annotations

import pytest

from conformance.cases_bridge import bridge
from conformance.cases_tuning import LINK, MAC, tuning
from conformance.snapshot import Symbols, snapshot

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

SYSCTL = "/proc/sys/net/ipv4/conf/eth0/proxy_arp"
CONFS = {
    "link": tuning(**LINK),
    "mac": tuning(mac=MAC),
    "mtu": tuning(mtu=1400),
    "promisc and allmulti": tuning(promisc=True, allmulti=True),
    "set before": tuning(promisc=True, mtu=1400, allmulti=False),
}
WITH_SYSCTL = tuning(**LINK, sysctl={"net.ipv4.conf.eth0.proxy_arp": "1"})
ORDERS = (("reference", "ours"), ("ours", "reference"))


@pytest.fixture
def attached(stage):
    """The result of a bridge, attached by the reference."""
    stage.use("reference")
    answer = stage.call("ADD", bridge())
    assert answer.status == 0, answer.stdout
    return answer.document


def tune(stage, attached, conf, suite):
    stage.use(suite)
    tuned = stage.call("ADD", {**conf, "prevResult": attached})
    assert tuned.status == 0, tuned.stdout
    return tuned.document


def delete(stage, conf, suite):
    stage.use(suite)
    for _ in range(2):
        answer = stage.call("DEL", conf)
        assert (answer.status, answer.stdout) == (0, b"")


def remains(stage):
    """Links and files; the directory of the backups stays, and the tests look at the sysctl."""
    state = snapshot(stage.sandbox, ["c1"], Symbols(""))
    left_out = "files/tuning/mode", "c1/sysctl/ipv4/conf/eth0/proxy_arp"
    return {key: value for key, value in state.items() if key not in left_out}


@pytest.mark.parametrize(("first", "second"), ORDERS)
@pytest.mark.parametrize("name", CONFS)
def test_what_one_tuned_the_other_finds_healthy_and_restores(stage, attached, name, first, second):
    if name == "set before":
        stage.sandbox.shell("ip -n c1 link set eth0 promisc on mtu 1450 allmulticast on")
    before = remains(stage)
    tuned = tune(stage, attached, CONFS[name], first)
    assert remains(stage) != before

    stage.use(second)
    checked = stage.call("CHECK", {**CONFS[name], "prevResult": tuned})
    assert (checked.status, checked.stdout) == (0, b"")
    delete(stage, CONFS[name], second)

    assert remains(stage) == before


@pytest.mark.parametrize(("first", "second"), ORDERS)
def test_a_sysctl_is_restored_by_ours_only_and_no_file_is_left(stage, attached, first, second):
    before = remains(stage)
    tune(stage, attached, WITH_SYSCTL, first)

    delete(stage, WITH_SYSCTL, second)

    assert remains(stage) == before
    assert stage.sandbox.shell(f"cat {SYSCTL}", "c1") == "1\n"


def test_the_reference_removes_a_backup_of_sysctls_alone(stage, attached):
    conf = tuning(sysctl={"net.ipv4.conf.eth0.proxy_arp": "1"})
    before = remains(stage)
    tune(stage, attached, conf, "ours")
    assert "files/tuning/c1_eth0.json/content" in remains(stage)

    delete(stage, conf, "reference")

    assert remains(stage) == before


def test_ours_keeps_the_backup_of_the_reference_at_a_second_add(stage, attached):
    before = remains(stage)
    tune(stage, attached, CONFS["link"], "reference")
    tune(stage, attached, WITH_SYSCTL, "ours")

    delete(stage, WITH_SYSCTL, "ours")

    assert remains(stage) == before
    assert stage.sandbox.shell(f"cat {SYSCTL}", "c1") == "0\n"


def test_ours_finds_healthy_what_the_kernel_spells_its_own_way_for_the_reference(stage, attached):
    conf = tuning(
        sysctl={
            "net.ipv4.ip_local_port_range": "1024 2048",
            "net.ipv4.tcp_rmem": "4096 131073",
            "net.ipv4.tcp_fastopen_key": "1-2-3-4",
            "net.ipv6.conf.IFNAME.stable_secret": "2001:db8::1",
            "net.ipv4.ip_local_reserved_ports": "8002,8000,8001",
        }
    )
    tuned = tune(stage, attached, conf, "reference")
    stage.use("ours")
    assert stage.call("CHECK", {**conf, "prevResult": tuned}).status == 0

    stage.sandbox.shell("echo 1-2-3-5 >/proc/sys/net/ipv4/tcp_fastopen_key", "c1")

    assert stage.call("CHECK", {**conf, "prevResult": tuned}).status == 1


def test_the_chain_of_the_reference_is_deleted_by_ours(stage, attached):
    tuned = tune(stage, attached, CONFS["link"], "reference")
    stage.use("ours")

    for conf in (CONFS["link"], bridge()):
        assert stage.call("DEL", {**conf, "prevResult": tuned}).status == 0

    assert stage.sandbox.json("ip -json -n c1 link show type veth") == []
    assert [key for key in remains(stage) if key.startswith("files/tuning/")] == []
