"""One attachment's leases: got together or not at all, kept, changed on the interface, given back."""

import asyncio
import logging
import os
from ipaddress import IPv4Address

import pytest

from cni_ipam.dhcp.interface import looker
from cni_ipam.dhcp.keeper import Keeper, together
from cni_ipam.dhcp.message4 import Kind4
from cni_ipam.dhcp.message6 import Kind6
from cni_ipam.dhcp.terms import DHCPV4, DHCPV6, Holding, Patience, Wish, client_id
from cnicore.errors import CniError, TryAgainLater
from cnicore.net.netlink import KernelError
from dhcp.scene import OWNER, PATIENCE
from dhcp.servers import Server6, serving6
from dhcp.virtual import START, run

BOTH = Wish(protocols=(DHCPV4, DHCPV6))
TOLERANCE = 0.01


@pytest.fixture
def server6():
    with serving6(Server6()) as server:
        yield server


class Kept:
    """A keeper in the scene; `run` gives it a loop and closes it in the end."""

    def __init__(self, scene, wish=None, patience=PATIENCE):
        self.scene = scene
        self.wish = wish or Wish()
        self.patience = patience

    def run(self, main):
        async def with_keeper():
            holding = Holding(OWNER, self.scene.place(), self.wish, client_id=client_id(OWNER))
            keeper = Keeper(holding, self.scene.descriptor(), self.patience, self.scene.records)
            try:
                return await main(keeper)
            finally:
                keeper.close()
                await asyncio.sleep(0)

        return run(with_keeper)


async def kept(keeper):
    """Do what the daemon and the main plugin do at an ADD."""
    await keeper.acquire()
    keeper.start()


class TestAcquire:
    def test_the_lease_is_on_disk_and_the_interface_is_left_to_the_main_plugin(self, scene, server):
        async def main(keeper):
            holding = await keeper.acquire()
            assert keeper.is_bound
            keeper.check()
            return holding

        holding = Kept(scene).run(main)
        assert str(holding.lease4.address) == "10.1.0.50/24"
        assert list(scene.records.read()) == [holding]
        assert scene.addresses() == ["fe80::2/64"]
        assert (holding.place.via, holding.place.mac.hex(":")) == (("br0",), "02:00:00:00:00:02")

    def test_both_protocols_are_asked_at_the_same_time(self, scene, server, server6):
        async def main(keeper):
            holding = await keeper.acquire()
            return holding, asyncio.get_running_loop().time()

        holding, moment = Kept(scene, BOTH).run(main)
        assert (str(holding.lease4.address.ip), str(holding.lease6.address)) == (
            "10.1.0.50",
            "fd00::50",
        )
        assert moment <= START + 1.01  # DHCPv6 waits a second for better offers

    @pytest.mark.parametrize("silent", [DHCPV4, DHCPV6])
    def test_if_one_fails_the_other_is_given_back(self, scene, server, server6, silent):
        (server if silent == DHCPV4 else server6).answers = set()

        async def main(keeper):
            with pytest.raises(TryAgainLater, match=r"within 30 s \(-resendtimeout\)"):
                await keeper.acquire()
            assert not keeper.is_bound

        Kept(scene, BOTH, Patience(resend_timeout=30)).run(main)
        assert len(server.of(Kind4.RELEASE)) == (silent == DHCPV6)
        assert len(server6.of(Kind6.RELEASE)) == (silent == DHCPV4)
        assert list(scene.records.read()) == []

    def test_what_cannot_be_written_down_is_given_back(self, scene, server, tmp_path):
        (tmp_path / "leases").write_text("in the way")

        async def main(keeper):
            with pytest.raises(CniError, match=r"write the lease down in .*/leases \(-leasedir\)"):
                await keeper.acquire()

        Kept(scene).run(main)
        assert server.kinds() == ["DISCOVER", "REQUEST", "RELEASE"]

    @pytest.mark.parametrize("seconds", [0, 0.5, 5, 25])
    def test_cancelled_at_any_time_it_leaves_nothing(self, scene, server, server6, seconds):
        server6.answers = set()

        async def main(keeper):
            task = asyncio.create_task(keeper.acquire())
            await asyncio.sleep(seconds)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

        Kept(scene, BOTH).run(main)
        assert server.kinds() in ([], ["DISCOVER", "REQUEST", "RELEASE"])
        assert list(scene.records.read()) == []

    @pytest.mark.parametrize("number", range(1, 30))
    def test_whichever_call_of_the_kernel_fails_nothing_is_left(self, scene, server, number):
        scene.kernel.calls.clear()
        scene.kernel.fail_at = number

        async def main(keeper):
            try:
                await keeper.acquire()
            except CniError:
                assert list(scene.records.read()) == []
                leased = len(server.of(Kind4.REQUEST))
                assert leased == len(server.of(Kind4.RELEASE))

        Kept(scene).run(main)

    def test_without_the_interface_nobody_is_asked(self, scene, server):
        scene.container.delete_link("eth0")

        async def main(keeper):
            with pytest.raises(CniError, match="eth0"):
                await keeper.acquire()

        Kept(scene).run(main)
        assert server.heard == []


