"""sbr on the real kernel, with real packets through two uplinks."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from kernel.uplinks import CONTAINER, WORLD, listing, result

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).parents[2] / "docs/reference/plugins/sbr.md"

CONF = {"cniVersion": "1.1.0", "name": "net", "type": "sbr"}
ADDRESSES = {4: "10.1.0.2", 6: "fd01::2"}
FAMILIES = pytest.mark.parametrize("version", [4, 6])

SERVE_ONCE = (
    "python3 -c 'import socket;"
    's=socket.create_server(("{0}",7000),family=socket.{1});print(flush=True);'
    "c,a=s.accept();c.sendall(a[0].encode())'"
)
ASK = (
    "python3 -c 'import socket,time\n"
    "for _ in range(100):\n"
    ' try: print(socket.create_connection(("{0}",7000),5).recv(99).decode()); break\n'
    " except ConnectionRefusedError: time.sleep(.02)'"
)


def conf_for(number, **keys):
    return {**CONF, "prevResult": result(number), **keys}


def ping(sandbox, target, netns, *options):
    sandbox.shell(f"ping -c1 -W2 {' '.join(options)} {target}", netns)


def rules(sandbox, version):
    return [
        (rule["src"], rule["table"])
        for rule in sandbox.json(f"ip -json -{version} rule", CONTAINER)
        if rule["src"] != "all"
    ]


def routes(sandbox, version, table="main"):
    """Destination, gateway and link of each route."""
    return [
        (route["dst"], route.get("gateway"), route.get("dev"))
        for route in sandbox.json(f"ip -json -{version} route show table {table}", CONTAINER)
    ]


# --- traffic


@FAMILIES
def test_an_answer_leaves_by_the_interface_that_was_asked(uplinks, caller, version):
    with pytest.raises(AssertionError, match="100% packet loss"):
        uplinks.shell(f"ping -c1 -W1 {ADDRESSES[version]}", "world")

    caller.add(conf_for(1))

    ping(uplinks, ADDRESSES[version], "world")
    ping(uplinks, {4: "10.0.0.2", 6: "fd00::2"}[version], "world")


@FAMILIES
def test_a_connection_to_the_second_address_works(uplinks, caller, version):
    caller.add(conf_for(1))
    family = {4: "AF_INET", 6: "AF_INET6"}[version]
    serve = SERVE_ONCE.format(ADDRESSES[version], family)
    uplinks.shell(f"{serve} >/dev/null 2>&1 &", CONTAINER)
    source = WORLD[version]

    ask = ASK.format(ADDRESSES[version]).replace(",5)", f',5,("{source}",0))')

    assert uplinks.shell(ask, "world").strip() == source


@FAMILIES
@pytest.mark.parametrize("number", [0, 1])
def test_what_carries_an_address_leaves_by_its_interface(uplinks, caller, version, number):
    caller.add(conf_for(1))
    source = {4: f"10.{number}.0.2", 6: f"fd0{number}::2"}[version]

    ping(uplinks, WORLD[version], CONTAINER, "-I", source)


@FAMILIES
def test_all_interfaces_of_a_container_can_have_their_tables(uplinks, caller, version):
    first = dataclasses.replace(caller, ifname="eth0")
    first.add(conf_for(0))
    caller.add(conf_for(1))

    for number in (0, 1):
        source = {4: f"10.{number}.0.2", 6: f"fd0{number}::2"}[version]
        ping(uplinks, WORLD[version], CONTAINER, "-I", source)
        ping(uplinks, source, "world")
    # the number is free in both families or not at all
    assert {table for _, table in rules(uplinks, version)} == (
        {"100", "102"} if version == 4 else {"101", "103"}
    )


def test_packets_without_an_address_still_go_by_the_main_table(uplinks, caller):
    caller.add(conf_for(1))

    for version in (4, 6):
        ping(uplinks, WORLD[version], CONTAINER)


def test_neighbours_on_the_link_are_reached_by_their_link_local_addresses(uplinks, caller):
    caller.add(conf_for(1))
    (address,) = re.findall(r"fe80[^/]*", uplinks.shell("ip -6 addr show dev v1", "router1"))

    ping(uplinks, f"{address}%eth1", CONTAINER)
    ping(uplinks, f"{address}%eth1", CONTAINER, "-I", "fd01::2")


def test_with_source_hints_the_subnet_is_reached_with_the_address(uplinks, caller):
    caller.add(conf_for(1, addSourceHints=True))

    chosen = uplinks.shell("ip route get 10.1.0.1; ip -6 route get fd01::1", CONTAINER)

    assert re.search(r"10\.1\.0\.1 dev eth1 src 10\.1\.0\.2", chosen)
    assert re.search(r"fd01::1 .*dev eth1 .*src fd01::2", chosen)
    for version in (4, 6):
        ping(uplinks, {4: "10.1.0.1", 6: "fd01::1"}[version], CONTAINER)
        ping(uplinks, ADDRESSES[version], "world")


# --- what ADD makes


def test_the_routes_are_moved_and_those_of_others_are_not(uplinks, caller):
    before = [route for route in routes(uplinks, 4) if route[2] != "eth1"]

    document = caller.add(conf_for(1))

    assert document == result(1)
    assert routes(uplinks, 4) == before
    assert routes(uplinks, 4, 100) == [
        ("default", "10.1.0.1", "eth1"),
        ("10.1.0.0/24", None, "eth1"),
        ("203.0.113.0/24", "10.1.0.1", "eth1"),
    ]
    assert "203.0.113.0/24 via 10.1.0.1 dev eth1 mtu 1400" in uplinks.shell(
        "ip route show table 100", CONTAINER
    )
    assert rules(uplinks, 4) == [("10.1.0.2", "100")]


def test_one_hop_of_a_default_route_over_both_links_is_moved(uplinks, caller):
    assert "nexthop via fd01::1 dev eth1" in listing(uplinks)

    caller.add(conf_for(1))

    assert routes(uplinks, 6) == [
        ("fd00::/64", None, "eth0"),
        ("fe80::/64", None, "eth0"),
        ("fe80::/64", None, "eth1"),
        ("default", "fd00::1", "eth0"),
    ]
    assert routes(uplinks, 6, 101) == [
        ("fd01::/64", None, "eth1"),
        ("fe80::/64", None, "eth1"),
        ("default", "fd01::1", "eth1"),
    ]
    assert rules(uplinks, 6) == [("fd01::2", "101")]


def test_an_ipv4_route_over_both_links_stays_whole(uplinks, caller):
    uplinks.shell("ip route add 198.18.9.0/24 nexthop via 10.0.0.1 nexthop via 10.1.0.1", CONTAINER)
    before = uplinks.shell("ip route show 198.18.9.0/24", CONTAINER)

    caller.add(conf_for(1))

    assert before.count("nexthop") == 2
    assert uplinks.shell("ip route show 198.18.9.0/24", CONTAINER) == before


def test_the_rule_looks_as_the_reference_makes_it(uplinks, caller):
    caller.add(conf_for(1))

    (rule,) = re.findall(r".*10\.1\.0\.2.*", uplinks.shell("ip -d rule", CONTAINER))

    assert rule.split() == ["32765:", "from", "10.1.0.2", "lookup", "100", "proto", "unspec"]


def test_each_of_several_addresses_has_its_table_and_subnet(uplinks, caller):
    uplinks.shell("ip addr add 10.9.0.2/24 dev eth1 && ip addr add 10.8.0.2/24 dev eth1", CONTAINER)
    prev = result(1, extra=({"address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 0},))

    caller.add({**CONF, "prevResult": prev})

    assert rules(uplinks, 4) == [("10.9.0.2", "102"), ("10.1.0.2", "100")]
    assert routes(uplinks, 4, 102) == [
        ("default", "10.9.0.1", "eth1"),
        ("10.9.0.0/24", None, "eth1"),
    ]
    assert ("10.8.0.0/24", None, "eth1") in routes(uplinks, 4)  # of an address without a rule
    assert ("10.9.0.0/24", None, "eth1") not in routes(uplinks, 4, 100)


def test_routes_that_point_into_no_subnet_go_into_every_table_of_their_family(uplinks, caller):
    uplinks.shell(
        "ip route add 198.18.0.0/16 dev eth1; ip -6 route add fd77::/64 via fe80::1 dev eth1;"
        "ip addr add fd09::2/64 dev eth1 nodad",
        CONTAINER,
    )
    prev = result(1, extra=({"address": "fd09::2/64", "interface": 0},))

    caller.add({**CONF, "prevResult": prev})

    assert ("198.18.0.0/16", None, "eth1") in routes(uplinks, 4, 100)
    for table in (101, 102):
        assert ("fd77::/64", "fe80::1", "eth1") in routes(uplinks, 6, table)
    assert not [route for route in routes(uplinks, 6) if route[0] == "fd77::/64"]
    assert ("default", None, "eth1") not in routes(uplinks, 6, 102)


def test_a_gateway_outside_the_subnet_is_reached_through_the_tables_own_route(uplinks, caller):
    uplinks.shell(
        "ip addr add 10.9.0.2/32 dev eth1; ip route add 169.254.1.1 dev eth1 scope link", CONTAINER
    )
    ips = [{"address": "10.9.0.2/32", "gateway": "169.254.1.1"}]

    caller.add({**CONF, "prevResult": {**result(1), "ips": ips}})

    assert routes(uplinks, 4, 100) == [
        ("default", "169.254.1.1", "eth1"),
        ("169.254.1.1", None, "eth1"),
        ("203.0.113.0/24", "10.1.0.1", "eth1"),
    ]


def test_a_table_that_holds_routes_is_not_free_even_without_a_rule(uplinks, caller):
    uplinks.shell("ip route add 10.77.0.0/16 dev eth0 table 100", CONTAINER)
    uplinks.shell("ip -6 route add blackhole fd77::/64 table 102", CONTAINER)

    caller.add(conf_for(1))

    assert rules(uplinks, 4) == [("10.1.0.2", "101")]
    assert rules(uplinks, 6) == [("fd01::2", "103")]


def test_configured_gateways_replace_every_default_route(uplinks, caller):
    uplinks.shell("ip route add default via 10.1.0.1 dev eth1 metric 7", CONTAINER)

    caller.add(conf_for(1, gateways=["10.1.0.254", "fd01::fe"]))

    assert routes(uplinks, 4, 100)[0] == ("default", "10.1.0.254", "eth1")
    assert [route for route in routes(uplinks, 4, 100) if route[0] == "default"][1:] == []
    assert routes(uplinks, 6, 101)[-1] == ("default", "fd01::fe", "eth1")


def test_a_default_route_of_the_interface_is_moved_and_no_second_one_added(uplinks, caller):
    uplinks.shell("ip route add default via 10.1.0.9 dev eth1 metric 7 mtu 1300", CONTAINER)

    caller.add(conf_for(1))

    text = uplinks.shell("ip route show table 100 default", CONTAINER)
    assert text.strip() == "default via 10.1.0.9 dev eth1 proto 67 metric 7 mtu 1300"


def test_with_a_table_only_rules_are_added(uplinks, caller):
    before = uplinks.shell("ip route show table all", CONTAINER)

    for _ in range(2):
        caller.add(conf_for(1, table=70_000))

    assert rules(uplinks, 4) == [("10.1.0.2", "70000")]
    assert rules(uplinks, 6) == [("fd01::2", "70000")]
    assert uplinks.shell("ip route show table all", CONTAINER) == before
    assert caller("CHECK", conf_for(1, table=70_000)).text == ""
    assert caller("DEL", conf_for(1, table=70_000)).text == ""
    assert rules(uplinks, 4) == rules(uplinks, 6) == []


@pytest.mark.parametrize("keys", [{}, {"addSourceHints": True}, {"gateways": ["10.1.0.254"]}])
def test_a_second_add_changes_nothing(uplinks, caller, keys):
    caller.add(conf_for(1, **keys))
    before = listing(uplinks)

    caller.add(conf_for(1, **keys))

    assert listing(uplinks) == before


def test_the_example_of_the_page(sandbox, call):
    (block,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    conflist = json.loads(block)
    main, sbr = (
        {**conf, "cniVersion": conflist["cniVersion"], "name": conflist["name"]}
        for conf in conflist["plugins"]
    )
    caller = dataclasses.replace(call, netns=sandbox.container("c1"), ifname="net1")

    attached = caller.add(main)
    chained = {**sbr, "prevResult": caller.add({**sbr, "prevResult": attached})}

    shown = re.findall(r"^(?:default via|10\.1\.0|32765).*", PAGE.read_text(), re.MULTILINE)
    assert len(shown) == 3
    for line in shown:
        assert line.split() in [one.split() for one in listing(sandbox).splitlines()], line
    for verb in ("STATUS", "CHECK", "DEL", "DEL"):
        assert caller(verb, chained).text == ""
