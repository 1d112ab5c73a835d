"""bridge on the real kernel: what a failed ADD, DEL and GC leave, and what CHECK notices."""

import dataclasses
import json
from pathlib import Path

import pytest

from cnicore.testing.faults import FaultyKernel

pytestmark = pytest.mark.kernel

CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "bridge",
    "bridge": "br0",
    "isDefaultGateway": True,
    "ipMasq": True,
    "macspoofchk": True,
    "hairpinMode": True,
    "portIsolation": True,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
        "routes": [{"dst": "10.7.0.0/16", "table": 300}, {"dst": "10.8.0.0/16"}],
    },
}
LAYER_2 = {"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0"}
REFERENCE = Path("/usr/lib/cni")


@pytest.fixture
def container(sandbox, call):
    """Makes a container and gives the caller for its attachments."""

    def make(name="c1"):
        return dataclasses.replace(call, netns=sandbox.container(name), container_id=name)

    return make


def state(sandbox, *containers):
    """Everything that an attachment could leave, on the host and in containers.

    Not whether the bridge has a carrier, which it loses some time after its last port.
    """
    kernel = [
        sandbox.shell(command, name)
        for name in ("", *containers)
        for command in (
            "ip -brief link | cut -d' ' -f1",
            "ip -oneline addr | grep -v fe80: | cut -d' ' -f1-7",
            "ip -4 route show table all | sed 's/ linkdown//'",
            "ip -6 route show table all | grep -v -e fe80: -e ff00: | sed 's/ linkdown//'",
        )
    ]
    rules = sandbox.shell("nft list ruleset; iptables-save -t nat | grep CNI- || true")
    files = sandbox.shell("find /var/lib/cni -type f ! -name lock ! -name 'last_reserved_ip.*'")
    return kernel, rules, files


def used_before(caller, conf):
    """The first attachment of a host leaves forwarding and the firewall's tables for ever."""
    caller("DEL", {**conf, "prevResult": caller.add(conf)})


@pytest.mark.parametrize("change", [{}, {"ipam": None}], ids=str)
def test_add_that_fails_at_any_call_of_the_kernel_leaves_nothing(sandbox, container, change):
    caller = container()
    conf = {**CONF, **change}
    used_before(caller, conf)
    sandbox.shell("ip link delete br0")
    before = state(sandbox, "c1")
    for number in range(1, 200):
        kernel = FaultyKernel(number)
        with kernel.in_place():
            outcome = caller("ADD", conf)
        if outcome.status == 0:
            break
        assert state(sandbox, "c1") == before, f"call {number}: {outcome.text}"
    assert outcome.status == 0
    assert number > 20


@pytest.mark.parametrize("backend", ["", "nftables", "iptables"])
@pytest.mark.parametrize("gone", [False, True])
def test_del_leaves_the_bridge_alone_also_when_the_namespace_is_gone(
    sandbox, container, backend, gone
):
    caller = container()
    conf = {**CONF, "ipMasqBackend": backend}
    used_before(caller, conf)
    before = state(sandbox)

    result = caller.add(conf)
    if gone:
        sandbox.remove_container("c1")
    for _ in range(2):
        assert caller("DEL", {**conf, "prevResult": result}).text == ""

    assert state(sandbox) == before


def test_del_needs_no_previous_result(sandbox, container):
    caller = container()
    used_before(caller, CONF)
    before = state(sandbox)
    caller.add(CONF)
    sandbox.remove_container("c1")

    assert caller("DEL", CONF, CNI_NETNS="").text == ""

    assert state(sandbox) == before