class TestKeep:
    def after(self, scene, seconds, change=None, wish=None):
        """Keep a lease, change something after the ADD, and look after so many seconds."""

        async def main(keeper):
            await kept(keeper)
            (address,) = (str(keeper.holding.lease4.address),)
            scene.container.cidrs["eth0"].append(keeper.holding.lease4.address)
            assert address
            if change:
                change()
            await asyncio.sleep(seconds)
            return keeper.holding, keeper.is_bound, trouble_of(keeper)

        return Kept(scene, wish).run(main)

    def test_it_is_renewed_and_the_record_too(self, scene, server):
        holding, is_bound, _ = self.after(scene, 501)

        assert is_bound
        assert server.kinds() == ["DISCOVER", "REQUEST", "REQUEST"]
        assert holding.lease4.term.begin == pytest.approx(START + 500, abs=TOLERANCE)
        assert list(scene.records.read()) == [holding]

    def test_a_lease_that_is_as_it_was_leaves_the_interface_alone(self, scene, server):
        self.after(scene, 501, scene.kernel.calls.clear)

        assert scene.kernel.calls == []

    def test_another_address_is_changed_on_the_interface(self, scene, server, caplog):
        caplog.set_level(logging.INFO)

        def elsewhere():
            server.address = IPv4Address("10.1.0.77")

        holding, _, _ = self.after(scene, 501, elsewhere)
        assert scene.addresses() == ["fe80::2/64", "10.1.0.77/24"]
        assert list(scene.records.read()) == [holding]
        assert "c1/mynet/eth0: changed eth0 from 10.1.0.50/24 to 10.1.0.77/24" in caplog.messages

    def test_no_takes_the_address_away_until_there_is_another(self, scene, server):
        def refuse():
            server.naks = {Kind4.REQUEST}

        holding, is_bound, trouble = self.after(scene, 510, refuse)
        assert (holding.lease4, is_bound) == (None, False)
        assert scene.addresses() == ["fe80::2/64"]
        assert [one.lease4 for one in scene.records.read()] == [None]
        assert "eth0 has no lease now: the server 10.1.0.1 said no (DHCPNAK)" in trouble

    def test_expiry_takes_the_address_away(self, scene, server, caplog):
        def silence():
            server.answers = set()

        holding, is_bound, trouble = self.after(scene, 1001, silence)
        assert (holding.lease4, is_bound) == (None, False)
        assert scene.addresses() == ["fe80::2/64"]
        assert "the lease of 10.1.0.50/24 has expired, and no server answered" in trouble
        assert "the lease of 10.1.0.50/24 has expired" in caplog.text

    def test_a_server_that_is_back_gives_it_again(self, scene, server):
        async def main(keeper):
            await kept(keeper)
            server.answers = set()
            await asyncio.sleep(1100)
            assert not keeper.is_bound
            server.answers = {Kind4.DISCOVER, Kind4.REQUEST}
            await asyncio.sleep(100)
            keeper.check()

        Kept(scene).run(main)
        assert scene.addresses() == ["fe80::2/64", "10.1.0.50/24"]
        assert [str(route.gateways[0]) for route in scene.container.table if route.gateways] == [
            "10.1.0.1"
        ]

    def test_an_interface_that_cannot_be_changed_does_not_end_the_keeping(
        self, scene, server, caplog
    ):
        def broken(*_, **__):
            raise KernelError("add an address", 5)

        def elsewhere():
            server.address = IPv4Address("10.1.0.77")
            scene.container.add_address = broken

        holding, is_bound, _ = self.after(scene, 1100, elsewhere)
        assert is_bound
        assert list(scene.records.read()) == [holding]
        assert "could not change eth0: could not add an address" in caplog.text

    def test_a_disk_that_is_full_does_not_end_the_keeping(self, scene, server, caplog, monkeypatch):
        def full(_):
            raise OSError(28, "No space left on device")

        _, is_bound, _ = self.after(scene, 1100, lambda: monkeypatch.setattr(os, "fsync", full))
        assert is_bound
        assert "could not write the lease down: No space left on device" in caplog.text

    def test_an_error_that_nobody_foresaw_is_told_and_got_over(self, scene, server, caplog):
        def broken(message):
            if len(server.heard) == 3:
                raise ZeroDivisionError
            return message

        server.change = broken
        _, is_bound, _ = self.after(scene, 600)

        assert is_bound
        assert server.kinds() == ["DISCOVER", "REQUEST", "REQUEST", "REQUEST"]
        assert "an error that nobody foresaw; going on in 60 s" in caplog.text
        assert "ZeroDivisionError" in caplog.text

    def test_ipv6_takes_its_own_course(self, scene, server, server6):
        async def main(keeper):
            await kept(keeper)
            await asyncio.sleep(990)
            return keeper.holding

        holding = Kept(scene, BOTH).run(main)
        assert [one.message.kind for one in server6.heard[2:]] == [Kind6.RENEW] * 3
        assert server.kinds() == ["DISCOVER", "REQUEST", "REQUEST"]
        assert list(scene.records.read()) == [holding]

    def test_no_port_is_open_between(self, scene, server):
        async def main(keeper):
            await kept(keeper)
            await asyncio.sleep(100)
            return server.open_ports

        assert Kept(scene).run(main) == 0


