"""portmap on the real kernel: whose a port is, what stays after each verb, and how it scales."""

import os
import resource
import socket
import time

import pytest

from cnicore.firewall.libnftables import run
from cnicore.testing.faults import failing_at_every_call
from kernel.published import (
    BRIDGE,
    HOST,
    OTHER_HOST,
    OUTSIDE,
    PORTMAP,
    Host,
    mapping,
    use_legacy,
)

pytestmark = pytest.mark.kernel

WEB = mapping(8080, 80)
DNS = mapping(5353, 53, "udp")
BOTH = (WEB, DNS, mapping(8080, 81, host_ip=OTHER_HOST), mapping(99, 99, "sctp"))


@pytest.fixture
def host(sandbox, call):
    return Host(sandbox, call)


@pytest.fixture(params=["nftables", "iptables", "iptables-legacy"])
def backend(request, sandbox):
    if request.param == "iptables-legacy":
        use_legacy(sandbox)
    return {"backend": request.param.partition("-")[0]}


def remains(host):
    """Everything in the firewalls that is some attachment's; what all share stays."""
    saved = host.sandbox.shell(
        "export PATH=/usr/local/sbin:$PATH; nft list ruleset; for p in iptables ip6tables; do"
        " $p-save -t nat; done 2>/dev/null"
    )
    marks = ("cni:", "comment", "CNI-DN-", "CNI-SN-", "hostports-of", "dnat ip to 1")
    shared = ("CNI portfwd",)
    return [
        line.strip()
        for line in saved.splitlines()
        if any(mark in line for mark in marks) and not any(word in line for word in shared)
    ]


class TestWhoseAPortIs:
    def test_a_second_claim_is_refused_and_names_the_container(self, host, backend):
        host.publish("c1", WEB, **backend)
        host.attach("c2")
        before = remains(host)

        outcome = host.caller("c2")("ADD", host.conf("c2", DNS, WEB, **backend))

        assert outcome.status == 1
        assert 'hostPort 8080/tcp is already mapped to container "c1"' in outcome.document["msg"]
        assert remains(host) == before
        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE

    def test_a_claim_of_one_address_too(self, host, backend):
        host.publish("c1", mapping(53, 53, "udp", HOST), **backend)
        host.attach("c2")

        outcome = host.caller("c2")("ADD", host.conf("c2", mapping(53, 53, "udp", HOST), **backend))

        assert f"hostPort {HOST} 53/udp is already mapped" in outcome.document["msg"]

    def test_the_same_container_replaces_what_it_had(self, host, backend):
        host.publish("c1", WEB, DNS, **backend)
        host.publish("c1", mapping(8080, 81), mapping(7070, 70), **backend)

        assert host.tcp("outside", HOST, 8080, "c1", 81) == OUTSIDE
        assert host.tcp("outside", HOST, 7070, "c1", 70) == OUTSIDE
        assert host.udp("outside", HOST, 5353, "c1") == ""

    def test_add_again_changes_nothing(self, host, backend):
        host.publish("c1", *BOTH, **backend)
        before = remains(host)

        host.publish("c1", *BOTH, **backend)

        assert remains(host) == before

    def test_two_interfaces_of_a_container_have_their_own_ports(self, host):
        host.publish("c1", WEB)
        second = {"CNI_IFNAME": "eth1"}
        result = host.caller("c1").add(
            {**PORTMAP, "type": "bridge", "bridge": "br1", "name": "n2", "ipam": TEN_TWO}, **second
        )
        conf = {**host.conf("c1", mapping(9090, 80)), "prevResult": result, "name": "n2"}
        host.caller("c1").add(conf, **second)

        assert host.caller("c1")("DEL", conf, **second).text == ""

        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE

    @pytest.mark.parametrize("backend", ["iptables", "iptables-legacy"], indirect=True)
    def test_with_iptables_those_of_one_network_share_them_and_add_says_so(
        self, host, backend, capfd
    ):
        for _ in range(2):
            host.publish("c1", WEB, **backend)
        assert capfd.readouterr().err == ""
        second = {"CNI_IFNAME": "eth1"}
        result = host.caller("c1").add(BRIDGE, **second)
        conf = {**host.conf("c1", mapping(9090, 80), **backend), "prevResult": result}

        host.caller("c1").add(conf, **second)

        assert capfd.readouterr().err == (
            "portmap: warning: the ports of eth1 replace those that led to 10.1.0.2, fd01::2: with"
            " iptables the interfaces of a container in one network share their ports; set backend"
            " to nftables to keep them apart\n"
        )
        assert host.tcp("outside", HOST, 9090, "c1") == OUTSIDE
        assert host.tcp("outside", HOST, 8080, "c1") == ""
        assert host.caller("c1")("CHECK", conf, **second).text == ""

    def test_with_nftables_those_of_one_network_keep_them_apart(self, host, capfd):
        host.publish("c1", WEB)
        second = {"CNI_IFNAME": "eth1"}
        result = host.caller("c1").add(BRIDGE, **second)
        conf = {**host.conf("c1", mapping(9090, 80)), "prevResult": result}

        host.caller("c1").add(conf, **second)

        assert capfd.readouterr().err == ""
        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE
        assert host.tcp("outside", HOST, 9090, "c1") == OUTSIDE
        assert host.caller("c1")("DEL", conf, **second).text == ""
        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE

    def test_a_process_that_listens_there_is_named(self, host, capfd):
        with socket.create_server(("", 8080)), host.udp_server("host", 5353):
            host.publish("c1", WEB, DNS)

        words = capfd.readouterr().err
        assert f"(pid {os.getpid()}) of this host listens at 0.0.0.0 port 8080/tcp" in words
        assert f"(pid {os.getpid()}) of this host listens at 0.0.0.0 port 5353/udp" in words

    def test_a_process_at_another_address_or_port_is_not(self, host, capfd):
        with socket.create_server((HOST, 8080)), socket.create_server(("127.0.0.1", 8081)):
            host.publish("c1", mapping(8080, 80, host_ip=OTHER_HOST), DNS)

        assert capfd.readouterr().err == ""


