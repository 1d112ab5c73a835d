"""The handles on namespaces, on the real kernel."""

import os
import resource
import subprocess

import pytest

from cnicore.addresses import parse_address, parse_cidr
from cnicore.errors import CniError, InvalidNetns
from cnicore.net.interface import configure_interface
from cnicore.net.link import LinkNotFound
from cnicore.net.namespace import Namespace, host_namespace, namespaces, remaining_namespaces
from cnicore.net.netlink import KernelError
from cnicore.net.switch import NetnsGone
from cnicore.net.veth import (
    create_veth,
    delete_owned_links,
    delete_stale_links,
    require_free_name,
)
from cnicore.owner import Owner
from cnicore.result import IpConfig, Route
from cnicore.rollback import rollback

pytestmark = pytest.mark.kernel

OWNER = Owner("net", "c1", "eth0")


@pytest.fixture
def ns(sandbox):
    path = sandbox.container("c1")
    with namespaces(path) as both:
        yield both


@pytest.fixture
def veth(ns):
    with rollback() as on_failure:
        return create_veth(ns, OWNER, on_failure, mtu=1400, mac="02:00:00:00:00:07")


class TestLinks:
    def test_a_veth_has_its_ends_in_both_namespaces_under_their_final_names(
        self, ns, veth, sandbox
    ):
        host, container = veth

        (inside,) = sandbox.json("ip -json link show eth0", "c1")
        (outside,) = sandbox.json(f"ip -json -details link show {host.name}")

        assert (inside["address"], inside["mtu"]) == ("02:00:00:00:00:07", 1400)
        assert (outside["ifalias"], outside["mtu"]) == ("cni:net/c1/eth0", 1400)
        assert (host.peer, container.peer) == (container.index, host.index)
        assert ns.host.read_sysctl(f"net/ipv6/conf/{host.name}/accept_ra") == "0"

    def test_a_name_that_is_taken_is_refused_and_stays(self, ns, veth):
        with pytest.raises(CniError, match='container interface "eth0" already exists'):
            require_free_name(ns.container, "eth0")
        with pytest.raises(CniError, match="already exists"), rollback() as on_failure:
            create_veth(ns, OWNER, on_failure)

        assert ns.container.find_link("eth0") == ns.container.link("eth0")

    def test_deleting_one_end_deletes_the_other_and_absent_is_as_wished(self, ns, veth):
        ns.container.delete_link("eth0")
        ns.container.delete_link("eth0")

        assert ns.host.find_link(veth[0].name) is None

    def test_an_owned_link_is_found_by_its_alias(self, ns, veth):
        delete_owned_links(ns.host, Owner("net", "c1", "eth1"))
        assert ns.container.find_link("eth0")

        delete_owned_links(ns.host, OWNER)
        assert ns.container.find_link("eth0") is None

    def test_stale_links_go_and_valid_and_foreign_ones_stay(self, ns, veth):
        delete_stale_links(ns.host, "net", [OWNER])
        delete_stale_links(ns.host, "another-net", [])
        assert ns.container.find_link("eth0")

        delete_stale_links(ns.host, "net", [Owner("net", "c2", "eth0")])
        assert ns.container.find_link("eth0") is None

    def test_every_link_with_a_stale_alias_goes(self, ns, veth, sandbox):
        """A container may have renamed its interface, and been attached again under the name."""
        sandbox.shell("ip link add twin type veth peer name other")
        sandbox.shell(f"ip link set twin alias {OWNER.tag}")

        delete_stale_links(ns.host, "net", [])

        assert [link.name for link in ns.host.links()] == ["lo"]

    def test_a_name_and_an_alias_that_are_no_text_harm_nobody(self, ns, veth):
        for command in (
            (b"add", b"o\xff", b"type", b"veth", b"peer", b"name", b"other"),
            (b"set", b"other", b"alias", b"\xff\xfe"),
        ):
            subprocess.run([b"ip", b"link", *command], check=True)

        assert [link.alias for link in ns.host.links() if link.alias] == [
            OWNER.tag,
            "\ufffd\ufffd",
        ]
        delete_stale_links(ns.host, "net", [])
        assert {link.name for link in ns.host.links()} == {"lo", "o\ufffd", "other"}

    def test_an_interrupt_right_after_the_creation_leaves_nothing(self, ns, monkeypatch):
        add_veth = ns.host.add_veth

        def interrupted(*arguments, **keywords):
            add_veth(*arguments, **keywords)
            raise KeyboardInterrupt

        monkeypatch.setattr(ns.host, "add_veth", interrupted)
        with pytest.raises(KeyboardInterrupt), rollback() as on_failure:
            create_veth(ns, OWNER, on_failure)

        assert [link.name for link in ns.host.links()] == ["lo"]

    def test_a_number_that_does_not_fit_is_the_kernels_invalid_argument(self, ns, veth):
        with pytest.raises(KernelError, match="could not create bridge br0: Invalid argument"):
            ns.host.add_bridge("br0", mtu=2**40)
        route = Route(parse_cidr("10.9.0.0/16"), gw=parse_address("fd00::1"))
        with pytest.raises(KernelError, match="could not add route .*: Invalid argument"):
            ns.container.add_route("eth0", route)

    def test_creating_an_existing_bridge_is_as_wished(self, ns):
        ns.host.add_bridge("br0", mtu=1450)
        ns.host.add_bridge("br0", mtu=1300)

        assert ns.host.link("br0").mtu == 1450

    def test_the_flags_of_a_bridge_port_are_written(self, ns, sandbox):
        ns.host.add_bridge("br0")
        ns.host.add_veth("port", peer="eth0", peer_in=ns.container, master="br0")
        ns.host.set_bridge_port("port", hairpin=True, isolated=True)

        (port,) = sandbox.json("bridge -json -details link show dev port")

        assert (port["hairpin"], port["isolated"]) == (True, True)

    def test_a_missing_link_is_named(self, ns):
        with pytest.raises(LinkNotFound, match='there is no interface "nope"'):
            ns.host.link("nope")

    def test_an_error_says_what_was_tried_and_the_kernels_own_words(self, ns, veth):
        route = Route(parse_cidr("10.9.0.0/16"), gw=parse_address("192.0.2.1"))

        with pytest.raises(KernelError) as caught:
            ns.container.add_route("eth0", route)

        assert caught.value.msg.startswith(
            "could not add route '10.9.0.0/16 via 192.0.2.1 dev eth0"
        )
        assert "nvalid gateway" in caught.value.details or "down" in caught.value.msg

    def test_a_refused_name_is_the_kernels_error(self, ns):
        with pytest.raises(CniError):
            ns.host.add_bridge("a-name-of-far-too-many-characters")


