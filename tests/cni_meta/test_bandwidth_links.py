"""bandwidth on links that are no pair of veth, on the kernel in memory: which are shaped."""

import dataclasses
from ipaddress import ip_interface

import pytest

from cnicore.net.link import Link
from cnicore.net.qdisc import Filter, TokenBucket
from cnicore.net.route import KernelRoute

INGRESS = {"ingressRate": 1_000_000, "ingressBurst": 2_000_000}
EGRESS = {"egressRate": 100_000_000, "egressBurst": 10_000_000}
CONF = {"cniVersion": "1.1.0", "name": "mynet", "type": "bandwidth"}
BOTH = {**CONF, **INGRESS, **EGRESS}
INGRESS_BUCKET = TokenBucket(125_000, 253_125, 31_250_000)
IFB = "bwp70a29d9dc18b"  # of network mynet and container abc123, as the reference names it
TAG = "cni:mynet/abc123/eth0"
MAC = "02:00:00:00:00:0a"


@pytest.fixture
def call(call):
    return dataclasses.replace(call, container_id="abc123")


@pytest.fixture
def host(fake_kernel):
    host = fake_kernel.namespaces[""]
    add(host, "lo")
    add(host, "vm0", "tun", mac=MAC, mtu=1500)
    return host


@pytest.fixture
def container(fake_kernel):
    container = fake_kernel.namespaces["/run/netns/c1"]
    add(container, "eth0", "tun")
    return container


def add(namespace, name, kind="", **settings):
    namespace._add_link(Link(0, name, kind, **settings))
    return namespace.by_name[name].index


def reporting(*names, **macs):
    interfaces = [{"name": name, "mac": macs.get(name, "")} for name in (*names, *macs)]
    own = {"name": "eth0", "sandbox": "/run/netns/c1"}
    return {"cniVersion": "1.1.0", "interfaces": [*interfaces, own]}


@pytest.mark.parametrize("kind", ["netkit", "vxcan", "of-tomorrow"])
def test_a_pair_of_any_kind_is_shaped(call, host, container, kind):
    container.delete_link("eth0")
    host.add_veth("pair1", peer="eth0", peer_in=container)
    host.change("pair1", kind=kind)
    container.change("eth0", kind=kind)
    before = host.snapshot()

    call.add({**BOTH, "prevResult": reporting("vm0", "pair1")})

    assert host.buckets[host.by_name["pair1"].index] == INGRESS_BUCKET
    assert (host.by_name["pair1"].alias, host.by_name["vm0"].alias) == ("", "")
    assert call("CHECK", {**BOTH, "prevResult": reporting("vm0", "pair1")}).text == ""
    assert call("DEL", CONF).text == ""
    assert host.snapshot() == before


@pytest.mark.parametrize(
    "change",
    [{"kind": "macvlan"}, {"peer": 4711}, {"peer_is_here": True}],
    ids=["another kind", "names another", "stands on another here"],
)
def test_what_does_not_name_the_containers_link_in_turn_is_no_pair(
    call, host, container, fake_kernel, change
):
    container.delete_link("eth0")
    host.add_veth("pair1", peer="eth0", peer_in=container)
    host.change("pair1", **change)
    host.add_bucket(host.by_name["pair1"], INGRESS_BUCKET)
    before = fake_kernel.snapshot()

    message = call("ADD", {**BOTH, "prevResult": reporting("pair1")}).document["msg"]

    assert "is not on the host: bandwidth must run in the namespace that has it" in message
    assert call("DEL", {**BOTH, "prevResult": reporting("pair1")}).text == ""
    assert fake_kernel.snapshot() == before


def as_port(host):
    add(host, "sw0", "openvswitch")
    host.change("vm0", master=host.by_name["sw0"].index)


FIT = {
    "alone": (lambda host: None, ["vm0"]),
    "with a bridge": (lambda host: add(host, "br0", "bridge"), ["br0", "vm0"]),
    "as the port of a switch": (as_port, ["sw0", "vm0"]),
    "with what is not there": (lambda host: None, ["vm0", "gone0"]),
    "twice": (lambda host: None, ["vm0", "vm0"]),
    "of any kind": (lambda host: host.change("vm0", kind=""), ["vm0"]),
    "with an alias of its plugin": (lambda host: host.change("vm0", alias="vm"), ["vm0"]),
    "with the attachment's tag": (lambda host: host.change("vm0", alias=TAG), ["vm0"]),
}


@pytest.mark.parametrize("case", FIT)
@pytest.mark.parametrize("netns", ["/run/netns/c1", ""])
def test_the_one_link_of_the_host_that_is_reported_is_shaped(
    call, host, container, fake_kernel, case, netns
):
    prepare, names = FIT[case]
    prepare(host)
    before = fake_kernel.snapshot()

    document = call.add({**BOTH, "prevResult": reporting(*names)})

    index = host.by_name["vm0"].index
    assert host.buckets[index] == INGRESS_BUCKET
    assert host.filters(host.by_name["vm0"]) == [Filter("u32", host.by_name[IFB].index)]
    assert call("CHECK", {**BOTH, "prevResult": document}).text == ""
    for _ in range(2):
        assert call("DEL", CONF, CNI_NETNS=netns).text == ""
        assert fake_kernel.snapshot() == before


def default_route(host):
    index = host.by_name["vm0"].index
    host.table.append(KernelRoute(ip_interface("0.0.0.0/0"), 254, index))


def parent(host, container):
    container.change("eth0", kind="ipvlan", peer=host.by_name["vm0"].index)