TEN_TWO = {"type": "host-local", "ranges": [[{"subnet": "10.2.0.0/24"}]]}
CONDITIONS = {
    "nftables": {"conditionsV4": ["ip", "saddr", "203.0.113.0/24"]},
    "iptables": {"conditionsV4": ["-s", "203.0.113.0/24"]},
}


@pytest.fixture(params=["without conditions", "with conditions"])
def keys(request, backend):
    return backend | (CONDITIONS[backend["backend"]] if request.param[4:7] == " co" else {})


class TestDelLeavesNothing:
    @pytest.mark.parametrize("times", [1, 2])
    def test_with_everything_known(self, host, keys, times):
        host.attach("c1")
        before = remains(host)
        conf = host.publish("c1", *BOTH, **keys)
        for _ in range(times):
            assert host.caller("c1")("DEL", conf).text == ""

        assert remains(host) == before

    def test_with_nothing_known(self, host, keys):
        host.attach("c1")
        before = remains(host)
        host.publish("c1", *BOTH, **keys)

        assert host.caller("c1")("DEL", PORTMAP, CNI_NETNS="").text == ""

        assert remains(host) == before

    @pytest.mark.parametrize(
        "changes",
        [
            {"backend": "pf", "markMasqBit": 99, "externalSetMarkChain": ""},
            {"backend": "nftables", "markMasqBit": 13},
        ],
    )
    def test_under_another_configuration(self, host, keys, changes):
        host.attach("c1")
        before = remains(host)
        host.publish("c1", *BOTH, **keys)
        other = host.conf("c1", mapping(1, 1), **changes)

        assert host.caller("c1")("DEL", other).text == ""

        assert remains(host) == before

    def test_and_no_neighbour_is_touched(self, host, keys):
        host.publish("c2", mapping(8081, 80), **keys)
        host.attach("c1")
        before = remains(host)
        conf = host.publish("c1", *BOTH, **keys)

        assert host.caller("c1")("DEL", conf).text == ""
        assert host.caller("c1")("DEL", host.conf("c1", mapping(8081, 80))).text == ""

        assert remains(host) == before
        assert host.caller("c2")("CHECK", host.conf("c2", mapping(8081, 80), **keys)).text == ""

    def test_a_container_without_neighbours_leaves_nothing_for_its_subnet(self, host):
        host.attached["c1"] = {"cniVersion": "1.1.0", "ips": [{"address": "10.9.0.2/32"}]}
        host.sandbox.container("c1")
        conf = host.publish("c1", WEB)
        assert "10.9.0.2 . 10.9.0.2" in host.sandbox.shell("nft list ruleset")
        assert host.caller("c1")("CHECK", conf).text == ""

        assert host.caller("c1")("DEL", conf).text == ""

        assert "10.9.0.2" not in host.sandbox.shell("nft list ruleset")