TAMPERING = {
    "the interface is down": ("ip link set eth0 down", "c1"),
    "the interface is gone": ("ip link delete eth0", "c1"),
    "its MAC address is another": ("ip link set eth0 address 02:00:00:00:00:99", "c1"),
    "its address is gone": ("ip addr delete 10.1.0.2/24 dev eth0", "c1"),
    "its IPv6 address is gone": ("ip addr delete fd00:1::2/64 dev eth0", "c1"),
    "the default route is gone": ("ip route delete default", "c1"),
    "a route of another table is gone": ("ip route flush table 300", "c1"),
    "the port left the bridge": ("ip link set PORT nomaster", ""),
    "the port is down": ("ip link set PORT down", ""),
    "the port is not isolated": ("ip link set PORT type bridge_slave isolated off", ""),
    "the port does not reflect": ("ip link set PORT type bridge_slave hairpin off", ""),
    "the bridge is gone": ("ip link delete br0", ""),
    "the bridge is down": ("ip link set br0 down", ""),
    "the bridge was made anew": (
        "ip link delete br0; ip link add br0 type bridge; ip link set br0 up",
        "",
    ),
    "the gateway's address is gone": ("ip addr delete 10.1.0.1/24 dev br0", ""),
    "nothing masquerades": ("nft delete table inet cni", ""),
    "the spoof check is gone": ("nft delete table bridge nat", ""),
    "nothing jumps to the spoof check": ("nft flush chain bridge nat PREROUTING", ""),
    "the spoof check drops nothing": ("nft flush chain bridge nat cni-br-iface-c1-eth0-mac", ""),
}


@pytest.mark.parametrize(("command", "netns"), TAMPERING.values(), ids=TAMPERING)
def test_check_fails_after_tampering_and_not_before(sandbox, container, command, netns):
    caller = container()
    result = caller.add(CONF)
    attached = {**CONF, "prevResult": result}
    assert caller("CHECK", attached).text == ""

    sandbox.shell(command.replace("PORT", result["interfaces"][1]["name"]), netns)

    assert caller("CHECK", attached).status == 1


@pytest.mark.parametrize(
    "conf",
    [
        LAYER_2,
        {**LAYER_2, "disableContainerInterface": True},
        {**LAYER_2, "promiscMode": True},
        {**LAYER_2, "ipam": {"type": "static", "addresses": [{"address": "10.1.0.2/32"}]}},
    ],
    ids=["layer 2", "disabled", "promiscuous", "slash 32"],
)
def test_check_of_a_healthy_attachment_minds_no_stranger(sandbox, container, conf):
    caller = container()
    attached = {**conf, "prevResult": caller.add(conf)}
    sandbox.shell("ip link set br0 promisc on; ip link add p type veth peer name q")
    sandbox.shell("ip link set p address 02:00:00:00:00:01 master br0 && ip link set p up")

    assert caller("CHECK", attached).text == ""


@pytest.mark.skipif(not (REFERENCE / "bridge").exists(), reason="needs the reference plugins")
def test_check_and_del_take_over_what_the_reference_made(sandbox, container, tmp_path):
    conf = {**CONF, "cniVersion": "1.0.0"}
    del conf["portIsolation"]  # younger than the packaged reference
    conf["ipam"] = {**CONF["ipam"], "routes": []}
    caller = container()
    reference = dataclasses.replace(caller, directory=REFERENCE)
    for backend in ("nftables", "iptables"):
        used_before(caller, {**conf, "ipMasqBackend": backend})
    before = state(sandbox)
    result = run_reference(sandbox, reference, "ADD", conf, tmp_path)
    attached = {**conf, "prevResult": result}

    assert caller("CHECK", attached).text == ""
    assert caller("DEL", attached).text == ""

    assert state(sandbox) == before


def run_reference(sandbox, caller, verb, conf, tmp_path):
    (tmp_path / "conf.json").write_text(json.dumps(conf))
    environ = " ".join(f"{key}={value}" for key, value in caller.environ.items())
    command = f"CNI_COMMAND={verb} {environ} {caller.directory}/bridge < {tmp_path}/conf.json"
    return json.loads(sandbox.shell(command))


def test_gc_removes_a_container_that_nobody_deleted(sandbox, container):
    first, second = container("c1"), container("c2")
    used_before(second, CONF)
    first.add(CONF)
    before = state(sandbox)
    second.add(CONF)
    valid = [{"containerID": "c1", "ifname": "eth0"}]

    assert first("GC", {**CONF, "cni.dev/valid-attachments": valid}).text == ""

    assert state(sandbox) == before


def test_status_is_good_unless_the_bridges_name_is_taken(sandbox, container):
    assert container()("STATUS", CONF).text == ""
    sandbox.shell("ip link add br0 type veth peer name q")

    assert container("c2")("STATUS", CONF).document["code"] == 50
