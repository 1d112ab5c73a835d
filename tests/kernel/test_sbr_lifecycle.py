"""sbr on the real kernel: what is left after each verb, what CHECK sees, what the handle does."""

import dataclasses
import errno

import pytest

from cnicore.net.namespace import Namespace
from cnicore.net.netlink import KernelError
from cnicore.net.route import RT_TABLE_MAIN
from cnicore.net.rule import Rule
from cnicore.testing.faults import FaultyKernel, failing_at_every_call
from kernel.uplinks import CONTAINER, listing, result, settle

pytestmark = pytest.mark.kernel

CONF = {"cniVersion": "1.1.0", "name": "net", "type": "sbr"}
KEYS = pytest.mark.parametrize(
    "keys",
    [
        {},
        {"addSourceHints": True},
        {"gateways": ["10.1.0.254", "fd01::fe"]},
        {"gateways": ["fd01::fe"], "addSourceHints": True},
        {"table": 200},
    ],
    ids=str,
)

ODD_ROUTES = """
ip route add 198.18.0.0/24 via 10.1.0.1 dev eth1 tos 0x10 metric 7 mtu 1400 advmss 1300
ip route add 198.18.1.0/24 via 10.9.9.9 dev eth1 onlink src 10.1.0.2
ip route add 198.18.2.0/24 via inet6 fe80::1 dev eth1
ip nexthop add id 7 via 10.1.0.1 dev eth1
ip route add 198.18.3.0/24 nhid 7
ip nexthop add id 8 via fd01::1 dev eth1
ip -6 route add fd77::/64 nhid 8 metric 5
ip -6 route add fd78::/64 via fd01::1 dev eth1 expires 3000 mtu 1400 pref high
ip route add 198.18.4.0/24 encap mpls 100 via 10.1.0.1 dev eth1 2>/dev/null || true
ip route add unreachable 198.18.5.0/24
"""


@pytest.fixture
def container(uplinks):
    namespace = Namespace(CONTAINER)
    yield namespace
    namespace.close()


def conf_for(number, **keys):
    return {**CONF, "prevResult": result(number), **keys}


# --- the handle


def test_every_route_survives_to_be_removed_and_put_back(uplinks, container):
    uplinks.shell(ODD_ROUTES, CONTAINER)
    before = listing(uplinks)
    own = [
        route
        for route in container.exact_routes()
        if route.link == container.link("eth1").index and route.table == RT_TABLE_MAIN
    ]
    assert len(own) >= 11

    for route in sorted(own, key=lambda one: one.gateway is None):
        container.remove_route(route)
        assert route not in container.exact_routes()
        container.remove_route(route)
    for route in sorted(own, key=lambda one: one.gateway is not None):
        container.put_route(route)
        container.put_route(route)

    assert without_expiry(listing(uplinks)) == without_expiry(before)


def without_expiry(text):
    return [line.partition(" expires")[0] for line in text.splitlines()]


def test_every_route_can_be_copied_into_another_table(uplinks, container):
    uplinks.shell(ODD_ROUTES, CONTAINER)
    own = [
        route
        for route in container.exact_routes()
        if route.link == container.link("eth1").index and route.table == RT_TABLE_MAIN
    ]

    for table in (77, 70_000):
        for route in sorted(own, key=lambda one: one.gateway is not None):
            container.put_route(route.in_table(table))
        there = [route.in_table(254) for route in container.exact_routes() if route.table == table]
        assert set(there) == set(own)
    assert "expires 29" in uplinks.shell("ip -6 route show table 77", CONTAINER)


