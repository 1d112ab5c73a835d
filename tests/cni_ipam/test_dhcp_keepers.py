"""The table of keepers: who shares what, what ends what, what is adopted after a restart."""

import asyncio
import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cni_ipam.dhcp import clock
from cni_ipam.dhcp.keepers import Keepers
from cni_ipam.dhcp.message4 import Kind4
from cni_ipam.dhcp.terms import Term, Wish
from cnicore.errors import CniError, TryAgainLater
from cnicore.owner import Owner
from dhcp.scene import OWNER, PATIENCE
from dhcp.virtual import run

WISH = Wish()
OTHER = Owner("mynet", "c2", "eth0")


class Daemon:
    """A table in the scene, and what the daemon does with it."""

    def __init__(self, scene):
        self.scene = scene
        self.keepers = Keepers(PATIENCE, scene.records)

    async def add(self, owner=OWNER, wish=WISH):
        return await self.keepers.add(owner, self.scene.place(), self.scene.descriptor(), wish)

    def later(self, owner=OWNER, wish=WISH):
        return asyncio.create_task(self.add(owner, wish))


def in_daemon(scene, main):
    async def with_daemon():
        daemon = Daemon(scene)
        try:
            return await main(daemon)
        finally:
            daemon.keepers.close()
            await asyncio.sleep(0.1)

    return run(with_daemon)


class TestAdd:
    def test_it_is_leased_kept_and_known(self, scene, server):
        async def main(daemon):
            holding = await daemon.add()
            keeper = daemon.keepers.get(OWNER)
            assert keeper.holding == holding
            await asyncio.sleep(1200)
            keeper.check()
            return len(daemon.keepers)

        assert in_daemon(scene, main) == 1
        assert server.kinds() == ["DISCOVER", "REQUEST", "REQUEST", "REQUEST"]

    def test_asked_again_it_tells_what_is_there(self, scene, server):
        async def main(daemon):
            return await daemon.add(), await daemon.add()

        first, second = in_daemon(scene, main)
        assert first == second
        assert server.kinds() == ["DISCOVER", "REQUEST"]

    @pytest.mark.parametrize(
        "change",
        [
            lambda scene, _: scene.container.set_mac("eth0", "02:00:00:00:00:99"),
            lambda _, server: setattr(server, "naks", {Kind4.REQUEST}),
        ],
        ids=["another interface", "lost lease"],
    )
    def test_what_is_not_the_same_any_more_is_leased_anew(self, scene, server, change):
        async def main(daemon):
            await daemon.add()
            change(scene, server)
            await asyncio.sleep(502)
            server.naks = set()
            await daemon.add()
            daemon.keepers.get(OWNER).check()
            return len(daemon.keepers)

        assert in_daemon(scene, main) == 1
        assert server.kinds().count("DISCOVER") >= 2

    def test_another_wish_is_leased_anew(self, scene, server):
        async def main(daemon):
            await daemon.add()
            await daemon.add(wish=replace(WISH, request=(6, 3, 1)))

        in_daemon(scene, main)
        assert server.kinds() == ["DISCOVER", "REQUEST", "RELEASE", "DISCOVER", "REQUEST"]

    def test_what_was_ended_unheard_is_leased_anew(self, scene, server):
        async def main(daemon):
            await daemon.add()
            scene.records.mark(OWNER)
            await daemon.add()
            await daemon.keepers.sweep()
            return len(daemon.keepers)

        assert in_daemon(scene, main) == 1
        assert server.kinds() == ["DISCOVER", "REQUEST", "RELEASE", "DISCOVER", "REQUEST"]

    def test_those_who_ask_at_once_share_one_acquisition(self, scene, server):
        async def main(daemon):
            return await asyncio.gather(*(daemon.add() for _ in range(5)))

        assert len(set(map(repr, in_daemon(scene, main)))) == 1
        assert server.kinds() == ["DISCOVER", "REQUEST"]

    def test_other_attachments_have_leases_of_their_own(self, scene, server):
        async def main(daemon):
            await asyncio.gather(daemon.add(), daemon.add(OTHER))
            return len(daemon.keepers)

        assert in_daemon(scene, main) == 2
        assert server.kinds().count("REQUEST") == 2

    def test_a_failure_is_everybodys_and_nothing_is_left(self, scene, server):
        server.answers = set()

        async def main(daemon):
            failures = await asyncio.gather(daemon.add(), daemon.add(), return_exceptions=True)
            assert daemon.keepers.get(OWNER) is None
            return failures

        assert [type(one) for one in in_daemon(scene, main)] == [TryAgainLater] * 2
        assert list(scene.records.read()) == []

    def test_a_failure_does_not_stand_in_the_way_of_the_next(self, scene, server):
        server.answers = set()

        async def main(daemon):
            with pytest.raises(CniError):
                await daemon.add()
            server.answers = {Kind4.DISCOVER, Kind4.REQUEST}
            await daemon.add()

        in_daemon(scene, main)

    def test_a_path_that_leads_elsewhere_here_is_forgotten(self, scene, server):
        async def main(daemon):
            scene.path.unlink()
            scene.path.touch()
            place = replace(scene.place(), device=0, inode=0)
            descriptor = os.open("/proc/self/ns/net", os.O_RDONLY)
            await daemon.keepers.add(OWNER, place, descriptor, WISH)
            holding = daemon.keepers.get(OWNER).holding
            await daemon.keepers.sweep()
            return holding, len(daemon.keepers)

        holding, count = in_daemon(scene, main)
        assert (holding.place.netns, count) == ("", 1)
        assert holding.place.inode == Path("/proc/self/ns/net").stat().st_ino


