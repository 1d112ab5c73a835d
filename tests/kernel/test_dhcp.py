"""dhcp as a runtime uses it: main plugins, the daemon as a program, and dnsmasq that leases."""

import json
import re
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from cni_ipam.dhcp.protocol import LEASE_DIR, SOCKET
from conformance.stage import install
from kernel.dhcp_servers import Dnsmasq, eventually
from kernel.dhcp_site import Site

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="needs dnsmasq of dnsmasq-base"),
]

POOL = "10.1.0.10,10.1.0.99,255.255.255.0,2m"
GATEWAY = "dhcp-option=option:router,10.1.0.1"
NETWORK = {
    "cniVersion": "1.1.0",
    "name": "lan",
    "type": "bridge",
    "bridge": "br0",
    "ipam": {"type": "dhcp"},
}
LEASED = "10.1.0."
WIRE = "ip link add port1 type veth peer name eth0 netns c1; ip link set port1 up master br0"
RECORDS = Path(LEASE_DIR)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    return install(tmp_path_factory.mktemp("plugins"), sys.executable)


@pytest.fixture
def site(sandbox, plugins):
    with ExitStack() as stack:
        yield Site(sandbox, plugins, stack)


@pytest.fixture
def server(site):
    return site.dnsmasq(POOL, GATEWAY)


@pytest.fixture
def caller(site):
    """Calls for the container c1, which has no interface yet."""
    return site.caller()


def records():
    return sorted(file.name for file in RECORDS.glob("*"))


def test_a_container_has_a_lease_from_add_to_del(site, server, caller):
    daemon = site.daemon()
    assert caller("STATUS", NETWORK).status == 0

    result = caller.add(NETWORK)

    (ip,) = result["ips"]
    assert (ip["address"].startswith(LEASED), ip["gateway"]) == (True, "10.1.0.1")
    assert site.addresses() == [ip["address"]]
    assert (
        site.sandbox.shell("ip -4 route show default", "c1") == "default via 10.1.0.1 dev eth0 \n"
    )
    site.sandbox.shell("ping -c 1 -W 30 10.1.0.1", "c1")
    assert f"{server.leased()[0]}/24" == ip["address"]
    attached = {**NETWORK, "prevResult": result}
    assert caller("CHECK", attached).status == 0

    for _ in range(2):
        assert caller("DEL", attached).status == 0

    eventually(lambda: server.leased() == [])  # the server has heard of it
    assert server.says("DHCPRELEASE", ip["address"].removesuffix("/24"))
    assert caller("CHECK", attached).document["msg"].startswith("the DHCP daemon has no lease for")
    assert records() == []
    assert "veth" not in site.sandbox.shell("ip link show type veth | grep veth || true")
    assert daemon.end() == 0
    assert not Path(SOCKET).exists()


def test_the_release_leaves_by_the_interface_before_it_is_deleted(site, server, caller):
    daemon = site.daemon()
    caller.add(NETWORK)

    assert caller("DEL", NETWORK).status == 0

    daemon.wait_for("c1/lan/eth0: released", "through eth0")
    assert site.sandbox.shell("ip -n c1 -json link show type veth").strip() in {"", "[]"}


def test_an_add_that_fails_later_gives_its_lease_back(site, server, caller):
    site.daemon()
    site.sandbox.shell("ip addr add 10.7.0.1/24 dev br0")

    outcome = caller("ADD", {**NETWORK, "isGateway": True})  # br0 has another address

    assert outcome.status == 1
    assert server.says("DHCPACK")
    eventually(lambda: server.leased() == [])
    assert records() == []


def test_without_a_server_add_ends_in_time_and_leaves_nothing(site, caller):
    daemon = site.daemon("-timeout=1s", "-resendmax=1s", "--resendtimeout", "8s")
    begin = time.monotonic()

    outcome = caller("ADD", NETWORK)

    assert time.monotonic() - begin < 60
    assert outcome.document["code"] == 11
    assert outcome.document["msg"].startswith(
        "no DHCP server answered on eth0 within 8 s (-resendtimeout)"
    )
    assert daemon.says("next try in")
    assert records() == []
    assert "eth0" not in site.sandbox.shell("ip -n c1 link")


def test_a_plugin_that_is_killed_leaves_nothing(site, caller, plugins):
    """It dies while servers are asked: the daemon notices, and asks no more."""
    daemon = site.daemon()
    site.sandbox.shell(WIRE)
    environ = {**caller.environ, "CNI_COMMAND": "ADD"}
    process = subprocess.Popen([plugins / "dhcp"], stdin=subprocess.PIPE, env=environ)
    with process.stdin as stdin:
        stdin.write(json.dumps({**NETWORK, "type": "dhcp"}).encode())
    eventually(lambda: netns_of(daemon))

    process.kill()
    process.wait()

    eventually(lambda: not netns_of(daemon), lambda: daemon.log)
    assert records() == []


