"""Masquerading on the real kernel, seen from outside."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from cni_main.bridge import spoof_check
from cnicore import masquerade
from cnicore.addresses import parse_address, parse_cidr
from cnicore.errors import CniError, PluginNotAvailable
from cnicore.firewall import libnftables, xtables
from cnicore.firewall.xtables import may_have
from cnicore.net.switch import inside, open_netns
from cnicore.owner import Owner
from cnicore.result import IpConfig
from kernel.without_nftables import hide_nftables

pytestmark = pytest.mark.kernel

OWNER = Owner("n1", "c1", "eth0")
NEIGHBOUR = Owner("n1", "c2", "eth0")
SIBLING = Owner("n1", "c1", "eth1")
TWO_SUBNETS = [IpConfig(parse_cidr("10.1.0.2/24")), IpConfig(parse_cidr("10.2.0.2/24"))]
IPS = [*TWO_SUBNETS, IpConfig(parse_cidr("fd01::2/64"))]
ADDRESSES = [ip.address.ip for ip in IPS]
PORT = 4242
DEBIAN = Path("/usr/lib/cni")

GO_TABLE = """
nft add table inet cni_plugins_masquerade
nft add chain inet cni_plugins_masquerade masq_checks
nft add chain inet cni_plugins_masquerade postrouting \
    '{ type nat hook postrouting priority 100; policy accept; }'
nft add rule inet cni_plugins_masquerade postrouting goto masq_checks
"""
GO_RULE = (
    "nft add rule inet cni_plugins_masquerade masq_checks {match} masquerade"
    " comment '\"43d91f8451058a70-{hash}, net: n1, if: eth0, id: {id}\"'"
)


@pytest.fixture(params=["nftables", "iptables"])
def backend(request):
    return request.param


@pytest.fixture
def topology(sandbox):
    """c1 (10.1.0.2, 10.2.0.2, fd01::2) and c2 (the same with .3), each on a wire of its own."""
    outside = sandbox.outside()
    sandbox.shell("ip -n outside addr add 2001:db8::2/64 dev eth0 nodad")
    sandbox.shell("ip addr add 2001:db8::1/64 dev uplink nodad")
    sandbox.shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    for number, name in ((2, "c1"), (3, "c2")):
        sandbox.container(name)
        connect(sandbox, name, number)
    return {"outside": outside, "c1": "/run/netns/c1", "c2": "/run/netns/c2", "host": ""}


def connect(sandbox, name, number):
    sandbox.shell(f"ip link add host-{name} type veth peer name eth0 netns {name}")
    sandbox.shell(f"ip link set host-{name} up; ip addr add 169.254.1.1/32 dev host-{name}")
    sandbox.shell(f"ip addr add fe80::1/64 dev host-{name} nodad")
    sandbox.shell("ip link set eth0 up; ip addr add fe80::2/64 dev eth0 nodad", name)
    for cidr in (f"10.1.0.{number}/32", f"10.2.0.{number}/32", f"fd01::{number}/128"):
        sandbox.shell(f"ip addr add {cidr} dev eth0 nodad", name)
        sandbox.shell(f"ip route add {cidr} dev host-{name}")
    sandbox.shell("ip route add default via 169.254.1.1 dev eth0 onlink", name)
    sandbox.shell("ip -6 route add default via fe80::1 dev eth0", name)


def seen_by(topology, receiver, to, sender, source):
    """Whose address a datagram has when it arrives."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with udp(topology[receiver], family) as server, udp(topology[sender], family) as client:
        server.bind((to, PORT))
        client.bind((source, 0))
        client.sendto(b"who am I?", (to, PORT))
        return server.recvfrom(64)[1][0]


def udp(path, family):
    fd = open_netns(path) if path else None
    with inside(fd):
        made = socket.socket(family, socket.SOCK_DGRAM)
    if fd is not None:
        os.close(fd)
    made.settimeout(5)
    return made


