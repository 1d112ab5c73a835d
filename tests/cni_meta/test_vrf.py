"""vrf, on the kernel in memory."""

import dataclasses
from contextlib import contextmanager

import pytest

from cnicore.addresses import parse_address, parse_cidr
from cnicore.errors import CniError
from cnicore.net.link import Link
from cnicore.net.route import KernelRoute
from cnicore.result import Route

RESULT = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "veth1"},
        {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/c1"},
    ],
    "ips": [
        {"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 1},
        {"address": "fd00:1::2/64", "gateway": "fd00:1::1", "interface": 1},
    ],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "fd00:9::/64", "gw": "fd00:1::1"}],
}
CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "vrf",
    "vrfname": "blue",
    "prevResult": RESULT,
}


@pytest.fixture
def container(fake_kernel):
    """A namespace of a kernel that has VRFs, with the interface that the result describes."""
    for namespace in fake_kernel.namespaces.values():
        namespace.parts |= {"vrf"}
    namespace = fake_kernel.namespaces["/run/netns/c1"]
    attach(namespace, "eth0", "10.1.0.2/24", "fd00:1::2/64")
    return namespace


def attach(namespace, name, *addresses):
    namespace._add_link(Link(0, name, "veth", "02:00:00:00:00:02", 1500, is_up=True))
    for address in addresses:
        namespace.add_address(name, parse_cidr(address))
    gateway = parse_cidr(addresses[0]).network[1]
    namespace.add_route(name, Route(parse_cidr("0.0.0.0/0"), gateway))
    if len(addresses) > 1:
        gateway = parse_cidr(addresses[1]).network[1]
        route = Route(parse_cidr("fd00:9::/64"), gateway, priority=7)
        namespace.add_route(name, route, src=parse_address("fd00:1::2"))


def routes(container, name="eth0", table=None):
    """Destination, gateway and table of the link's routes."""
    index = container.by_name[name].index
    return sorted(
        (str(one.dst), str(one.gateways[0]) if one.gateways else "", one.table)
        for one in container.table
        if one.link == index and table in {None, one.table}
    )


def moved_to(table):
    return [
        ("0.0.0.0/0", "10.1.0.1", table),
        ("10.1.0.2/24", "", table),
        ("fd00:1::2/64", "", table),
        ("fd00:9::/64", "fd00:1::1", table),
    ]


def ordered(snapshot):
    """Routes are put back in an order of their own."""
    return {
        path: {**parts, "routes": sorted(map(str, parts["routes"]))}
        for path, parts in snapshot.items()
    }


# --- configurations


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"vrfname": None}, "vrfname is missing: it names the VRF that the interface shall"),
        ({"vrfname": ""}, "vrfname is missing"),
        ({"vrfname": 5}, "vrfname: input should be a valid string"),
        ({"vrfname": "a-name-of-sixteen"}, 'vrfname: "a-name-of-sixteen": interface name is too'),
        ({"vrfname": "a/b"}, 'vrfname: "a/b": interface name contains / or :'),
        ({"vrfname": ".."}, 'vrfname: "..": interface name is . or ..'),
        ({"table": -1}, "table: input should be greater than or equal to 0"),
        ({"table": 2**32}, "table: input should be less than or equal to 4294967295"),
        ({"table": "10"}, "table: input should be a valid integer, not '10'"),
        ({"prevResult": None}, "Required prevResult missing: vrf must be called as chained plugin"),
    ],
)
def test_a_bad_configuration_is_refused_and_changes_nothing(
    call, container, fake_kernel, keys, message
):
    before = fake_kernel.snapshot()

    document = call("ADD", {**CONF, **keys}).document

    assert (document["code"], document["msg"][: len(message)]) == (7, message)
    assert fake_kernel.snapshot() == before


@pytest.mark.parametrize("keys", [{"vrfname": None}, {"vrfname": "a-name-of-sixteen"}])
def test_del_of_a_name_that_cannot_be_succeeds_and_the_others_say_so(call, container, keys):
    assert call("DEL", {**CONF, **keys}).text == ""
    for verb in ("CHECK", "STATUS"):
        assert call(verb, {**CONF, **keys}).document["code"] == 7


