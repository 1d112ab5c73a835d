"""portmap on the real kernel, with real packets from everywhere."""

import socket

import pytest

from kernel.published import (
    BEYOND,
    HOST,
    HOST6,
    OTHER_HOST,
    OUTSIDE,
    OUTSIDE6,
    PORTMAP,
    SILENCE,
    Host,
    exchange,
    mapping,
    use_legacy,
)

pytestmark = pytest.mark.kernel

WEB = mapping(8080, 80)
DNS = mapping(5353, 53, "udp")
BACKENDS = ["nftables", "iptables", "iptables-legacy"]

FROM_OUTSIDE = {
    "nftables": {
        "conditionsV4": ["iifname", '"uplink"'],
        "conditionsV6": ["iifname", "uplink"],
    },
    "iptables": {"conditionsV4": ["-i", "uplink"], "conditionsV6": ["-i", "uplink"]},
}


@pytest.fixture
def host(sandbox, call):
    return Host(sandbox, call)


@pytest.fixture(params=BACKENDS)
def backend(request, sandbox):
    if request.param == "iptables-legacy":
        use_legacy(sandbox)
    return {"backend": request.param.partition("-")[0]}


class TestWhoReachesTheContainer:
    def test_the_outside_by_tcp_and_udp_in_both_families(self, host, backend):
        host.publish("c1", WEB, DNS, **backend)

        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE
        assert host.tcp("outside", HOST6, 8080, "c1") == OUTSIDE6
        assert host.udp("outside", HOST, 5353, "c1") == OUTSIDE
        assert host.udp("outside", HOST6, 5353, "c1") == OUTSIDE6

    def test_the_outside_by_sctp(self, host, backend):
        host.publish("c1", mapping(8080, 80, "sctp"), **backend)

        assert host.sctp("outside", HOST, 8080, "c1") == (OUTSIDE, 80)

    def test_nobody_by_another_protocol_or_port(self, host, backend):
        host.publish("c1", WEB, DNS, **backend)

        assert host.udp("outside", HOST, 8080, "c1", 80) == ""
        assert host.tcp("outside", HOST, 5353, "c1", 53) == ""
        assert host.tcp("outside", HOST, 80, "c1") == ""

    def test_the_container_itself_through_the_port_of_the_host(self, host, backend):
        host.publish("c1", WEB, DNS, **backend)

        assert host.tcp("c1", HOST, 8080, "c1") == "10.1.0.1"
        assert host.tcp("c1", HOST6, 8080, "c1") == "fd01::1"
        assert host.udp("c1", HOST, 5353, "c1") == "10.1.0.1"

    def test_both_also_where_bridged_packets_pass_the_firewall(self, host, backend):
        """Then the bridge must send a packet back to where it came from: hairpinMode."""
        host.set_bridge_netfilter(on=True)
        host.attach("c1", hairpinMode=True)
        host.publish("c1", WEB, **backend)
        host.attach("c2", hairpinMode=True)

        assert host.tcp("c1", HOST, 8080, "c1") == "10.1.0.1"
        assert host.tcp("c2", HOST, 8080, "c1") == "10.1.0.1"
        assert host.tcp("c1", HOST6, 8080, "c1") == "fd01::1"

    def test_a_neighbour_in_the_same_subnet(self, host, backend):
        host.publish("c1", WEB, DNS, **backend)
        host.attach("c2")

        assert host.tcp("c2", HOST, 8080, "c1") == "10.1.0.1"
        assert host.tcp("c2", HOST6, 8080, "c1") == "fd01::1"
        assert host.udp("c2", HOST, 5353, "c1") == "10.1.0.1"

    def test_the_host_itself_by_each_of_its_addresses(self, host, backend):
        host.publish("c1", WEB, DNS, **backend)

        assert host.tcp("host", "127.0.0.1", 8080, "c1") == "10.1.0.1"
        assert host.udp("host", "127.0.0.1", 5353, "c1") == "10.1.0.1"
        assert host.tcp("host", HOST, 8080, "c1") == HOST
        assert host.tcp("host", HOST6, 8080, "c1") == HOST6

    def test_after_del_nobody(self, host, backend):
        conf = host.publish("c1", WEB, DNS, **backend)
        assert host.caller("c1")("DEL", conf).text == ""

        assert host.tcp("outside", HOST, 8080, "c1") == ""
        assert host.udp("outside", HOST6, 5353, "c1") == ""
        assert host.tcp("host", "127.0.0.1", 8080, "c1") == ""

    def test_its_own_address_stays_as_it_is(self, host, backend):
        """A connection that did not come through the port is not masqueraded."""
        host.publish("c1", mapping(80, 80), masqAll=True, **backend)
        host.attach("c2")

        assert host.tcp("c2", host.address("c1"), 80, "c1") == host.address("c2")


