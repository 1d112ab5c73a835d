"""ingressPolicy on the real kernel: who reaches whom, within a bridge and across bridges."""

import pytest

from kernel.firewall_hosts import OTHER_BRIDGE, host

__all__ = ["host"]

pytestmark = pytest.mark.kernel

BRIDGE_NETFILTER = {
    "br_netfilter": "sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1",
    "no br_netfilter": "sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0",
}


@pytest.fixture(params=["nftables", "iptables"])
def backend(request):
    return request.param


@pytest.fixture(params=BRIDGE_NETFILTER)
def bridges(request, host):
    """c1 and c2 on br0, d1 on br1; the firewall knows nothing of them yet."""
    host.sandbox.shell(BRIDGE_NETFILTER[request.param])
    for name in ("c1", "c2"):
        host.attach(name)
    host.attach("d1", OTHER_BRIDGE)
    assert host.reaches("c1", "c2")
    assert host.reaches("c1", "d1")
    assert host.reaches("d1", "c1", 6)
    return host


def everybody(host, policy, backend):
    for name in ("c1", "c2", "d1"):
        host.add(name, ingressPolicy=policy, backend=backend)


@pytest.mark.parametrize("version", [4, 6])
def test_same_bridge_reaches_its_own_bridge_and_the_outside_but_no_other_bridge(
    bridges, backend, version
):
    everybody(bridges, "same-bridge", backend)

    assert bridges.reaches("c1", "c2", version)
    assert bridges.reaches("c1", "outside", version)
    assert bridges.reaches("d1", "outside", version)
    assert bridges.reaches("outside", "c1", version)
    assert bridges.is_kept_from("c1", "d1", version)
    assert bridges.is_kept_from("d1", "c1", version)


@pytest.mark.parametrize("version", [4, 6])
def test_isolated_reaches_the_outside_and_no_container(bridges, backend, version):
    everybody(bridges, "isolated", backend)

    assert bridges.reaches("c1", "outside", version)
    assert bridges.reaches("outside", "c1", version)
    bridges.sandbox.shell(
        f"ping -{version} -c1 -W5 {'10.1.0.1' if version == 4 else 'fd01::1'}", "c1"
    )
    for source, target in (("c1", "c2"), ("c2", "c1"), ("c1", "d1"), ("d1", "c1")):
        assert bridges.is_kept_from(source, target, version), (source, target)


def test_open_takes_nothing_away(bridges, backend):
    everybody(bridges, "open", backend)

    assert bridges.reaches("c1", "c2")
    assert bridges.reaches("c1", "d1")
    assert bridges.reaches("d1", "c1")


def test_an_isolated_container_is_cut_off_from_an_open_one_of_its_bridge(bridges, backend):
    bridges.add("c1", ingressPolicy="isolated", backend=backend)
    bridges.add("c2", backend=backend)

    assert bridges.is_kept_from("c1", "c2")
    assert bridges.is_kept_from("c2", "c1")
    assert bridges.reaches("d1", "c2")


def test_of_two_policies_on_one_bridge_the_stricter_counts(bridges, backend):
    bridges.add("c2", ingressPolicy="same-bridge", backend=backend)
    bridges.add("c1", ingressPolicy="isolated", backend=backend)
    bridges.add("d1", ingressPolicy="same-bridge", backend=backend)

    assert bridges.is_kept_from("c1", "c2")
    assert bridges.is_kept_from("c2", "d1")
    assert bridges.is_kept_from("d1", "c1")


@pytest.mark.parametrize("policy", ["same-bridge", "isolated"])
def test_the_policy_stays_while_another_attachment_has_it(bridges, backend, policy):
    everybody(bridges, policy, backend)

    bridges.succeed("DEL", "c1")

    assert bridges.is_kept_from("c2", "d1")
    assert bridges.is_kept_from("d1", "c2")
    bridges.succeed("CHECK", "c2", ingressPolicy=policy, backend=backend)
    bridges.succeed("CHECK", "d1", ingressPolicy=policy, backend=backend)


