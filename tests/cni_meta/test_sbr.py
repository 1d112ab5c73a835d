"""sbr, on the kernel in memory."""

from ipaddress import ip_address, ip_interface

import pytest

from cnicore.net.netlink import KernelError
from cnicore.net.rule import Rule
from cnicore.result import Route

CONF = {"cniVersion": "1.1.0", "name": "mynet", "type": "sbr"}
IPS = [
    {"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 1},
    {"address": "fd01::2/64", "gateway": "fd01::1", "interface": 1},
]
RESULT = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/c1"}],
    "ips": IPS,
}
ANY = {4: ip_interface("0.0.0.0/0"), 6: ip_interface("::/0")}


@pytest.fixture
def container(fake_kernel):
    """A container with eth0, on which the routes move, and net2, whose routes stay."""
    host, container = fake_kernel.namespaces[""], fake_kernel.namespaces["/run/netns/c1"]
    for name, number in (("eth0", 1), ("net2", 2)):
        host.add_veth(f"veth{number}", peer=name, peer_in=container)
        for cidr in (f"10.{number}.0.2/24", f"fd0{number}::2/64"):
            container.add_address(name, ip_interface(cidr))
    container.add_route("net2", Route(ANY[4], ip_address("10.2.0.1")))
    container.add_route("eth0", Route(ip_interface("10.9.0.0/16"), ip_address("10.1.0.1")))
    container.add_route("eth0", Route(ANY[6], ip_address("fd01::1")))
    return container


def with_result(ips=IPS, **keys):
    return {**CONF, "prevResult": {**RESULT, "ips": ips}, **keys}


def table(container, number, ifname="eth0"):
    """Destination and gateway of each of the link's routes in the table."""
    index = container.by_name[ifname].index
    return sorted(
        (str(route.dst.network), *map(str, route.gateways))
        for route in container.table
        if (route.table, route.link) == (number, index)
    )


def rules(container):
    return [(str(rule.source), rule.table) for rule in container.policy]


def state(container):
    return sorted(map(str, container.table)), list(container.policy)


# --- configurations


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"table": "100"}, "table: input should be a valid integer, not '100'"),
        ({"table": 1.5}, "table: "),
        ({"table": 0}, "table: input should be greater than or equal to 1"),
        ({"table": -1}, "table: input should be greater than or equal to 1"),
        ({"table": 2**32}, "table: input should be less than or equal to 4294967295"),
        ({"table": 253}, "table: 253 is the kernel's own (253 default, 254 main, 255 local): use"),
        ({"table": 254}, "table: 254 is the kernel's own"),
        ({"table": 255}, "table: 255 is the kernel's own"),
        ({"addSourceHints": "yes"}, "addSourceHints: input should be a valid boolean, not 'yes'"),
        ({"gateways": "10.1.0.1"}, "gateways: "),
        ({"gateways": [1]}, "gateways[0]: input should be a valid string, not 1"),
        (
            {"gateways": ["10.1.0.300"]},
            "gateways[0]: invalid static gateway IP address: 10.1.0.300",
        ),
        (
            {"gateways": ["fd01::1", ""]},
            "gateways[1]: invalid static gateway IP address: it is empty",
        ),
        (
            {"gateways": ["10.1.0.1", "10.1.0.9"]},
            "gateways list contains multiple IPv4 addresses: 10.1.0.1, 10.1.0.9: give one of each",
        ),
        (
            {"gateways": ["10.1.0.1", "fd01::1", "fd01::2"]},
            "gateways list contains multiple IPv6 addresses: 10.1.0.1, fd01::1, fd01::2",
        ),
    ],
)
def test_a_bad_configuration_is_refused_and_changes_nothing(call, container, keys, message):
    before = state(container)

    for verb in ("ADD", "CHECK", "STATUS"):
        outcome = call(verb, with_result(**keys))

        assert (outcome.status, outcome.document["code"]) == (1, 7)
        assert outcome.document["msg"].startswith(message)
    assert state(container) == before


@pytest.mark.parametrize(
    "keys",
    [
        {"table": None, "gateways": None, "addSourceHints": None},
        {"table": 200, "gateways": ["nonsense", "10.1.0.1", "10.1.0.1"]},
        {"gateways": ["fd01::1", "10.1.0.1"]},
        {"gateways": ["::ffff:10.1.0.1"]},
        {"Table": 200, "ADDSOURCEHINTS": True},
    ],
)
def test_a_good_configuration_is_accepted(call, container, keys):
    assert call.add(with_result(**keys)) == RESULT
    for verb in ("CHECK", "STATUS", "DEL"):
        assert call(verb, with_result(**keys)).text == ""
    assert rules(container) == []