def test_of_two_routes_to_one_place_only_the_one_that_is_meant_goes(uplinks, container):
    for gateway in ("10.1.0.7", "10.1.0.8", "10.1.0.9"):
        uplinks.shell(f"ip route append 198.18.0.0/24 via {gateway} dev eth1", CONTAINER)
    routes = [one for one in container.exact_routes() if str(one.dst) == "198.18.0.0/24"]

    container.remove_route(routes[1])

    left = [one for one in container.exact_routes() if str(one.dst) == "198.18.0.0/24"]
    assert left == [routes[0], routes[2]]
    container.put_route(routes[1])
    now = [one for one in container.exact_routes() if str(one.dst) == "198.18.0.0/24"]
    assert now == [routes[0], routes[2], routes[1]]


def test_rules_are_read_as_they_are(uplinks, container):
    uplinks.shell(
        "ip rule add from 10.1.0.2 lookup 100; ip rule add from 10.1.0.2 fwmark 1 lookup 101;"
        "ip rule add from 10.1.0.0/24 lookup 102; ip rule add not from 10.1.0.2 lookup 103;"
        "ip rule add from 10.1.0.2 iif eth0 lookup 104; ip rule add from 10.1.0.2 to 1.1.1.1"
        " lookup 105; ip rule add from 10.1.0.2 blackhole; ip rule add from 10.1.0.2 lookup 106"
        " suppress_prefixlength 0; ip -6 rule add from fd01::2 lookup 70000 priority 9",
        CONTAINER,
    )

    found = container.rules()

    sources = {rule.table: str(rule.source) for rule in found if rule.source}
    assert sources == {100: "10.1.0.2", 70_000: "fd01::2"}
    assert {rule.table for rule in found} >= {100, 101, 102, 103, 104, 105, 106, 253, 254, 255}
    (ours,) = [rule for rule in found if rule.table == 70_000]
    assert ours == Rule(6, 70_000, 9, ours.source)
    for _ in range(2):
        container.delete_rule(ours)
    assert ours not in container.rules()


# --- ADD that fails


@KEYS
def test_add_that_fails_at_any_call_leaves_every_route_and_rule_as_it_was(uplinks, caller, keys):
    uplinks.shell(ODD_ROUTES, CONTAINER)
    uplinks.shell("ip route add default via 10.1.0.9 dev eth1 metric 7", CONTAINER)
    before = without_expiry(listing(uplinks))
    failures = []

    for number in failing_at_every_call(
        lambda: failures.append(caller("ADD", conf_for(1, **keys)).status)
    ):
        assert failures[-1] == 1, f"call {number}"
        assert without_expiry(listing(uplinks)) == before, f"call {number}"

    assert failures[-1] == 0
    assert len(failures) > (9 if "table" in keys else 20)


@pytest.mark.parametrize("ifname", ["eth0", "eth1"])
def test_routes_of_two_interfaces_in_one_subnet_come_back_in_their_order(sandbox, call, ifname):
    """The first of equal routes is the one that is used."""
    sandbox.container("c1")
    sandbox.shell("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad", "c1")
    for number in (0, 1):
        sandbox.shell(
            f"ip link add v{number} type veth peer name eth{number} netns c1;"
            f"ip link set v{number} up; ip -n c1 addr add 10.1.0.{number + 2}/24 dev eth{number};"
            f"ip -n c1 link set eth{number} up;"
            f"ip -n c1 route append 198.18.0.0/24 via 10.1.0.1 dev eth{number};"
            f"ip -n c1 route append 198.18.0.0/24 via 10.1.0.9 dev eth{number}"
        )
    sandbox.shell("ip -n c1 route append 198.18.0.0/24 via 10.1.0.10 dev eth0")
    settle(sandbox, "eth0", "eth1")
    ips = [{"address": f"10.1.0.{2 if ifname == 'eth0' else 3}/24", "gateway": "10.1.0.1"}]
    conf = {**CONF, "prevResult": {"cniVersion": "1.1.0", "ips": ips}}
    caller = dataclasses.replace(call, netns=CONTAINER, ifname=ifname)
    before = listing(sandbox)
    outcomes = []

    for number in failing_at_every_call(lambda: outcomes.append(caller("ADD", conf).status)):
        assert listing(sandbox) == before, f"call {number}"

    assert outcomes[-1] == 0
    assert len(outcomes) > 15


