"""DEL, CHECK, GC and STATUS of macvlan, on the kernel in memory with real host-local."""

import pytest

from cnicore.addresses import parse_cidr
from cnicore.net.link import Link
from cnicore.result import Route

CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "macvlan",
    "master": "eth1",
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    },
}
MAC = "02:00:5e:10:00:01"


@pytest.fixture
def conf(tmp_path):
    return {**CONF, "ipam": {**CONF["ipam"], "dataDir": str(tmp_path / "leases")}}


@pytest.fixture
def container(fake_kernel):
    return fake_kernel.namespaces["/run/netns/c1"]


@pytest.fixture(autouse=True)
def host(fake_kernel):
    """With two links; the default route leads through the second."""
    host = fake_kernel.namespaces[""]
    host.parts = frozenset({"macvlan"})
    for name in ("eth1", "eth2"):
        host._add_link(Link(0, name, "", "02:00:00:00:00:e1", 1500, is_up=True))
    host.add_route("eth2", Route(parse_cidr("0.0.0.0/0")))
    return host


def leases(tmp_path):
    directory = tmp_path / "leases" / "net"
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    return sorted(name for name in names if name != "lock" and not name.startswith("last_"))


def test_del_leaves_nothing_twice_and_without_a_namespace(call, conf, fake_kernel, tmp_path):
    before = fake_kernel.snapshot()
    for variables in ({}, {"CNI_NETNS": ""}, {"CNI_NETNS": "/run/netns/gone"}):
        call.add(conf)
        for _ in range(2):
            assert call("DEL", conf, **variables).status == 0
        assert leases(tmp_path) == []
        fake_kernel.namespaces["/run/netns/c1"].delete_link("eth0")  # as with its namespace
        assert fake_kernel.snapshot() == before


def test_del_needs_neither_the_parent_nor_a_sound_configuration(call, conf, fake_kernel, host):
    call.add(conf)
    host.delete_link("eth1")
    bad = {"master": "eth1", "mode": "none", "mac": "zz", "mtu": -5, "bcqueuelen": -5}

    assert call("DEL", {**conf, **bad}, CNI_ARGS="zz").text == ""

    assert fake_kernel.namespaces["/run/netns/c1"].by_name == {}


def test_del_cleans_the_link_although_the_ipam_plugin_is_gone(call, conf, fake_kernel):
    before = fake_kernel.snapshot()
    call.add(conf)

    outcome = call("DEL", {**conf, "ipam": {"type": "gone"}})

    assert 'failed to find plugin "gone"' in outcome.document["msg"]
    assert fake_kernel.snapshot() == before


def test_del_gives_the_address_back_after_the_link(call, conf, fake_kernel, tmp_path):
    """Who gets it next must not meet the previous owner."""
    call.add(conf)
    held = []
    note = fake_kernel.note

    def noting(*made):
        if made[1] == "delete_link":
            held.extend(leases(tmp_path))
        note(*made)

    fake_kernel.note = noting
    call("DEL", conf)

    assert held == ["10.1.0.2", "fd00::2"]
    assert leases(tmp_path) == []


TAMPERING = {
    "the interface is gone": (
        lambda container: container.delete_link("eth0"),
        "Interface eth0 not found",
    ),
    "the interface is of another kind": (
        lambda container: container.change("eth0", kind="ipvlan"),
        "of type ipvlan, not of type macvlan",
    ),
    "the mode is another": (
        lambda container: container.change("eth0", mode="vepa"),
        "container macvlan mode vepa does not match expected value: bridge",
    ),
    "the parent is another": (
        lambda container: container.change("eth0", peer=99),
        "eth0 does not stand on eth1 on the host: delete the attachment",
    ),
    "the interface is down": (lambda container: container.set_down("eth0"), "is down"),
    "the MAC address is another": (
        lambda container: container.set_mac("eth0", "02:00:00:00:00:99"),
        "Mac 02:00:00:00:00:99 doesn't match prevResult",
    ),
    "an address is gone": (
        lambda container: container.cidrs["eth0"].pop(),
        "Failed to match addr fd00::2/64",
    ),
    "a route is gone": (
        lambda container: container.delete_route("eth0", parse_cidr("0.0.0.0/0")),
        "Expected Route 0.0.0.0/0",
    ),
}


@pytest.mark.parametrize(("tamper", "message"), TAMPERING.values(), ids=TAMPERING)
def test_check_fails_after_tampering_and_not_before(call, conf, container, tamper, message):
    attached = {**conf, "prevResult": call.add(conf)}
    assert call("CHECK", attached).text == ""

    tamper(container)

    assert message in call("CHECK", attached).document["msg"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"master": "eth2"}, "eth0 does not stand on eth2 on the host"),
        ({"master": "eth9"}, "eth0 does not stand on eth9 on the host"),
        ({"linkInContainer": True}, "eth0 does not stand on eth1 in the container"),
        ({"mode": "vepa"}, "mode bridge does not match expected value: vepa"),
        ({"mode": "none"}, 'unknown macvlan mode: "none"'),
    ],
)
def test_check_fails_with_the_configuration_of_another_network(call, conf, change, message):
    result = call.add(conf)

    outcome = call("CHECK", {**conf, **change, "prevResult": result})

    assert message in outcome.document["msg"]


