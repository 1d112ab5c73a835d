"""firewall on the real kernel: hosts that drop what they forward, and what passes them then."""

import json
import os
import re
from pathlib import Path

import pytest

from kernel.firewall_hosts import OTHER_BRIDGE, POLICE, host

__all__ = ["host"]

pytestmark = pytest.mark.kernel


@pytest.fixture(params=POLICE)
def policed(request, host):
    """A host that drops forwarded packets by default, with the containers c1 and c2."""
    host.sandbox.shell(POLICE[request.param])
    host.attach("c1")
    host.attach("c2")
    return host


class TestAHostThatDropsByDefault:
    @pytest.mark.parametrize("version", [4, 6])
    def test_passes_the_container_after_add_and_not_after_del(self, policed, version):
        assert policed.is_kept_from("c1", "outside", version)

        policed.add("c1")
        assert policed.reaches("c1", "outside", version)
        policed.succeed("CHECK", "c1")

        policed.succeed("DEL", "c1")
        assert policed.is_kept_from("c1", "outside", version)

    def test_passes_nobody_else_and_nothing_that_the_container_did_not_ask_for(self, policed):
        policed.sandbox.shell("sysctl -qw net.bridge.bridge-nf-call-iptables=1")
        policed.add("c1")

        assert policed.reaches("c1", "outside")
        assert policed.is_kept_from("c2", "outside")
        assert policed.is_kept_from("outside", "c1")
        assert policed.is_kept_from("outside", "c1", 6)
        assert policed.is_kept_from("c2", "c1")

    def test_one_containers_del_leaves_the_other(self, policed):
        policed.add("c1")
        policed.add("c2")

        policed.succeed("DEL", "c1")

        assert policed.is_kept_from("c1", "outside")
        assert policed.reaches("c2", "outside")
        policed.succeed("CHECK", "c2")

    def test_del_needs_no_result(self, policed):
        policed.add("c1")

        for _ in range(2):
            outcome = policed.firewall("DEL", "c1", prevResult=None)
            assert (outcome.status, outcome.text) == (0, "")
        outcome = policed.caller("c1")(
            "DEL", {"cniVersion": "1.1.0", "name": "net", "type": "firewall"}, CNI_NETNS=""
        )

        assert outcome.status == 0
        assert policed.is_kept_from("c1", "outside")
        assert "10.1.0.2" not in "\n".join(policed.ruleset())

    def test_gc_closes_it_for_what_is_not_valid(self, policed):
        policed.add("c1")
        policed.add("c2")
        conf = {"cniVersion": "1.1.0", "name": "net", "type": "firewall"}
        valid = [{"containerID": "c2", "ifname": "eth0"}]

        assert policed.call("GC", {**conf, "cni.dev/valid-attachments": valid}).status == 0

        assert policed.is_kept_from("c1", "outside")
        assert policed.reaches("c2", "outside")
        policed.succeed("CHECK", "c2")
        assert policed.firewall("CHECK", "c1").status == 1

    def test_a_second_add_changes_nothing(self, policed):
        policed.add("c1")
        before = policed.ruleset()

        policed.add("c1")

        assert policed.ruleset() == before

    def test_an_address_given_to_another_container_is_the_others_from_then_on(self, policed):
        policed.add("c1")
        policed.results["c2"] = {**policed.results["c1"]}  # the DEL of c1 was lost
        policed.add("c2")

        policed.succeed("DEL", "c1")

        policed.succeed("CHECK", "c2")
        assert policed.reaches("c1", "outside")  # whose address is that of c2 by now


def test_a_host_that_drops_nothing_gets_nothing(host):
    host.attach("c1")
    before = host.ruleset()

    host.add("c1")

    assert host.ruleset() == before
    assert host.reaches("c1", "outside")
    host.succeed("CHECK", "c1")
    host.succeed("DEL", "c1")