class TestInterface:
    IPS = (
        IpConfig(parse_cidr("10.1.0.2/24"), parse_address("10.1.0.1")),
        IpConfig(parse_cidr("fd00::2/64"), parse_address("fd00::1")),
    )

    def configure(self, ns, *routes):
        configure_interface(ns.container, "eth0", self.IPS, routes, detect_duplicates=False)

    def test_routes_without_a_gateway_go_through_the_first_of_their_family(self, ns, veth, sandbox):
        self.configure(ns, Route(parse_cidr("0.0.0.0/0")), Route(parse_cidr("::/0")))

        (v4,) = sandbox.json("ip -json route show default", "c1")
        (v6,) = sandbox.json("ip -json -6 route show default", "c1")

        assert (v4["gateway"], v4.get("protocol", "boot")) == ("10.1.0.1", "boot")
        assert v6["gateway"] == "fd00::1"

    def test_a_link_scope_route_gets_no_gateway(self, ns, veth, sandbox):
        self.configure(ns, Route(parse_cidr("10.9.0.0/16"), scope=253))

        (route,) = sandbox.json("ip -json route show 10.9.0.0/16", "c1")

        assert (route.get("gateway"), route["scope"]) == (None, "link")

    def test_mtu_advmss_priority_and_table_reach_the_kernel(self, ns, veth, sandbox):
        self.configure(
            ns, Route(parse_cidr("10.8.0.0/16"), mtu=1300, advmss=1200, priority=7, table=300)
        )

        (route,) = sandbox.json("ip -json -details route show table 300", "c1")

        assert (route["metric"], route["metrics"]) == (7, [{"mtu": 1300, "advmss": 1200}])

    def test_an_identical_route_is_as_wished_and_another_gateway_is_added(self, ns, veth):
        twin = Route(parse_cidr("10.8.0.0/16"), gw=parse_address("10.1.0.7"))
        self.configure(ns, Route(parse_cidr("10.8.0.0/16")), Route(parse_cidr("10.8.0.0/16")), twin)

        found = [route for route in ns.container.routes() if str(route.dst) == "10.8.0.0/16"]

        assert [str(route.gateways[0]) for route in found] == ["10.1.0.7", "10.1.0.1"]

    @pytest.mark.parametrize("dst", ["10.9.0.0/16", "fd09::/48"])
    def test_the_same_destination_through_another_link_is_added_beside_it(self, ns, veth, dst):
        ns.host.add_veth("other", peer="eth1", peer_in=ns.container)
        route = Route(parse_cidr(dst), scope=253)
        for name in ("eth0", "eth1"):
            ns.container.set_up(name)
            for _ in range(2):
                ns.container.add_route(name, route)

        found = [one.link for one in ns.container.routes() if str(one.dst) == dst]

        assert sorted(found) == sorted(ns.container.link(name).index for name in ("eth0", "eth1"))

    def test_an_ipv4_address_has_its_broadcast_address_and_a_slash_31_none(self, ns, veth, sandbox):
        ns.container.add_address("eth0", parse_cidr("10.1.0.2/24"))
        ns.container.add_address("eth0", parse_cidr("10.2.0.0/31"))

        addresses = sandbox.json("ip -json -4 addr show eth0", "c1")[0]["addr_info"]

        assert [address.get("broadcast") for address in addresses] == ["10.1.0.255", None]

    def test_ipv6_is_switched_on_where_the_runtime_had_it_off(self, ns, veth):
        ns.container.write_sysctl("net/ipv6/conf/eth0/disable_ipv6", "1")

        self.configure(ns)

        assert ns.container.read_sysctl("net/ipv6/conf/eth0/disable_ipv6") == "0"
        assert ns.container.read_sysctl("net/ipv6/conf/eth0/keep_addr_on_down") == "1"
        assert parse_cidr("fd00::2/64") in [a.cidr for a in ns.container.addresses("eth0")]

    def test_a_duplicate_address_is_detected(self, ns, veth, sandbox):
        host, _ = veth
        ns.host.add_address(host.name, parse_cidr("fd00::2/64"), detect_duplicates=False)

        with pytest.raises(CniError, match="DADFAILED state: another host"):
            configure_interface(ns.container, "eth0", self.IPS, ())

    def test_deleting_twice_is_as_wished(self, ns, veth):
        self.configure(ns, Route(parse_cidr("10.8.0.0/16")))
        for _ in range(2):
            ns.container.delete_route("eth0", parse_cidr("10.8.0.0/16"))
            ns.container.delete_address("eth0", parse_cidr("10.1.0.2/24"))

        assert parse_cidr("10.1.0.2/24") not in [a.cidr for a in ns.container.addresses("eth0")]


