"""Leases of a real server (dnsmasq) on the real kernel, from the ADD to the RELEASE that it sees."""

import asyncio
import os

import pytest

from cni_ipam.dhcp import clock
from cni_ipam.dhcp.keepers import Keepers
from cni_ipam.dhcp.outcome import result
from cni_ipam.dhcp.records import Records
from cni_ipam.dhcp.terms import DHCPV4, DHCPV6, Patience, Place, Wish
from cnicore.errors import TryAgainLater
from cnicore.net.interface import configure_interface
from cnicore.net.namespace import Namespace
from cnicore.owner import Owner
from dhcp.network import IPV4, PATIENCE, Network

pytestmark = pytest.mark.kernel

OWNER = Owner("mynet", "c1", "eth0")
OFTEN = "dhcp-option=option:T1,3\ndhcp-option=option:T2,8"  # told to who asks for these
IPV6 = "fd00:1::50,fd00:1::59,64,2m"
BOTH = Wish(protocols=(DHCPV4, DHCPV6))
TIMES = Wish(request=(58, 59, 3, 1))
WISHES = {"IPv4": Wish(), "IPv6": Wish(protocols=(DHCPV6,)), "both": BOTH}
ADDRESSES = {"IPv4": r"10\.1\.0\.5\d", "IPv6": r"fd00:1::5\d"}


@pytest.fixture
def network(sandbox, tmp_path):
    network = Network(sandbox, tmp_path)
    network.container()
    yield network
    network.stop()


class Daemon:
    """A table of keepers on the real kernel; `ahead` is by how many seconds its clock is."""

    def __init__(self, network, directory):
        self.network = network
        self.ahead = 0.0
        self.records = Records(str(directory))
        self.keepers = Keepers(Patience(), self.records)

    async def add(self, path="/run/netns/c1", wish=WISHES["IPv4"], owner=OWNER):
        """Lease, and configure the interface as a main plugin does."""
        descriptor = os.open(path, os.O_RDONLY)
        holding = await self.keepers.add(owner, Place(path, 0, 0, "eth0"), descriptor, wish)
        leased, container = result(holding), Namespace(path)
        try:
            configure_interface(container, "eth0", leased.ips, leased.routes)
        finally:
            container.close()
        return holding

    async def until(self, is_so):
        async with asyncio.timeout(PATIENCE):
            while not is_so():  # noqa: ASYNC110  (nobody tells when the server is ready)
                await asyncio.sleep(0.02)

    def jump(self, seconds):
        """Let the time pass at once."""
        self.ahead += seconds
        self.keepers.get(OWNER).ring()


@pytest.fixture
def in_daemon(network, tmp_path):
    """Runs a coroutine function with a daemon; one after the other they have the same records."""

    def run(main):
        async def with_daemon():
            daemon = Daemon(network, tmp_path / "records")
            clock.source.set(lambda: clock.boot_time() + daemon.ahead)
            try:
                return await main(daemon)
            finally:
                daemon.keepers.close()

        return asyncio.run(with_daemon())

    return run


def addresses(network, family=4):
    found = network.sandbox.json(f"ip -{family} -j addr show dev eth0 scope global", "c1")
    infos = found[0]["addr_info"] if found else []
    return [f"{one['local']}/{one['prefixlen']}" for one in infos if "local" in one]


def default_routes(network):
    return [one["gateway"] for one in network.sandbox.json("ip -j route show default", "c1")]