class TestNftables:
    def test_the_hosts_chain_gets_two_rules_for_a_family_and_an_element_for_an_address(self, host):
        host.sandbox.shell(POLICE["nftables inet"])
        host.sandbox.shell("nft add rule inet filter forward ct state invalid drop")
        host.attach("c1")

        host.add("c1")

        assert host.sandbox.shell("nft list table inet filter").split() == [
            "table",
            "inet",
            "filter",
            "{",
            "map",
            "cni-forward4",
            "{",
            "type",
            "ipv4_addr",
            ":",
            "verdict",
            "elements",
            "=",
            "{",
            "10.1.0.2",
            "comment",
            '"cni:net/c1/eth0"',
            ":",
            "goto",
            "cni-forward",
            "}",
            "}",
            "map",
            "cni-forward6",
            "{",
            "type",
            "ipv6_addr",
            ":",
            "verdict",
            "elements",
            "=",
            "{",
            "fd01::2",
            "comment",
            '"cni:net/c1/eth0"',
            ":",
            "goto",
            "cni-forward",
            "}",
            "}",
            "chain",
            "forward",
            "{",
            "type",
            "filter",
            "hook",
            "forward",
            "priority",
            "filter;",
            "policy",
            "drop;",
            "ip6",
            "saddr",
            "vmap",
            "@cni-forward6",
            "comment",
            '"CNI',
            "firewall",
            'plugin"',
            "ct",
            "state",
            "established,related",
            "ip6",
            "daddr",
            "vmap",
            "@cni-forward6",
            "comment",
            '"CNI',
            "firewall",
            'plugin"',
            "ip",
            "saddr",
            "vmap",
            "@cni-forward4",
            "comment",
            '"CNI',
            "firewall",
            'plugin"',
            "ct",
            "state",
            "established,related",
            "ip",
            "daddr",
            "vmap",
            "@cni-forward4",
            "comment",
            '"CNI',
            "firewall",
            'plugin"',
            "ct",
            "state",
            "invalid",
            "drop",
            "}",
            "chain",
            "cni-forward",
            "{",
            "accept",
            "}",
            "}",
        ]

    @pytest.mark.parametrize(
        "reload",
        [
            "nft flush ruleset",
            "nft flush chain inet filter forward",
            "nft flush table inet filter",
            "nft delete table inet filter",
        ],
    )
    def test_a_ruleset_loaded_anew_is_seen_by_check_and_mended_by_add(self, host, reload):
        host.sandbox.shell(POLICE["nftables inet"])
        host.attach("c1")
        host.add("c1")
        host.sandbox.shell(reload)
        host.sandbox.shell(POLICE["nftables inet"])

        error = host.firewall("CHECK", "c1").document
        assert "the chain forward of the table inet filter drops forwarded packets" in error["msg"]
        assert "attach the container again" in error["msg"]

        host.add("c1")
        assert host.reaches("c1", "outside")
        host.succeed("CHECK", "c1")

        host.sandbox.shell(reload)
        host.succeed("DEL", "c1")

    @pytest.mark.parametrize(
        "tampering",
        [
            "nft delete element inet filter cni-forward6 { fd01::2 }",
            "nft flush map inet filter cni-forward4",
            "nft flush chain inet filter cni-forward",
            "nft flush chain inet filter forward",
        ],
    )
    def test_check_fails_after_tampering(self, host, tampering):
        host.sandbox.shell(POLICE["nftables inet"])
        host.attach("c1")
        host.add("c1")
        host.succeed("CHECK", "c1")

        host.sandbox.shell(tampering.replace("{", "'{").replace("}", "}'"))

        assert host.firewall("CHECK", "c1").status == 1

    def test_gc_takes_the_rules_out_of_the_hosts_chain_when_nobody_needs_them(self, host):
        host.sandbox.shell(POLICE["nftables twice"])
        host.attach("c1")
        before = host.ruleset()
        host.add("c1")
        conf = {"cniVersion": "1.1.0", "name": "net", "type": "firewall"}

        host.call("GC", {**conf, "cni.dev/valid-attachments": []})

        assert host.ruleset() == before

    def test_gc_of_another_network_leaves_them(self, host):
        host.sandbox.shell(POLICE["nftables twice"])
        host.attach("c1")
        host.add("c1")
        before = host.ruleset()
        conf = {"cniVersion": "1.1.0", "name": "other", "type": "firewall"}

        host.call("GC", {**conf, "cni.dev/valid-attachments": []})

        assert host.ruleset() == before

    def test_a_chain_of_the_administrators_own_still_has_the_last_word(self, host):
        host.sandbox.shell(POLICE["nftables inet"])
        host.attach("c1")
        host.add("c1")
        host.sandbox.shell(
            "nft 'table inet admin { chain f { type filter hook forward priority 10;"
            " ip daddr 203.0.113.2 drop; }; }'"
        )

        assert host.is_kept_from("c1", "outside")
        assert host.reaches("c1", "outside", 6)

    def test_a_container_with_one_family_opens_only_that(self, host):
        host.sandbox.shell(POLICE["nftables ip and ip6"])
        host.attach("c1")
        host.results["c1"]["ips"] = host.results["c1"]["ips"][:1]

        host.add("c1")

        assert host.reaches("c1", "outside")
        assert host.is_kept_from("c1", "outside", 6)
        assert "cni-forward" not in host.sandbox.shell("nft list table ip6 guard")

    def test_where_iptables_drops_it_says_that_it_cannot_help(self, host, capfd):
        host.sandbox.shell(POLICE["iptables-nft"])
        host.attach("c1")

        host.add("c1", backend="nftables")

        assert "iptables drops forwarded packets in ip filter FORWARD" in capfd.readouterr().err
        assert host.is_kept_from("c1", "outside")

    def test_among_5000_others_an_attachment_changes_only_what_is_its_own(self, host):
        host.sandbox.shell(POLICE["nftables inet"])
        host.attach("c1")
        host.attach("c2")
        host.add("c2")
        many = ", ".join(f"10.9.{i // 250}.{i % 250} : goto cni-forward" for i in range(5000))
        Path("/run/many").write_text(f"add element inet filter cni-forward4 {{ {many} }}\n")
        host.sandbox.shell("nft -f /run/many")
        before = host.ruleset()

        host.add("c1")
        host.succeed("CHECK", "c1")
        host.succeed("DEL", "c1")

        assert host.ruleset() == before