def test_add_mends_a_table_that_somebody_emptied(host):
    host.publish("c1", WEB)
    host.sandbox.shell("nft flush chain inet cni hostport-neighbours")
    conf = host.publish("c2", mapping(8081, 80))

    assert host.caller("c2")("CHECK", conf).text == ""
    host.sandbox.shell("nft flush ruleset")
    for name in ("c1", "c2"):
        conf = host.publish(name, mapping(9000 + int(name[1]), 80))
        assert host.caller(name)("CHECK", conf).text == ""


@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_nothing_that_others_made_is_touched(host, backend, verb):
    host.attach("c1")
    host.sandbox.shell(FOREIGN)
    conf = host.publish("c1", *BOTH, **backend)
    foreign = host.sandbox.shell("nft list table ip mine; iptables -w -t nat -S MINE")

    assert host.caller("c1")(verb, {**conf, "cni.dev/valid-attachments": []}).text == ""

    assert host.sandbox.shell("nft list table ip mine; iptables -w -t nat -S MINE") == foreign


FOREIGN = """
nft add table ip mine; nft add chain ip mine chain; nft add rule ip mine chain drop comment '"c1"'
iptables -w -t nat -N MINE; iptables -w -t nat -A MINE -p tcp --dport 8080 -j ACCEPT
"""


TAMPERING = {
    "nftables": [
        "delete element inet cni hostports4 { 6 . 8080 }",
        "delete element inet cni hostports6 { 17 . 5353 }",
        f"delete element inet cni hostip-ports4 {{ {OTHER_HOST} . 6 . 8080 }}",
        "delete element inet cni hostport-own-udp4 { 10.1.0.2 . 5353 }",
        "flush chain inet cni hostport-from-10.1.0.0-24-to-10.1.0.0-24",
        "flush chain inet cni hostport-from-fd01__-64-to-fd01__-64",
        "flush chain inet cni hostport-neighbours",
        "flush chain inet cni hostport-own",
        "flush chain inet cni hostport-prerouting",
        "flush chain inet cni hostport-output",
        "flush chain inet cni hostport-postrouting",
        "flush chain inet cni hostport-sources",
        "flush chain inet cni hostport-guard",
        "flush chain inet cni hostports",
        "flush ruleset",
    ],
    "iptables": [
        "iptables -t nat -F {chain}",
        "ip6tables -t nat -F {chain}",
        "iptables -t nat -F CNI-HOSTPORT-DNAT",
        "iptables -t nat -F CNI-HOSTPORT-SETMARK",
        "iptables -t nat -F CNI-HOSTPORT-MASQ",
        "iptables -t nat -F PREROUTING",
        "ip6tables -t nat -F OUTPUT",
        "iptables -t nat -F POSTROUTING",
        "iptables -t nat -D {chain} -d 203.0.113.3 -p tcp --dport 8080"
        " -j DNAT --to-destination 10.1.0.2:81",
    ],
}


