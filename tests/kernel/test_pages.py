"""The pages of bridge, ptp and loopback say what happens on the real kernel."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

PAGES = Path(__file__).parents[2] / "docs/reference/plugins"
IFNAMES = {"bridge": "eth0", "ptp": "eth0", "loopback": "lo"}


def page_of(plugin):
    return (PAGES / f"{plugin}.md").read_text()


def examples_of(plugin):
    """The page's configuration and the result that it shows."""
    blocks = re.findall(r"```json\n(.*?)```", page_of(plugin), re.DOTALL)
    configuration, result = map(json.loads, blocks)
    return configuration, result


def without_chance(document):
    """The result without what the kernel draws anew for each container."""
    text = json.dumps(document)
    text = re.sub(r"veth[0-9a-f]{8}", "veth…", text)
    return json.loads(re.sub(r'"(?!00:00)[0-9a-f]{2}(:[0-9a-f]{2}){5}"', '"…"', text))


@pytest.fixture
def caller(sandbox, call):
    return dataclasses.replace(call, netns=sandbox.container())


@pytest.mark.parametrize("plugin", IFNAMES)
def test_the_example_gives_the_result_on_the_page(sandbox, caller, plugin):
    conf, shown = examples_of(plugin)
    caller = dataclasses.replace(caller, ifname=IFNAMES[plugin])

    result = caller.add(conf)

    assert conf["type"] == plugin
    assert without_chance(result) == without_chance(shown)
    chained = {**conf, "prevResult": result}
    for verb in ("CHECK", "STATUS", "DEL", "DEL"):
        assert caller(verb, chained).status == 0
    assert "veth" not in sandbox.shell("ip link")
    assert "cni:" not in sandbox.shell("nft list ruleset")
    assert sandbox.shell("find /var/lib/cni -name '10.*' -o -name 'fd*'") == ""


def test_the_drawing_of_bridge_is_true(sandbox, call, caller):
    conf, _ = examples_of("bridge")
    other = dataclasses.replace(call, netns=sandbox.container("c2"), container_id="c2")
    results = [caller.add(conf), other.add(conf)]

    assert [result["ips"][0]["address"] for result in results] == ["10.1.0.2/24", "10.1.0.3/24"]
    assert "10.1.0.1/24" in sandbox.shell("ip addr show br0")
    for result, name in zip(results, ("c1", "c2"), strict=True):
        (port,) = sandbox.json(f"ip -json link show {result['interfaces'][1]['name']}")
        assert (port["ifalias"], port["master"]) == (f"cni:mynet/{name}/eth0", "br0")


def test_the_drawing_of_ptp_is_true(sandbox, call, caller):
    conf, _ = examples_of("ptp")
    other = dataclasses.replace(call, netns=sandbox.container("c2"), container_id="c2")
    results = [caller.add(conf), other.add(conf)]

    assert sandbox.shell("ip -4 route", "c1").split("\n") == [
        "default via 10.1.0.1 dev eth0 ",
        "10.1.0.0/24 via 10.1.0.1 dev eth0 src 10.1.0.2 ",
        "10.1.0.1 dev eth0 scope link src 10.1.0.2 ",
        "",
    ]
    for result, address in zip(results, ("10.1.0.2", "10.1.0.3"), strict=True):
        name = result["interfaces"][0]["name"]
        assert "10.1.0.1/32" in sandbox.shell(f"ip addr show {name}")
        assert sandbox.shell(f"ip route show {address}").startswith(f"{address} dev {name}")


HOST_LOCAL = {"type": "host-local", "subnet": "10.1.0.0/24"}
OTHER_BRIDGE = "ip link add br0 type bridge; ip addr add 192.168.0.1/24 dev br0"
TAKEN_NAME = "ip -n c1 link add eth0 type veth peer name e1"
SAME_ADDRESS = """
ip link add other type veth
ip link set other alias cni:other/c2/eth0
nft add table inet cni
nft add chain inet cni used
nft 'add map inet cni masquerade4 { type ipv4_addr : verdict; }'
nft 'add element inet cni masquerade4 { 10.1.0.2 comment "cni:other/c2/eth0" : goto used }'
"""
LONG_NAME = {"bridge": "abcdefghijkl", "vlan": 1000, "isGateway": True}
FILTERING = "could not create VLAN-filtering bridge"


def static(*addresses):
    return {"type": "static", "addresses": [{"address": address} for address in addresses]}


@dataclasses.dataclass
class Call:
    """A call that fails: keys of the configuration, a command before it, and variables."""

    keys: dict = dataclasses.field(default_factory=dict)
    before: str = ""
    verb: str = "ADD"
    variables: dict = dataclasses.field(default_factory=dict)