class TestNamespaces:
    def test_a_missing_path_and_a_stale_file_are_named(self, sandbox, tmp_path):
        stale = tmp_path / "stale"
        stale.touch()

        with pytest.raises(InvalidNetns, match="No such file or directory"):
            Namespace(str(tmp_path / "gone"))
        with pytest.raises(InvalidNetns, match="it is no network namespace"):
            Namespace(str(stale))
        with pytest.raises(InvalidNetns, match="it is no network namespace"):
            Namespace("/proc/self/ns/mnt")

    def test_a_file_that_nobody_writes_to_does_not_keep_anybody_waiting(self, sandbox, tmp_path):
        os.mkfifo(tmp_path / "fifo")

        with pytest.raises(NetnsGone, match="it is no network namespace"):
            Namespace(str(tmp_path / "fifo"))

    def test_a_namespace_that_cannot_be_opened_is_not_gone(self, sandbox, monkeypatch):
        """DEL would else succeed, and leave what only the container knows."""
        path = sandbox.container("c1")
        lowest = os.open("/dev/null", os.O_RDONLY)
        os.close(lowest)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, limits[1]))  # the host's socket
        try:
            with (
                pytest.raises(InvalidNetns, match="Too many open files"),
                remaining_namespaces(path),
            ):
                pass
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    def test_del_finds_the_host_whatever_became_of_the_container(self, sandbox, tmp_path):
        stale = tmp_path / "stale"
        stale.touch()

        for path in ("", str(tmp_path / "gone"), str(stale)):
            with remaining_namespaces(path) as ns:
                assert ns.container is None
                assert ns.host.link("lo").name == "lo"

    def test_sysctls_of_the_container_are_not_the_hosts(self, ns):
        ns.container.enable_forwarding(4)
        ns.container.enable_forwarding(6)

        assert ns.container.read_sysctl("net/ipv4/ip_forward") == "1"
        assert ns.container.read_sysctl("net/ipv6/conf/all/forwarding") == "1"
        assert ns.host.read_sysctl("net/ipv4/ip_forward") == "0"

    def test_an_unknown_sysctl_is_none_to_read_and_an_error_to_write(self, ns):
        assert ns.container.read_sysctl("net/ipv4/nonsense") is None
        ns.container.write_sysctl_if_there("net/ipv4/nonsense", "1")
        with pytest.raises(CniError, match="could not write 1 to /proc/sys/net/ipv4/nonsense"):
            ns.container.write_sysctl("net/ipv4/nonsense", "1")

    def test_where_no_sysctl_may_be_written_those_that_only_tune_are_passed_over(
        self, ns, sandbox, capsys
    ):
        sandbox.shell("mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys")

        ns.host.tune_sysctl("net/ipv4/conf/lo/arp_notify", "1")
        ns.host.tune_sysctl("net/ipv4/conf/lo/arp_notify", "0")

        words = "could not write 1 to /proc/sys/net/ipv4/conf/lo/arp_notify: Read-only file system"
        assert capsys.readouterr().err.splitlines() == [words]
        with pytest.raises(CniError, match=words):
            ns.host.write_sysctl_if_there("net/ipv4/conf/lo/arp_notify", "1")

    def test_three_hundred_links_are_listed_whole(self, sandbox):
        lines = "".join(f"link add b{number} type bridge\n" for number in range(300))
        sandbox.shell(f"printf '{lines}' | ip -batch -")

        with host_namespace() as host:
            assert len(host.links()) == 301