@KEYS
def test_a_second_add_that_fails_leaves_what_the_first_one_made(uplinks, caller, keys):
    conf = conf_for(1, **keys)
    caller.add(conf)
    before = listing(uplinks)
    outcomes = []

    for number in failing_at_every_call(lambda: outcomes.append(caller("ADD", conf).status)):
        assert listing(uplinks) == before, f"call {number}"

    assert outcomes[-1] == 0


class KilledKernel(FaultyKernel):
    """From a call on nothing works any more, undoing neither: what a killed process leaves."""

    def note(self, act):
        super().note(act)
        if self.calls > self.fail_at:
            raise KernelError(act, errno.EIO, "killed")


@pytest.mark.parametrize("stop", range(5, 23))
def test_an_add_goes_on_where_one_that_was_killed_had_stopped(uplinks, caller, stop):
    kernel = KilledKernel(stop)
    with kernel.in_place():
        assert caller("ADD", conf_for(1)).status == 1

    caller.add(conf_for(1))

    assert selectors(uplinks) == ["from 10.1.0.2 lookup 100", "from fd01::2 lookup 101"]
    assert links_of(uplinks, "main") == {"eth0", "fe80::/64 eth1"}
    assert destinations(uplinks, 100) == ["10.1.0.0/24", "203.0.113.0/24", "default"]
    assert destinations(uplinks, 101) == ["default", "fd01::/64", "fe80::/64"]
    assert caller("CHECK", conf_for(1)).text == ""


@pytest.mark.parametrize("stop", range(5, 25))
def test_a_found_default_route_is_known_by_its_mark_after_an_add_that_was_killed(
    uplinks, caller, stop
):
    uplinks.shell("ip route add default via 10.1.0.9 dev eth1 metric 7", CONTAINER)
    with KilledKernel(stop).in_place():
        caller("ADD", conf_for(1))

    caller.add(conf_for(1))

    shown = uplinks.shell("ip route show table 100 default", CONTAINER)
    assert shown.strip() == "default via 10.1.0.9 dev eth1 proto 67 metric 7"
    assert caller("CHECK", conf_for(1)).text == ""


def selectors(sandbox):
    """The rules that somebody added, without their priorities."""
    lines = sandbox.shell("ip rule; ip -6 rule", CONTAINER).splitlines()
    texts = [" ".join(line.split()[1:]) for line in lines]
    return [text for text in texts if not text.startswith("from all ")]


def table_of(sandbox, table):
    return [
        route
        for version in "46"
        for route in sandbox.json(f"ip -json -{version} route show table all", CONTAINER)
        if route.get("table", "main") == str(table)
    ]


def destinations(sandbox, table):
    return sorted(route["dst"] for route in table_of(sandbox, table))


def links_of(sandbox, table):
    """The links that routes leave by; of eth1 with the destination."""
    return {
        route["dev"] if route["dev"] == "eth0" else f"{route['dst']} {route['dev']}"
        for route in table_of(sandbox, table)
    }


# --- DEL


def test_del_removes_rules_and_tables_of_a_link_that_stays_and_nothing_of_others(uplinks, caller):
    uplinks.shell(
        "ip rule add from 10.1.0.2 fwmark 1 lookup 77; ip rule add from 10.1.0.0/24 lookup 78;"
        "ip rule add from 10.1.0.2 lookup main; ip rule add from 10.5.0.2 lookup 100;"
        "ip route add 10.5.0.0/16 dev eth1 table 77",
        CONTAINER,
    )
    dataclasses.replace(caller, ifname="eth0").add(conf_for(0))
    before = listing(uplinks)
    caller.add(conf_for(1))

    for _ in range(2):
        assert caller("DEL", conf_for(1)).text == ""

    assert lines_without(listing(uplinks), "eth1") == lines_without(before, "eth1")
    assert "10.5.0.0/16" in destinations(uplinks, 77)


