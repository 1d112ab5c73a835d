"""Flows, sockets, single destinations and single nftables objects, on the real kernel."""

import os
import socket
import subprocess
import sys
from ipaddress import ip_address

import pytest

from cnicore.errors import CniError
from cnicore.firewall import single
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.libnftables import Refused, run
from cnicore.net import nfnetlink as nfnetlink_module
from cnicore.net.listener import process_of
from cnicore.net.namespace import Namespace, host_namespace
from cnicore.net.path import Path
from kernel.published import HOST, HOST6, OUTSIDE, Host, exchange
from kernel.without_nftables import hide_nftables

pytestmark = pytest.mark.kernel

TCP, UDP = 6, 17
LOCAL, LOCAL6 = "127.0.0.1", "::1"
MAPS = """
add table inet t
add chain inet t c
add map inet t to-port { type ipv6_addr . inet_proto . inet_service : ipv4_addr . inet_service ; }
add map inet t to-chain { type ipv4_addr . inet_service : verdict ; }
add element inet t to-port { fd00::1 . 6 . 80 comment "whose" : 10.1.0.2 . 8080 }
add element inet t to-chain { 10.1.0.2 . 80 : goto c }
"""

RULES = """
add chain inet t r { type nat hook prerouting priority 0 ; }
add chain inet t m { type nat hook postrouting priority 0 ; }
add rule inet t r tcp dport 80 dnat ip to 10.1.0.2:8080 comment "whose"
add rule inet t r fib daddr type local jump c
add rule inet t r ip daddr . tcp dport vmap @to-chain
add rule inet t m masquerade
add rule inet t r drop
"""


@pytest.fixture
def host(sandbox, call):
    host = Host(sandbox, call)
    # flows are tracked where something asks for it
    sandbox.shell(
        "nft add table inet track; nft add chain inet track c '{ type nat hook output"
        " priority 0; }'; nft add rule inet track c ct state new counter"
    )
    return host


@pytest.fixture
def ns(host):
    with host_namespace() as ns:
        yield ns


class TestFlows:
    @pytest.mark.parametrize(("to", "version"), [(HOST, 4), (HOST6, 6)])
    def test_a_flow_is_found_by_its_port_and_by_who_answers(self, host, ns, to, version):
        with (
            host.udp_server("host", 5353, version) as server,
            host.udp_server("outside", 4000, version) as client,
        ):
            exchange(client, (to, 5353), server)

        (flow,) = ns.flows_to(version, UDP, [5353])
        assert (str(flow.destination), flow.port) == (to, 5353)
        assert (str(flow.answerer), flow.answerer_port) == (to, 5353)
        assert ns.flows_to(version, UDP, [1, 5353, 9]) == [flow]
        assert flow in ns.flows_answered_by(UDP, ip_address(to))
        assert ns.flows_answered_by(TCP, ip_address(to)) == []
        assert ns.flows_to(10 - version, UDP, [5353]) == []
        assert ns.flows_to(version, TCP, [5353]) == []
        assert ns.flows_to(version, UDP, [5354]) == []
        assert ns.flows_answered_by(UDP, ip_address(OUTSIDE)) == []

    def test_a_forgotten_flow_is_gone_and_absent_is_as_wished(self, host, ns):
        with host.udp_server("host", 5353) as server, host.udp_server("outside", 0) as client:
            exchange(client, (HOST, 5353), server)
        (flow,) = ns.flows_to(4, UDP, [5353])

        ns.delete_flow(flow)
        ns.delete_flow(flow)

        assert ns.flows_to(4, UDP, [5353]) == []

    def test_flows_without_ports_are_none(self, host, ns):
        host.sandbox.shell(f"ping -c1 {HOST}", "outside")

        assert ns.flows_answered_by(1, ip_address(HOST)) == []

    def test_flows_are_those_of_the_handles_namespace(self, host, ns):
        with host.udp_server("host", 5353) as server, host.udp_server("outside", 0) as client:
            exchange(client, (HOST, 5353), server)

        elsewhere = Namespace("/run/netns/outside")
        assert elsewhere.flows_to(4, UDP, [5353]) == []
        elsewhere.close()


class TestListeners:
    def test_who_listens_is_found_with_the_address(self, ns):
        with socket.create_server((LOCAL, 8080)) as server:
            (listener,) = ns.listeners(TCP, 8080)

            assert (str(listener.address), listener.versions) == (LOCAL, (4,))
            assert process_of(listener.inode)[0] == os.getpid()
            assert ns.listeners(UDP, 8080) == ns.listeners(TCP, 8081) == []
            with socket.create_connection((LOCAL, 8080)):
                assert len(ns.listeners(TCP, 8080)) == 1
            assert server.fileno() > 0

    @pytest.mark.parametrize(("only6", "versions"), [(True, (6,)), (False, (4, 6))])
    def test_a_socket_of_ipv6_may_be_one_of_ipv4_too(self, ns, only6, versions):
        family = {"family": socket.AF_INET6, "dualstack_ipv6": not only6}
        with socket.create_server(("::", 8080), **family):
            (listener,) = ns.listeners(TCP, 8080)

        assert (str(listener.address), listener.versions) == ("::", versions)

    def test_a_bound_udp_socket_listens_and_a_connected_one_does_not(self, host, ns):
        with host.udp_server("host", 5353) as server, host.udp_server("host", 5354) as other:
            assert len(ns.listeners(UDP, 5353)) == 1
            server.connect((LOCAL, 5354))
            assert ns.listeners(UDP, 5353) == []
            assert other.fileno() > 0

    def test_nobody_holds_a_socket_that_is_not_there(self):
        assert process_of(1) is None