# --- ADD


@pytest.mark.parametrize("verb", ["ADD", "ADD that fails", "DEL"])
def test_nobody_else_chooses_a_table_or_joins_meanwhile(
    call, container, fake_kernel, monkeypatch, verb
):
    """Else two ADDs take one table, or one of them deletes the VRF that the other one joined."""

    @contextmanager
    def noting(self):
        self.note("lock")
        try:
            yield
        finally:
            self.note("unlock")

    if verb == "DEL":
        call.add(CONF)
    elif verb == "ADD that fails":
        monkeypatch.setattr(type(container), "put_route", failing)
    monkeypatch.setattr(type(container), "one_at_a_time", noting)
    fake_kernel.calls.clear()

    assert call(verb[:3], CONF).status == (verb == "ADD that fails")

    names = [one[1] for one in fake_kernel.calls if one[1] != "open"]
    assert (names[0], names[-1]) == ("lock", "unlock")
    assert "delete_link" in names or verb == "ADD"


def failing(*_):
    raise CniError("no luck")


@pytest.mark.parametrize("key", ["vrfname", "vrfName", "VRFNAME"])
def test_add_makes_the_vrf_and_moves_what_the_interface_has(call, container, key):
    conf = {name: value for name, value in CONF.items() if name != "vrfname"}
    conf |= {key: "blue", "table": 1001}

    assert call.add(conf) == RESULT

    vrf = container.by_name["blue"]
    assert (vrf.kind, vrf.table, vrf.is_up) == ("vrf", 1001, True)
    assert container.by_name["eth0"].master == vrf.index
    assert [str(cidr) for cidr in container.cidrs["eth0"]] == ["10.1.0.2/24", "fd00:1::2/64"]
    assert routes(container, table=1001) == moved_to(1001)
    (special,) = [one for one in container.table if one.priority]
    assert (special.priority, str(special.src)) == (7, "fd00:1::2")


def test_addresses_that_the_kernel_keeps_are_not_added_again(call, container, fake_kernel):
    container.sysctls["net/ipv6/conf/eth0/keep_addr_on_down"] = "1"

    fake_kernel.calls.clear()

    call.add(CONF)

    assert "add_address" not in {one[1] for one in fake_kernel.calls}
    assert [str(cidr) for cidr in container.cidrs["eth0"]] == ["10.1.0.2/24", "fd00:1::2/64"]


def test_link_local_addresses_and_routes_of_others_are_left_to_whom_they_belong(call, container):
    attach(container, "eth1", "10.1.0.3/24")
    container.add_address("eth0", parse_cidr("fe80::2/64"))
    elsewhere = KernelRoute(parse_cidr("10.8.0.0/16"), 100, container.by_name["eth0"].index)
    container.table.append(elsewhere)
    sibling = routes(container, "eth1")

    call.add({**CONF, "table": 1001})

    assert routes(container, "eth1") == sibling
    assert ("10.8.0.0/16", "", 1001) not in routes(container)
    assert parse_cidr("fe80::2/64") not in container.cidrs["eth0"]


def test_a_route_comes_after_the_one_that_leads_to_its_gateway(call, container, fake_kernel):
    container.table.reverse()

    call.add(CONF)

    put = [one[3] for one in fake_kernel.calls if one[1] == "put_route"]
    assert [bool(gateway) for gateway in put] == [False, False, True, True]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [([], 1), ([1, 2, 3, 5], 4), ([2], 1), (range(1, 253), 256), ([1001], 1)],
)
def test_without_a_table_the_smallest_free_one_is_taken(call, container, tables, expected):
    for table in tables:
        container.add_vrf(f"vrf{table}", table)

    call.add(CONF)

    assert container.by_name["blue"].table == expected


def test_a_table_that_has_routes_is_not_free(call, container):
    container.table.append(KernelRoute(parse_cidr("10.8.0.0/16"), 1))

    call.add(CONF)

    assert container.by_name["blue"].table == 2