def lines_without(text, name):
    return [line for line in text.splitlines() if name not in line]


def test_del_leaves_the_routes_of_a_table_that_another_rule_leads_to(uplinks, caller):
    caller.add(conf_for(1))
    uplinks.shell("ip rule add from 10.5.0.2 lookup 100", CONTAINER)

    assert caller("DEL", conf_for(1)).text == ""

    assert selectors(uplinks) == ["from 10.5.0.2 lookup 100"]
    assert "default" in destinations(uplinks, 100)


@pytest.mark.parametrize("prev", [None, {"cniVersion": "0.3.1", "ips": "?"}, result(0)])
def test_del_knows_the_addresses_of_the_interface_without_prev_result(uplinks, caller, prev):
    caller.add(conf_for(1))

    assert caller("DEL", {**CONF, "prevResult": prev}).text == ""

    assert selectors(uplinks) == []
    assert table_of(uplinks, 100) == table_of(uplinks, 101) == []


def test_del_removes_the_rules_of_an_interface_that_is_gone(uplinks, caller):
    caller.add(conf_for(1))
    uplinks.shell("ip link delete eth1", CONTAINER)

    for _ in range(2):
        assert caller("DEL", conf_for(1)).text == ""
    assert selectors(uplinks) == []


@pytest.mark.parametrize("netns", ["", "/run/netns/gone", "/run/netns/file"])
def test_del_without_a_namespace_succeeds_and_makes_no_file(sandbox, call, netns):
    sandbox.container()
    sandbox.shell("touch /run/netns/file")
    before = sandbox.shell("ls -l /run/netns")
    caller = dataclasses.replace(call, netns=netns)

    assert caller("DEL", {**CONF, "gateways": ["?"]}).text == ""

    assert sandbox.shell("ls -l /run/netns") == before


def test_del_goes_on_when_one_rule_cannot_be_deleted(uplinks, caller):
    for number in failing_at_every_call(lambda: caller("DEL", conf_for(1))):
        del number
        caller("ADD", conf_for(1))

    assert caller("DEL", conf_for(1)).text == ""
    assert selectors(uplinks) == []


# --- CHECK


@pytest.mark.parametrize(
    ("tampering", "complaint"),
    [
        ("ip rule del from 10.1.0.2", "there is no rule for packets from 10.1.0.2: delete"),
        ("ip -6 rule del from fd01::2", "there is no rule for packets from fd01::2: delete"),
        (
            "ip route del default table 100",
            "table 100 of 10.1.0.2/24 has lost its default route",
        ),
        (
            "ip -6 route flush table 101",
            "table 101 of fd01::2/64 has lost its default route",
        ),
        (
            "ip route del 10.1.0.0/24 table 100",
            "table 100 of 10.1.0.2/24 has lost the route to 10.1.0.0/24",
        ),
        (
            "ip rule del from 10.1.0.2; ip rule add from 10.1.0.2 lookup 300",
            "table 300 of 10.1.0.2/24 has lost its default route",
        ),
        ("ip link set eth1 down", "table 100 of 10.1.0.2/24 has lost its default route"),
        ("ip link del eth1", 'there is no interface "eth1"'),
    ],
)
def test_check_says_what_was_lost(uplinks, caller, tampering, complaint):
    caller.add(conf_for(1))
    assert caller("CHECK", conf_for(1)).text == ""
    uplinks.shell(tampering, CONTAINER)

    outcome = caller("CHECK", conf_for(1))

    assert outcome.status == 1
    assert complaint in outcome.document["msg"]


def test_check_holds_the_default_route_against_the_configured_gateway(uplinks, caller):
    conf = conf_for(1, gateways=["10.1.0.254"])
    caller.add(conf)
    assert caller("CHECK", conf).text == ""
    uplinks.shell("ip route replace default via 10.1.0.1 dev eth1 table 100", CONTAINER)

    assert "does not go through 10.1.0.254, as gateways" in caller("CHECK", conf).document["msg"]