UNFIT = {
    **{
        kind: (
            lambda host, container, kind=kind: host.change("vm0", kind=kind),
            f"vm0 is of kind {kind}, which is shared",
        )
        for kind in ("bridge", "bond", "team", "vrf", "openvswitch", "ifb")
    },
    "has a port": (
        lambda host, container: add(host, "port0", "tun", master=host.by_name["vm0"].index),
        "vm0 has ports",
    ),
    "not there": (lambda host, container: host.delete_link("vm0"), "vm0 is not there"),
    "one of a pair": (
        lambda host, container: host.change("vm0", kind="veth", peer=99),
        "vm0 leads to another link",
    ),
    "a macvtap": (
        lambda host, container: host.change("vm0", kind="macvtap", peer=1, peer_is_here=True),
        "vm0 leads to another link",
    ),
    "the container's parent": (parent, "vm0 is what eth0 stands on"),
    "the way out": (
        lambda host, container: default_route(host),
        "vm0 has the host's default route",
    ),
    "another's by tag": (
        lambda host, container: host.change("vm0", alias="cni:mynet/abc123/eth1"),
        "vm0 belongs to another attachment",
    ),
    "another's by mark": (
        lambda host, container: host.change("vm0", alias="bandwidth:cni:n2/abc123/eth0"),
        "vm0 belongs to another attachment",
    ),
    "another of the name": (
        lambda host, container: host.change("vm0", mac="02:00:00:00:00:ff"),
        "vm0 has another MAC address",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_is_not_the_containers_alone_is_refused_with_the_reason(
    call, host, container, fake_kernel, case
):
    prepare, why = UNFIT[case]
    prepare(host, container)
    before = fake_kernel.snapshot()
    kind = container.by_name["eth0"].kind

    document = call("ADD", {**BOTH, "prevResult": reporting("lo", vm0=MAC.upper())}).document

    assert document["code"] == 7
    assert document["msg"] == (
        f"eth0 is of kind {kind} and has no other end on the host, and no interface of the host in"
        f" prevResult is the container's alone (lo is the host's own, {why}): remove bandwidth from"
        " this network or attach with bridge or ptp, or another plugin that reports its end on the"
        " host"
    )
    assert call("DEL", {**BOTH, "prevResult": reporting("vm0")}).text == ""
    assert fake_kernel.snapshot() == before


def test_of_several_links_the_marked_one_is_it_and_else_none(call, host, container, fake_kernel):
    add(host, "vm1", "tun")
    before = fake_kernel.snapshot()

    document = call("ADD", {**BOTH, "prevResult": reporting("vm1", "vm0")}).document

    assert document["code"] == 7
    assert "vm1 and vm0 could be its own: let the plugin before bandwidth" in document["msg"]
    assert fake_kernel.snapshot() == before
    call.add({**BOTH, "prevResult": reporting("vm0")})
    assert call("CHECK", {**BOTH, "prevResult": reporting("vm1", "vm0")}).text == ""


def test_without_any_reported_link_the_kind_alone_is_told(call, host, container):
    document = call("ADD", {**BOTH, "prevResult": reporting()}).document

    assert "the host in prevResult is the container's alone: remove bandwidth" in document["msg"]


def test_a_machine_that_is_in_no_namespace_is_shaped(call, host, fake_kernel):
    result = {"cniVersion": "1.1.0", "interfaces": [{"name": "vm0"}]}
    before = fake_kernel.snapshot()

    call.add({**BOTH, "prevResult": result})

    assert host.buckets[host.by_name["vm0"].index] == INGRESS_BUCKET
    assert call("DEL", CONF).text == ""
    assert fake_kernel.snapshot() == before
    host.delete_link("vm0")
    message = call("ADD", {**BOTH, "prevResult": result}).document["msg"]
    assert message.startswith("eth0 is not in the container's namespace and has no other end on")


def test_add_that_fails_at_any_call_leaves_nothing(call, host, container, fake_kernel):
    before = fake_kernel.snapshot()
    failures = 0
    for number in range(1, 100):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", {**BOTH, "prevResult": reporting("vm0")})
        if outcome.status == 0:
            break
        failures += 1
        assert fake_kernel.snapshot() == before, fake_kernel.calls[number - 1]
    assert outcome.status == 0
    assert failures > 15


def test_del_that_fails_at_any_call_finds_everything_when_repeated(
    call, host, container, fake_kernel
):
    before = fake_kernel.snapshot()
    for number in range(1, 100):
        call.add({**BOTH, "prevResult": reporting("vm0")})
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("DEL", CONF)
        fake_kernel.fail_at = 0
        assert call("DEL", CONF).text == ""
        assert fake_kernel.snapshot() == before, number
        if outcome.status == 0:
            break
    assert outcome.status == 0
    assert number > 8


@pytest.mark.parametrize("change", [{}, {"rate": 1}])
def test_with_an_alias_that_is_somebodys_the_result_and_the_rate_tell_the_link(
    call, host, container, fake_kernel, change
):
    host.change("vm0", alias="vm")
    before = fake_kernel.snapshot()
    conf = {**CONF, **INGRESS, "prevResult": reporting("vm0")}
    call.add(conf)
    index = host.by_name["vm0"].index
    host.buckets[index] = dataclasses.replace(host.buckets[index], **change)
    changed = fake_kernel.snapshot()

    assert call("DEL", conf).text == ""

    assert fake_kernel.snapshot() == (changed if change else before)