def test_a_second_interface_joins_the_vrf_that_is_there(call, container):
    attach(container, "eth1", "10.1.0.3/24")
    call.add({**CONF, "table": 10})

    for table in (0, 10):
        call.add({**CONF, "table": table}, CNI_IFNAME="eth1")

    vrf = container.by_name["blue"]
    assert {container.by_name[name].master for name in ("eth0", "eth1")} == {vrf.index}
    assert {one[2] for one in routes(container, "eth1")} == {10}


def test_a_second_add_is_harmless(call, container, fake_kernel):
    call.add(CONF)
    before = fake_kernel.snapshot()

    assert call.add(CONF) == RESULT

    assert fake_kernel.snapshot() == before


def test_two_vrfs_may_share_a_table_that_was_asked_for(call, container):
    attach(container, "eth1", "10.1.0.3/24")
    call.add({**CONF, "table": 10})

    call.add({**CONF, "vrfname": "red", "table": 10}, CNI_IFNAME="eth1")

    assert {container.by_name[name].table for name in ("blue", "red")} == {10}


def test_a_vrf_that_is_down_is_set_up(call, container):
    container.add_vrf("blue", 10)
    container.set_down("blue")

    call.add(CONF)

    assert container.by_name["blue"].is_up


def other_master(container):
    container.add_bridge("br7")
    container.set_master("eth0", "br7")