class TestCheck:
    @pytest.mark.parametrize("tampering", TAMPERING["nftables"])
    def test_fails_after_tampering_with_nftables(self, host, tampering):
        conf = host.publish("c1", *BOTH)
        assert host.caller("c1")("CHECK", conf).text == ""
        host.sandbox.shell(f"nft '{tampering}'")

        outcome = host.caller("c1")("CHECK", conf)

        assert "the ports of eth0 are not forwarded as they were" in outcome.document["msg"]

    @pytest.mark.parametrize("tampering", TAMPERING["iptables"])
    def test_fails_after_tampering_with_iptables(self, host, tampering):
        conf = host.publish("c1", *BOTH, backend="iptables")
        assert host.caller("c1")("CHECK", conf).text == ""
        saved = host.sandbox.shell("iptables-save -t nat")
        chain = next(word for word in saved.split() if word.startswith("CNI-DN-"))
        host.sandbox.shell(tampering.format(chain=chain))

        outcome = host.caller("c1")("CHECK", conf)

        assert "the ports of eth0 are not forwarded as they were" in outcome.document["msg"]

    def test_fails_if_another_has_the_port_meanwhile(self, host):
        conf = host.publish("c1", WEB)
        host.sandbox.shell("nft delete element inet cni hostports4 '{ 6 . 8080 }'")
        host.sandbox.shell("nft delete element inet cni hostports6 '{ 6 . 8080 }'")
        host.publish("c2", WEB)

        assert host.caller("c1")("CHECK", conf).status == 1

    def test_fails_if_localhost_no_longer_leads_there(self, host, backend):
        conf = host.publish("c1", WEB, **backend)
        host.sandbox.shell("sysctl -qw net.ipv4.conf.br0.route_localnet=0")

        assert "br0/route_localnet is not 1" in host.caller("c1")("CHECK", conf).document["msg"]

    @pytest.mark.parametrize("more", [{}, {"snat": False}, {"masqAll": True}])
    def test_finds_what_is_as_it_was_healthy(self, host, keys, more):
        conf = host.publish("c1", *BOTH, **keys, **more)

        assert host.caller("c1")("CHECK", conf).text == ""

    def test_under_conditions_it_sees_the_rules(self, host):
        conf = host.publish("c1", WEB, **CONDITIONS["nftables"])
        assert host.caller("c1")("CHECK", conf).text == ""
        host.sandbox.shell("nft flush chain inet cni hostports-conditional")

        assert host.caller("c1")("CHECK", conf).status == 1


def test_gc_keeps_valid_containers_and_other_networks(host, keys):
    host.publish("c1", WEB, **keys)
    host.publish("c3", mapping(8083, 80), name="n3", **keys)
    host.attach("c2")
    before = remains(host)
    host.publish("c2", mapping(8082, 80), DNS, **keys)
    valid = [{"containerID": "c1", "ifname": "eth0"}]

    assert host.caller("c1")("GC", {**PORTMAP, "cni.dev/valid-attachments": valid}).text == ""

    assert remains(host) == before


def test_status_succeeds_where_an_add_could(host, backend):
    assert host.caller("c1")("STATUS", {**PORTMAP, **backend}).text == ""


def test_add_that_fails_at_any_call_of_the_kernel_leaves_nothing(host, backend):
    host.attach("c1")
    conf = host.conf("c1", *BOTH, **backend)
    before = remains(host)
    outcomes, failures = [], 0
    for number in failing_at_every_call(lambda: outcomes.append(host.caller("c1")("ADD", conf))):
        if outcomes[-1].status:
            failures += 1
            assert remains(host) == before, f"call {number}: {outcomes[-1].text}"
        else:  # flows and listeners are only reported
            assert host.caller("c1")("DEL", conf).text == ""
    assert failures >= 2


