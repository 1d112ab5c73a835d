"""VLANs of bridge: what a failed ADD, DEL and GC leave of them, and what CHECK notices."""

import re
from pathlib import Path

import pytest

from cnicore.testing.faults import failing_at_every_call
from kernel.test_bridge_vlan import (
    LAYER_2,
    RANGES,
    ROUTED,
    TRUNK,
    container,
    filtering,
    port_vlans,
    ports,
)

__all__ = ["container", "filtering"]
pytestmark = [pytest.mark.kernel, pytest.mark.full_kernel]

CONF = {**ROUTED, **RANGES}
# few programs: starting them is what takes time under this kernel
STATE = """
for version in 4 6; do
    printf 'link show\naddr show\nroute show table all\n' | ip {0} -$version -oneline -batch -
done
"""


def state(sandbox, *containers):
    """Links, VLANs, addresses, routes and leases, without what depends on time alone."""
    commands = [STATE.format(f"-n {name}" if name else "") for name in ("", *containers)]
    lines = [plain(line) for line in sandbox.shell("".join(commands) + "bridge vlan").splitlines()]
    return sorted(line for line in lines if "fe80:" not in line and "ff00::" not in line), leases()


def plain(line):
    """Of a link its name and its alias; of anything else all but the carrier."""
    if " mtu " in line:
        return " ".join(re.findall(r"^\d+: (\S+):|alias (\S+)", line)[0])
    return line.replace(" linkdown", "")


def leases():
    names = {path.name for path in Path("/var/lib/cni").rglob("*") if path.is_file()}
    return {name for name in names if name != "lock" and not name.startswith("last_reserved_ip.")}


# --- a failed ADD


@pytest.mark.parametrize("prepared", ["nothing", "another attachment"])
def test_add_that_fails_at_any_call_of_the_kernel_leaves_nothing(sandbox, container, prepared):
    caller, other = container("c1"), container("c2")
    other("DEL", {**CONF, "prevResult": other.add(CONF)})  # forwarding stays on for ever
    sandbox.shell("ip link delete br0; ip link delete br0.100")
    if prepared == "another attachment":
        other.add(CONF)
    before = state(sandbox, "c1")
    outcomes = []

    def attempt():
        outcomes.append(caller("ADD", CONF))

    for number in failing_at_every_call(attempt):
        assert outcomes[-1].status, f"call {number} is not needed"
        assert state(sandbox, "c1") == before, f"call {number}: {outcomes[-1].text}"

    assert outcomes[-1].status == 0
    assert len(outcomes) > 25
    if prepared == "another attachment":
        assert len(ports(sandbox)) == 3


# --- DEL


@pytest.mark.parametrize("gone", ["", "the variable", "the namespace"])
@pytest.mark.parametrize("with_result", [True, False])
def test_del_leaves_the_vlans_gateway_and_the_neighbour(sandbox, container, gone, with_result):
    one = container("c1")
    container("c2").add(CONF)
    before = state(sandbox)
    result = one.add(CONF)
    if gone == "the namespace":
        sandbox.remove_container("c1")
    variables = {"CNI_NETNS": ""} if gone == "the variable" else {}

    for _ in range(2):
        conf = {**CONF, "prevResult": result} if with_result else CONF
        assert one("DEL", conf, **variables).text == ""

    assert state(sandbox) == before
    sandbox.shell("ping -c1 -w20 10.1.0.1 && ping -c1 -w20 fd00:1::1", "c2")


def test_del_needs_no_possible_vlan(sandbox, container):
    caller = container()
    caller.add(LAYER_2 | {"vlan": 100})

    bad = {"vlan": 5000, "vlanTrunk": [{"minID": 3, "maxID": 2}]}
    assert caller("DEL", {**LAYER_2, **bad}).text == ""

    assert ports(sandbox) == set()


# --- GC and STATUS


def test_gc_takes_the_ports_that_are_not_valid_and_leaves_the_gateway(sandbox, container):
    callers = [container(name) for name in ("c1", "c2")]
    results = [caller.add(CONF) for caller in callers]
    kept = results[0]["interfaces"][1]["name"]
    (device,) = sandbox.json("ip -json link show br0.100")

    valid = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
    for _ in range(2):
        assert callers[0]("GC", {**CONF, **valid}).text == ""

    assert ports(sandbox) == {kept, device["link"]}
    assert leases() == {"10.1.0.2", "fd00:1::2"}
    assert callers[0]("CHECK", {**CONF, "prevResult": results[0]}).text == ""


@pytest.mark.parametrize(("option", "code"), [("", 50), ("vlan_filtering 1", None)])
def test_status_of_a_bridge_that_is_there_already(sandbox, container, option, code):
    sandbox.shell(f"ip link add br0 type bridge {option}")

    document = container()("STATUS", CONF).document

    assert (document or {}).get("code") == code


# --- CHECK

TAMPERING = {
    "bridge vlan delete dev {port} vid 100": "is no longer in VLAN 100",
    "bridge vlan delete dev {port} vid 201": "is no longer in VLAN 201",
    "ip link set br0 type bridge vlan_filtering 0": "does not filter VLANs",
    "ip addr delete 10.1.0.1/24 dev br0.100": "br0.100 has lost the gateway's address 10.1.0.1/24",
    "ip addr delete fd00:1::1/64 dev br0.100": "br0.100 has lost the gateway's address fd00:1::1/64",
    "ip link delete br0.100": "Interface br0.100 not found",
}


@pytest.mark.parametrize("command", TAMPERING)
def test_check_notices_what_was_tampered_with(sandbox, container, command):
    caller = container()
    result = caller.add(CONF)
    chained = {**CONF, "prevResult": result}
    assert caller("CHECK", chained).text == ""

    sandbox.shell(command.format(port=result["interfaces"][1]["name"]))

    assert TAMPERING[command] in caller("CHECK", chained).document["msg"]


def test_check_does_not_mind_more_vlans(sandbox, container):
    caller = container()
    result = caller.add(CONF)
    sandbox.shell(f"bridge vlan add dev {result['interfaces'][1]['name']} vid 300")

    assert caller("CHECK", {**CONF, "prevResult": result}).text == ""


# --- what another ADD left half made


def test_the_next_add_finishes_the_gateway_of_one_that_was_killed(sandbox, container):
    sandbox.shell(TRUNK)
    sandbox.shell("ip link add veth0a0b0c0d master br0 type veth peer name br0.100")

    caller = container()
    result = caller.add(CONF)

    assert list(port_vlans(sandbox, "veth0a0b0c0d")) == [100]
    sandbox.shell("ping -c1 -w20 10.1.0.1 && ping -c1 -w20 fd00:1::1", "c1")
    assert caller("CHECK", {**CONF, "prevResult": result}).text == ""