class TestCancelled:
    def test_the_last_one_who_gives_up_ends_it(self, scene, server):
        server.answers = {Kind4.DISCOVER}

        async def main(daemon):
            tasks = [daemon.later(), daemon.later()]
            await asyncio.sleep(0.5)
            tasks[0].cancel()
            await asyncio.sleep(0.1)
            assert "RELEASE" not in server.kinds()
            tasks[1].cancel()
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)
            return daemon.keepers.get(OWNER)

        assert in_daemon(scene, main) is None
        assert server.kinds() == ["DISCOVER", "REQUEST", "RELEASE"]

    def test_one_who_gives_up_leaves_it_to_the_others(self, scene, server):
        async def main(daemon):
            tasks = [daemon.later(), daemon.later()]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.wait(tasks)
            return tasks[1].result()

        assert in_daemon(scene, main).lease4
        assert server.kinds() == ["DISCOVER", "REQUEST"]

    @pytest.mark.parametrize("turns", range(12))
    def test_at_whatever_moment_nothing_is_left(self, scene, server, turns):
        async def main(daemon):
            task = daemon.later()
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            keeper = daemon.keepers.get(OWNER)
            assert (keeper is None) == task.cancelled()

        in_daemon(scene, main)
        kept = len(list(scene.records.read()))
        assert server.kinds().count("REQUEST") - server.kinds().count("RELEASE") == kept

    def test_a_del_ends_an_add_that_waits(self, scene, server):
        server.answers = set()

        async def main(daemon):
            task = daemon.later()
            await asyncio.sleep(20)
            await daemon.keepers.end(OWNER)
            with pytest.raises(TryAgainLater, match="a DEL came meanwhile"):
                await task
            return daemon.keepers.get(OWNER)

        assert in_daemon(scene, main) is None

    def test_after_that_an_add_is_a_new_one(self, scene, server):
        server.answers = set()

        async def main(daemon):
            task = daemon.later()
            await asyncio.sleep(20)
            await daemon.keepers.end(OWNER)
            server.answers = {Kind4.DISCOVER, Kind4.REQUEST}
            assert (await daemon.add()).lease4
            await asyncio.wait([task])
            assert isinstance(task.exception(), TryAgainLater)

        in_daemon(scene, main)

    def test_when_the_daemon_stops_what_is_half_got_is_given_back(self, scene, server):
        server.answers = {Kind4.DISCOVER}

        async def main(daemon):
            daemon.later()
            await asyncio.sleep(1)

        in_daemon(scene, main)
        assert server.kinds()[-1] == "RELEASE"


class TestEnd:
    def test_it_is_given_back_once(self, scene, server):
        async def main(daemon):
            await daemon.add()
            await asyncio.gather(*(daemon.keepers.end(OWNER) for _ in range(3)))
            return daemon.keepers.get(OWNER)

        assert in_daemon(scene, main) is None
        assert server.kinds() == ["DISCOVER", "REQUEST", "RELEASE"]
        assert list(scene.records.read()) == []

    def test_what_is_not_known_is_as_wished(self, scene, server):
        async def main(daemon):
            await daemon.keepers.end(OWNER)

        in_daemon(scene, main)
        assert server.heard == []


class TestSweep:
    @pytest.mark.parametrize("how", ["namespace", "link", "mark"])
    def test_what_has_ended_is_given_back_within_seconds(self, scene, server, how, caplog):
        caplog.set_level(logging.INFO)

        async def main(daemon):
            await daemon.keepers.adopt_all()
            await daemon.add()
            await asyncio.sleep(20)
            if how == "namespace":
                scene.path.unlink()
            elif how == "link":
                scene.container.delete_link("eth0")
            else:
                scene.records.mark(OWNER)
            await asyncio.sleep(5.1)
            return daemon.keepers.get(OWNER)

        assert in_daemon(scene, main) is None
        assert server.kinds() == ["DISCOVER", "REQUEST", "RELEASE"]
        assert server.heard[-1].link == ("br0" if how == "link" else "eth0")
        assert left(scene) == []
        reason = "it is marked as ended" if how == "mark" else "its interface is gone"
        assert f"c1/mynet/eth0: ended: {reason}" in caplog.messages

    def test_what_lives_stays(self, scene, server):
        async def main(daemon):
            await daemon.keepers.adopt_all()
            await daemon.add()
            await asyncio.sleep(100)
            return len(daemon.keepers)

        assert in_daemon(scene, main) == 1

    def test_a_disk_that_cannot_be_read_does_not_end_it(self, scene, server, monkeypatch, caplog):
        async def main(daemon):
            await daemon.keepers.adopt_all()
            await daemon.add()
            with monkeypatch.context() as patched:
                patched.setattr(os, "listdir", broken)
                await asyncio.sleep(6)
            scene.path.unlink()
            await asyncio.sleep(6)
            return len(daemon.keepers)

        assert in_daemon(scene, main) == 0
        assert "could not look after the records" in caplog.text

    def test_after_a_sleep_of_the_machine_what_is_due_is_done(self, scene, server):
        """The clock since boot went on, those of the timers did not."""
        slept = [0.0]

        async def main(daemon):
            loop = asyncio.get_running_loop()
            clock.source.set(lambda: loop.time() + slept[0])
            await daemon.keepers.adopt_all()
            await daemon.add()
            await asyncio.sleep(7)
            assert server.kinds() == ["DISCOVER", "REQUEST"]
            slept[0] = 600.0
            await asyncio.sleep(5.1)

        in_daemon(scene, main)
        assert server.kinds() == ["DISCOVER", "REQUEST", "REQUEST"]