@pytest.mark.parametrize("policy", ["same-bridge", "isolated"])
@pytest.mark.parametrize("cleaning", ["DEL", "DEL without a result", "GC"])
def test_with_the_last_attachment_the_policy_goes(bridges, policy, cleaning):
    everybody(bridges, policy, "nftables")
    for name in ("c1", "c2", "d1"):
        if cleaning == "GC":
            conf = {"cniVersion": "1.1.0", "name": "net", "type": "firewall"}
            assert bridges.call("GC", {**conf, "cni.dev/valid-attachments": []}).status == 0
        else:
            changes = {} if cleaning == "DEL" else {"prevResult": None}
            assert bridges.firewall("DEL", name, **changes).status == 0

    text = "\n".join(bridges.ruleset())
    assert "br0" not in text
    assert "br1" not in text
    assert "cni:net" not in text
    assert bridges.reaches("c1", "c2")
    assert bridges.reaches("c1", "d1")
    assert bridges.reaches("d1", "c2")


def test_the_last_del_of_one_policy_leaves_the_other(bridges):
    bridges.add("c1", ingressPolicy="isolated")
    bridges.add("c2", ingressPolicy="same-bridge")
    bridges.add("d1", ingressPolicy="same-bridge")

    bridges.succeed("DEL", "c1")

    assert bridges.reaches("c1", "c2")
    assert bridges.is_kept_from("c2", "d1")
    assert bridges.is_kept_from("d1", "c2")
    bridges.succeed("CHECK", "c2", ingressPolicy="same-bridge")


def test_a_second_add_changes_nothing(bridges, backend):
    everybody(bridges, "isolated", backend)
    before = bridges.ruleset()

    everybody(bridges, "isolated", backend)

    assert bridges.ruleset() == before


def test_with_another_policy_a_second_add_replaces_the_first(bridges):
    bridges.add("c1", ingressPolicy="isolated")
    bridges.add("c1", ingressPolicy="same-bridge")

    assert bridges.reaches("c1", "c2")
    assert "isolated-br0" not in "\n".join(bridges.ruleset())
    bridges.succeed("CHECK", "c1", ingressPolicy="same-bridge")


NFTABLES_TAMPERING = [
    "flush chain inet cni ingress-policy",
    "flush chain inet cni isolated-br0",
    "flush map inet cni isolated-from",
    "flush set inet cni isolated-to",
    "flush map inet cni ingress-policies",
    "flush set bridge cni isolated-ports",
    "flush chain bridge cni forward",
    "delete table bridge cni",
    "flush ruleset",
]


@pytest.mark.parametrize("tampering", NFTABLES_TAMPERING)
def test_check_fails_after_tampering_and_add_mends_it(host, tampering):
    host.attach("c1")
    host.add("c1", ingressPolicy="isolated")
    host.succeed("CHECK", "c1", ingressPolicy="isolated")
    host.sandbox.shell(f"nft {tampering}")

    error = host.firewall("CHECK", "c1", ingressPolicy="isolated").document
    assert "attach the container again" in error["msg"]

    host.add("c1", ingressPolicy="isolated")
    host.succeed("CHECK", "c1", ingressPolicy="isolated")


@pytest.mark.parametrize(
    "tampering",
    [
        "iptables -F CNI-ISOLATION-STAGE-1",
        "iptables -F CNI-ISOLATION-STAGE-2",
        "ip6tables -F FORWARD",
        "iptables -D FORWARD 1; iptables -A FORWARD -m comment --comment"
        ' "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)" -j CNI-ISOLATION-STAGE-1',
    ],
)
def test_check_of_iptables_fails_after_tampering_and_add_mends_it(host, tampering):
    keys = {"ingressPolicy": "isolated", "backend": "iptables"}
    host.attach("c1")
    host.add("c1", **keys)
    host.succeed("CHECK", "c1", **keys)
    host.sandbox.shell(tampering)

    assert "attach the container again" in host.firewall("CHECK", "c1", **keys).document["msg"]

    host.add("c1", **keys)
    host.succeed("CHECK", "c1", **keys)


