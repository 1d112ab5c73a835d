"""The ports of DHCP on real links: what goes out is what a host takes, what comes in is for us alone."""

import errno
import os
import select
import socket
import struct
import time
from contextlib import closing
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest

from cni_ipam.dhcp.port4 import BROADCAST_MAC, Port4
from cni_ipam.dhcp.port6 import Port6, usable_link_local
from cnicore.errors import CniError
from kernel.frames import raw

pytestmark = pytest.mark.kernel

PATIENCE = 30
MAC, HOST_MAC = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
LEASED, SERVER = IPv4Address("192.168.7.6"), IPv4Address("192.168.7.1")
EVERYBODY = "255.255.255.255"
TO_SERVERS, TO_CLIENTS = 67, 68
IP_HEADER = struct.Struct("!BBHHHBBH4s4s")
UDP_HEADER = struct.Struct("!HHHH")
ALL_SERVERS = socket.inet_pton(socket.AF_INET6, "ff02::1:2")


@pytest.fixture
def link(sandbox):
    """host0 of the host and eth0 of the container are the ends of one wire; returns the sandbox."""
    sandbox.container()
    sandbox.shell(
        "ip link add host0 address 02:00:00:00:00:01 type veth"
        " peer name eth0 address 02:00:00:00:00:02 netns c1"
    )
    sandbox.shell("ip -n c1 link set eth0 up; ip link set host0 up")
    sandbox.shell("ip addr add 192.168.7.1/24 dev host0")
    return sandbox