def test_conditions_that_nft_does_not_understand_leave_nothing(host):
    host.attach("c1")
    before = remains(host)

    outcome = host.caller("c1")("ADD", host.conf("c1", WEB, DNS, conditionsV4=["bogus", "x"]))

    assert outcome.document["code"] == 7
    assert "conditionsV4" in outcome.document["msg"]
    assert remains(host) == before
    assert "hostports-of" not in host.sandbox.shell("nft list ruleset")


# --- many


def fill(count):
    """Mappings of other containers, each with its element in three maps."""
    for start in range(0, count, 2000):
        lines = []
        for number in range(start, min(count, start + 2000)):
            port, address = 1 + number, f"10.100.{number // 250}.{number % 250}"
            tag = f'comment "cni:fill/f{number}/eth0"'
            lines += [
                f"add element inet cni hostports4 {{ 6 . {port} {tag} : {address} . 80 }}",
                f"add element inet cni hostport-own-tcp4 {{ {address} . {port} {tag} }}",
                f'add element inet cni hostport-owners {{ "f{number}" {tag} : 2 }}',
            ]
        run("fill", "\n".join(lines) + "\n")


def prepare_many(host, count):
    """In a process of its own, so that its memory is not this one's."""
    host.publish("c0", mapping(60000, 80))
    child = os.fork()
    if not child:
        fill(count)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    listed = host.sandbox.shell("nft list map inet cni hostports4")
    assert listed.count("cni:fill/") == count


class TestMany:
    def test_forty_at_once_with_2000_mappings_present(self, host):
        prepare_many(host, 2000)
        for number in range(40):
            name = f"c{number + 1}"
            host.sandbox.container(name)
            ips = [{"address": f"10.1.0.{number + 10}/24"}, {"address": f"fd01::{number + 10}/64"}]
            host.attached[name] = {"cniVersion": "1.1.0", "ips": ips}
        before = remains(host)
        for verb, limit in (("ADD", 20), ("CHECK", 20), ("DEL", 20)):
            started = time.monotonic()
            children = [start(host, verb, number) for number in range(1, 41)]
            assert [os.waitpid(child, 0)[1] for child in children] == [0] * 40
            assert time.monotonic() - started < limit

        assert remains(host) == before

    def test_an_add_and_a_del_cost_the_same_with_20000_mappings_present(self, host):
        host.attach("c1")
        conf = host.conf("c1", mapping(61000, 80))
        prepare_many(host, 0)
        few = [measured(host, conf) for _ in range(5)]
        prepare_many(host, 20000)
        many = [measured(host, conf) for _ in range(5)]

        fastest = [min(times) for times in zip(*few, strict=True)]
        fastest_of_many = [min(times) for times in zip(*many, strict=True)]
        # a process that reads the maps takes 240 ms more; noise on a busy machine is less
        assert fastest_of_many[0] < fastest[0] + 0.1
        assert fastest_of_many[1] < fastest[1] + 0.1
        assert fastest_of_many[2] <= 1.3 * fastest[2]


def start(host, verb, number):
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        name = f"c{number}"
        conf = host.conf(name, mapping(30000 + number, 80), mapping(30000 + number, 53, "udp"))
        outcome = host.caller(name)(verb, conf)
        status = outcome.status
        if status:
            os.write(2, outcome.text.encode())
    finally:
        os._exit(status)


def measured(host, conf):
    """Seconds of an ADD and of a DEL and peak memory, in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            started = time.perf_counter()
            added = host.caller("c1")("ADD", conf)
            between = time.perf_counter()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            deleted = host.caller("c1")("DEL", conf)
            ended = time.perf_counter()
            os.write(write, f"{between - started} {ended - between} {peak}".encode())
            status = added.status or deleted.status
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    os.close(write)
    with os.fdopen(read) as pipe:
        return [float(number) for number in pipe.read().split()]