OBSTACLES = {
    "another table": (
        lambda container: container.add_vrf("blue", 11),
        "VRF blue already exist with different routing table 11: table must be that or 0, not 10",
    ),
    "no VRF": (
        lambda container: container.add_bridge("blue"),
        "vrfname: blue exists and is no VRF but of kind bridge: use another name",
    ),
    "a master": (other_master, "interface eth0 has already a master set: br7"),
    "no interface": (lambda container: container.delete_link("eth0"), "Link not found"),
    "a kernel without VRFs": (
        lambda container: setattr(container, "parts", frozenset()),
        "the kernel has no VRFs: load the module vrf",
    ),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_add_says_what_is_in_the_way_and_changes_nothing(call, container, fake_kernel, obstacle):
    prepare, message = OBSTACLES[obstacle]
    prepare(container)
    before = fake_kernel.snapshot()

    assert message in call("ADD", {**CONF, "table": 10}).document["msg"]
    assert fake_kernel.snapshot() == before


@pytest.mark.parametrize("prepared", ["nothing", "a VRF", "a VRF that is down"])
def test_add_that_fails_at_any_call_leaves_nothing(call, container, fake_kernel, prepared):
    if prepared != "nothing":
        container.add_vrf("blue", 10)
    if prepared == "a VRF that is down":
        container.set_down("blue")
    before = ordered(fake_kernel.snapshot())
    failures = 0
    for number in range(1, 60):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", CONF)
        if outcome.status == 0:
            break
        failures += 1
        assert ordered(fake_kernel.snapshot()) == before, fake_kernel.calls[number - 1]
    assert outcome.status == 0
    assert failures > 10


# --- DEL


@pytest.mark.parametrize("prev_result", [RESULT, None])
def test_del_of_the_last_member_deletes_the_vrf(call, container, prev_result):
    call.add(CONF)

    for _ in range(2):
        assert call("DEL", {**CONF, "prevResult": prev_result}).text == ""
        assert "blue" not in container.by_name
        assert container.by_name["eth0"].master == 0


def test_del_leaves_a_vrf_that_others_are_members_of(call, container):
    attach(container, "eth1", "10.1.0.3/24")
    call.add(CONF)
    call.add(CONF, CNI_IFNAME="eth1")

    for _ in range(2):
        assert call("DEL", CONF).text == ""
        assert container.by_name["eth1"].master == container.by_name["blue"].index

    assert call("DEL", CONF, CNI_IFNAME="eth1").text == ""
    assert "blue" not in container.by_name


def test_del_after_the_interface_is_gone_deletes_the_empty_vrf(call, container):
    call.add(CONF)
    container.delete_link("eth0")

    assert call("DEL", CONF).text == ""

    assert container.by_name == {}


@pytest.mark.parametrize("netns", ["", "/run/netns/gone"])
def test_del_without_the_namespace_succeeds(call, container, netns):
    assert call("DEL", CONF, CNI_NETNS=netns).text == ""


def test_del_touches_nothing_that_is_not_the_vrfs(call, container, fake_kernel):
    container.add_bridge("blue")
    other_master(container)
    before = fake_kernel.snapshot()

    assert call("DEL", CONF).text == ""

    assert fake_kernel.snapshot() == before


def test_an_interface_that_has_moved_to_another_master_stays_there(call, container):
    call.add(CONF)
    other_master(container)

    assert call("DEL", CONF).text == ""

    assert container.by_name["eth0"].master == container.by_name["br7"].index
    assert "blue" not in container.by_name


def test_del_that_fails_can_be_repeated(call, container, fake_kernel):
    for number in range(1, 20):
        call.add(CONF)
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("DEL", CONF)
        fake_kernel.fail_at = 0
        if outcome.status == 0:
            break
        assert call("DEL", CONF).text == ""
        assert "blue" not in container.by_name
    assert number > 5


# --- CHECK, GC, STATUS

TAMPERING = {
    "the interface left": lambda container: container.release("eth0"),
    "the VRF is gone": lambda container: container.delete_link("blue"),
    "the VRF is down": lambda container: container.set_down("blue"),
    "the VRF has another table": lambda container: container.change("blue", table=11),
    "the name is another's": lambda container: container.change("blue", kind="bridge"),
    "the interface is down": lambda container: container.set_down("eth0"),
    "the interface is gone": lambda container: container.delete_link("eth0"),
    "an address is gone": lambda container: container.delete_address(
        "eth0", parse_cidr("fd00:1::2/64")
    ),
    "a route is gone": lambda container: container.delete_route("eth0", parse_cidr("0.0.0.0/0")),
    "a route is in the main table": lambda container: to_main_table(container, "fd00:9::/64"),
    "a route has another gateway": lambda container: container.table.__setitem__(
        slice(None),
        [
            dataclasses.replace(one, gateways=(parse_address("fd00:1::9"),))
            for one in container.table
        ],
    ),
}


def to_main_table(container, destination):
    container.table = [
        dataclasses.replace(one, table=254) if str(one.dst) == destination else one
        for one in container.table
    ]


@pytest.mark.parametrize("tamper", TAMPERING.values(), ids=TAMPERING)
@pytest.mark.parametrize("table", [0, 10])
def test_check_fails_after_tampering_and_not_before(call, container, tamper, table):
    conf = {**CONF, "table": table}
    call.add(conf)
    assert call("CHECK", conf).text == ""

    tamper(container)

    another_table_is_as_good = table == 0 and container.by_name.get("blue", Link(0, "")).table == 11
    outcome = call("CHECK", conf)
    assert outcome.status == 1
    if another_table_is_as_good:
        assert "not found in table 11" in outcome.document["msg"]


def test_check_does_not_ask_for_addresses_of_other_interfaces_or_routes_of_other_tables(
    call, container
):
    attach(container, "eth1", "10.2.0.2/24")
    result = {
        **RESULT,
        "interfaces": [*RESULT["interfaces"], {"name": "eth1", "sandbox": "/run/netns/c1"}],
        "ips": [*RESULT["ips"], {"address": "10.2.0.2/24", "interface": 2}],
        "routes": [*RESULT["routes"], {"dst": "10.8.0.0/16", "table": 100}],
    }
    call.add({**CONF, "prevResult": result})

    assert call("CHECK", {**CONF, "prevResult": result}).text == ""


def test_check_needs_the_result_of_the_add(call, container):
    assert "prevResult missing" in call("CHECK", {**CONF, "prevResult": None}).document["msg"]


def test_gc_changes_nothing(call, container, fake_kernel):
    call.add(CONF)
    before = fake_kernel.snapshot()

    assert call("GC", {**CONF, "cni.dev/valid-attachments": []}).text == ""

    assert fake_kernel.snapshot() == before


def test_status_says_which_module_the_kernel_lacks(call, container, fake_kernel):
    assert call("STATUS", CONF).text == ""
    fake_kernel.namespaces[""].parts = frozenset()

    document = call("STATUS", CONF).document

    assert document["code"] == 50
    assert document["msg"].startswith("the kernel has no VRFs: load the module vrf")