# for each line of "When it fails" how it begins, and what provokes it
BAD_CALLS = {
    "bridge": {
        "container interface": Call(before=TAKEN_NAME),
        '"br0" already has': Call(
            {"bridge": "br0", "isGateway": True, "ipam": HOST_LOCAL}, OTHER_BRIDGE
        ),
        "failed to create bridge": Call({"bridge": "d0"}, "ip link add d0 type veth"),
        "bridge: an interface": Call(LONG_NAME),
        'bridge "br0" does not filter': Call(
            {"bridge": "br0", "vlan": 5}, "ip link add br0 type bridge"
        ),
        FILTERING: Call({"bridge": "br0", "vlan": 5}),
        "invalid VLAN ID": Call({"vlan": 5000}),
        "vlanTrunk[0]": Call({"vlanTrunk": [{"minID": 10}]}),
        "cannot use IPAM": Call({"disableContainerInterface": True, "ipam": HOST_LOCAL}),
        "cannot set hairpin": Call({"hairpinMode": True, "promiscMode": True}),
        "failed to make veth pair": Call({"runtimeConfig": {"mac": "zz"}}),
        "ARGS:": Call(variables={"CNI_ARGS": "K8S_POD_NAME=x"}),
        "IPAM plugin returned": Call({"ipam": {"type": "static"}}),
        "cannot convert": Call({"cniVersion": "0.2.0"}),
        "10.1.0.2 is masqueraded": Call({"ipMasq": True, "ipam": HOST_LOCAL}, SAME_ADDRESS),
    },
    "ptp": {
        "ipam.type": Call(),
        "address 10.1.0.5/24": Call({"ipam": static("10.1.0.5/24")}),
        "container interface": Call({"ipam": HOST_LOCAL}, TAKEN_NAME),
        "failed to find plugin": Call({"ipam": {"type": "nope"}}),
        "mtu:": Call({"mtu": "1500", "ipam": HOST_LOCAL}),
        "could not create the veth": Call({"mtu": 67, "ipam": HOST_LOCAL}),
        "plugin's netns": Call({"ipam": HOST_LOCAL}, variables={"CNI_NETNS": "/proc/self/ns/net"}),
        "10.1.0.2 is masqueraded": Call({"ipMasq": True, "ipam": HOST_LOCAL}, SAME_ADDRESS),
        "Required prevResult": Call({"ipam": HOST_LOCAL}, verb="CHECK"),
    },
    "loopback": {
        "loopback interface found": Call(before="ip -n c1 addr add 10.0.0.1/8 dev lo"),
        "loopback interface is down": Call(verb="CHECK"),
        "failed to open netns": Call(variables={"CNI_NETNS": "/run/netns/none"}),
    },
}

# and what provokes those of CHECK, after the ADD of the example
TAMPERING = {
    "bridge": {"CNI veth created": "ip link set {host_end} nomaster"},
    "ptp": {
        "Expected Route": "ip -n c1 route delete default",
        "the host's end": "ip link set {host_end} down",
        "… has lost the gateway": "ip route delete 10.1.0.2",
        "eth0 is not masqueraded": "nft delete table inet cni",
    },
}
DUPLICATE = "link eth0 has address"


def lines_of(plugin):
    table = page_of(plugin).partition("## When it fails")[2]
    return re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)


def require_listed(plugin, begin, message):
    """The line that begins so is the message; `…` stands for anything."""
    (line,) = (line for line in lines_of(plugin) if line.startswith(begin))
    assert re.fullmatch(".*".join(map(re.escape, line.split("…"))), message), message


def links(sandbox):
    return [link["ifname"] for link in sandbox.json("ip -json link")]


@pytest.mark.parametrize("plugin", IFNAMES)
def test_every_message_on_the_page_is_provoked_here(plugin):
    begins = [*BAD_CALLS[plugin], *TAMPERING.get(plugin, {}), DUPLICATE]

    assert [line for line in lines_of(plugin) if not line.startswith(tuple(begins))] == []


@pytest.mark.parametrize(
    ("plugin", "begin"), [(plugin, begin) for plugin, calls in BAD_CALLS.items() for begin in calls]
)
def test_a_bad_call_says_what_the_page_says_and_leaves_nothing(sandbox, caller, plugin, begin):
    bad = BAD_CALLS[plugin][begin]
    sandbox.shell(bad.before or "true")
    before = links(sandbox)

    conf = {"cniVersion": "1.1.0", "name": "mynet", "type": plugin, **bad.keys}
    outcome = caller(bad.verb, conf, **bad.variables)

    if begin == FILTERING and outcome.status == 0:
        pytest.skip("this kernel's bridges filter VLANs")
    assert outcome.status == 1
    require_listed(plugin, begin, outcome.document["msg"])
    assert links(sandbox) == before


@pytest.mark.parametrize(
    ("plugin", "begin"), [(plugin, begin) for plugin, cases in TAMPERING.items() for begin in cases]
)
def test_tampering_is_told_in_the_words_of_the_page(sandbox, caller, plugin, begin):
    conf, _ = examples_of(plugin)
    result = caller.add(conf)
    (host_end,) = (one["name"] for one in result["interfaces"] if one["name"].startswith("veth"))
    sandbox.shell(TAMPERING[plugin][begin].format(host_end=host_end))

    outcome = caller("CHECK", {**conf, "prevResult": result})

    assert outcome.status == 1
    require_listed(plugin, begin, outcome.document["msg"])


def test_a_duplicate_address_is_told_in_the_words_of_the_page(sandbox, call, caller):
    conf = {"cniVersion": "1.1.0", "name": "mynet", "type": "bridge", "enabledad": True}
    conf |= {"isGateway": True, "ipam": static("fd00:1::2/64")}
    caller.add(conf)
    other = dataclasses.replace(call, netns=sandbox.container("c2"), container_id="c2")

    require_listed("bridge", DUPLICATE, other("ADD", conf).document["msg"])
