"""bridge on the real kernel, with real packets."""

import dataclasses
import json
import os
import shlex
import subprocess
import sys

import pytest

pytestmark = pytest.mark.kernel

CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "bridge",
    "bridge": "br0",
    "isDefaultGateway": True,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
    },
}
LAYER_2 = {"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0"}

SERVE_ONCE = (
    "python3 -c 'import socket;"
    's=socket.create_server(("{0}",7000),family=socket.{1});c,a=s.accept();c.sendall(a[0].encode())\''
)
ASK = (
    "python3 -c 'import socket,time\n"
    "for _ in range(100):\n"
    ' try: print(socket.create_connection(("{0}",7000),5).recv(99).decode()); break\n'
    " except ConnectionRefusedError: time.sleep(.02)'"
)


def static(*cidrs):
    addresses = [{"address": cidr} for cidr in cidrs]
    return {**CONF, "ipam": {"type": "static", "addresses": addresses}}


@pytest.fixture
def container(sandbox, call):
    """Makes a container and gives the caller for its attachments."""

    def make(name):
        return dataclasses.replace(call, netns=sandbox.container(name), container_id=name)

    return make


@pytest.fixture
def attached(container):
    """Two containers on the network; returns what ADD answered for each."""
    return {name: container(name).add(CONF) for name in ("c1", "c2")}


@pytest.mark.parametrize(
    ("ping", "gateway", "other"),
    [("ping -4", "10.1.0.1", "10.1.0.3"), ("ping -6", "fd00:1::1", "fd00:1::3")],
)
def test_containers_reach_each_other_and_the_gateway(sandbox, attached, ping, gateway, other):
    sandbox.shell(f"{ping} -c1 -W2 {gateway} && {ping} -c1 -W2 {other}", "c1")


@pytest.mark.parametrize(
    ("address", "family", "peer"),
    [("10.1.0.2", "AF_INET", "10.1.0.3"), ("fd00:1::2", "AF_INET6", "fd00:1::3")],
)
def test_tcp_goes_both_ways(sandbox, attached, address, family, peer):
    sandbox.shell(f"{SERVE_ONCE.format(address, family)} >/dev/null 2>&1 &", "c1")

    assert sandbox.shell(ASK.format(address), "c2").strip() == peer


def test_the_end_state_is_the_references(sandbox, container):
    conf = {**CONF, "hairpinMode": True, "portIsolation": True}

    result = container("c1").add(conf)

    port = result["interfaces"][1]["name"]
    sysctls = "net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv6.conf.br0.accept_ra"
    assert sandbox.shell(f"sysctl -n {sysctls} net.ipv6.conf.{port}.accept_ra").split() == [
        *("1", "1", "0", "0")
    ]
    inside = "net.ipv4.conf.eth0.arp_notify net.ipv6.conf.eth0.{accept_dad,keep_addr_on_down}"
    assert sandbox.shell(f"bash -c 'sysctl -n {inside}'", "c1").split() == ["1", "0", "1"]
    (link,) = sandbox.json(f"ip -json -d link show {port}")
    slave = link["linkinfo"]["info_slave_data"]
    assert (slave["state"], slave["hairpin"], slave["isolated"]) == ("forwarding", True, True)
    assert link["ifalias"] == "cni:net/c1/eth0"
    routes = sandbox.json("ip -json route", "c1")
    assert [(route["dst"], route.get("gateway")) for route in routes] == [
        ("default", "10.1.0.1"),
        ("10.1.0.0/24", None),
    ]


def test_isolated_ports_do_not_hear_each_other_but_the_gateway(sandbox, container):
    for name in ("c1", "c2"):
        container(name).add({**CONF, "portIsolation": True})

    sandbox.shell("ping -c1 -W2 10.1.0.1", "c1")
    with pytest.raises(AssertionError, match="100% packet loss"):
        sandbox.shell("ping -c1 -W1 10.1.0.3", "c1")


def test_the_mtu_holds_on_the_wire(sandbox, container):
    container("c1").add({**CONF, "mtu": 1400})

    sandbox.shell("ping -c1 -W2 -M do -s 1372 10.1.0.1", "c1")
    with pytest.raises(AssertionError, match=r"too long|100% packet loss"):
        sandbox.shell("ping -c1 -W1 -M do -s 1373 10.1.0.1", "c1")


def test_a_duplicate_address_is_found_if_asked_for(sandbox, container):
    first, second = container("c1"), container("c2")
    conf = static("10.1.0.2/24", "fd00:1::2/64")
    first.add(conf)

    outcome = second("ADD", {**conf, "enabledad": True})

    assert "address fd00:1::2/64 in DADFAILED state" in outcome.document["msg"]
    assert sandbox.json("ip -json link show type veth", "c2") == []
    second.add(conf)


ADVERTISE = """
import socket
index = socket.if_nametoindex("eth0")
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    raw.bind((FROM, 0, 0, index))
    raw.sendto(bytes([134, 0, 0, 0, 64, 0, 255, 255]) + bytes(8), ("ff02::1", 0, 0, index))
"""


@pytest.mark.parametrize("is_accepted", [False, True])
def test_a_router_advertisement_of_a_container_changes_nothing_on_the_host(
    sandbox, container, is_accepted
):
    """CVE-2020-10749: a container must not become the host's router."""
    sandbox.shell("sysctl -qw net.ipv6.conf.default.accept_ra=2")
    container("c1").add(static("fd00:1::2/64"))
    if is_accepted:  # what it would be like
        sandbox.shell("sysctl -qw net.ipv6.conf.br0.accept_ra=2")
    (eth0,) = [link for link in sandbox.json("ip -json -6 addr", "c1") if link["ifname"] == "eth0"]
    (source,) = [one["local"] for one in eth0["addr_info"] if one["scope"] == "link"]

    # until detection of the link-local address is over, nothing can be sent from it
    script = ADVERTISE.replace("FROM", repr(source))
    sandbox.shell(f"until python3 -c {shlex.quote(script)} 2>/dev/null; do :; done", "c1")
    sandbox.shell("ping -6 -c1 -W2 fd00:1::1", "c1")

    assert bool(sandbox.shell("ip -6 route show default")) is is_accepted