def broken(_):
    raise OSError(5, "Input/output error")


class TestAdopt:
    """One daemon leases and is gone; the next one finds what it left."""

    def restart(self, scene, server, meanwhile=lambda: None, seconds=0.1):
        async def first(daemon):
            await daemon.add()

        in_daemon(scene, first)
        server.heard.clear()
        meanwhile()

        async def second(daemon):
            await daemon.keepers.adopt_all()
            await asyncio.sleep(seconds)
            return daemon.keepers.get(OWNER) and daemon.keepers.get(OWNER).holding

        return in_daemon(scene, second)

    def test_the_same_address_is_renewed_when_it_is_due(self, scene, server, caplog):
        caplog.set_level(logging.INFO)
        holding = self.restart(scene, server, seconds=501)

        assert str(holding.lease4.address) == "10.1.0.50/24"
        assert server.kinds() == ["REQUEST"]
        assert str(server.heard[0].message.ciaddr) == "10.1.0.50"
        assert "c1/mynet/eth0: going on with the lease that an earlier daemon got" in (
            caplog.messages
        )

    def test_what_was_due_meanwhile_is_done_at_once(self, scene, server):
        def long_ago():
            shift(scene, -600)

        assert self.restart(scene, server, long_ago).lease4
        assert server.kinds() == ["REQUEST"]

    def test_what_has_expired_meanwhile_is_got_anew(self, scene, server):
        def long_ago():
            shift(scene, -2000)

        assert self.restart(scene, server, long_ago).lease4
        assert server.kinds() == ["DISCOVER", "REQUEST"]

    @pytest.mark.parametrize("how", ["path", "other", "link"])
    def test_what_has_gone_is_given_back_through_the_host(self, scene, server, how, caplog):
        caplog.set_level(logging.INFO)

        def end():
            if how == "link":
                scene.container.delete_link("eth0")
            else:
                scene.path.unlink()
            if how == "other":
                scene.path.touch()

        assert self.restart(scene, server, end) is None
        assert server.kinds() == ["RELEASE"]
        assert server.heard[0].link == "br0"
        assert list(scene.records.read()) == []
        assert "ended while there was no daemon: the interface is gone" in caplog.text

    def test_what_is_marked_is_given_back(self, scene, server, caplog):
        caplog.set_level(logging.INFO)

        assert self.restart(scene, server, lambda: scene.records.mark(OWNER)) is None
        assert server.kinds() == ["RELEASE"]
        assert server.heard[0].link == "eth0"
        assert left(scene) == []
        assert "ended while there was no daemon: it is marked so" in caplog.text

    def test_an_unknown_path_is_found_by_the_processes_in_the_namespace(self, scene, server):
        def forget():
            (holding,) = scene.records.read()
            scene.records.write(replace(holding, place=replace(holding.place, netns="")))

        assert self.restart(scene, server, forget).lease4

    def test_a_record_of_another_boot_sends_nothing(self, scene, server):
        def reboot():
            (record,) = Path(scene.records.directory).iterdir()
            text = record.read_text()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            record.write_text(text.replace(boot, "another"))

        assert self.restart(scene, server, reboot) is None
        assert server.heard == []

    def test_a_container_that_cannot_be_looked_at_stays_on_disk(self, scene, server, caplog):
        def broken_path():
            scene.path.unlink()
            scene.path.symlink_to(scene.path)

        assert self.restart(scene, server, broken_path) is None
        assert server.heard == []
        assert len(list(scene.records.read())) == 1
        assert "could not go on with the lease" in caplog.text

    def test_without_a_directory_there_is_nothing_to_adopt(self, scene):
        async def main(daemon):
            await daemon.keepers.adopt_all()
            return len(daemon.keepers)

        assert in_daemon(scene, main) == 0


def left(scene):
    return list(Path(scene.records.directory).iterdir())


def shift(scene, seconds):
    """Move the lease's moments."""
    (holding,) = scene.records.read()
    term = holding.lease4.term
    moved = Term(*(getattr(term, name) + seconds for name in term.__slots__))
    scene.records.write(replace(holding, lease4=replace(holding.lease4, term=moved)))
