"""ptp on the real kernel, with real packets."""

import dataclasses

import pytest

from cnicore.testing.faults import FaultyKernel

pytestmark = pytest.mark.kernel

CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "ptp",
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    },
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
def attached(sandbox, call):
    """Two containers on the network; returns what ADD answered for each."""
    results = {}
    for name in ("c1", "c2"):
        caller = dataclasses.replace(call, netns=sandbox.container(name), container_id=name)
        results[name] = caller.add(CONF)
    return results


def state(sandbox, *containers):
    """Everything that an attachment could leave, on the host and in containers."""
    commands = (
        "ip -json addr",
        "ip -json route show table all",
        "ip -json -6 route show table all",
    )
    kernel = [sandbox.shell(command, name) for name in ("", *containers) for command in commands]
    rules = sandbox.shell("nft list ruleset; iptables-save -t nat | grep -c CNI- || true")
    files = sandbox.shell("find /var/lib/cni -type f ! -name lock ! -name 'last_reserved_ip.*'")
    return kernel, rules, files


@pytest.mark.parametrize(("ping", "target"), [("ping -4", "10.1.0.3"), ("ping -6", "fd00:1::3")])
def test_containers_reach_each_other_and_the_gateway(sandbox, attached, ping, target):
    gateway = {"ping -4": "10.1.0.1", "ping -6": "fd00:1::1"}[ping]

    sandbox.shell(f"{ping} -c1 -W2 {gateway} && {ping} -c1 -W2 {target}", "c1")


@pytest.mark.parametrize(
    ("address", "family"), [("10.1.0.2", "AF_INET"), ("fd00:1::2", "AF_INET6")]
)
def test_tcp_goes_both_ways_and_the_callee_sees_the_callers_own_address(
    sandbox, attached, address, family
):
    sandbox.shell(f"{SERVE_ONCE.format(address, family)} >/dev/null 2>&1 &", "c1")

    answer = sandbox.shell(ASK.format(address), "c2").strip()

    assert answer == {"AF_INET": "10.1.0.3", "AF_INET6": "fd00:1::3"}[family]


def test_the_mtu_holds_on_the_wire(sandbox, call):
    caller = dataclasses.replace(call, netns=sandbox.container("c1"))
    caller.add({**CONF, "mtu": 1400})

    sandbox.shell("ping -c1 -W2 -M do -s 1372 10.1.0.1", "c1")
    with pytest.raises(AssertionError, match="too long|100% packet loss"):
        sandbox.shell("ping -c1 -W1 -M do -s 1373 10.1.0.1", "c1")


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_the_outside_sees_the_host_and_not_the_container(sandbox, call, backend):
    outside = sandbox.outside()
    caller = dataclasses.replace(call, netns=sandbox.container("c1"))
    caller.add({**CONF, "ipMasq": True, "ipMasqBackend": backend})
    sandbox.shell(f"{SERVE_ONCE.format('203.0.113.2', 'AF_INET')} >/dev/null 2>&1 &", outside)

    answer = sandbox.shell(ASK.format("203.0.113.2"), "c1").strip()

    assert answer == "203.0.113.1"


@pytest.mark.parametrize("backend", ["", "nftables", "iptables"])
@pytest.mark.parametrize("gone", [False, True])
def test_del_leaves_nothing_also_when_the_namespace_is_gone(sandbox, call, backend, gone):
    caller = dataclasses.replace(call, netns=sandbox.container("c1"))
    conf = {**CONF, "ipMasq": True, "ipMasqBackend": backend}
    caller.add(conf)
    caller("DEL", conf)  # what the first attachment of a host leaves for ever: forwarding, tables
    before = state(sandbox)

    result = caller.add(conf)
    if gone:
        sandbox.remove_container("c1")
    for _ in range(2):
        assert caller("DEL", {**conf, "prevResult": result}).text == ""

    assert state(sandbox) == before


def test_check_holds_until_the_attachment_changes(sandbox, call):
    caller = dataclasses.replace(call, netns=sandbox.container("c1"))
    conf = {**CONF, "ipMasq": True}
    attached = {**conf, "prevResult": caller.add(conf)}
    assert caller("CHECK", attached).text == ""

    sandbox.shell("ip route delete default", "c1")
    assert "Expected Route 0.0.0.0/0" in caller("CHECK", attached).document["msg"]
    sandbox.shell("ip route add default via 10.1.0.1", "c1")
    assert caller("CHECK", attached).text == ""

    sandbox.shell("nft flush ruleset")
    assert caller("CHECK", attached).status == 1


HOST_TAMPERING = {
    "it is down": "ip link set END down",
    "the gateway is gone": "ip addr delete 10.1.0.1/32 dev END",
    "the IPv6 gateway is gone": "ip addr delete fd00:1::1/128 dev END",
    "the route is gone": "ip route delete 10.1.0.2 dev END",
    "the IPv6 route is gone": "ip -6 route delete fd00:1::2 dev END",
}


@pytest.mark.parametrize("command", HOST_TAMPERING.values(), ids=HOST_TAMPERING)
def test_check_looks_at_the_hosts_end(sandbox, call, command):
    caller = dataclasses.replace(call, netns=sandbox.container("c1"))
    result = caller.add(CONF)
    attached = {**CONF, "prevResult": result}
    assert caller("CHECK", attached).text == ""

    sandbox.shell(command.replace("END", result["interfaces"][0]["name"]))

    message = caller("CHECK", attached).document["msg"]
    assert message.endswith("delete the attachment and add it again")


def test_host_addresses_and_unreachable_gateways_are_checked_as_they_were_made(sandbox, call):
    """A /32 has no route of its own, and routes may stand in other tables."""
    ipam = {
        "type": "static",
        "addresses": [{"address": "10.1.0.2/32", "gateway": "10.1.0.1"}],
        "routes": [{"dst": "10.7.0.0/16", "table": 300, "scope": 253}],
    }
    caller = dataclasses.replace(call, netns=sandbox.container("c1"))
    conf = {**CONF, "ipam": ipam}
    attached = {**conf, "prevResult": caller.add(conf)}

    assert caller("CHECK", attached).text == ""
    sandbox.shell("ip route flush table 300", "c1")
    assert "Expected Route 10.7.0.0/16" in caller("CHECK", attached).document["msg"]


def test_add_that_fails_at_any_call_of_the_kernel_leaves_nothing(sandbox, call):
    caller = dataclasses.replace(call, netns=sandbox.container("c1"))
    conf = {**CONF, "ipMasq": True}
    caller.add(conf)
    caller("DEL", conf)
    before = state(sandbox, "c1")
    failures = 0
    for number in range(1, 200):
        kernel = FaultyKernel(number)
        with kernel.in_place():
            outcome = caller("ADD", conf)
        if outcome.status == 0:
            break
        failures += 1
        assert state(sandbox, "c1") == before, f"call {number}: {outcome.text}"
    assert outcome.status == 0
    assert failures > 20


def test_gc_removes_a_container_that_nobody_deleted(sandbox, call):
    conf = {**CONF, "ipMasq": True}
    first = dataclasses.replace(call, netns=sandbox.container("c1"))
    second = dataclasses.replace(call, netns=sandbox.container("c2"), container_id="c2")
    first.add(conf)
    before = state(sandbox)
    second.add(conf)
    valid = [{"containerID": "c1", "ifname": "eth0"}]

    assert first("GC", {**conf, "cni.dev/valid-attachments": valid}).text == ""

    assert state(sandbox) == before