def elements(sandbox):
    text = sandbox.shell("nft list map inet cni masquerade4; nft list map inet cni masquerade6")
    return text.count("goto")


def chains(sandbox):
    saved = sandbox.shell("iptables-save -t nat; ip6tables-save -t nat")
    return saved.count("CNI-")


class TestWhatOthersSee:
    def test_without_masquerading_the_outside_sees_the_container(self, topology):
        assert seen_by(topology, "outside", "203.0.113.2", "c1", "10.1.0.2") == "10.1.0.2"

    def test_the_outside_sees_the_host(self, topology, backend):
        masquerade.add(OWNER, IPS, backend)

        assert seen_by(topology, "outside", "203.0.113.2", "c1", "10.1.0.2") == "203.0.113.1"
        assert seen_by(topology, "outside", "203.0.113.2", "c1", "10.2.0.2") == "203.0.113.1"
        assert seen_by(topology, "outside", "2001:db8::2", "c1", "fd01::2") == "2001:db8::1"

    def test_the_own_subnets_see_the_container_from_either_address(self, topology, backend):
        masquerade.add(OWNER, IPS, backend)

        assert seen_by(topology, "c2", "10.1.0.3", "c1", "10.1.0.2") == "10.1.0.2"
        assert seen_by(topology, "c2", "10.2.0.3", "c1", "10.1.0.2") == "10.1.0.2"
        assert seen_by(topology, "c2", "10.1.0.3", "c1", "10.2.0.2") == "10.2.0.2"
        assert seen_by(topology, "c2", "fd01::3", "c1", "fd01::2") == "fd01::2"

    def test_another_container_is_not_masqueraded(self, topology, backend):
        masquerade.add(OWNER, IPS, backend)

        assert seen_by(topology, "outside", "203.0.113.2", "c2", "10.1.0.3") == "10.1.0.3"

    def test_multicast_keeps_its_source(self, topology, sandbox, backend):
        # sent by the host itself: forwarding multicast would take a routing daemon
        sandbox.shell("ip addr add 10.1.0.2/32 dev lo; ip route add 239.0.0.0/8 dev uplink")
        masquerade.add(OWNER, IPS, backend)

        with udp(topology["outside"], socket.AF_INET) as server:
            server.bind(("239.1.1.1", PORT))
            group = socket.inet_aton("239.1.1.1") + socket.inet_aton("203.0.113.2")
            server.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            with udp("", socket.AF_INET) as client:
                client.bind(("10.1.0.2", 0))
                uplink = socket.inet_aton("203.0.113.1")
                client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, uplink)
                client.sendto(b"all", ("239.1.1.1", PORT))
                assert server.recvfrom(64)[1][0] == "10.1.0.2"

    def test_after_del_the_outside_sees_the_container_again(self, topology, backend):
        masquerade.add(OWNER, IPS, backend)
        masquerade.delete(OWNER, ADDRESSES)

        assert seen_by(topology, "outside", "203.0.113.2", "c1", "10.1.0.2") == "10.1.0.2"