def trouble_of(keeper):
    try:
        keeper.check()
    except CniError as error:
        return str(error)
    return ""


class TestRelease:
    def test_it_is_given_back_and_forgotten(self, scene, server):
        async def main(keeper):
            await kept(keeper)
            keeper.release()
            keeper.release()
            await asyncio.sleep(2000)

        Kept(scene).run(main)
        assert server.kinds() == ["DISCOVER", "REQUEST", "RELEASE"]
        assert list(scene.records.read()) == []

    def test_during_a_renewal_too(self, scene, server):
        async def main(keeper):
            await kept(keeper)
            server.answers = set()
            await asyncio.sleep(503)
            assert server.open_ports == 1
            keeper.release()
            await asyncio.sleep(0.1)
            assert server.open_ports == 0

        Kept(scene).run(main)
        assert server.kinds()[-1] == "RELEASE"

    def test_closing_leaves_all_to_the_next_daemon(self, scene, server):
        async def main(keeper):
            await kept(keeper)
            keeper.close()

        Kept(scene).run(main)
        assert server.kinds() == ["DISCOVER", "REQUEST"]
        assert len(list(scene.records.read())) == 1

    def test_a_keeper_without_a_container_can_release(self, scene, server):
        async def main(keeper):
            return await keeper.acquire()

        holding = Kept(scene).run(main)
        scene.path.unlink()

        async def orphan():
            Keeper(holding, None, PATIENCE, scene.records).release()

        run(orphan)
        assert server.heard[-1].link == "br0"
        assert list(scene.records.read()) == []


class TestGone:
    @pytest.mark.parametrize("how", ["path", "other", "link"])
    def test_what_has_gone_is_noticed(self, scene, server, how):
        async def main(keeper):
            await kept(keeper)
            assert not keeper.is_gone()
            if how == "link":
                scene.container.delete_link("eth0")
            else:
                scene.path.unlink()
            if how == "other":
                scene.path.touch()
            return keeper.is_gone()

        assert Kept(scene).run(main)

    def test_what_nobody_can_tell_stays(self, scene, server, caplog):
        async def main(keeper):
            await kept(keeper)
            looker.set(no_file_left)
            return keeper.is_gone()

        assert not Kept(scene).run(main)
        assert "could not see whether the interface is still there" in caplog.text

    def test_another_address_of_the_link_is_no_end(self, scene, server):
        async def main(keeper):
            await kept(keeper)
            scene.container.set_mac("eth0", "02:00:00:00:00:99")
            return keeper.is_gone()

        assert not Kept(scene).run(main)


def no_file_left(*_):
    raise OSError(24, "Too many open files")


class TestTogether:
    def test_a_failure_ends_the_others_before_it_is_raised(self):
        ended = []

        async def waiting():
            try:
                await asyncio.sleep(100)
            finally:
                ended.append(asyncio.get_running_loop().time())

        async def failing():
            await asyncio.sleep(1)
            raise ValueError("no")

        async def main():
            with pytest.raises(ValueError, match="no"):
                await together([waiting(), failing(), waiting()])
            return list(ended)

        assert run(main) == [START + 1, START + 1]