@pytest.mark.parametrize("target", ["10.1.0.50", "fd00:1::50"])
def test_neighbours_find_the_next_owner_of_an_address_at_once(sandbox, container, target):
    old, new, third = container("c1"), container("c2"), container("c3")
    conf = static("10.1.0.50/24", "fd00:1::50/64")
    old.add(conf)
    third.add(static("10.1.0.60/24", "fd00:1::60/64"))
    for netns in ("", "c3"):
        sandbox.shell(f"ping -c1 -W2 {target}", netns)
    old("DEL", conf)

    new.add(conf)

    for netns in ("", "c3"):
        sandbox.shell(f"ping -c1 -W1 {target}", netns)


def test_a_container_reaches_itself_through_the_bridge_with_hairpin(sandbox, container):
    """As a service that leads back to its only member does."""
    sandbox.shell("sysctl -qw net.ipv4.conf.all.route_localnet=0")
    container("c1").add({**CONF, "hairpinMode": True})
    sandbox.shell(
        "nft add table t; nft 'add chain t pre { type nat hook prerouting priority -100; }';"
        "nft 'add chain t post { type nat hook postrouting priority 100; }';"
        "nft add rule t pre ip daddr 10.9.9.9 dnat to 10.1.0.2;"
        "nft add rule t post ip saddr 10.1.0.2 ip daddr 10.1.0.2 masquerade"
    )

    sandbox.shell("ping -c1 -W2 10.9.9.9", "c1")


def test_a_bridge_without_ports_and_mac_address_becomes_a_gateway(sandbox, container):
    """Its address is all zeros, which cannot be written back."""
    sandbox.shell("ip link add br0 type bridge; ip link add p type veth peer name q")
    sandbox.shell("ip link set p master br0; ip link delete p")
    (bridge,) = sandbox.json("ip -json link show br0")
    assert bridge["address"] == "00:00:00:00:00:00"

    result = container("c1").add(CONF)

    (bridge,) = sandbox.json("ip -json link show br0")
    assert result["interfaces"][0]["mac"] == bridge["address"] != "00:00:00:00:00:00"


def test_the_bridges_mac_address_stays_while_ports_come_and_go(sandbox, container):
    callers = [container(name) for name in ("c1", "c2", "c3")]
    macs = {caller.add(LAYER_2)["interfaces"][0]["mac"] for caller in callers}
    for caller in callers:
        caller("DEL", LAYER_2)

    (bridge,) = sandbox.json("ip -json link show br0")
    assert macs == {bridge["address"]}


@pytest.mark.full_kernel
def test_vlans_keep_containers_apart(sandbox, container):
    one, other, third = container("c1"), container("c2"), container("c3")
    outcome = one("ADD", {**CONF, "vlan": 100})
    if outcome.status and "VLAN-filtering bridge" in outcome.document["msg"]:
        pytest.skip("this kernel's bridges do not filter VLANs")
    assert outcome.document["interfaces"][3]["name"] == "br0.100"
    other.add({**CONF, "vlan": 100})
    third.add({**LAYER_2, "vlan": 200})
    sandbox.shell("ip addr add 10.1.0.77/24 dev eth0", "c3")

    sandbox.shell("ping -c1 -W2 10.1.0.1 && ping -c1 -W2 10.1.0.3", "c1")
    with pytest.raises(AssertionError, match="100% packet loss"):
        sandbox.shell("ping -c1 -W1 10.1.0.77", "c1")


ADD_AND_DELETE = """
import json, sys
from cnicore.main import answer_as
name, directory = sys.argv[1:]
environ = {"CNI_CONTAINERID": name, "CNI_NETNS": f"/run/netns/{name}", "CNI_IFNAME": "eth0",
           "CNI_PATH": directory}
stdin = sys.stdin.buffer.read()
for verb in ("ADD", "CHECK", "DEL"):
    variables = {**environ, "CNI_COMMAND": verb}
    answer = answer_as("bridge", variables, lambda: stdin, f"{directory}/cni")
    if verb == "ADD":
        result = json.loads(answer.text)
        stdin = json.dumps({**json.loads(stdin), "prevResult": result}).encode()
    print(json.dumps([verb, answer.status, answer.text]))
"""


def test_32_processes_at_a_time_give_each_container_its_own_address(sandbox, call):
    names = [f"c{number}" for number in range(32)]
    for name in names:
        sandbox.container(name)
    conf = json.dumps({**CONF, "ipMasq": True}).encode()
    arguments = [sys.executable, "-c", ADD_AND_DELETE]
    running = [
        subprocess.Popen(
            [*arguments, name, os.fspath(call.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in names
    ]
    for process in running:
        process.stdin.write(conf)
        process.stdin.close()

    lines = [json.loads(line) for process in running for line in process.stdout]
    for process in running:
        process.stdout.close()
        process.wait()

    assert [line for line in lines if line[1]] == []
    assert len(lines) == 96
    assert {link["ifname"] for link in sandbox.json("ip -json link")} == {"lo", "br0"}
    assert "cni:net/" not in sandbox.shell("nft list ruleset")
