"""bridge's check of MAC addresses on the real kernel, with real frames."""

import os
import socket

import pytest

from cni_main.bridge import spoof_check
from cnicore.net.switch import inside, open_netns
from cnicore.owner import Owner

pytestmark = pytest.mark.kernel

OWNER = Owner("n1", "c1", "eth0")
OWN_MAC, OTHER_MAC, LAST_MAC = "02:00:00:00:00:01", "02:00:00:00:00:99", "02:00:00:00:00:ff"
ETHERTYPE = 0x88B5  # IEEE: for experiments
BROADCAST = bytes([255] * 6)

LEFT_OVER = """
nft add table bridge nat
nft add chain bridge nat PREROUTING '{ type filter hook prerouting priority -300; }'
nft add chain bridge nat cni-br-iface-c1-eth0
nft add chain bridge nat cni-br-iface-c1-eth0-mac
nft add rule bridge nat PREROUTING iifname old1 jump cni-br-iface-c1-eth0 \
    comment macspoofchk-c1-eth0
nft add rule bridge nat PREROUTING iifname old2 jump cni-br-iface-c1-eth0 \
    comment macspoofchk-c1-eth0
nft add rule bridge nat cni-br-iface-c1-eth0 drop
"""


@pytest.fixture
def bridged(sandbox):
    """c1 and c2 on a bridge; the host's ends are veth-c1 and veth-c2."""
    sandbox.shell("ip link add br0 type bridge && ip link set br0 up")
    for name in ("c1", "c2"):
        sandbox.container(name)
        sandbox.shell(f"ip link add veth-{name} type veth peer name eth0 netns {name}")
        sandbox.shell("ip link set eth0 up", name)
        sandbox.shell(f"ip link set veth-{name} master br0 up")
    sandbox.shell(f"ip link set eth0 address {OWN_MAC}", "c1")
    return sandbox


def arrivals(*sources):
    """Under which of these MACs c1's frames reach c2; an unchecked last frame ends the wait."""
    with wire("c1") as sender, wire("c2") as receiver, raw("veth-c2", "") as host:
        for source in sources:
            sender.send(BROADCAST + packed(source) + ETHERTYPE.to_bytes(2, "big") + bytes(46))
        # the bridge's port delivers in order, so nothing can come after this one
        host.send(BROADCAST + packed(LAST_MAC) + ETHERTYPE.to_bytes(2, "big") + bytes(46))
        return list(iter(lambda: source_of(receiver), LAST_MAC))


def wire(name):
    return raw("eth0", f"/run/netns/{name}")


def raw(link, path):
    fd = open_netns(path) if path else None
    with inside(fd):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
        made.bind((link, ETHERTYPE))
    if fd is not None:
        os.close(fd)
    made.settimeout(5)
    return made


def source_of(receiver):
    return receiver.recv(2048)[6:12].hex(":")


def packed(mac):
    return bytes.fromhex(mac.replace(":", ""))


class TestFrames:
    def test_without_a_check_any_mac_passes(self, bridged):
        assert arrivals(OTHER_MAC, OWN_MAC) == [OTHER_MAC, OWN_MAC]

    def test_spoofed_frames_are_dropped_and_honest_ones_pass(self, bridged):
        spoof_check.add(OWNER, "veth-c1", OWN_MAC)

        assert arrivals(OTHER_MAC, OWN_MAC) == [OWN_MAC]

    def test_after_del_any_mac_passes(self, bridged):
        spoof_check.add(OWNER, "veth-c1", OWN_MAC)
        spoof_check.delete(OWNER)

        assert arrivals(OTHER_MAC, OWN_MAC) == [OTHER_MAC, OWN_MAC]