def test_without_a_result_it_says_where_it_belongs(call, container):
    for verb in ("ADD", "CHECK"):
        assert "prevResult missing" in call(verb, CONF).document["msg"]
    assert "must be called as chained plugin" in call("ADD", CONF).document["msg"]


@pytest.mark.parametrize(
    "ips", [[], [{"address": "10.1.0.2/24", "interface": 0}]], ids=["none", "of another interface"]
)
def test_a_result_without_an_address_of_the_interface_leaves_the_routes(call, container, ips):
    before = state(container)

    outcome = call("ADD", with_result(ips))

    assert outcome.document["code"] == 7
    assert outcome.document["msg"].startswith("prevResult has no address of eth0: put sbr after")
    assert state(container) == before


@pytest.mark.parametrize("index", [None, 7, -1])
def test_an_address_without_an_interface_counts(call, container, index):
    ip = {"address": "10.1.0.2/24", "gateway": "10.1.0.1"}
    call.add(with_result([ip if index is None else {**ip, "interface": index}]))

    assert rules(container) == [("10.1.0.2", 100)]


@pytest.mark.parametrize("version", ["0.2.0", "0.3.1", "1.0.0"])
def test_a_result_has_the_configurations_version_unless_it_says_otherwise(call, container, version):
    ips = {"ip4": {"ip": "10.1.0.2/24"}} if version == "0.2.0" else {"ips": IPS[:1]}
    if version == "0.3.1":
        ips = {"ips": [{"version": "4", **IPS[0]}], "interfaces": RESULT["interfaces"]}
    if version == "1.0.0":
        ips["interfaces"] = RESULT["interfaces"]

    assert call("ADD", {**CONF, "cniVersion": version, "prevResult": ips}).status == 0
    assert rules(container) == [("10.1.0.2", 100)]


# --- ADD


def test_each_address_gets_a_table_with_the_routes_of_its_family(call, container):
    others = table(container, 254, "net2")

    call.add(with_result())

    assert rules(container) == [("fd01::2", 101), ("10.1.0.2", 100)]
    assert table(container, 100) == [
        ("0.0.0.0/0", "10.1.0.1"),
        ("10.1.0.0/24",),
        ("10.9.0.0/16", "10.1.0.1"),
    ]
    assert table(container, 101) == [("::/0", "fd01::1"), ("fd01::/64",)]
    assert table(container, 254) == []
    assert table(container, 254, "net2") == others


def test_the_same_address_twice_gets_one_rule(call, container):
    call.add(with_result([IPS[0], IPS[0]]))

    assert rules(container) == [("10.1.0.2", 100)]


def test_a_family_without_an_address_keeps_its_routes(call, container):
    call.add(with_result(IPS[:1]))

    assert table(container, 254) == [("::/0", "fd01::1"), ("fd01::/64",)]


def test_without_a_gateway_the_table_has_no_default_route(call, container):
    call.add(with_result([{"address": "10.1.0.2/24"}, {"address": "fd01::2/64", "gateway": "::"}]))

    assert table(container, 100) == [("10.1.0.0/24",), ("10.9.0.0/16", "10.1.0.1")]
    assert table(container, 101) == [("::/0", "fd01::1"), ("fd01::/64",)]  # the main table's


def test_tables_that_a_rule_or_a_route_uses_are_passed_over(call, container):
    container.policy.append(Rule(4, 100, 9, None))
    container.add_route("net2", Route(ip_interface("fd99::/64"), table=101))

    call.add(with_result())

    assert {rule.table for rule in container.policy} == {100, 102, 103}


def test_the_reserved_tables_are_passed_over(call, container):
    container.policy.extend(Rule(4, number, 9, None) for number in range(100, 252))

    call.add(with_result())

    assert {table for source, table in rules(container) if source != "None"} == {252, 256}


def test_rules_come_before_routes_and_deletions_last(call, container, fake_kernel):
    fake_kernel.calls.clear()

    call.add(with_result(IPS[:1]))

    changes = ("add_rule", "put_route", "add_route", "remove_route", "one_at_a_time")
    names = [call[1] for call in fake_kernel.calls if call[1] in changes]
    assert names == [
        "one_at_a_time",
        "add_rule",
        "put_route",
        "put_route",
        "add_route",
        "remove_route",
        "remove_route",
    ]


def test_source_hints_leave_the_subnets_in_the_main_table(call, container):
    call.add(with_result(addSourceHints=True))

    index = container.by_name["eth0"].index
    left = {
        str(route.dst.network): str(route.src)
        for route in container.table
        if (route.table, route.link) == (254, index)
    }
    assert left == {"10.1.0.0/24": "10.1.0.2", "fd01::/64": "fd01::2"}