@pytest.mark.parametrize(
    ("address", "link", "is_local"),
    [
        (HOST, "lo", True),
        (LOCAL, "lo", True),
        (LOCAL6, "lo", True),
        (HOST6, "lo", True),
        (OUTSIDE, "uplink", False),
        ("2001:db8::2", "uplink", False),
    ],
)
def test_the_path_to_an_address_is_the_kernels_choice(ns, address, link, is_local):
    assert ns.path_to(ip_address(address)) == Path(ns.link(link).index, is_local)


@pytest.mark.parametrize("address", ["198.51.100.1", "2001:db8:1::1"])
def test_an_address_without_a_route_has_no_path(host, ns, address):
    host.sandbox.shell("ip route add blackhole 192.0.2.0/24")

    assert ns.path_to(ip_address(address)) is None
    assert ns.path_to(ip_address("192.0.2.1")) is None


QUESTIONS = {
    "has_table": lambda: single.has_table("inet", "t"),
    "has_chain": lambda: single.has_chain("inet", "t", "c"),
    "rules_of": lambda: single.rules_of("inet", "t", "c"),
    "find_element": lambda: single.find_element("inet", "t", "to-port", TestSingleObjects.KEY),
}


class TestSingleObjects:
    KEY = ip_address("fd00::1").packed + b"\6\0\0\0" + b"\0\x50\0\0"

    def test_an_element_is_found_by_its_key(self, sandbox):
        run("make maps", MAPS)

        found = single.find_element("inet", "t", "to-port", self.KEY)

        assert found == ("whose", ip_address("10.1.0.2").packed + b"\x1f\x90\0\0", "")
        key = ip_address("10.1.0.2").packed + b"\0\x50\0\0"
        assert single.find_element("inet", "t", "to-chain", key) == ("", b"", "c")

    def test_nothing_is_found_where_nothing_is(self, sandbox):
        run("make maps", MAPS)

        assert single.find_element("inet", "t", "to-port", b"\1" * 24) is None
        assert single.find_element("inet", "t", "to-nowhere", self.KEY) is None
        assert single.find_element("ip", "t", "to-port", self.KEY) is None

    def test_tables_and_chains_are_there_or_not(self, sandbox):
        run("make maps", MAPS)

        assert single.has_table("inet", "t")
        assert single.has_chain("inet", "t", "c")
        assert not single.has_table("ip", "t")
        assert not single.has_chain("inet", "t", "d")
        assert not single.has_chain("ip", "t", "c")

    def test_a_rule_says_what_it_names_and_loads(self, sandbox):
        run("make maps", MAPS + RULES)
        _, *words = (rule.words for rule in single.rules_of("inet", "t", "r"))
        first, *_ = single.rules_of("inet", "t", "r")

        assert words[0] >= {"fib", "c"}
        assert words[1] >= {"lookup", "to-chain"}
        assert words[2] >= {"drop"}
        assert [rule.words for rule in single.rules_of("inet", "t", "m")] == [{"masq"}]
        assert not words[0] & {"drop", "to-chain"}
        assert first.comment == "whose"
        assert first.values == (ip_address("10.1.0.2").packed, b"\x1f\x90")
        listed = sandbox.shell("nft -a list chain inet t r")
        assert f'comment "whose" # handle {first.handle}\n' in listed
        assert single.rules_of("inet", "t", "nowhere") == []

    def test_a_key_that_no_element_can_have_is_the_kernels_error(self, sandbox):
        run("make maps", MAPS)

        with pytest.raises(CniError, match="could not look into the map to-port: Invalid argument"):
            single.find_element("inet", "t", "to-port", b"\1" * 4)

    def test_a_kernel_without_netfilter_is_unavailable(self, monkeypatch):
        monkeypatch.setattr(nfnetlink_module, "NETLINK_NETFILTER", 25)
        monkeypatch.setattr(nfnetlink_module, "_open", {})

        with pytest.raises(Unavailable, match="load the module nf_tables"):
            single.has_table("inet", "t")

    @pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
    def test_a_kernel_without_nf_tables_is_unavailable_whatever_is_asked(
        self, sandbox, monkeypatch, question
    ):
        hide_nftables(monkeypatch)

        with pytest.raises(Unavailable, match="load the module nf_tables; could not .*: Invalid"):
            question()

    def test_a_process_that_may_not_ask_finds_it_unavailable(self, sandbox):
        program = (
            "from cnicore.firewall import single\n"
            "try: single.has_table('inet', 't')\n"
            "except single.Unavailable as error: print(error)\n"
        )
        without = ["setpriv", "--bounding-set=-net_admin", sys.executable, "-c", program]

        said = subprocess.run(without, capture_output=True, text=True, check=True).stdout

        assert said.startswith("the kernel gives no access to nftables: load the module nf_tables;")
        assert said.endswith("Operation not permitted\n")


def test_commands_in_nfts_language_are_one_transaction(sandbox):
    with pytest.raises(Refused, match="could not make both: .*No such file or directory"):
        run("make both", "add table inet one\nadd chain inet two c\n")

    assert sandbox.shell("nft list ruleset") == ""
