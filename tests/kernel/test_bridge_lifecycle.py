"""bridge on the real kernel: what a failed ADD, DEL and GC leave, and what CHECK notices."""

import dataclasses
import json
import subprocess
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


@pytest.mark.parametrize("name", ["br%d", "b\0c", "\ud800", "b/c"])
def test_a_name_that_no_interface_has_makes_none(sandbox, container, name):
    caller, conf = container(), {**LAYER_2, "bridge": name}

    for verb in ("ADD", "STATUS"):
        assert caller(verb, conf).document["code"] == 7
    assert caller("CHECK", {**conf, "prevResult": {}}).status == 1
    assert caller("DEL", conf).text == ""

    assert [link["ifname"] for link in sandbox.json("ip -json link")] == ["lo"]


def test_del_needs_no_previous_result(sandbox, container):
    caller = container()
    used_before(caller, CONF)
    before = state(sandbox)
    caller.add(CONF)
    sandbox.remove_container("c1")

    assert caller("DEL", CONF, CNI_NETNS="").text == ""

    assert state(sandbox) == before


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
@pytest.mark.parametrize(
    "change",
    [
        "ip -6 addr flush dev eth0 scope global",
        "ip addr flush dev eth0; ip addr add 192.0.2.1/24 dev eth0",
    ],
)
def test_del_needs_no_address_of_the_container(sandbox, container, backend, change):
    """Somebody took some away, or gave others."""
    caller, conf = container(), {**CONF, "ipMasqBackend": backend}
    used_before(caller, conf)
    before = state(sandbox)
    caller.add(conf)
    sandbox.shell(change, "c1")

    assert caller("DEL", conf).text == ""

    assert state(sandbox) == before


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
@pytest.mark.parametrize("has_result", [True, False])
def test_two_interfaces_of_a_container_come_and_go_alone(sandbox, container, backend, has_result):
    caller = container()
    conf = {key: CONF[key] for key in CONF if key != "macspoofchk"}
    conf |= {"ipMasqBackend": backend, "isDefaultGateway": False, "isGateway": True}
    conf["ipam"] = {**CONF["ipam"], "routes": []}
    used_before(caller, conf)
    before = state(sandbox, "c1")
    attached = {
        ifname: {**conf, "prevResult": caller.add(conf, CNI_IFNAME=ifname)}
        for ifname in ("eth0", "eth1")
    }
    for ifname, known in attached.items():
        assert caller("CHECK", known, CNI_IFNAME=ifname).text == ""

    assert caller("DEL", attached["eth1"] if has_result else conf, CNI_IFNAME="eth1").text == ""
    assert caller("CHECK", attached["eth0"]).text == ""
    assert caller("DEL", attached["eth0"] if has_result else conf).text == ""

    assert state(sandbox, "c1") == before


def test_a_route_of_another_network_is_not_the_interfaces_own(sandbox, container):
    caller = container()
    ipam = {"type": "host-local", "routes": [{"dst": "10.99.0.0/16", "scope": 253}]}
    confs = [
        {
            **LAYER_2,
            "name": f"n{n}",
            "bridge": f"br{n}",
            "ipam": {**ipam, "subnet": f"10.{n}.0.0/24"},
        }
        for n in range(2)
    ]
    results = [caller.add(conf, CNI_IFNAME=f"eth{n}") for n, conf in enumerate(confs)]
    routes = sandbox.json("ip -json route show 10.99.0.0/16", "c1")
    assert sorted(route["dev"] for route in routes) == ["eth0", "eth1"]
    attached = {**confs[1], "prevResult": results[1]}
    assert caller("CHECK", attached, CNI_IFNAME="eth1").text == ""

    sandbox.shell("ip route delete 10.99.0.0/16 dev eth1", "c1")

    message = caller("CHECK", attached, CNI_IFNAME="eth1").document["msg"]
    assert message.endswith("not found in routing table: there is none through eth1")


READ_ONLY = "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys"


@pytest.mark.parametrize("ipam", [None, {"type": "host-local", "subnet": "10.1.0.0/24"}])
def test_only_router_advertisements_need_a_sysctl(sandbox, container, capsys, ipam):
    caller = container()
    conf = {**LAYER_2, "ipam": ipam}
    sandbox.shell(READ_ONLY)
    outcome = caller("ADD", conf)
    assert outcome.document["msg"] == (
        "could not write 0 to /proc/sys/net/ipv6/conf/br0/accept_ra: Read-only file system"
    )
    assert [link["ifname"] for link in sandbox.json("ip -json link")] == ["lo"]
    sandbox.shell("umount /proc/sys; sysctl -qw net.ipv6.conf.default.accept_ra=0")
    sandbox.shell(READ_ONLY)

    result = caller.add(conf)

    assert ("arp_notify: Read-only file system" in capsys.readouterr().err) is (ipam is not None)
    assert caller("CHECK", {**conf, "prevResult": result}).text == ""
    assert caller("DEL", conf).text == ""


@pytest.mark.parametrize("alias", [b"\xff\xfe", b"cni:net/\xff"])
def test_a_port_whose_alias_is_no_text_keeps_no_verb_from_working(sandbox, container, alias):
    caller = container()
    sandbox.shell(
        "ip link add br0 type bridge; ip link add odd type veth; ip link set odd master br0"
    )
    subprocess.run([b"ip", b"link", b"set", b"odd", b"alias", alias], check=True)
    result = caller.add(CONF)

    for verb, keys in (
        ("CHECK", {"prevResult": result}),
        ("STATUS", {}),
        ("GC", {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}),
        ("DEL", {}),
    ):
        assert caller(verb, {**CONF, **keys}).text == "", verb
    bad = {**CONF, "ipam": {**CONF["ipam"], "routes": [{"dst": "1.0.0.0/8", "scope": 254}]}}
    assert "could not add route" in caller("ADD", bad).document["msg"]


def test_an_address_of_another_network_is_refused_while_it_is_attached(sandbox, container):
    one, other = container("c1"), container("c2")
    conf = {key: CONF[key] for key in ("cniVersion", "type", "ipMasq")}
    conf["ipam"] = {"type": "static", "addresses": [{"address": "10.1.0.5/24"}]}
    first, second = {**conf, "name": "n1"}, {**conf, "name": "n2", "bridge": "br1"}
    attached = {**first, "prevResult": one.add(first)}

    message = other("ADD", second).document["msg"]
    assert message.startswith("10.1.0.5 is masqueraded for cni:n1/c1/eth0, which is still attached")
    assert one("CHECK", attached).text == ""
    sandbox.remove_container("c1")  # and its DEL was lost
    sandbox.shell(
        "while ip link | grep -q cni:n1/; do sleep 0.01; done"
    )  # the kernel takes its time
    other.add(second)


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