@pytest.fixture
def netns(link):
    fd = os.open("/run/netns/c1", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def port(netns):
    with Port4(netns, "eth0") as port:
        yield port


@pytest.fixture
def server(link):
    """An ordinary socket of a DHCPv4 server: the kernel hands it what has valid checksums only."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"host0")
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.bind(("", TO_SERVERS))
        server.settimeout(PATIENCE)
        yield server


def arrival(port):
    """The next message, however long a loaded machine takes for it."""
    for _ in range(100):  # a frame that is no good wakes too
        assert select.select([port], [], [], PATIENCE)[0], "nothing came"
        if (got := port.receive()) is not None:
            return got
    raise AssertionError("only frames that are no good")


def packet(payload=b"reply", *, version=4, extra=0, fragment=0, ports=(67, 68), cut=0, protocol=17):
    """An IP packet; `extra` makes its UDP length wrong, `cut` leaves its last bytes out."""
    udp = UDP_HEADER.pack(*ports, UDP_HEADER.size + len(payload) + extra, 0) + payload
    total = IP_HEADER.size + len(udp)
    addresses = SERVER.packed, bytes([255] * 4)
    header = IP_HEADER.pack(version << 4 | 5, 0, total, 0, fragment, 64, protocol, 0, *addresses)
    return (header + udp)[: total - cut]


def frame(content, kind=0x0800):
    return BROADCAST_MAC + HOST_MAC + struct.pack("!H", kind) + content


def open_files():
    return {path.name for path in Path("/proc/self/fd").iterdir()}


class TestSending:
    def test_a_host_takes_the_broadcast_of_one_that_has_no_address(self, port, server):
        port.send(b"discover")

        assert server.recvfrom(999) == (b"discover", ("0.0.0.0", TO_CLIENTS))  # noqa: S104

    @pytest.mark.parametrize("size", [0, 1, 299, 300, 1472])
    def test_the_checksums_are_right_for_any_length(self, port, server, size):
        payload = bytes(range(256)) * 6
        port.send(payload[:size])

        assert server.recv(9999) == payload[:size]

    def test_a_host_takes_what_goes_to_its_own_address(self, port, server, link):
        link.shell("ip -n c1 addr add 192.168.7.6/24 dev eth0")

        port.send(b"renew", source=LEASED, destination=SERVER, to=HOST_MAC)

        assert server.recvfrom(999) == (b"renew", ("192.168.7.6", TO_CLIENTS))

    def test_another_sender_can_be_told(self, port, link):
        with closing(raw("host0", "")) as host:
            port.send(b"release", sender=b"\2gone!")
            seen = next(one for one in iter(lambda: host.recv(2048), None) if b"release" in one)

        assert seen[:12] == BROADCAST_MAC + b"\2gone!"

    def test_a_message_that_the_link_cannot_carry_is_an_error(self, port):
        with pytest.raises(OSError) as caught:
            port.send(bytes(1473))
        assert caught.value.errno == errno.EMSGSIZE

    def test_a_link_that_is_down_is_an_error(self, port, link):
        link.shell("ip -n c1 link set eth0 down")

        with pytest.raises(OSError) as caught:
            port.send(b"discover")
        assert caught.value.errno == errno.ENETDOWN


class TestReceiving:
    def test_a_broadcast_of_a_server_comes_with_its_mac(self, port, server):
        server.sendto(b"offer", (EVERYBODY, TO_CLIENTS))

        assert arrival(port) == (b"offer", HOST_MAC)
        assert port.receive() is None

    def test_a_message_to_an_address_that_is_not_there_yet_comes(self, port, server, link):
        link.shell("ip neigh add 192.168.7.6 lladdr 02:00:00:00:00:02 dev host0")
        server.sendto(b"ack", (str(LEASED), TO_CLIENTS))

        assert arrival(port) == (b"ack", HOST_MAC)

    @pytest.mark.parametrize(
        "other",
        [
            frame(packet(ports=(67, 67))),
            frame(packet(protocol=6)),
            frame(packet(fragment=0x2000, extra=8)),  # the first of more
            frame(packet(fragment=0x0001)),
            frame(packet(version=6)),
            frame(packet(extra=1)),
            frame(packet(extra=-9)),
            frame(packet(cut=1)),
            frame(packet(cut=28)),
            frame(bytes(1)),
            frame(b"", kind=0x0806),
            frame(struct.pack("!HH", 5, 0x0800) + packet(), kind=0x8100),  # of VLAN 5
            b"\2other" + frame(packet())[6:],
        ],
        ids=range(13),
    )
    def test_what_is_not_for_a_client_or_broken_is_passed_over(self, port, other):
        with closing(raw("host0", "")) as host:
            host.send(other)
            host.send(frame(packet(b"good")))

        assert arrival(port) == (b"good", HOST_MAC)
        assert port.receive() is None

    def test_a_frame_of_vlan_0_has_a_priority_and_is_ours(self, port):
        with closing(raw("host0", "")) as host:
            host.send(frame(struct.pack("!HH", 0x2000, 0x0800) + packet(b"good"), kind=0x8100))

        assert arrival(port) == (b"good", HOST_MAC)

    def test_padding_of_a_short_frame_is_no_part_of_the_message(self, port):
        with closing(raw("host0", "")) as host:
            host.send(frame(packet(b"good") + bytes(40)))

        assert arrival(port) == (b"good", HOST_MAC)

    def test_an_ip_header_with_options_is_passed(self, port):
        plain = packet(b"good")
        longer = bytes([0x46]) + plain[1:2] + struct.pack("!H", len(plain) + 4) + plain[4:20]
        with closing(raw("host0", "")) as host:
            host.send(frame(longer + bytes(4) + plain[20:]))

        assert arrival(port) == (b"good", HOST_MAC)

    def test_many_bad_frames_do_not_hide_a_good_one(self, port):
        with closing(raw("host0", "")) as host:
            for _ in range(150):
                host.send(frame(packet(cut=1)))
            host.send(frame(packet(b"good")))

        assert arrival(port) == (b"good", HOST_MAC)

    def test_what_came_before_it_was_open_is_not_heard(self, netns, server):
        server.sendto(b"early", (EVERYBODY, TO_CLIENTS))
        with Port4(netns, "eth0") as port:
            server.sendto(b"late", (EVERYBODY, TO_CLIENTS))
            assert arrival(port) == (b"late", HOST_MAC)

    def test_a_link_that_went_down_is_an_error_once_and_good_when_it_is_up(
        self, port, link, server
    ):
        link.shell("ip -n c1 link set eth0 down")
        with pytest.raises(OSError) as caught:
            port.receive()
        assert caught.value.errno == errno.ENETDOWN
        assert port.receive() is None

        link.shell("ip -n c1 link set eth0 up")
        server.sendto(b"offer", (EVERYBODY, TO_CLIENTS))
        assert arrival(port) == (b"offer", HOST_MAC)


class TestOpening:
    def test_it_knows_the_mac_of_its_link(self, port):
        assert port.mac == MAC

    def test_without_a_namespace_it_is_that_of_the_thread(self, link, port):
        with Port4(None, "host0") as here:
            assert here.mac == HOST_MAC
            port.send(b"not for a client")
            assert here.receive() is None

    def test_closed_it_holds_nothing(self, netns):
        before = open_files()
        with Port4(netns, "eth0"):
            assert len(open_files()) == len(before) + 1
        assert open_files() == before

    @pytest.mark.parametrize(
        ("ifname", "number"), [("eth9", errno.ENODEV), ("tun0", errno.EAFNOSUPPORT)]
    )
    def test_a_link_that_is_none_leaves_nothing_open(self, netns, link, ifname, number):
        link.shell("ip -n c1 tuntap add tun0 mode tun")
        before = open_files()

        with pytest.raises(OSError) as caught:
            Port4(netns, ifname)

        assert caught.value.errno == number
        assert open_files() == before


@pytest.fixture
def server6(link):
    """A socket of a DHCPv6 server, which is a member of its group."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        index = socket.if_nametoindex("host0")
        server.setsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, ALL_SERVERS + struct.pack("=I", index)
        )
        server.bind(("::", 547))
        server.settimeout(PATIENCE)
        yield server