class TestAddressesOfTheHost:
    def test_a_host_ip_has_the_port_and_the_others_have_not(self, host, backend):
        host.publish("c1", mapping(8080, 80, host_ip=HOST), **backend)

        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE
        assert host.tcp("outside", OTHER_HOST, 8080, "c1") == ""
        assert host.tcp("outside", HOST6, 8080, "c1") == ""

    def test_the_same_port_of_two_addresses_leads_to_two_containers(self, host, backend):
        host.publish("c1", mapping(8080, 80, host_ip=HOST), **backend)
        host.publish("c2", mapping(8080, 80, host_ip=OTHER_HOST), **backend)

        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE
        assert host.tcp("outside", OTHER_HOST, 8080, "c2") == OUTSIDE

    def test_one_address_wins_over_all(self, host, backend):
        host.publish("c1", mapping(8080, 80, host_ip=HOST), **backend)
        host.publish("c2", WEB, **backend)

        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE
        assert host.tcp("outside", OTHER_HOST, 8080, "c2") == OUTSIDE

    def test_any_address_of_one_family(self, host, backend):
        host.publish("c1", mapping(8080, 80, host_ip="::"), **backend)

        assert host.tcp("outside", HOST6, 8080, "c1") == OUTSIDE6
        assert host.tcp("outside", HOST, 8080, "c1") == ""

    def test_what_is_only_forwarded_is_not_taken(self, host, backend):
        """CVE-2025-67499."""
        host.publish("c1", mapping(8080, 80), mapping(53, 53, "udp", BEYOND), **backend)
        host.netns["beyond"] = host.sandbox.container("beyond")
        host.sandbox.shell("ip link add tobeyond type veth peer name eth0 netns beyond")
        host.sandbox.shell("ip addr add 198.51.100.1/24 dev tobeyond; ip link set tobeyond up")
        host.sandbox.shell(f"ip addr add {BEYOND}/24 dev eth0; ip link set eth0 up", "beyond")
        host.sandbox.shell("ip route add default via 198.51.100.1", "beyond")

        assert host.tcp("outside", BEYOND, 8080, "beyond", 8080) == OUTSIDE
        assert host.udp("outside", BEYOND, 53, "beyond") == OUTSIDE

    def test_localhost_of_ipv6_is_refused_at_once(self, host):
        """The kernel drops answers for ::1 from a link; a process of the host may serve it."""
        host.publish("c1", WEB)

        assert host.tcp("host", "::1", 8080, "c1") == ""
        assert host.tcp("host", "::1", 8080, "host", 8080) == "::1"


class TestWhoIsHidden:
    def test_everybody_with_masq_all(self, host, backend):
        host.publish("c1", WEB, DNS, masqAll=True, **backend)

        assert host.tcp("outside", HOST, 8080, "c1") == "10.1.0.1"
        assert host.tcp("outside", HOST6, 8080, "c1") == "fd01::1"
        assert host.udp("outside", HOST, 5353, "c1") == "10.1.0.1"

    def test_nobody_without_snat(self, host, backend):
        host.publish("c1", WEB, snat=False, **backend)
        host.attach("c2")

        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE
        assert host.tcp("c2", HOST, 8080, "c1") == ""  # the answer goes directly, not back
        assert host.tcp("host", "127.0.0.1", 8080, "c1") == ""

    def test_not_who_comes_through_another_port_without_it(self, host):
        """Masquerading goes with the port, not with the container's address."""
        host.attach("c1")
        host.publish("c1", WEB, masqAll=True)
        host.sandbox.shell(
            "nft 'table ip other { chain pre { type nat hook prerouting priority -90; \n"
            f"ip daddr {HOST} tcp dport 9090 dnat to {host.address('c1')}:80 \n}}\n}}'"
        )

        assert host.tcp("outside", HOST, 8080, "c1") == "10.1.0.1"
        assert host.tcp("outside", HOST, 9090, "c1") == OUTSIDE


class TestLocalhostIsGuarded:
    def test_no_packet_from_elsewhere_reaches_or_claims_localhost(self, host, backend):
        """CVE-2020-8558: with route_localnet a neighbour could talk to what listens at 127.0.0.1."""
        host.publish("c1", WEB, **backend)
        host.sandbox.shell("ip route add 127.0.0.0/8 via 10.1.0.1 dev eth0 table 7", "c1")
        host.sandbox.shell("ip rule add pref 1 ipproto udp dport 9999 table 7", "c1")
        host.sandbox.shell("ip rule add pref 2 lookup local; ip rule del pref 0", "c1")
        host.sandbox.shell("sysctl -qw net.ipv4.conf.all.route_localnet=1", "c1")
        assert host.sandbox.shell("cat /proc/sys/net/ipv4/conf/br0/route_localnet") == "1\n"

        with host.socket("host", socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 9999))
            server.settimeout(SILENCE)
            with host.udp_server("c1", 0) as client:
                client.sendto(b"from outside", ("127.0.0.1", 9999))
                with pytest.raises(TimeoutError):
                    server.recv(99)
                lift_guard(host, backend["backend"])
                client.sendto(b"unguarded", ("127.0.0.1", 9999))
                assert server.recv(99) == b"unguarded"