class TestAnyBackend:
    def test_repeating_any_verb_is_as_wished(self, sandbox, backend):
        masquerade.delete(OWNER, ADDRESSES)
        masquerade.add(OWNER, IPS, backend)
        before = sandbox.shell("nft list ruleset")
        masquerade.add(OWNER, IPS, backend)
        assert sandbox.shell("nft list ruleset") == before
        masquerade.verify(OWNER, IPS)

        masquerade.delete(OWNER, ADDRESSES)
        masquerade.delete(OWNER, ADDRESSES)
        with pytest.raises(CniError, match="eth0 is not masqueraded: attach it again"):
            masquerade.verify(OWNER, IPS)

    def test_del_without_addresses_finds_the_owners(self, sandbox, backend):
        masquerade.add(OWNER, IPS, backend)
        masquerade.delete(OWNER)

        assert "c1" not in sandbox.shell("nft list ruleset")

    def test_del_of_a_neighbour_leaves_it(self, sandbox, backend):
        masquerade.add(OWNER, IPS, backend)
        masquerade.delete(NEIGHBOUR, ADDRESSES)
        masquerade.delete(NEIGHBOUR)

        masquerade.verify(OWNER, IPS)

    def test_gc_keeps_valid_attachments_and_other_networks(self, sandbox, backend):
        elsewhere = Owner("n2", "c1", "eth0")
        masquerade.add(OWNER, IPS[:1], backend)
        masquerade.add(NEIGHBOUR, IPS[1:2], backend)
        masquerade.add(elsewhere, IPS[2:], backend)

        masquerade.gc("n1", [OWNER])

        masquerade.verify(OWNER, IPS[:1])
        masquerade.verify(elsewhere, IPS[2:])
        with pytest.raises(CniError):
            masquerade.verify(NEIGHBOUR, IPS[1:2])

    def test_status_is_good_and_leaves_no_trace(self, sandbox, backend):
        for _ in range(2):
            masquerade.require(backend)
            masquerade.require("")
            masquerade.add(OWNER, IPS, "nftables")

        masquerade.delete(OWNER, ADDRESSES)
        assert "c1" not in sandbox.shell("nft list ruleset")
        assert "cni-trial" not in sandbox.shell("nft list ruleset")

    def test_each_interface_of_a_container_keeps_its_own(self, topology, backend):
        masquerade.add(OWNER, TWO_SUBNETS[:1], backend)
        masquerade.add(SIBLING, TWO_SUBNETS[1:], backend)
        masquerade.add(OWNER, TWO_SUBNETS[:1], backend)

        masquerade.verify(OWNER, TWO_SUBNETS[:1])
        masquerade.verify(SIBLING, TWO_SUBNETS[1:])
        assert seen_by(topology, "outside", "203.0.113.2", "c1", "10.1.0.2") == "203.0.113.1"
        assert seen_by(topology, "outside", "203.0.113.2", "c1", "10.2.0.2") == "203.0.113.1"
        assert seen_by(topology, "c2", "10.2.0.3", "c1", "10.2.0.2") == "10.2.0.2"

        masquerade.delete(SIBLING, ADDRESSES[1:2])
        masquerade.verify(OWNER, TWO_SUBNETS[:1])
        assert seen_by(topology, "outside", "203.0.113.2", "c1", "10.1.0.2") == "203.0.113.1"
        assert seen_by(topology, "outside", "203.0.113.2", "c1", "10.2.0.2") == "10.2.0.2"

    def test_an_empty_name_is_nftables(self, sandbox):
        masquerade.add(OWNER, IPS, "")

        assert elements(sandbox) == 3

    def test_an_id_of_200_characters_is_told_apart(self, sandbox, backend):
        one, two = Owner("n1", "x" * 200 + "1", "eth0"), Owner("n1", "x" * 200 + "2", "eth0")
        masquerade.add(one, IPS[:1], backend)
        masquerade.add(two, IPS[1:2], backend)

        masquerade.gc("n1", [one])

        masquerade.verify(one, IPS[:1])
        with pytest.raises(CniError):
            masquerade.verify(two, IPS[1:2])

    def test_sixteen_processes_at_once_all_succeed(self, sandbox, backend):
        children = [fork_one(number, backend) for number in range(16)]

        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 16
        masquerade.verify(Owner("n1", "c4", "eth0"), ips_of(4))
        with pytest.raises(CniError):
            masquerade.verify(Owner("n1", "c5", "eth0"), ips_of(5))


def ips_of(number):
    return [IpConfig(parse_cidr(f"10.9.0.{number}/24")), IpConfig(parse_cidr(f"fd09::{number}/64"))]