class TestLease:
    @pytest.mark.parametrize("family", ["IPv4", "IPv6", "both"])
    def test_what_is_leased_is_given_back(self, network, in_daemon, family):
        network.serve(IPV4, f"dhcp-range={IPV6}")

        async def main(daemon):
            await daemon.add(wish=WISHES[family])
            await daemon.until(network.leased)
            during = network.leased()
            await daemon.keepers.end(OWNER)
            await daemon.until(lambda: not network.leased())
            return during

        leased = in_daemon(main)
        assert len(leased) == (2 if family == "both" else 1)
        assert [one.startswith("10.1.0.5") for one in leased if "." in one] in ([], [True])
        assert [one.startswith("fd00:1::5") for one in leased if ":" in one] in ([], [True])

    def test_the_server_knows_the_client_by_its_identifier(self, network, in_daemon):
        network.serve()

        async def main(daemon):
            return await daemon.add(wish=Wish(send=((12, b"web"),)))

        in_daemon(main)
        (line,) = network.leases.read_text().splitlines()
        assert line.split()[3] == "web"
        assert line.split()[4] == "00:" + b"c1/mynet/eth0".hex(":")

    def test_what_is_asked_for_is_told(self, network, in_daemon):
        network.serve(
            more="dhcp-option=option:dns-server,10.1.0.53\ndhcp-option=option:mtu,1400\n"
            "dhcp-option=option:domain-name,example.org\n"
            "dhcp-option=option:domain-search,a.example.org,b.example.org\n"
            "dhcp-option=121,10.9.0.0/16,10.1.0.3,0.0.0.0/0,10.1.0.1"
        )

        async def main(daemon):
            return result(await daemon.add(wish=Wish(request=(121, 6, 15, 119, 26, 3, 1))))

        leased = in_daemon(main)
        assert leased.dns.nameservers == ("10.1.0.53",)
        assert leased.dns.domain == "example.org"
        assert leased.dns.search == ("a.example.org", "b.example.org")
        assert [(str(one.dst), str(one.gw), one.mtu) for one in leased.routes] == [
            ("10.9.0.0/16", "10.1.0.3", 1400),
            ("0.0.0.0/0", "10.1.0.1", 1400),
        ]

    def test_every_container_has_an_address_of_its_own(self, network, in_daemon):
        network.serve()
        paths = ["/run/netns/c1", *(network.container(f"c{number}") for number in (2, 3, 4))]

        async def main(daemon):
            steps = (daemon.add(path, owner=Owner("mynet", path[-2:], "eth0")) for path in paths)
            return [str(one.lease4.address) for one in await asyncio.gather(*steps)]

        assert len(set(in_daemon(main))) == 4
        assert len(network.leased()) == 4

    def test_a_server_without_addresses_makes_it_fail_in_time(self, network, in_daemon):
        network.serve("10.1.0.50,10.1.0.50,255.255.255.0,2m")
        second = network.container("c2")

        async def main(daemon):
            await daemon.add()
            daemon.keepers._patience = Patience(timeout=2, resend_max=2, resend_timeout=5)
            with pytest.raises(TryAgainLater, match=r"on eth0 within 5 s \(-resendtimeout\)"):
                await daemon.add(second, owner=Owner("mynet", "c2", "eth0"))

        in_daemon(main)


class TestKeep:
    def test_a_lease_is_renewed_at_t1(self, network, in_daemon):
        network.serve(more=OFTEN)

        async def main(daemon):
            holding = await daemon.add(wish=TIMES)
            first = holding.lease4.term.begin
            await daemon.until(lambda: network.log().count("DHCPACK") >= 3)
            keeper = daemon.keepers.get(OWNER)
            await daemon.until(lambda: keeper.holding.lease4.term.begin >= first + 4)
            return holding.lease4.address, keeper.holding.lease4.address

        before, after = in_daemon(main)
        assert before == after
        assert addresses(network) == [str(before)]

    def test_at_t2_every_server_is_asked(self, network, in_daemon):
        network.serve()

        async def main(daemon):
            await daemon.add()
            begin = daemon.keepers.get(OWNER).holding.lease4.term.begin
            daemon.jump(107)
            await daemon.until(
                lambda: daemon.keepers.get(OWNER).holding.lease4.term.begin >= begin + 100
            )

        in_daemon(main)

    def test_a_server_that_says_no_makes_another_address_come(self, network, in_daemon):
        network.serve()

        async def main(daemon):
            await daemon.add()
            assert default_routes(network) == ["10.1.0.1"]
            network.leases.unlink()
            network.serve("10.1.0.70,10.1.0.79,255.255.255.0,2m", "dhcp-option=3,10.1.0.2")
            daemon.jump(61)
            await daemon.until(lambda: addresses(network) and "10.1.0.7" in addresses(network)[0])
            daemon.keepers.get(OWNER).check()

        in_daemon(main)
        assert "DHCPNAK" in network.log()
        assert len(addresses(network)) == 1
        assert default_routes(network) == ["10.1.0.2"]

    def test_an_expired_lease_takes_its_address_along_until_there_is_one_again(
        self, network, in_daemon
    ):
        network.serve()

        async def main(daemon):
            await daemon.add()
            network.stop()
            daemon.jump(121)
            await daemon.until(lambda: not addresses(network))
            assert default_routes(network) == []
            assert not daemon.keepers.get(OWNER).is_bound
            network.serve()
            await daemon.until(lambda: addresses(network))
            daemon.keepers.get(OWNER).check()

        in_daemon(main)
        assert default_routes(network) == ["10.1.0.1"]

    def test_ipv6_is_renewed_and_taken_away_too(self, network, in_daemon):
        network.serve(IPV6)

        async def main(daemon):
            await daemon.add(wish=WISHES["IPv6"])
            begin = daemon.keepers.get(OWNER).holding.lease6.term.begin
            daemon.jump(61)
            await daemon.until(
                lambda: daemon.keepers.get(OWNER).holding.lease6.term.begin > begin + 60
            )
            assert len(addresses(network, 6)) == 1
            network.stop()
            daemon.jump(121)
            await daemon.until(lambda: not addresses(network, 6))

        in_daemon(main)