def test_a_subnet_that_has_no_route_gets_one_with_a_hint(call, container):
    container.delete_route("eth0", ip_interface("10.1.0.0/24"))
    container.delete_route("eth0", ip_interface("10.9.0.0/16"))

    call.add(with_result([{"address": "10.1.0.2/24"}], addSourceHints=True))

    assert table(container, 254) == [("10.1.0.0/24",), ("::/0", "fd01::1"), ("fd01::/64",)]


@pytest.mark.parametrize(
    "keys", [{}, {"addSourceHints": True}, {"gateways": ["10.1.0.9"]}, {"table": 7}], ids=str
)
@pytest.mark.parametrize("again", [False, True])
def test_add_that_fails_at_any_step_leaves_nothing(call, container, fake_kernel, keys, again):
    if again:
        call.add(with_result(**keys))
    before = state(container)
    failures = 0
    for number in range(1, 100):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", with_result(**keys))
        fake_kernel.fail_at = 0
        if outcome.status == 0:
            break
        failures += 1
        assert state(container) == before, f"call {number}"
    assert outcome.status == 0
    assert failures > 4


def test_a_second_add_changes_nothing(call, container):
    call.add(with_result())
    before = state(container)

    call.add(with_result())

    assert state(container) == before


def test_with_a_table_only_rules_are_made_and_removed(call, container):
    before = state(container)

    for _ in range(2):
        call.add(with_result(table=7))

    assert rules(container) == [("fd01::2", 7), ("10.1.0.2", 7)]
    assert state(container)[0] == before[0]
    call("DEL", with_result(table=7))
    assert state(container) == before


# --- DEL


@pytest.mark.parametrize("conf", [with_result(), CONF, {**CONF, "gateways": ["?"]}])
def test_del_removes_the_rules_and_empties_the_tables(call, container, conf):
    others = table(container, 254, "net2")
    call.add(with_result())

    for _ in range(2):
        assert call("DEL", conf).text == ""

    assert rules(container) == table(container, 100) == table(container, 101) == []
    assert table(container, 254, "net2") == others


def test_del_leaves_rules_to_other_tables_and_of_other_addresses(call, container):
    call.add(with_result())
    kept = [
        Rule(4, 254, 5, ip_address("10.1.0.2")),
        Rule(4, 100, 6, ip_address("10.7.0.2")),
        Rule(4, 77, 7, None),
    ]
    container.policy.extend(kept)

    assert call("DEL", CONF).text == ""

    assert container.policy == kept
    assert table(container, 100) != []  # the rule of another address leads there


@pytest.mark.parametrize("netns", ["", "/run/netns/gone"])
def test_del_without_a_namespace_succeeds(call, fake_kernel, netns):
    assert call("DEL", CONF, CNI_NETNS=netns).text == ""


def test_del_tries_every_rule_and_reports_what_failed(call, container, monkeypatch):
    call.add(with_result())
    delete = type(container).delete_rule

    def refuse_ipv4(self, rule):
        if rule.version == 4:
            raise KernelError("delete it", 1)
        delete(self, rule)

    monkeypatch.setattr(type(container), "delete_rule", refuse_ipv4)

    assert "could not delete it" in call("DEL", with_result()).document["msg"]
    assert rules(container) == [("10.1.0.2", 100)]


# --- CHECK, GC, STATUS


def test_check_holds_until_something_is_lost(call, container):
    call.add(with_result())
    assert call("CHECK", with_result()).text == ""

    index = container.by_name["eth0"].index
    for route in [one for one in container.table if one.table == 100 and one.link == index]:
        container.table.remove(route)
        outcome = call("CHECK", with_result())
        assert (outcome.status, "has lost" in outcome.text) == (
            (0, False) if str(route.dst.network) == "10.9.0.0/16" else (1, True)
        )
        container.table.append(route)
    container.policy.pop()
    assert "no rule for packets from 10.1.0.2" in call("CHECK", with_result()).document["msg"]


def test_check_wants_the_configured_gateway_and_table(call, container):
    call.add(with_result())

    outcome = call("CHECK", with_result(gateways=["10.1.0.9"]))
    assert "does not go through 10.1.0.9, as gateways says" in outcome.document["msg"]
    outcome = call("CHECK", with_result(table=7))
    assert "from 10.1.0.2 that leads to table 7" in outcome.document["msg"]


def test_status_is_50_where_the_kernel_has_no_rules(call, fake_kernel):
    host = fake_kernel.namespaces[""]
    host.rule_families = frozenset({4})
    assert call("STATUS", CONF).text == ""

    host.rule_families = frozenset()

    outcome = call("STATUS", CONF)
    assert outcome.document["code"] == 50
    assert "CONFIG_IP_MULTIPLE_TABLES" in outcome.document["msg"]


def test_gc_looks_at_nothing(call, fake_kernel):
    assert call("GC", {**CONF, "cni.dev/valid-attachments": []}).text == ""
    assert fake_kernel.calls == []
