"""sbr's CHECK on the real kernel: default routes that somebody had before the ADD."""

import pytest

from kernel.uplinks import CONTAINER, result

pytestmark = pytest.mark.kernel

CONF = {"cniVersion": "1.1.0", "name": "net", "type": "sbr"}
FOUND = {  # by name, the IP version and how it was made
    "of the same metric as another link's": (4, "ip route append default via 10.1.0.9 dev eth1"),
    "of another metric": (4, "ip route add default via 10.1.0.9 dev eth1 metric 7"),
    "without a gateway": (4, "ip route add default dev eth1 metric 7"),
    "on no subnet": (4, "ip route add default via 10.9.9.9 onlink dev eth1 metric 7"),
    "of a daemon": (4, "ip route add default via 10.1.0.9 dev eth1 metric 7 proto dhcp"),
    "via IPv6": (4, "ip -4 route add default via inet6 fe80::9 dev eth1 metric 7"),
    "with a nexthop object": (
        4,
        "ip nexthop add id 7 via 10.1.0.9 dev eth1; ip route add default nhid 7 metric 7",
    ),
    "of several metrics": (
        4,
        "ip route add default via 10.1.0.9 dev eth1 metric 9;"
        "ip route add default via 10.1.0.8 dev eth1 metric 8",
    ),
    "of IPv6, preferred": (6, "ip -6 route add default via fd01::9 dev eth1 metric 7"),
    "of IPv6, alone": (
        6,
        "ip -6 route del default via fd01::1 dev eth1;"
        "ip -6 route add default via fe80::9 dev eth1 metric 7",
    ),
    "of IPv6, one hop more": (6, "ip -6 route append default via fd01::9 dev eth1"),
}
NONE = "while ip -{0} route del default table {1} 2>/dev/null; do true; done"
ANOTHER = "ip -{0} route add default via {2} dev eth1 table {1} metric {3}"
TAMPERING = {
    "gone": (NONE, "has lost its default route"),
    "another gateway": (f"{NONE}; {ANOTHER}", "does not go through"),
    "no gateway": (
        f"{NONE}; ip -{{0}} route add default dev eth1 table {{1}}",
        "does not go through",
    ),
    "a better one": (ANOTHER, "does not go through"),
}


def tamper(sandbox, command, version):
    table, gateway = {4: (100, "10.1.0.77"), 6: (101, "fd01::77")}[version]
    sandbox.shell(command.format(version, table, gateway, 1), CONTAINER)


@pytest.mark.parametrize("keys", [{}, {"addSourceHints": True}], ids=str)
@pytest.mark.parametrize(("version", "command"), FOUND.values(), ids=FOUND)
def test_a_default_route_that_was_there_before_is_no_fault(uplinks, caller, version, command, keys):
    uplinks.shell(command, CONTAINER)
    conf = {**CONF, **keys, "prevResult": result(1)}

    for _ in range(2):
        caller.add(conf)
        assert caller("CHECK", conf).text == ""


@pytest.mark.parametrize(("tampering", "complaint"), TAMPERING.values(), ids=TAMPERING)
@pytest.mark.parametrize(("version", "command"), FOUND.values(), ids=FOUND)
def test_what_takes_its_place_is_one(uplinks, caller, version, command, tampering, complaint):
    if tampering == ANOTHER and "metric" not in command and version == 4:
        command += " metric 7"  # none is better than 0
    uplinks.shell(command, CONTAINER)
    conf = {**CONF, "prevResult": result(1)}
    caller.add(conf)

    tamper(uplinks, tampering, version)

    assert complaint in caller("CHECK", conf).document["msg"]


@pytest.mark.parametrize(("tampering", "complaint"), TAMPERING.values(), ids=TAMPERING)
def test_what_takes_the_place_of_the_gateways_route_is_one_too(
    uplinks, caller, tampering, complaint
):
    conf = {**CONF, "prevResult": result(1)}
    caller.add(conf)

    tamper(uplinks, tampering, 6)

    assert complaint in caller("CHECK", conf).document["msg"]


def test_a_worse_one_that_somebody_added_carries_no_packet(uplinks, caller):
    conf = {**CONF, "prevResult": result(1)}
    caller.add(conf)

    for version, table, gateway in ((4, 100, "10.1.0.77"), (6, 101, "fd01::77")):
        uplinks.shell(ANOTHER.format(version, table, gateway, 5000), CONTAINER)

    assert caller("CHECK", conf).text == ""


def test_a_route_of_a_gateway_that_was_named_keeps_its_protocol(uplinks, caller):
    uplinks.shell("ip route add default via 10.1.0.1 dev eth1 metric 7 proto dhcp", CONTAINER)

    caller.add({**CONF, "prevResult": result(1)})

    assert "default via 10.1.0.1 dev eth1 proto dhcp metric 7" in uplinks.shell(
        "ip route show table 100", CONTAINER
    )


@pytest.mark.parametrize(
    "tampering", ["ip route del 10.1.0.0/24 dev eth1", "ip route flush table main"]
)
def test_a_hint_is_missed_without_ipv6_too(uplinks, caller, tampering):
    uplinks.shell("echo 1 >/proc/sys/net/ipv6/conf/eth1/disable_ipv6", CONTAINER)
    prev = {**result(1), "ips": result(1)["ips"][:1]}
    conf = {**CONF, "addSourceHints": True, "prevResult": prev}
    caller.add(conf)
    assert caller("CHECK", conf).text == ""

    uplinks.shell(tampering, CONTAINER)

    assert "lost the route to 10.1.0.0/24 that prefers" in caller("CHECK", conf).document["msg"]