def test_a_daemon_that_is_told_to_stop_gives_up_what_it_is_asked_for(site, caller, plugins):
    daemon = site.daemon()
    site.sandbox.shell(WIRE)
    environ = {**caller.environ, "CNI_COMMAND": "ADD"}
    process = subprocess.Popen(
        [plugins / "dhcp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    )
    process.stdin.write(json.dumps({**NETWORK, "type": "dhcp"}).encode())
    process.stdin.close()
    eventually(lambda: netns_of(daemon))

    assert daemon.end() == 0

    with process.stdout as stdout:
        outcome = json.load(stdout)
    assert process.wait() == 1
    assert outcome["code"] == 11
    assert "it closed the connection without an answer" in outcome["msg"]
    assert records() == []


def netns_of(daemon):
    """Descriptors of namespaces that the daemon has open."""
    files = Path(f"/proc/{daemon.pid}/fd").iterdir()
    return [file for file in files if str(file.readlink()).startswith(("net:", "/run/netns"))]


def test_a_lease_outlives_the_daemon_and_del_works_without_it(site, server, caller):
    daemon = site.daemon()
    result = caller.add(NETWORK)
    attached = {**NETWORK, "prevResult": result}
    daemon.die()
    for verb, code in (("CHECK", 11), ("STATUS", 50)):
        outcome = caller(verb, attached)
        assert outcome.document["code"] == code
        assert (
            f"cannot reach the DHCP daemon at {SOCKET}: Connection refused: start it with"
            in (outcome.document["msg"])
        )

    daemon.start()
    assert caller("CHECK", attached).status == 0
    daemon.die()
    assert caller("DEL", attached).status == 0
    assert [name.rpartition(".")[2] for name in records()] == ["ended", "json"]
    daemon.start()

    eventually(lambda: server.leased() == [], lambda: daemon.log + server.log)
    eventually(lambda: records() == [])


def test_gc_releases_what_is_not_valid(site, server, caller):
    site.daemon()
    other = site.caller("c2")
    kept, _ = caller.add(NETWORK), other.add(NETWORK)
    valid = [{"containerID": "c1", "ifname": "eth0"}]

    assert caller("GC", {**NETWORK, "cni.dev/valid-attachments": valid}).status == 0

    address = kept["ips"][0]["address"].removesuffix("/24")
    eventually(lambda: server.leased() == [address], lambda: server.log)


def test_a_container_that_vanishes_gives_its_lease_back(site, server, caller):
    daemon = site.daemon()
    caller.add(NETWORK)

    site.sandbox.remove_container()

    eventually(lambda: server.leased() == [], lambda: daemon.log + server.log)
    assert caller("DEL", NETWORK, CNI_NETNS="").status == 0


def test_options_are_asked_for_and_provided(site, caller):
    server = Dnsmasq(
        POOL,
        GATEWAY,
        "dhcp-option=option:dns-server,10.1.0.53",
        "dhcp-option=option:classless-static-route,10.9.0.0/16,10.1.0.9,0.0.0.0/0,10.1.0.1",
    )
    site.started(server)
    site.daemon()
    ipam = {
        "type": "dhcp",
        "request": [{"option": "121"}, {"option": "6"}],
        "provide": [{"option": "host-name", "fromArg": "K8S_POD_NAME"}],
        "priority": 77,
    }

    result = caller.add({**NETWORK, "ipam": ipam}, CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=web-0")

    assert result["dns"] == {"nameservers": ["10.1.0.53"]}
    assert site.sandbox.shell("ip -4 route show metric 77", "c1").split("\n") == [
        "default via 10.1.0.1 dev eth0 ",
        "10.9.0.0/16 via 10.1.0.9 dev eth0 ",
        "",
    ]
    assert server.says("web-0")


UPLINK = """
ip link add dev0 type veth peer name port0
ip link set port0 up master br0
ip link set dev0 up
"""


@pytest.mark.parametrize(
    "keys", [{"type": "host-device", "device": "dev0"}, {"type": "macvlan", "master": "dev0"}]
)
def test_other_plugins_lease_and_release_by_their_own_interface(site, server, caller, keys):
    daemon = site.daemon()
    site.sandbox.shell(UPLINK)
    conf = {**NETWORK, **keys}

    result = caller.add(conf)
    attached = {**conf, "prevResult": result}

    assert site.addresses() == [result["ips"][0]["address"]]
    assert caller("CHECK", attached).status == 0
    assert caller("DEL", attached).status == 0
    daemon.wait_for("c1/lan/eth0: released", "through eth0")
    eventually(lambda: server.leased() == [])
    assert "dev0" in site.sandbox.shell("ip link show dev0")


def blocks(language):
    page = Path(__file__).parents[2] / "docs/reference/plugins/dhcp.md"
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def without_chance(text):
    """Without what is drawn anew for each container, the time, and how long something takes."""
    text = re.sub(r"veth[0-9a-f]{8}", "veth…", text)
    text = re.sub(r'"[0-9a-f]{2}(:[0-9a-f]{2}){5}"', '"…"', text)
    text = re.sub(r"[0-9]+ s\b", "… s", text)
    return re.sub(r"(?m)^[0-9/]{10} [0-9:]{8} ", "", text)


def test_the_page_shows_what_happens(site):
    site.dnsmasq(
        "10.1.0.10,10.1.0.10,255.255.255.0,2m",
        "dhcp-option=option:dns-server,10.1.0.53",
        "dhcp-option=option:classless-static-route,10.9.0.0/16,10.1.0.9,0.0.0.0/0,10.1.0.1",
        GATEWAY,
    )
    daemon = site.daemon()
    conf, shown = (json.loads(block) for block in blocks("json")[:2])
    caller = site.caller()

    result = caller.add(conf, CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=web-0")
    assert caller("DEL", {**conf, "prevResult": result}).status == 0
    daemon.end()

    assert json.loads(without_chance(json.dumps(result, ensure_ascii=False))) == shown
    (log,) = blocks("text")
    assert without_chance(daemon.log) == without_chance(log)