class TestIptables:
    def test_the_rules_are_the_references(self, host):
        host.attach("c1")

        host.add("c1", backend="iptables")

        saved = host.sandbox.shell("iptables-save -t filter").splitlines()
        assert [line for line in saved if line.startswith("-A")] == [
            '-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD',
            '-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN',
            "-A CNI-FORWARD -s 10.1.0.2/32 -j ACCEPT",
            "-A CNI-FORWARD -d 10.1.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            '-A CNI-FORWARD-OWNERS -s 10.1.0.2/32 -m comment --comment "cni:net/c1/eth0"',
        ]

    def test_an_administrators_chain_comes_first(self, host):
        host.sandbox.shell(POLICE["iptables-nft"])
        host.sandbox.shell("iptables -N MY-ADMIN; iptables -A MY-ADMIN -d 203.0.113.2 -j DROP")
        host.attach("c1")

        host.add("c1", iptablesAdminChainName="MY-ADMIN")

        assert host.is_kept_from("c1", "outside")
        host.succeed("CHECK", "c1", iptablesAdminChainName="MY-ADMIN")
        host.sandbox.shell("iptables -F MY-ADMIN")
        assert host.reaches("c1", "outside")

    def test_rules_that_an_administrator_puts_in_front_count_more(self, host):
        host.sandbox.shell(POLICE["iptables-nft"])
        host.attach("c1")
        host.add("c1")

        host.sandbox.shell("iptables -I FORWARD 1 -d 203.0.113.2 -j DROP")

        assert host.is_kept_from("c1", "outside")
        host.succeed("CHECK", "c1")

    def test_an_administrators_rules_behind_ours_do_not(self, host):
        host.sandbox.shell("iptables -A FORWARD -d 203.0.113.2 -j DROP")
        host.attach("c1")

        host.add("c1")

        assert host.reaches("c1", "outside")

    @pytest.mark.parametrize(
        "tampering",
        [
            "iptables -F CNI-FORWARD",
            "ip6tables -F FORWARD",
            "iptables -D CNI-FORWARD -s 10.1.0.2/32 -j ACCEPT",
            "iptables -D CNI-FORWARD 1",
        ],
    )
    def test_check_fails_after_tampering_and_repairs_nothing(self, host, tampering):
        host.attach("c1")
        host.add("c1", backend="iptables")
        host.succeed("CHECK", "c1", backend="iptables")
        host.sandbox.shell(tampering)
        before = host.ruleset()

        outcome = host.firewall("CHECK", "c1", backend="iptables")

        assert "attach the container again" in outcome.document["msg"]
        assert host.ruleset() == before

    def test_check_on_a_host_without_anything_creates_no_chain(self, host):
        host.attach("c1")
        before = host.ruleset()

        assert host.firewall("CHECK", "c1", backend="iptables").status == 1

        assert host.ruleset() == before

    def test_del_removes_duplicates(self, host):
        host.attach("c1")
        host.add("c1", backend="iptables")
        host.sandbox.shell("iptables -A CNI-FORWARD -s 10.1.0.2/32 -j ACCEPT")

        host.succeed("DEL", "c1", backend="iptables")

        assert "10.1.0.2" not in "\n".join(host.ruleset())

    def test_del_goes_where_the_add_went_whatever_the_configuration_says_by_then(self, host):
        host.attach("c1")
        host.add("c1", backend="iptables")

        host.succeed("DEL", "c1", backend="nftables")

        assert "10.1.0.2" not in "\n".join(host.ruleset())

    def test_both_variants_are_served_where_both_police(self, host):
        host.sandbox.shell(POLICE["iptables-nft"])
        host.sandbox.shell(POLICE["iptables-legacy"])
        host.attach("c1")

        host.add("c1")
        assert host.reaches("c1", "outside")
        assert host.reaches("c1", "outside", 6)

        host.succeed("DEL", "c1")
        assert host.is_kept_from("c1", "outside")
        assert "10.1.0.2" not in "\n".join(host.ruleset())