def test_iptables_has_the_references_rules_in_its_order(host):
    host.attach("c1")
    host.attach("d1", OTHER_BRIDGE)
    host.add("c1", ingressPolicy="isolated", backend="iptables")
    host.add("d1", ingressPolicy="same-bridge", backend="iptables")

    saved = host.sandbox.shell("iptables-save -t filter").splitlines()

    both = '-m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)"'
    isolated = '-m comment --comment "CNI firewall plugin rules (ingressPolicy: isolated)"'
    same = '-m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)"'
    assert [line for line in saved if "ISOLATION" in line and line.startswith("-A")] == [
        f"-A FORWARD {both} -j CNI-ISOLATION-STAGE-1",
        f"-A CNI-ISOLATION-STAGE-1 -i br1 ! -o br1 {same} -j CNI-ISOLATION-STAGE-2",
        f"-A CNI-ISOLATION-STAGE-1 -i br0 -o br0 {isolated} -j DROP",
        f"-A CNI-ISOLATION-STAGE-1 -i br0 ! -o br0 {isolated} -j CNI-ISOLATION-STAGE-2",
        f"-A CNI-ISOLATION-STAGE-1 {both} -j RETURN",
        f"-A CNI-ISOLATION-STAGE-2 -o br1 {both} -j DROP",
        f"-A CNI-ISOLATION-STAGE-2 -o br0 {both} -j DROP",
        f"-A CNI-ISOLATION-STAGE-2 {both} -j RETURN",
    ]


def test_the_policy_stands_before_an_acceptance_that_was_lost_and_written_anew(host):
    keys = {"ingressPolicy": "isolated", "backend": "iptables"}
    host.attach("c1")
    host.attach("c2")
    host.add("c1", **keys)
    host.sandbox.shell("iptables -D FORWARD 2")

    host.add("c2", backend="iptables")

    forward = host.sandbox.shell("iptables-save -t filter | grep -e '-A FORWARD'").splitlines()
    assert [line.split()[-1] for line in forward] == ["CNI-ISOLATION-STAGE-1", "CNI-FORWARD"]


def test_ptp_has_an_interface_of_its_own_instead_of_a_bridge(host):
    ptp = {
        **OTHER_BRIDGE,
        "type": "ptp",
        "ipam": {**OTHER_BRIDGE["ipam"], "dataDir": "/run/ptp"},
    }
    for name in ("c1", "c2"):
        host.attach(name, ptp)
    assert host.reaches("c1", "c2")

    for name in ("c1", "c2"):
        host.add(name, ingressPolicy="isolated")

    assert host.is_kept_from("c1", "c2")
    assert host.reaches("c1", "outside")
    host.succeed("CHECK", "c1", ingressPolicy="isolated")
    host.succeed("DEL", "c1")
    assert host.reaches("c1", "c2")


def test_a_link_that_a_later_plugin_reports_is_no_port_of_the_bridge(bridges, backend):
    bridges.add("c1", ingressPolicy="isolated", backend=backend)
    shaping = {
        "cniVersion": "1.1.0",
        "name": "net",
        "type": "bandwidth",
        "egressRate": 8_000_000,
        "egressBurst": 800_000,
        "prevResult": bridges.results["c1"],
    }
    result = bridges.caller("c1").add(shaping)
    assert result["interfaces"][-1]["name"].startswith("bwp")
    whole = {"ingressPolicy": "isolated", "backend": backend, "prevResult": result}

    bridges.succeed("CHECK", "c1", **whole)

    bridges.sandbox.shell(f"ip link set {result['interfaces'][1]['name']} nomaster")
    outcome = bridges.firewall("CHECK", "c1", **whole)
    assert "port of br0" in outcome.document["msg"]