def lift_guard(host, backend):
    if backend == "nftables":
        host.sandbox.shell("nft flush chain inet cni hostport-guard")
    else:
        host.sandbox.shell("PATH=/usr/local/sbin:$PATH iptables -t raw -F CNI-HOSTPORT-GUARD")


class TestConditions:
    def test_only_what_matches_is_forwarded(self, host, backend):
        host.publish("c1", WEB, **FROM_OUTSIDE[backend["backend"]], **backend)
        host.attach("c2")

        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE
        assert host.tcp("outside", HOST6, 8080, "c1") == OUTSIDE6
        assert host.tcp("c2", HOST, 8080, "c1") == ""
        assert host.tcp("c2", HOST6, 8080, "c1") == ""

    def test_another_network_is_not_concerned(self, host, backend):
        keys = FROM_OUTSIDE[backend["backend"]]
        host.publish("c1", WEB, **backend)
        host.publish("c2", mapping(8081, 80), **keys, **backend)
        host.publish("c3", mapping(8082, 80), name="n3", **backend)
        host.attach("c4")

        assert host.tcp("c4", HOST, 8080, "c1") == "10.1.0.1"
        assert host.tcp("c4", HOST, 8081, "c2") == ""
        assert host.tcp("c4", HOST, 8082, "c3") == "10.1.0.1"
        assert host.tcp("outside", HOST, 8081, "c2") == OUTSIDE

    def test_the_container_itself_is_masqueraded(self, host, backend):
        keys = {
            "nftables": {"conditionsV4": ["iifname", "!=", "uplink"]},
            "iptables": {"conditionsV4": ["!", "-i", "uplink"]},
        }
        host.publish("c1", WEB, **keys[backend["backend"]], **backend)

        assert host.tcp("c1", HOST, 8080, "c1") == "10.1.0.1"
        assert host.tcp("outside", HOST, 8080, "c1") == ""
        assert host.tcp("outside", HOST6, 8080, "c1") == OUTSIDE6


class TestFlows:
    @pytest.mark.parametrize(("to", "version"), [(HOST, 4), (HOST6, 6)])
    def test_a_flow_moves_to_the_next_container_of_the_port_at_once(
        self, host, backend, to, version
    ):
        conf = host.publish("c1", DNS, **backend)
        host.attach("c2")
        with (
            host.udp_server("outside", 4000, version) as client,
            host.udp_server("c1", 53, version) as one,
            host.udp_server("c2", 53, version) as two,
        ):
            assert exchange(client, (to, 5353), one)
            assert host.caller("c1")("DEL", conf).text == ""
            host.publish("c2", DNS, **backend)

            assert exchange(client, (to, 5353), two)

    @pytest.mark.parametrize(("to", "version"), [(HOST, 4), (HOST6, 6)])
    def test_after_del_a_process_of_the_host_gets_the_next_packet(self, host, backend, to, version):
        conf = host.publish("c1", DNS, **backend)
        with (
            host.udp_server("outside", 4000, version) as client,
            host.udp_server("c1", 53, version) as container,
        ):
            assert exchange(client, (to, 5353), container)
            assert host.caller("c1")("DEL", conf).text == ""

            with host.udp_server("host", 5353, version) as process:
                assert exchange(client, (to, 5353), process)

    def test_a_flow_to_a_process_moves_to_the_container(self, host, backend):
        host.attach("c1")
        with host.udp_server("outside", 4000) as client:
            with host.udp_server("host", 5353) as process:
                assert exchange(client, (HOST, 5353), process) == OUTSIDE
            host.publish("c1", DNS, **backend)

            with host.udp_server("c1", 53) as container:
                assert exchange(client, (HOST, 5353), container) == OUTSIDE

    def test_flows_of_others_on_the_same_port_number_survive(self, host, backend):
        """Another address, another family, another protocol, the container's own connections."""
        host.attach("c1")
        with (
            host.udp_server("outside", 5353) as server,
            host.udp_server("c1", 0) as client,
            host.udp_server("host", 5353) as process,
        ):
            assert exchange(client, (OUTSIDE, 5353), server) == HOST
            assert exchange(server, (OTHER_HOST, 5353), process) == OUTSIDE
            before = tracked(host)
            conf = host.publish("c1", mapping(5353, 53, "udp", HOST), **backend)
            assert tracked(host) == before
            assert host.caller("c1")("DEL", conf).text == ""

            assert tracked(host) == before

    def test_del_without_anything_known_forgets_them_too(self, host, backend):
        host.publish("c1", DNS, **backend)
        with host.udp_server("outside", 4000) as client, host.udp_server("c1", 53) as container:
            assert exchange(client, (HOST, 5353), container) == OUTSIDE

            assert host.caller("c1")("DEL", PORTMAP, CNI_NETNS="").text == ""

            assert "dport=5353" not in host.sandbox.shell("cat /proc/net/nf_conntrack")


def tracked(host):
    """Each flow in both directions, without what time changes."""
    lines = host.sandbox.shell("cat /proc/net/nf_conntrack").splitlines()
    fields = [[word for word in line.split() if "=" in word] for line in lines]
    return sorted(" ".join(words) for words in fields if any("port=5353" in one for one in words))