class TestTheChoice:
    @pytest.mark.parametrize(
        ("prepare", "expected"),
        [
            ("true", "nftables"),
            ("iptables -P FORWARD DROP", "iptables"),
            ("ip6tables -P FORWARD DROP", "iptables"),
            ("iptables-legacy -P FORWARD DROP", "iptables"),
            ("iptables -A FORWARD -i br9 -j ACCEPT", "iptables"),
            ("iptables-legacy -A FORWARD -i br9 -j ACCEPT", "iptables"),
            ("iptables -A INPUT -j ACCEPT; iptables -P INPUT DROP", "nftables"),
            (POLICE["nftables inet"], "nftables"),
            (
                "iptables -N CNI-FORWARD; iptables -A FORWARD -m comment --comment"
                " 'CNI firewall plugin rules' -j CNI-FORWARD",
                "nftables",
            ),
            (
                "iptables-legacy -N CNI-FORWARD; iptables-legacy -A FORWARD -m comment --comment"
                " 'CNI firewall plugin rules' -j CNI-FORWARD",
                "nftables",
            ),
        ],
    )
    def test_is_what_polices_the_host(self, host, prepare, expected):
        host.sandbox.shell(prepare)
        host.attach("c1")

        host.add("c1", ingressPolicy="same-bridge")

        text = "\n".join(host.ruleset())
        assert ("CNI-FORWARD-OWNERS" in text) == (expected == "iptables")
        assert ("ingress-policies" in text) == (expected == "nftables")

    def test_is_iptables_for_options_that_only_it_has(self, host):
        host.attach("c1")

        host.add("c1", iptablesAdminChainName="MY-ADMIN")

        assert "-j MY-ADMIN" in "\n".join(host.ruleset())


def test_the_example_of_the_page(host):
    page = Path(__file__).parents[2] / "docs" / "reference" / "plugins" / "firewall.md"
    (block,) = re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL)
    host.attach("c1")
    host.attach("d1", OTHER_BRIDGE)
    example = json.loads(block)

    for name in ("c1", "d1"):
        assert host.caller(name).add({**example, "prevResult": host.results[name]})

    assert host.reaches("c1", "outside")
    assert host.is_kept_from("c1", "d1")
    for verb in ("STATUS", "CHECK", "DEL"):
        outcome = host.caller("c1")(verb, {**example, "prevResult": host.results["c1"]})
        assert (outcome.status, outcome.text) == (0, "")


def test_forty_adds_at_once_all_pass(host):
    """Everybody's first rule is in place once, in either backend."""
    host.sandbox.shell(POLICE["nftables inet"])
    host.attach("c1")
    for backend in ("nftables", "iptables"):
        children = [fork_one(host, number, backend) for number in range(2, 42)]
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 40

    rules = json.loads(host.sandbox.shell("nft -j list chain inet filter forward"))["nftables"]
    assert len([entry for entry in rules if "rule" in entry]) == 4
    saved = host.sandbox.shell("iptables-save -t filter")
    assert saved.count(" -j CNI-FORWARD") == 1
    assert saved.count("-j ACCEPT") == 80


def fork_one(host, number, backend):
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        addresses = [{"address": f"10.1.0.{number}/24"}, {"address": f"fd01::{number}/64"}]
        host.results["c1"] = {**host.results["c1"], "ips": addresses}
        conf = {"cniVersion": "1.1.0", "name": "net", "type": "firewall", "backend": backend}
        caller = host.caller("c1")
        outcome = caller(
            "ADD", {**conf, "prevResult": host.results["c1"]}, CNI_CONTAINERID=f"k{number}"
        )
        status = outcome.status
    finally:
        os._exit(status)
