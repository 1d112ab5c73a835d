"""What leads to the container's interface, and what of a lease is on it."""

import os
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

import pytest

from cni_ipam.dhcp import interface
from cni_ipam.dhcp.interface import Belongings
from cni_ipam.dhcp.outcome import belongings4, belongings6, result
from cni_ipam.dhcp.terms import DHCPV4, DHCPV6, Holding, Lease4, Lease6, Place, Term, Wish
from cnicore.errors import CniError
from cnicore.net.link import LinkNotFound
from cnicore.net.sublink import Macvlan
from cnicore.result import Dns, IpConfig, Result, Route
from dhcp.scene import MAC, OWNER, Scene, in_place

TERM = Term(0, 1, 2, 3)
SERVER = IPv4Address("10.1.0.1")


@pytest.fixture
def scene(tmp_path):
    with in_place(Scene(tmp_path)) as scene:
        yield scene


def lease(address="10.1.0.50/24", gateway="10.1.0.1", routes=None, **keys):
    default = [("0.0.0.0/0", gateway)]
    made = (Route(IPv4Interface(dst), IPv4Address(gw)) for dst, gw in routes or default)
    gw = IPv4Address(gateway)
    return Lease4(IPv4Interface(address), SERVER, bytes(6), TERM, gw, tuple(made), **keys)


def of(*args, **keys):
    return belongings4(lease(*args, **keys), Wish())


def routes(scene):
    table = scene.container.table
    return sorted((str(one.dst), str(one.gateways[0])) for one in table if one.gateways)


class TestPrepare:
    def test_the_interface_is_set_up_and_described(self, scene):
        place = interface.prepare(3, Place("/x", 0, 0, "eth0"), (DHCPV4,))

        assert scene.container.link("eth0").is_up
        assert (place.mac.hex(":"), place.via) == (MAC, ("br0",))

    def test_ipv6_is_allowed_if_it_is_asked_for(self, scene):
        scene.container.sysctls["net/ipv6/conf/eth0/disable_ipv6"] = "1"
        interface.prepare(3, Place("/x", 0, 0, "eth0"), (DHCPV4,))
        assert scene.container.sysctls["net/ipv6/conf/eth0/disable_ipv6"] == "1"

        interface.prepare(3, Place("/x", 0, 0, "eth0"), (DHCPV6,))
        assert scene.container.sysctls["net/ipv6/conf/eth0/disable_ipv6"] == "0"

    def test_without_the_interface_the_error_names_it(self, scene):
        with pytest.raises(LinkNotFound, match='there is no interface "eth7"'):
            interface.prepare(3, Place("/x", 0, 0, "eth7"), (DHCPV4,))

    def test_what_has_no_ethernet_address_cannot_ask(self, scene):
        scene.container.change("eth0", mac="")

        with pytest.raises(CniError, match="eth0 is no Ethernet link: DHCP needs one"):
            interface.prepare(3, Place("/x", 0, 0, "eth0"), (DHCPV4,))


class TestVia:
    def test_of_a_veth_it_is_the_bridge_of_its_other_end(self, scene):
        assert interface.via(3, "eth0") == ("br0",)

    def test_of_a_veth_without_a_bridge_there_is_nothing(self, scene):
        scene.host.change("veth0", master=0)

        assert interface.via(3, "eth0") == ()

    def test_a_link_of_the_host_with_the_number_of_another_host_is_not_it(self, scene):
        scene.host.change("veth0", peer=99)

        assert interface.via(3, "eth0") == ()

    def test_of_a_macvlan_it_is_what_it_stands_on(self, scene):
        scene.host.add_device("up0")
        scene.host.add_macvlan("eth1", scene.host.link("up0"), scene.container, Macvlan("bridge"))

        assert interface.via(3, "eth1") == ("up0",)

    def test_of_a_dummy_there_is_nothing(self, scene):
        scene.container.add_dummy("eth1")

        assert interface.via(3, "eth1") == ()