@pytest.mark.parametrize(
    ("tampering", "complaint"),
    [
        (
            "ip route replace default via 10.9.0.77 onlink dev eth1 table 100",
            "the default route in table 100 of 10.1.0.2/24 does not go through 10.1.0.1, as prev",
        ),
        (
            "ip route replace default dev eth1 table 100",
            "the default route in table 100 of 10.1.0.2/24 does not go through 10.1.0.1, as prev",
        ),
        (
            "ip -6 route del default table 101; ip -6 route add default dev eth1 table 101",
            "the default route in table 101 of fd01::2/64 does not go through fd01::1, as prev",
        ),
        ("ip route del 10.1.0.0/24", "lost the route to 10.1.0.0/24 that prefers 10.1.0.2, as add"),
        ("ip -6 route del fd01::/64", "lost the route to fd01::/64 that prefers fd01::2, as add"),
        ("ip route flush table main", "lost the route to 10.1.0.0/24 that prefers 10.1.0.2, as"),
        ("ip -6 route flush table main", "lost the route to fd01::/64 that prefers fd01::2, as"),
        (
            "ip route add default dev eth1 metric 9",
            "a default route is in the main table again, where it competes with those of other",
        ),
        (
            "ip -6 route add default via fd01::1 dev eth1 metric 9",
            "a default route via fd01::1 is in the main table again, where it competes",
        ),
    ],
)
def test_check_sees_other_gateways_and_what_main_has_again_or_no_more(
    uplinks, caller, tampering, complaint
):
    conf = conf_for(1, addSourceHints=True)
    caller.add(conf)
    assert caller("CHECK", conf).text == ""
    uplinks.shell(tampering, CONTAINER)

    assert complaint in caller("CHECK", conf).document["msg"]


def test_check_takes_the_gateways_of_the_results_routes_and_those_that_announce_themselves(
    uplinks, caller
):
    uplinks.shell("ip route add default via 10.1.0.9 dev eth1 metric 7", CONTAINER)
    routes = [{"dst": "0.0.0.0/0", "gw": "10.1.0.9"}]
    conf = {**CONF, "prevResult": {**result(1), "routes": routes}}
    caller.add(conf)
    uplinks.shell(
        "ip -6 route replace default via fe80::9 dev eth1 table 101 proto ra;"
        "ip -6 route add default via fe80::9 dev eth1 metric 512 proto ra",
        CONTAINER,
    )

    assert caller("CHECK", conf).text == ""


def test_check_takes_one_hop_of_several_as_the_reference_leaves_it(uplinks, caller):
    conf = conf_for(1)
    caller.add(conf)
    uplinks.shell("ip -6 route append default via fe80::9 dev eth1", CONTAINER)

    assert caller("CHECK", conf).text == ""


@KEYS
def test_check_finds_every_healthy_attachment_healthy(uplinks, caller, keys):
    caller.add(conf_for(1, **keys))

    assert caller("CHECK", conf_for(1, **keys)).text == ""


def test_check_needs_neither_gateways_nor_subnets(uplinks, caller):
    uplinks.shell("ip addr add 10.9.0.2/32 dev eth1", CONTAINER)
    prev = result(1, gateways=False, extra=({"address": "10.9.0.2/32"},))
    conf = {**CONF, "prevResult": prev}
    caller.add(conf)

    assert caller("CHECK", conf).text == ""


def test_status_asks_the_kernel_for_policy_routing(sandbox, call):
    assert call("STATUS", CONF).text == ""
    outcome = call("STATUS", {**CONF, "gateways": ["10.1.0.300"]})
    assert outcome.document["code"] == 7


def test_gc_leaves_everything_alone(uplinks, caller):
    caller.add(conf_for(1))
    before = listing(uplinks)

    assert caller("GC", {**CONF, "cni.dev/valid-attachments": []}).text == ""

    assert listing(uplinks) == before
