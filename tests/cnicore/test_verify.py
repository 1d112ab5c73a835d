"""CHECK's comparisons, and what DEL can still learn."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from cnicore import verify
from cnicore.errors import CniError
from cnicore.request import Request
from cnicore.result import Interface, IpConfig, Result, Route
from cnicore.teardown import promised_addresses

MAC = "02:00:00:00:00:02"
ADDRESS = ip_interface("10.0.0.5/24")
IPS = (IpConfig(ADDRESS, ip_address("10.0.0.1"), 0),)
EVERYWHERE = ip_interface("0.0.0.0/0")
REQUEST = Request(
    "CHECK",
    container_id="c1",
    netns="/run/netns/c1",
    ifname="eth0",
    document={"name": "net", "cniVersion": "1.1.0"},
    environ={},
)


def after(prev_result):
    return replace(REQUEST, document={**REQUEST.document, "prevResult": prev_result})


@pytest.fixture
def container(fake_kernel):
    """A container with eth0, its address and a default route."""
    host, container = fake_kernel.open(), fake_kernel.open("/run/netns/c1")
    host.add_veth("veth0", peer="eth0", peer_in=container, peer_mac=MAC)
    container.set_up("eth0")
    container.add_address("eth0", ADDRESS)
    container.add_route("eth0", Route(EVERYWHERE, ip_address("10.0.0.1")))
    return container


def message_of(work, *arguments):
    with pytest.raises(CniError) as caught:
        work(*arguments)
    return caught.value.msg


def test_check_needs_the_result_of_the_add():
    message = message_of(verify.required_prev_result, REQUEST)
    assert message.startswith("Required prevResult missing")
    assert verify.required_prev_result(after({})) == Result()


def test_the_containers_interface_is_the_last_of_that_name_in_its_sandbox():
    there = Interface("eth0", "aa", "/run/netns/c1")
    result = Result((Interface("eth0"), there, Interface("eth0", sandbox="/run/netns/c2")))
    assert verify.container_interface(result, REQUEST) == there


@pytest.mark.parametrize(
    ("interfaces", "words"),
    [
        ((), "Sandbox in prevResult no sandbox doesn't match configured netns: /run/netns/c1"),
        ((Interface("eth0", sandbox="/run/netns/c2"),), "Sandbox in prevResult /run/netns/c2"),
        ((Interface("eth1", sandbox="/run/netns/c1"),), 'has no interface "eth0"'),
    ],
)
def test_a_result_about_another_interface_is_no_use(interfaces, words):
    assert words in message_of(verify.container_interface, Result(interfaces), REQUEST)


def test_a_healthy_attachment_passes(container):
    assert verify.verify_link(container, Interface("eth0", MAC.upper()), "veth").name == "eth0"
    assert verify.verify_link(container, Interface("eth0"), "").name == "eth0"
    verify.verify_addresses(container, "eth0", IPS)
    container.add_route("eth0", Route(ip_interface("10.9.0.0/16"), ip_address("10.0.0.1")))
    verify.verify_routes(
        container,
        container.link("eth0"),
        IPS,
        (Route(EVERYWHERE), Route(ip_interface("10.9.0.7/16"))),
    )


@pytest.mark.parametrize(
    ("expected", "kind", "message"),
    [
        (Interface("eth1"), "veth", "Interface eth1 not found: it was deleted after the ADD"),
        (Interface("eth0"), "bridge", "Interface eth0 is of type veth, not of type bridge"),
        (Interface("eth0", "02:00:00:00:00:03"), "veth", f"Interface eth0 Mac {MAC} doesn't match"),
    ],
)
def test_a_link_that_is_another_is_found_out(container, expected, kind, message):
    assert message_of(verify.verify_link, container, expected, kind).startswith(message)


def test_addresses_that_are_gone_are_found_out(container):
    other = (IpConfig(ip_interface("10.0.0.5/25")),)
    assert message_of(verify.verify_addresses, container, "eth0", other) == (
        "Failed to match addr 10.0.0.5/25 on interface eth0"
    )
    container.set_down("eth0")
    assert message_of(verify.verify_addresses, container, "eth0", IPS) == "Interface eth0 is down"
    assert message_of(verify.verify_addresses, container, "eth1", IPS) == (
        "Cannot find container link eth1"
    )


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (Route(ip_interface("10.9.0.0/16")), "Expected Route 10.9.0.0/16 via 10.0.0.1 not found"),
        (Route(EVERYWHERE, table=100), "Expected Route 0.0.0.0/0 via 10.0.0.1 not found"),
        (Route(ip_interface("::/0")), "Expected Route ::/0 not found"),
    ],
)
def test_routes_that_are_gone_are_found_out(container, route, message):
    assert message_of(
        verify.verify_routes, container, container.link("eth0"), IPS, (route,)
    ).startswith(message)


@pytest.mark.parametrize("named", [None, 0, 254])
def test_a_route_of_the_main_table_may_have_been_moved(container, named):
    wanted = (Route(EVERYWHERE, table=named),)
    verify.verify_routes(container, container.link("eth0"), IPS, wanted)
    container.delete_route("eth0", EVERYWHERE)
    container.add_route("eth0", Route(EVERYWHERE, ip_address("10.0.0.1"), table=100))
    assert "not found" in message_of(
        verify.verify_routes, container, container.link("eth0"), IPS, wanted
    )
    container.add_rule(ADDRESS.ip, 100)
    verify.verify_routes(container, container.link("eth0"), IPS, wanted)


def test_another_gateway_is_found_out_unless_it_is_a_default_routes(container):
    there, elsewhere = ip_address("10.0.0.1"), ip_address("10.0.0.2")
    eth0 = container.link("eth0")
    container.add_route("eth0", Route(ip_interface("10.9.0.0/16"), there))
    verify.verify_routes(container, eth0, IPS, (Route(EVERYWHERE, elsewhere),))
    moved = (Route(ip_interface("10.9.0.0/16"), elsewhere),)
    assert "via 10.0.0.2" in message_of(verify.verify_routes, container, eth0, IPS, moved)


def test_a_route_through_another_interface_is_not_the_interfaces_own(container, fake_kernel):
    fake_kernel.open().add_veth("veth1", peer="eth1", peer_in=container)
    container.add_route("eth1", Route(ip_interface("10.9.0.0/16"), scope=253))
    route = (Route(ip_interface("10.9.0.0/16"), scope=253),)
    verify.verify_routes(container, container.link("eth1"), (), route)
    assert message_of(verify.verify_routes, container, container.link("eth0"), (), route) == (
        "Expected Route 10.9.0.0/16 not found in routing table: there is none through eth0"
    )


class TestPromisedAddresses:
    """DEL asks for them to take the masquerading away."""

    def test_they_are_those_of_the_result(self):
        request = after({"ips": [{"address": "10.0.0.6/24"}, {"address": "fd00::5/64"}]})
        assert promised_addresses(request) == [ip_address("10.0.0.6"), ip_address("fd00::5")]

    @pytest.mark.parametrize("result", [None, {}, {"ips": [{"address": "x"}]}, []])
    def test_without_a_result_that_can_be_read_there_are_none(self, result):
        assert list(promised_addresses(after(result))) == []