class TestExchange:
    def exchange(self, old, new):
        interface.exchange(3, "eth0", old, new)

    @pytest.fixture
    def configured(self, scene):
        self.exchange(Belongings(), of())
        return scene

    def test_the_new_takes_the_place_of_the_old(self, configured):
        self.exchange(of(), of("10.2.0.9/16", "10.2.0.1"))

        assert configured.addresses() == ["10.2.0.9/16"]
        assert routes(configured) == [("0.0.0.0/0", "10.2.0.1")]

    def test_nothing_is_left_of_a_lost_lease(self, configured):
        self.exchange(of(), Belongings())

        assert (configured.addresses(), routes(configured)) == ([], [])

    def test_a_lease_got_again_is_put_back(self, configured):
        before = routes(configured)
        self.exchange(of(), Belongings())
        self.exchange(Belongings(), of())

        assert configured.addresses() == ["10.1.0.50/24"]
        assert routes(configured) == before

    def test_what_both_have_stays(self, configured):
        configured.kernel.calls.clear()
        self.exchange(of(), of(routes=[("0.0.0.0/0", "10.1.0.1"), ("10.9.0.0/16", "10.1.0.3")]))

        calls = {call[1] for call in configured.kernel.calls}
        assert not {"delete_address", "delete_route"} & calls
        assert routes(configured) == [("0.0.0.0/0", "10.1.0.1"), ("10.9.0.0/16", "10.1.0.3")]

    def test_another_gateway_changes_the_route_alone(self, configured):
        self.exchange(of(), of(gateway="10.1.0.2"))

        assert configured.addresses() == ["10.1.0.50/24"]
        assert routes(configured) == [("0.0.0.0/0", "10.1.0.2")]

    def test_an_address_that_goes_with_the_first_of_its_subnet_is_added_again(self, configured):
        """As the kernel does it where promote_secondaries is 0."""
        delete = configured.container.delete_address

        def delete_with_secondaries(name, address):
            delete(name, address)
            configured.container.cidrs[name] = []

        configured.container.delete_address = delete_with_secondaries
        self.exchange(of(), of("10.1.0.51/24"))

        assert configured.addresses() == ["10.1.0.51/24"]

    def test_a_missing_interface_is_named(self, scene):
        scene.container.delete_link("eth0")

        with pytest.raises(LinkNotFound, match="eth0"):
            self.exchange(Belongings(), of())


class TestIdentity:
    def test_a_namespace_is_known_by_device_and_inode(self, scene):
        descriptor = scene.descriptor()
        assert interface.identity(descriptor) == (scene.place().device, scene.place().inode)
        os.close(descriptor)

    def test_another_one_at_the_path_is_not_it(self, scene, tmp_path):
        place = scene.place()
        assert interface.is_at(str(scene.path), place)

        scene.path.unlink()
        assert not interface.is_at(str(scene.path), place)
        scene.path.touch()
        assert not interface.is_at(str(scene.path), place)
        assert not interface.is_at(str(scene.path / "below"), place)


class TestResult:
    def holding(self, request, **leases):
        wish = Wish(request=request, priority=leases.pop("priority", 0))
        place = Place("/run/netns/c1", 1, 2, "eth0")
        return Holding(OWNER, place, wish, **leases)

    def test_an_address_with_its_gateway_and_routes(self):
        assert result(self.holding((3, 1), lease4=lease())) == Result(
            ips=(IpConfig(IPv4Interface("10.1.0.50/24"), SERVER),),
            routes=(Route(IPv4Interface("0.0.0.0/0"), SERVER),),
        )

    def test_the_priority_is_the_metric_of_every_route(self):
        made = lease(routes=[("0.0.0.0/0", "10.1.0.1"), ("10.9.0.0/16", "10.1.0.3")])
        found = result(self.holding((3, 1), lease4=made, priority=50))

        assert [route.priority for route in found.routes] == [50, 50]

    @pytest.mark.parametrize(("asked", "mtu"), [((3, 26), 1400), ((3, 1), 0)])
    def test_the_mtu_is_the_routes_if_it_was_asked_for(self, asked, mtu):
        found = result(self.holding(asked, lease4=lease(mtu=1400)))

        assert [route.mtu for route in found.routes] == [mtu]

    @pytest.mark.parametrize(
        ("asked", "dns"),
        [
            ((3, 1), Dns()),
            ((6,), Dns(("10.1.0.53", "fd00::53"))),
            ((15,), Dns(domain="example.org")),
            ((119,), Dns(search=("a.example.org", "b.example.org"))),
        ],
    )
    def test_names_are_those_that_were_asked_for(self, asked, dns):
        four = lease(
            dns=(IPv4Address("10.1.0.53"),), domain="example.org", search=("a.example.org",)
        )
        six = Lease6(
            IPv6Address("fd00::50"),
            b"s",
            TERM,
            dns=(IPv6Address("fd00::53"),),
            search=("a.example.org", "b.example.org"),
        )

        assert result(self.holding(asked, lease4=four, lease6=six)).dns == dns

    def test_an_ipv6_address_stands_alone(self):
        six = Lease6(IPv6Address("fd00::50"), b"s", TERM)

        assert result(self.holding((3, 1), lease6=six)) == Result(
            ips=(IpConfig(IPv6Interface("fd00::50/128")),)
        )
        assert belongings6(None) == Belongings()
