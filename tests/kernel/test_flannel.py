"""flannel on the real kernel: its delegate is our bridge with host-local."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest

from cnicore.runtime import Attachment, Runtime, load_network_file
from cnicore.testing.faults import failing_at_every_call
from conformance.stage import install

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).parents[2] / "docs/reference/plugins/flannel.md"
SUBNET_FILE = Path("/run/flannel/subnet.env")
DATA_DIR = Path("/var/lib/cni/flannel")

CONF = {"cniVersion": "1.1.0", "name": "cluster", "type": "flannel"}
ENV = """\
FLANNEL_NETWORK=10.40.0.0/16
FLANNEL_SUBNET=10.40.7.1/24
FLANNEL_IPV6_NETWORK=fd40::/48
FLANNEL_IPV6_SUBNET=fd40:0:0:7::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=false
"""
RATES = {
    "ingressRate": 8_000_000,
    "ingressBurst": 800_000,
    "egressRate": 8_000_000,
    "egressBurst": 800_000,
}
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


@pytest.fixture
def flanneld(sandbox):
    """A node on which flanneld has written its file."""
    SUBNET_FILE.parent.mkdir()
    SUBNET_FILE.write_text(ENV)
    return sandbox


@pytest.fixture
def caller(flanneld, call):
    return dataclasses.replace(call, netns=flanneld.container("c1"))


def state(sandbox, container=""):
    """Everything that an attachment could leave; that the bridge loses its carrier takes a while."""
    links = sorted(link["ifname"] for link in sandbox.json("ip -json link"))
    commands = (
        "ip -json addr",
        "ip -json route show table all",
        "ip -json -6 route show table all",
    )
    inside = [sandbox.shell(command, container) for command in commands if container]
    rules = sandbox.shell("nft list ruleset; iptables-save -t nat | grep -c CNI- || true")
    files = sandbox.shell("find /var/lib/cni -type f ! -name lock ! -name 'last_reserved_ip.*'")
    return links, inside, rules, files


@pytest.mark.parametrize(
    ("index", "family", "expected"),
    [(0, "AF_INET", "10.40.7.3"), (1, "AF_INET6", "fd40:0:0:7::3")],
)
def test_containers_of_the_node_reach_each_other(caller, flanneld, index, family, expected):
    second = dataclasses.replace(caller, netns=flanneld.container("c2"), container_id="c2")
    address = caller.add(CONF)["ips"][index]["address"].partition("/")[0]
    second.add(CONF)
    flanneld.shell(f"{SERVE_ONCE.format(address, family)} >/dev/null 2>&1 &", "c1")

    assert flanneld.shell(ASK.format(address), "c2").strip() == expected


def test_the_whole_network_is_routed_through_the_gateway_with_flannels_mtu(caller, flanneld):
    caller.add(CONF)

    routes = flanneld.shell("ip route; ip -6 route", "c1")
    assert "10.40.0.0/16 via 10.40.7.1 dev eth0" in routes
    assert "fd40::/48 via fd40:0:0:7::1 dev eth0" in routes
    flanneld.shell("ping -c1 -W2 10.40.7.1 && ping -c1 -W2 fd40:0:0:7::1", "c1")
    flanneld.shell("ping -c1 -W2 -M do -s 1422 10.40.7.1", "c1")
    with pytest.raises(AssertionError, match="too long|100% packet loss"):
        flanneld.shell("ping -c1 -W1 -M do -s 1423 10.40.7.1", "c1")


@pytest.mark.parametrize("ip_masq", [False, True])
def test_either_flanneld_masquerades_or_the_delegate(caller, flanneld, ip_masq):
    SUBNET_FILE.write_text(ENV.replace("IPMASQ=false", f"IPMASQ={str(ip_masq).lower()}"))
    flanneld.outside()
    caller.add({**CONF, "delegate": {"isDefaultGateway": True}})
    reach = "ping -c1 -W1 203.0.113.2"  # which has no route back to the container

    if ip_masq:
        with pytest.raises(AssertionError, match="100% packet loss"):
            flanneld.shell(reach, "c1")
    else:
        flanneld.shell(reach, "c1")


@pytest.mark.parametrize("gone", [False, True])
def test_del_leaves_nothing_also_when_namespace_and_subnet_file_are_gone(caller, flanneld, gone):
    caller.add(CONF)
    caller("DEL", CONF)  # what the first attachment of a host leaves for ever
    before = state(flanneld)

    caller.add(CONF)
    if gone:
        flanneld.remove_container("c1")
        SUBNET_FILE.unlink()
    for _ in range(2):
        assert caller("DEL", CONF).text == ""

    assert state(flanneld) == before


def test_add_that_fails_at_any_call_of_the_kernel_leaves_nothing(caller, flanneld):
    caller.add(CONF)
    caller("DEL", CONF)
    before = state(flanneld, "c1")
    outcomes = []

    for number in failing_at_every_call(lambda: outcomes.append(caller("ADD", CONF))):
        if outcomes[-1].status == 0:  # bridge tolerates it
            assert caller("DEL", CONF).text == ""
        assert state(flanneld, "c1") == before, f"call {number}: {outcomes[-1].text}"

    assert outcomes[-1].status == 0
    assert len(outcomes) > 20


def test_a_second_add_is_refused_and_the_first_one_can_be_deleted(caller, flanneld):
    before = state(flanneld, "c1")
    caller.add(CONF)
    attached = state(flanneld, "c1")

    outcome = caller("ADD", {**CONF, "delegate": {"bridge": "br9"}})

    assert 'container interface "eth0" already exists' in outcome.document["msg"]
    assert state(flanneld, "c1") == attached
    assert json.loads((DATA_DIR / "c1").read_text()).get("bridge") is None
    assert caller("DEL", CONF).text == ""
    assert state(flanneld, "c1")[3] == before[3]


def test_two_networks_and_two_interfaces_share_the_directory(caller, flanneld):
    other = Path("/run/flannel/other.env")
    other.write_text(ENV.replace("10.40.", "10.50.").replace("fd40:", "fd50:"))
    second = {
        **CONF,
        "name": "other",
        "subnetFile": str(other),
        "delegate": {"bridge": "br-other"},
    }
    eth1 = dataclasses.replace(caller, ifname="eth1")
    results = [(caller, CONF, caller.add(CONF)), (eth1, second, eth1.add(second))]
    assert [result["ips"][0]["address"] for *_, result in results] == [
        "10.40.7.2/24",
        "10.50.7.2/24",
    ]
    for one, conf, result in results:
        assert one("CHECK", {**conf, "prevResult": result}).text == ""

    for one, conf, _ in results:
        assert one("DEL", conf).text == ""

    assert flanneld.json("ip -json link show type veth") == []
    assert list(DATA_DIR.iterdir()) == []


def test_check_is_the_delegates(caller, flanneld):
    attached = {**CONF, "prevResult": caller.add(CONF)}
    assert caller("CHECK", attached).text == ""

    flanneld.shell("ip route del 10.40.0.0/16", "c1")

    assert "Expected Route 10.40.0.0/16" in caller("CHECK", attached).document["msg"]


def test_gc_removes_a_container_that_nobody_deleted(caller, flanneld):
    second = dataclasses.replace(caller, netns=flanneld.container("c2"), container_id="c2")
    caller.add(CONF)
    before = state(flanneld)
    second.add(CONF)
    valid = [{"containerID": "c1", "ifname": "eth0"}]

    assert caller("GC", {**CONF, "cni.dev/valid-attachments": valid}).text == ""

    assert state(flanneld) == before


def test_status_waits_for_flanneld(flanneld, call):
    assert call("STATUS", CONF).text == ""
    SUBNET_FILE.unlink()

    outcome = call("STATUS", CONF)

    assert outcome.document["code"] == 50
    assert outcome.document["msg"].startswith(
        f"cannot read {SUBNET_FILE}: No such file or directory: flanneld writes it as soon as"
    )


def test_the_example_of_the_page(caller, flanneld):
    conflist, delegated = map(
        json.loads, re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    )
    assert ENV in PAGE.read_text()
    flannel = {
        **conflist["plugins"][0],
        "cniVersion": conflist["cniVersion"],
        "name": conflist["name"],
    }

    document = caller.add(flannel)

    saved = json.loads((DATA_DIR / "c1").read_text())
    assert saved == {**delegated, "cni.flannel/ifname": "eth0"}
    assert [ip["address"] for ip in document["ips"]] == ["10.40.7.2/24", "fd40:0:0:7::2/64"]
    for verb in ("CHECK", "DEL"):
        assert caller(verb, {**flannel, "prevResult": document}).text == ""


def test_plugins_after_it_get_the_delegates_result(flanneld, tmp_path):
    """Through the runtime library, which calls whole processes."""
    file = tmp_path / "cluster.conflist"
    file.write_text(
        json.dumps(
            {
                "cniVersion": "1.1.0",
                "name": "cluster",
                "plugins": [{"type": "flannel"}, {"type": "bandwidth", **RATES}],
            }
        )
    )
    plugins = install(tmp_path / "plugins", sys.executable)
    network, runtime = load_network_file(file), Runtime([str(plugins)])
    flanneld.container("c1")
    attachment = Attachment("c1", netns="/run/netns/c1")

    document = runtime.add(network, attachment).document

    names = [interface["name"] for interface in document["interfaces"]]
    assert (names[0], names[2], names[3][:3]) == ("cni0", "eth0", "bwp")
    assert "tbf" in flanneld.shell("tc qdisc show")
    runtime.check(network, attachment)
    runtime.status(network)
    runtime.delete(network, attachment)
    assert flanneld.json("ip -json link show type veth") == []
    assert list(DATA_DIR.iterdir()) == []