def test_check_without_a_master_wants_a_parent_whatever_the_default_route_is_now(
    call, conf, host, container
):
    wanted = {**conf, "master": ""}
    attached = {**wanted, "prevResult": call.add(wanted)}
    host.table.clear()
    assert call("CHECK", attached).text == ""

    container.change("eth0", peer=99)

    assert (
        "eth0 does not stand on a link that is on the host"
        in (call("CHECK", attached).document["msg"])
    )


def test_check_takes_a_sibling_for_the_master_that_the_kernel_replaced(call, conf, host, container):
    """The kernel makes a macvlan on a macvlan on the parent of that one."""
    host._add_link(Link(0, "m0", "macvlan", mtu=1500, peer=host.link("eth1").index))
    wanted = {**conf, "master": "m0"}
    result = call.add(wanted)
    assert container.by_name["eth0"].peer == host.link("eth1").index

    assert call("CHECK", {**wanted, "prevResult": result}).text == ""
    container.change("eth0", peer=host.link("eth2").index)
    assert call("CHECK", {**wanted, "prevResult": result}).status == 1


def test_check_does_not_mind_what_tuning_changed(call, conf, container):
    """tuning writes the MAC address into the result; the MTU is in none."""
    result = call.add(conf)
    container.set_mac("eth0", MAC)
    container.set_mtu("eth0", 1280)
    interfaces = [{**result["interfaces"][0], "mac": MAC}]

    tuned = {**conf, "prevResult": {**result, "interfaces": interfaces}}

    assert call("CHECK", tuned).text == ""


def test_check_fails_when_the_lease_is_gone_or_the_result_is_of_another_namespace(
    call, conf, tmp_path
):
    result = call.add(conf)
    foreign = [{**link, "sandbox": "/run/netns/c2"} for link in result["interfaces"]]

    assert "prevResult missing" in call("CHECK", conf).document["msg"]
    other = {**conf, "prevResult": {**result, "interfaces": foreign}}
    assert "doesn't match configured netns" in call("CHECK", other).document["msg"]
    (tmp_path / "leases" / "net" / "10.1.0.2").unlink()
    assert call("CHECK", {**conf, "prevResult": result}).status == 1


def test_gc_gives_back_leases_and_touches_no_link(call, conf, container, tmp_path):
    call.add(conf)
    keep = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}

    assert call("GC", conf).text == ""
    assert call("GC", {**conf, **keep}).text == ""
    assert leases(tmp_path) == ["10.1.0.2", "fd00::2"]

    assert call("GC", {**conf, "cni.dev/valid-attachments": None}).text == ""
    assert leases(tmp_path) == []
    assert list(container.by_name) == ["eth0"]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"mode": "x"}, 7, 'mode: unknown macvlan mode: "x"'),
        ({"mac": "x"}, 7, "mac: invalid args x for MAC addr"),
        ({"bcqueuelen": -1}, 7, "bcqueuelen: -1 is no number of packets"),
        ({"mtu": 9000}, 7, "mtu: invalid MTU 9000"),
        ({"master": "eth9"}, 50, 'there is no interface "eth9" on the host: set master to one'),
        ({"ipam": {"type": "nope"}}, 50, 'ipam.type: failed to find plugin "nope" in path ['),
        ({"ipam": {"type": "../nope"}}, 999, "invalid plugin name: ../nope"),
    ],
)
def test_status_says_what_an_add_would_lack(call, conf, change, code, message):
    assert call("STATUS", conf).text == ""

    document = call("STATUS", {**conf, **change}).document

    assert document["code"] == code
    assert message in document["msg"]


def test_status_without_a_master_wants_a_default_route(call, conf, host):
    wanted = {**conf, "master": ""}
    assert call("STATUS", wanted).text == ""

    host.table.clear()

    document = call("STATUS", wanted).document
    assert (document["code"], document["msg"]) == (
        50,
        "master: no default route interface found on the host:"
        " set master to the interface that leads to the network",
    )


def test_status_does_not_look_for_a_master_that_is_in_some_container(call, conf):
    assert call("STATUS", {**conf, "master": "net1", "linkInContainer": True}).text == ""


def test_status_asks_the_kernel_and_the_ipam_plugin(call, conf, host, tmp_path):
    (tmp_path / "leases").write_text("not a directory")
    assert call("STATUS", conf).document["code"] == 50

    host.parts = frozenset()

    document = call("STATUS", conf).document
    assert (document["code"], "load its module macvlan" in document["msg"]) == (50, True)