class TestRules:
    def test_the_objects_are_the_references(self, sandbox):
        spoof_check.add(OWNER, "veth-c1", OWN_MAC)

        assert sandbox.shell("nft list ruleset").replace("\t", "").splitlines() == [
            "table bridge nat {",
            "chain PREROUTING {",
            "type filter hook prerouting priority dstnat; policy accept;",
            'iifname "veth-c1" jump cni-br-iface-c1-eth0 comment "macspoofchk-c1-eth0"',
            "}",
            "",
            "chain cni-br-iface-c1-eth0 {",
            'jump cni-br-iface-c1-eth0-mac comment "macspoofchk-c1-eth0"',
            "}",
            "",
            "chain cni-br-iface-c1-eth0-mac {",
            'ether saddr 02:00:00:00:00:01 return comment "macspoofchk-c1-eth0"',
            'drop comment "macspoofchk-c1-eth0"',
            "}",
            "}",
        ]

    def test_what_an_earlier_attachment_left_is_replaced(self, sandbox):
        sandbox.shell(LEFT_OVER)
        spoof_check.add(OWNER, "veth-c1", OWN_MAC)

        text = sandbox.shell("nft list ruleset")
        assert "old1" not in text
        assert "old2" not in text
        assert text.count("jump cni-br-iface-c1-eth0 ") == 1

    def test_del_removes_every_jump_and_succeeds_again(self, sandbox):
        spoof_check.delete(OWNER)
        sandbox.shell(LEFT_OVER)
        spoof_check.delete(OWNER)
        spoof_check.delete(OWNER)

        assert "c1" not in sandbox.shell("nft list ruleset")

    def test_no_name_becomes_a_command(self, sandbox):
        odd = Owner("n1", "c1", 'a";{}')
        spoof_check.add(odd, "veth-c1", OWN_MAC)
        assert "macspoofchk" in sandbox.shell("nft list ruleset")

        spoof_check.delete(odd)
        assert "macspoofchk" not in sandbox.shell("nft list ruleset")

    @pytest.mark.parametrize("length", [222, 223, 234, 235, 5000])
    def test_an_id_too_long_for_a_chains_name_is_checked_and_deleted(self, bridged, length):
        owner = Owner("n1", "x" * length, "eth0")
        spoof_check.add(owner, "veth-c1", OWN_MAC)
        assert arrivals(OTHER_MAC, OWN_MAC) == [OWN_MAC]

        for _ in range(2):
            spoof_check.delete(owner)
        assert "cni-br-iface" not in bridged.shell("nft list ruleset")

    def test_the_name_is_the_references_as_long_as_it_can_have_one(self):
        names = [spoof_check.chain_of(Owner("n1", "x" * length, "eth0")) for length in (233, 234)]

        assert names[0] == f"cni-br-iface-{'x' * 233}-eth0"
        assert names[1].startswith("cni-br-iface-~")
        assert max(map(len, names)) + len("-mac") == 255

    def test_ids_that_only_differ_beyond_a_comments_length_are_told_apart(self, sandbox):
        one, two = Owner("n1", "x" * 150 + "1", "eth0"), Owner("n1", "x" * 150 + "2", "eth0")
        spoof_check.add(one, "veth-1", OWN_MAC)
        spoof_check.add(two, "veth-2", OWN_MAC)
        spoof_check.delete(one)

        text = sandbox.shell("nft list ruleset")
        assert "veth-1" not in text
        assert "veth-2" in text


class TestGc:
    @pytest.mark.parametrize(
        ("alias", "is_kept"),
        [
            ("cni:n1/c1/eth0", False),
            ("cni:n1/valid/eth0", True),
            ("cni:n2/c1/eth0", True),
            ("", True),
        ],
    )
    def test_the_links_alias_decides(self, sandbox, alias, is_kept):
        sandbox.shell(
            f"ip link add veth-c1 type veth peer name p; ip link set veth-c1 alias '{alias}'"
        )
        spoof_check.add(OWNER, "veth-c1", OWN_MAC)

        spoof_check.gc("n1", [Owner("n1", "valid", "eth0")])

        assert ("veth-c1" in sandbox.shell("nft list ruleset")) == is_kept

    def test_the_check_of_a_link_that_is_gone_goes(self, sandbox):
        spoof_check.add(OWNER, "veth-c1", OWN_MAC)
        spoof_check.gc("n1", [OWNER])

        assert "cni-br-iface" not in sandbox.shell("nft list ruleset")

    def test_nothing_there_is_as_wished(self, sandbox):
        spoof_check.gc("n1", [])

        assert sandbox.shell("nft list ruleset") == ""