def settled(netns, ifname="eth0"):
    """The link's own address, once it can be used."""
    deadline = time.monotonic() + PATIENCE
    while (found := usable_link_local(netns, ifname)) is None:
        assert time.monotonic() < deadline, "it never settles"
        time.sleep(0.05)
    return found


class TestPort6:
    def test_a_server_hears_the_client_and_answers_it(self, netns, server6):
        settled(None, "host0")
        own = settled(netns)
        with Port6(netns, "eth0") as port:
            assert port.link_local == own
            port.send(b"solicit")
            content, sender = server6.recvfrom(999)
            server6.sendto(b"advertise", sender)

            assert content == b"solicit"
            assert (ip_address(sender[0].split("%")[0]), sender[1]) == (own, 546)
            assert arrival(port) == b"advertise"
            assert port.receive() is None

    def test_an_address_is_not_used_before_it_is_sure_to_be_the_only_one(self, netns, link):
        settled(netns)
        link.shell(
            "ip -n c1 addr flush dev eth0; echo 2 >/proc/sys/net/ipv6/conf/default/accept_dad"
        )
        link.shell("sysctl -qw net.ipv6.conf.eth0.dad_transmits=100", "c1")
        link.shell("ip -n c1 addr add fe80::5/64 dev eth0")

        assert usable_link_local(netns, "eth0") is None
        with pytest.raises(OSError, match="eth0 has no link-local address yet") as caught:
            Port6(netns, "eth0")
        assert caught.value.errno == errno.EADDRNOTAVAIL

        link.shell("ip -n c1 addr flush dev eth0; ip -n c1 addr add fe80::6/64 dev eth0 nodad")
        assert usable_link_local(netns, "eth0") == ip_address("fe80::6")

    def test_a_duplicate_is_never_usable(self, netns, link):
        settled(netns)
        link.shell("ip addr add fe80::7/64 dev host0 nodad; ip -n c1 addr flush dev eth0")
        link.shell("ip -n c1 addr add fe80::7/64 dev eth0")
        deadline = time.monotonic() + PATIENCE
        while "dadfailed" not in link.shell("ip -n c1 addr show dev eth0"):
            assert time.monotonic() < deadline
            time.sleep(0.05)

        assert usable_link_local(netns, "eth0") is None

    def test_closed_it_holds_nothing(self, netns):
        settled(netns)
        before = open_files()
        with Port6(netns, "eth0"):
            assert len(open_files()) == len(before) + 1
        assert open_files() == before

    def test_a_port_that_is_taken_is_an_error_that_leaves_nothing_open(self, netns):
        settled(netns)
        with Port6(netns, "eth0"):
            before = open_files()
            with pytest.raises(OSError) as caught:
                Port6(netns, "eth0")
            assert open_files() == before
        assert caught.value.errno == errno.EADDRINUSE

    def test_a_link_that_is_not_there_is_an_error(self, netns):
        with pytest.raises(CniError, match="eth9"):
            Port6(netns, "eth9")