class TestRelease:
    """However a container ends, its address comes back to the server."""

    @pytest.mark.parametrize("family", ["IPv4", "IPv6"])
    @pytest.mark.parametrize("how", ["namespace", "link", "both"])
    def test_what_vanishes_is_given_back(self, network, in_daemon, how, family):
        network.serve(IPV4 if family == "IPv4" else IPV6)

        async def main(daemon):
            await daemon.keepers.adopt_all()
            await daemon.add(wish=WISHES[family])
            await daemon.until(network.leased)
            if how in {"link", "both"}:
                network.sandbox.shell("ip link delete vc1")
            if how in {"namespace", "both"}:
                network.sandbox.remove_container()
            await daemon.until(lambda: not network.leased())
            await daemon.until(lambda: len(daemon.keepers) == 0)
            return list(daemon.records.read())

        assert in_daemon(main) == []

    def test_what_vanishes_from_a_macvlan_is_given_back_through_its_parent(
        self, network, in_daemon
    ):
        network.serve()
        path = network.sandbox.container("c2")
        network.sandbox.shell(
            "ip link add up0 type veth peer name port0; ip link set port0 master br0;"
            " ip link set port0 up; ip link set up0 up;"
            " ip link add link up0 name eth0 netns c2 type macvlan mode bridge"
        )

        async def main(daemon):
            await daemon.add(path)
            assert daemon.keepers.get(OWNER).holding.place.via == ("up0",)
            await daemon.until(network.leased)
            network.sandbox.shell("ip link delete eth0", path)
            await daemon.keepers.end(OWNER)
            await daemon.until(lambda: not network.leased())

        in_daemon(main)

    def test_a_server_on_the_host_itself_hears_it_too(self, network, in_daemon):
        network.serve(on_host=True)

        async def main(daemon):
            await daemon.add()
            await daemon.until(network.leased)
            network.sandbox.shell("ip link delete vc1")
            await daemon.keepers.end(OWNER)
            await daemon.until(lambda: not network.leased())

        in_daemon(main)


class TestRestart:
    def lease(self, network, in_daemon, wish=WISHES["IPv4"]):
        async def main(daemon):
            return await daemon.add(wish=wish)

        return in_daemon(main)

    def adopt(self, in_daemon, after):
        async def main(daemon):
            await daemon.keepers.adopt_all()
            await after(daemon)
            keeper = daemon.keepers.get(OWNER)
            return keeper and keeper.holding

        return in_daemon(main)

    def test_a_new_daemon_renews_the_same_address(self, network, in_daemon):
        network.serve(more=OFTEN)
        before = self.lease(network, in_daemon, TIMES)
        acks = network.log().count("DHCPACK")

        async def renewed(daemon):
            await daemon.until(lambda: network.log().count("DHCPACK") > acks)
            await daemon.until(
                lambda: (
                    daemon.keepers.get(OWNER).holding.lease4.term.begin > before.lease4.term.begin
                )
            )

        after = self.adopt(in_daemon, renewed)
        assert after.lease4.address == before.lease4.address
        assert after.place == before.place

    def test_what_ended_meanwhile_is_given_back(self, network, in_daemon):
        network.serve()
        self.lease(network, in_daemon)
        network.sandbox.remove_container()

        async def released(daemon):
            await daemon.until(lambda: not network.leased())

        assert self.adopt(in_daemon, released) is None

    def test_another_namespace_at_the_path_is_not_the_container(self, network, in_daemon):
        network.serve()
        self.lease(network, in_daemon)
        network.sandbox.remove_container()
        network.container("c9")
        network.sandbox.container("c1")

        async def released(daemon):
            await daemon.until(lambda: not network.leased())

        assert self.adopt(in_daemon, released) is None


class TestInterface:
    def test_a_neighbour_takes_the_place_of_an_address(self, network, in_daemon):
        """The second address of a subnet goes with the first where the kernel does not promote."""
        network.sandbox.shell("echo 0 >/proc/sys/net/ipv4/conf/all/promote_secondaries", "c1")
        network.serve("10.1.0.50,10.1.0.50,255.255.255.0,2m")

        async def main(daemon):
            await daemon.add()
            network.leases.unlink()
            network.serve("10.1.0.51,10.1.0.51,255.255.255.0,2m")
            daemon.jump(61)
            await daemon.until(lambda: addresses(network) == ["10.1.0.51/24"])
            await daemon.until(lambda: default_routes(network) == ["10.1.0.1"])

        in_daemon(main)