def fork_one(number, backend):
    """Adds; the odd ones add and delete several times, and end deleted."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        owner, ips = Owner("n1", f"c{number}", "eth0"), ips_of(number)
        for _ in range(4):
            masquerade.add(owner, ips, backend)
            if number % 2:
                masquerade.delete(owner, [ip.address.ip for ip in ips])
        status = 0
    finally:
        os._exit(status)


class TestNftables:
    def test_an_attachment_is_one_element_for_each_address(self, sandbox):
        masquerade.add(OWNER, IPS, "nftables")

        text = sandbox.shell("nft list map inet cni masquerade6")
        assert 'fd01::2 comment "cni:n1/c1/eth0" : goto subnet-fd01__-64' in text
        assert elements(sandbox) == 3

    def test_what_another_container_left_for_the_address_is_replaced(self, sandbox):
        masquerade.add(NEIGHBOUR, IPS[:1], "nftables")
        masquerade.add(OWNER, IPS, "nftables")
        masquerade.delete(NEIGHBOUR, ADDRESSES)

        masquerade.verify(OWNER, IPS)
        assert elements(sandbox) == 3

    def test_what_is_still_attached_keeps_its_address(self, sandbox):
        """On another network, or in this one by mistake: neither may cut the other off."""
        sandbox.shell(
            f"ip link add veth1 type veth peer name p; ip link set veth1 alias {OWNER.tag}"
        )
        masquerade.add(OWNER, IPS, "nftables")
        other = Owner("n2", "c2", "eth0")

        with pytest.raises(CniError) as caught:
            masquerade.add(other, [*ips_of(2), *IPS], "nftables")
        masquerade.delete(other, ADDRESSES)

        assert caught.value.msg == (
            "10.1.0.2 is masqueraded for cni:n1/c1/eth0, which is still attached:"
            " give one of the two another address"
        )
        assert "ipMasqBackend" in caught.value.details
        assert elements(sandbox) == 3
        masquerade.verify(OWNER, IPS)
        masquerade.add(other, IPS, "iptables")
        masquerade.verify(other, IPS)

    def test_check_says_who_has_the_address_instead(self, sandbox):
        masquerade.add(OWNER, IPS[:1], "nftables")
        masquerade.add(NEIGHBOUR, IPS[:1], "nftables")

        with pytest.raises(CniError) as caught:
            masquerade.verify(OWNER, IPS[:1])

        words = "nftables does not masquerade 10.1.0.2 for cni:n1/c1/eth0 but for cni:n1/c2/eth0"
        assert words in caught.value.details

    def test_addresses_without_a_subnet_share_a_chain_of_each_family(self, sandbox):
        ips = [IpConfig(parse_cidr("10.1.0.2/32")), IpConfig(parse_cidr("fd01::2/128"))]
        masquerade.add(OWNER, ips, "nftables")

        chains = {
            chain: sandbox.shell(f"nft list chain inet cni {chain}")
            for chain in ("subnet-none-ipv4", "subnet-none-ipv6")
        }
        assert "ip daddr 224.0.0.0/4 return" in chains["subnet-none-ipv4"]
        assert "ip6 daddr ff00::/8 return" in chains["subnet-none-ipv6"]
        assert all("masquerade" in chain for chain in chains.values())
        masquerade.verify(OWNER, ips)

    def test_gc_removes_chains_that_nothing_uses(self, sandbox):
        masquerade.add(OWNER, IPS[:1], "nftables")
        masquerade.add(Owner("n1", "c3", "eth0"), ips_of(1), "nftables")
        masquerade.delete(OWNER)

        masquerade.gc("n1", [Owner("n1", "c3", "eth0")])

        text = sandbox.shell("nft list ruleset")
        assert "chain subnet-10.1.0.0-24" not in text
        assert "chain subnet-10.9.0.0-24" in text

    @pytest.mark.parametrize(
        "tampering",
        [
            "flush chain inet cni postrouting",
            "flush chain inet cni subnet-fd01__-64",
            "delete element inet cni masquerade4 { 10.2.0.2 }",
        ],
    )
    def test_check_fails_after_tampering(self, sandbox, tampering):
        masquerade.add(OWNER, IPS, "nftables")
        sandbox.shell(f"nft '{tampering}'")

        with pytest.raises(CniError, match="eth0 is not masqueraded"):
            masquerade.verify(OWNER, IPS)


@pytest.fixture
def questions(monkeypatch):
    """What libnftables is asked from now on, as text."""
    asked, real = [], libnftables._binding()

    class Listening(real):
        def cmd(self, cmdline):
            asked.append(cmdline)
            return super().cmd(cmdline)

        def json_cmd(self, json_root):
            asked.append(json.dumps(json_root))
            return super().json_cmd(json_root)

    monkeypatch.setattr(libnftables, "_binding", lambda: Listening)
    monkeypatch.setattr(libnftables, "_open", {})
    return asked


def test_check_and_del_ask_for_nothing_that_grows_with_the_maps(sandbox, questions):
    """To answer for an element or a chain of our table, the library reads all its elements."""
    masquerade.add(OWNER, IPS, "nftables")
    questions.clear()
    masquerade.verify(OWNER, IPS)
    assert questions == []

    masquerade.delete(OWNER, ADDRESSES)

    reads = [text for text in questions if '"list"' in text or text.startswith(("get", "list"))]
    assert [text for text in reads if '"inet"' in text and '"cni"' in text] == []
    assert elements(sandbox) == 0


class TestIptables:
    def test_the_rules_are_the_references_with_every_accept_first(self, sandbox):
        masquerade.add(Owner("n1", "c", "eth0"), IPS, "iptables")

        saved = sandbox.shell("iptables-save -t nat; ip6tables-save -t nat")
        comment = r'-m comment --comment "name: \"n1\" id: \"c\""'
        chain = "CNI-04eaacaacfa0810ace01f965"
        assert [line for line in saved.splitlines() if line.startswith("-A")] == [
            f"-A POSTROUTING -s 10.1.0.2/32 {comment} -j {chain}",
            f"-A POSTROUTING -s 10.2.0.2/32 {comment} -j {chain}",
            f"-A {chain} -d 10.1.0.0/24 {comment} -j ACCEPT",
            f"-A {chain} -d 10.2.0.0/24 {comment} -j ACCEPT",
            f"-A {chain} ! -d 224.0.0.0/4 {comment} -j MASQUERADE",
            f"-A POSTROUTING -s fd01::2/128 {comment} -j {chain}",
            f"-A {chain} -d fd01::/64 {comment} -j ACCEPT",
            f"-A {chain} ! -d ff00::/8 {comment} -j MASQUERADE",
        ]

    def test_del_removes_duplicate_and_legacy_jumps(self, sandbox):
        masquerade.add(OWNER, IPS, "iptables")
        for source in ("10.1.0.2", "10.1.0.2/24"):
            sandbox.shell(f"iptables -t nat -A POSTROUTING -s {source} -j {OWNER.chain()}")

        masquerade.delete(OWNER, ADDRESSES)

        assert chains(sandbox) == 0

    @pytest.mark.parametrize(
        "remove", [lambda: masquerade.delete(OWNER), lambda: masquerade.gc("n1", [NEIGHBOUR])]
    )
    def test_a_leaked_jump_goes_with_the_chain(self, sandbox, remove):
        masquerade.add(OWNER, IPS, "iptables")
        sandbox.shell(f"iptables -t nat -A POSTROUTING -s 10.1.0.99 -j {OWNER.chain()}")
        masquerade.delete(OWNER, ADDRESSES)
        assert chains(sandbox) > 0  # it might be another interface's

        remove()

        assert chains(sandbox) == 0

    def test_the_last_interface_of_a_container_takes_the_chain_with_it(self, sandbox):
        masquerade.add(OWNER, TWO_SUBNETS[:1], "iptables")
        masquerade.add(SIBLING, TWO_SUBNETS[1:], "iptables")

        masquerade.delete(SIBLING, ADDRESSES[1:2])
        saved = sandbox.shell("iptables-save -t nat")
        assert "10.1.0.0/24" in saved
        assert "10.2.0" not in saved
        masquerade.delete(OWNER, ADDRESSES[:1])

        assert chains(sandbox) == 0

    def test_del_without_addresses_waits_for_the_last_interface(self, sandbox):
        for name, owner in (("v0", OWNER), ("v1", SIBLING), ("v2", NEIGHBOUR)):
            sandbox.shell(f"ip link add {name} type veth; ip link set {name} alias {owner.tag}")
        masquerade.add(OWNER, TWO_SUBNETS[:1], "iptables")
        masquerade.add(SIBLING, TWO_SUBNETS[1:], "iptables")

        sandbox.shell("ip link delete v1")
        masquerade.delete(SIBLING)
        masquerade.verify(OWNER, TWO_SUBNETS[:1])
        sandbox.shell("ip link delete v0")
        masquerade.delete(OWNER)

        assert chains(sandbox) == 0

    def test_an_accept_behind_the_masquerade_is_not_enough(self, topology, sandbox):
        """The reference writes them so for the second subnet."""
        masquerade.add(OWNER, TWO_SUBNETS[:1], "iptables")
        chain = OWNER.chain()
        sandbox.shell(f"iptables -t nat -A {chain} -d 10.2.0.0/24 -j ACCEPT")

        masquerade.add(OWNER, TWO_SUBNETS, "iptables")

        assert seen_by(topology, "c2", "10.2.0.3", "c1", "10.1.0.2") == "10.1.0.2"

    def test_check_fails_after_tampering(self, sandbox):
        masquerade.add(OWNER, IPS, "iptables")
        sandbox.shell(f"iptables -t nat -F {OWNER.chain()}")

        with pytest.raises(
            CniError, match=r"iptables does not masquerade 10\.1\.0\.2, 10\.2\.0\.2"
        ):
            masquerade.verify(OWNER, IPS)

    def test_a_program_need_not_run_where_there_is_certainly_nothing(self, sandbox):
        assert not may_have(4, "nat", OWNER.chain())
        masquerade.add(OWNER, TWO_SUBNETS, "iptables")

        assert may_have(4, "nat", OWNER.chain())
        assert not may_have(4, "nat", NEIGHBOUR.chain())
        assert not may_have(6, "nat", OWNER.chain())

    def test_legacy_tables_must_be_looked_into(self, sandbox):
        legacy = subprocess.run(["iptables-legacy", "-t", "nat", "-N", "X"], check=False)
        if legacy.returncode:
            pytest.skip("the kernel has no legacy tables")

        assert may_have(4, "nat", OWNER.chain())


@pytest.fixture(params=["legacy", "nft"])
def without_nf_tables(request, sandbox, monkeypatch, tmp_path):
    """A host whose libnftables finds no nf_tables, and whose iptables work, of either kind."""
    hide_nftables(monkeypatch)
    programs = f"/usr/sbin/xtables-{request.param}-multi"
    for name in ("iptables", "ip6tables"):
        for verb in ("save", "restore"):
            (tmp_path / f"{name}-{verb}").symlink_to(programs)
    monkeypatch.setattr(xtables, "DIRECTORIES", (str(tmp_path),))
    try:
        xtables.save(4, "nat")
    except CniError as error:
        pytest.skip(f"the kernel has no legacy tables: {error}")


def saved():
    return "\n".join(line for version in (4, 6) for line in xtables.save(version, "nat"))


class TestAKernelWithoutNfTables:
    @pytest.mark.parametrize("chosen", ["", "iptables"])
    def test_iptables_masquerades_and_every_verb_works(self, without_nf_tables, chosen):
        masquerade.require(chosen)
        masquerade.add(OWNER, IPS, chosen)
        masquerade.verify(OWNER, IPS)
        assert saved().count(OWNER.chain()) > 2

        masquerade.gc("n1", [OWNER])
        masquerade.verify(OWNER, IPS)
        masquerade.delete(OWNER, ADDRESSES)
        assert "CNI-" not in saved()

        masquerade.add(OWNER, IPS, chosen)
        masquerade.gc("n1", [])
        masquerade.delete(OWNER)
        assert "CNI-" not in saved()

    def test_two_interfaces_come_and_go_alone(self, without_nf_tables):
        masquerade.add(OWNER, IPS[:1], "")
        masquerade.add(SIBLING, IPS[1:], "")
        masquerade.add(OWNER, IPS[:1], "")
        masquerade.verify(OWNER, IPS[:1])
        masquerade.verify(SIBLING, IPS[1:])

        masquerade.delete(OWNER, ADDRESSES[:1])
        masquerade.verify(SIBLING, IPS[1:])
        masquerade.delete(SIBLING, ADDRESSES[1:])
        assert "CNI-" not in saved()

    def test_status_names_what_is_missing(self, without_nf_tables):
        with pytest.raises(PluginNotAvailable, match="load the module nf_tables"):
            masquerade.require("nftables")

    def test_there_can_be_no_mac_check_to_remove(self, without_nf_tables):
        spoof_check.delete(OWNER)
        spoof_check.gc("n1", [])
        with pytest.raises(CniError, match="load the module nf_tables"):
            spoof_check.add(OWNER, "veth-c1", "02:00:00:00:00:01")


class TestWhatTheReferenceMade:
    def test_del_and_check_know_its_nftables_rules(self, sandbox):
        owner = Owner("n1", "c", "eth0")
        address = [IpConfig(parse_cidr("10.7.0.3/24"))]
        match = "ip saddr 10.7.0.3 ip daddr != 10.7.0.0/24"
        sandbox.shell(GO_TABLE)
        sandbox.shell(GO_RULE.format(match=match, hash="9f7877994d6abce3", id="c"))
        other = match.replace(".3", ".4")
        sandbox.shell(GO_RULE.format(match=other, hash="0000000000000000", id="other"))

        masquerade.verify(owner, address)
        masquerade.delete(owner, [parse_address("10.7.0.3")])

        text = sandbox.shell("nft list ruleset")
        assert "10.7.0.3" not in text
        assert "10.7.0.4" in text

    def test_gc_collects_its_nftables_rules(self, sandbox):
        sandbox.shell(GO_TABLE)
        for address, digest, name in (
            ("10.7.0.3", "9f7877994d6abce3", "c"),
            ("10.7.0.4", "0000000000000000", "x"),
        ):
            match = f"ip saddr {address} ip daddr != 10.7.0.0/24"
            sandbox.shell(GO_RULE.format(match=match, hash=digest, id=name))

        masquerade.gc("n1", [Owner("n1", "c", "eth0")])

        text = sandbox.shell("nft list ruleset")
        assert "10.7.0.3" in text
        assert "10.7.0.4" not in text

    def test_ours_and_the_debian_plugins_rules_are_each_others(self, sandbox, tmp_path):
        if not (DEBIAN / "bridge").exists():
            pytest.skip("needs Debian's containernetworking-plugins")
        netns = sandbox.container("c1")
        result = json.loads(debian_bridge("ADD", netns, tmp_path))
        ips = [IpConfig(parse_cidr(ip["address"])) for ip in result["ips"]]

        masquerade.verify(OWNER, ips)
        masquerade.delete(OWNER, [ip.address.ip for ip in ips])
        assert chains(sandbox) == 0

        masquerade.add(OWNER, ips, "iptables")
        debian_bridge("DEL", netns, tmp_path)
        assert chains(sandbox) == 0


def debian_bridge(verb, netns, directory):
    conf = {
        "cniVersion": "1.0.0",
        "name": "n1",
        "type": "bridge",
        "bridge": "br0",
        "isGateway": True,
        "ipMasq": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(directory),
            "ranges": [[{"subnet": "10.7.0.0/24"}], [{"subnet": "fd07::/64"}]],
        },
    }
    environ = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": netns,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(DEBIAN),
        "PATH": "/usr/sbin:/usr/bin",
    }
    done = subprocess.run(
        [DEBIAN / "bridge"],
        input=json.dumps(conf),
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
