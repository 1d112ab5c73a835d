"""The keepers of all attachments: who is asked for which, what is adopted, what has ended."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cni_ipam.dhcp import clock, interface, marks
from cni_ipam.dhcp.journal import LOGGER, Journal
from cni_ipam.dhcp.keeper import Keeper, adopt
from cni_ipam.dhcp.records import Records
from cni_ipam.dhcp.terms import Holding, Patience, Place, Wish, client_id
from cnicore.errors import CniError, TryAgainLater
from cnicore.owner import Owner

SWEEP_PAUSE = 5.0
SUSPENDED = 1.0  # seconds by which the clocks part while the machine sleeps


@dataclass(slots=True)
class Acquisition:
    """An ADD that goes on, and how many wait for it."""

    task: asyncio.Task[Holding]
    namespace: tuple[int, int]
    waiting: int = 0


class Keepers:
    """The table of the keepers, one for each attachment."""

    def __init__(self, patience: Patience, records: Records) -> None:
        self._patience = patience
        self._records = records
        self._table: dict[Owner, Keeper] = {}
        self._acquisitions: dict[Owner, Acquisition] = {}
        self._sweeper: asyncio.Task[None] | None = None

    def get(self, owner: Owner) -> Keeper | None:
        return self._table.get(owner)

    def __len__(self) -> int:
        return len(self._table)

    async def add(self, owner: Owner, place: Place, netns: int, wish: Wish) -> Holding:
        """Lease what is wished for; what is leased already is told at once.

        The descriptor `netns` becomes the keepers' own. Of `place` path and interface are needed.
        Those who ask for the same attachment share what is asked; when all of them are cancelled,
        nothing of it is left. Raises CniError.
        """
        try:
            known = self._table.get(owner)
            if known and known.is_of(netns, wish) and not self._records.is_marked(owner):
                return known.holding
            namespace = interface.identity(netns)
            while (acquisition := self._acquisitions.get(owner)) is not None:
                if acquisition.namespace == namespace:
                    break
                await self.end(owner)
            if acquisition is None:
                self._release(owner)  # of another interface, without a lease, or ended unheard
                acquisition = self._begin(owner, located(place, netns), netns, wish)
        finally:
            os.close(netns)
        return await self._share(owner, acquisition)

    def _begin(self, owner: Owner, place: Place, netns: int, wish: Wish) -> Acquisition:
        holding = Holding(owner, place, wish, client_id=client_id(owner))
        keeper = Keeper(holding, os.dup(netns), self._patience, self._records)
        task = asyncio.create_task(self._acquire(owner, keeper))
        acquisition = Acquisition(task, (place.device, place.inode))
        self._acquisitions[owner] = acquisition

        def finish(task: asyncio.Task[Holding]) -> None:
            if self._acquisitions.get(owner) is acquisition:
                del self._acquisitions[owner]
            if task.cancelled() or task.exception():
                keeper.close()

        # not in the task: one that is cancelled at once never runs
        task.add_done_callback(finish)
        return acquisition

    async def _acquire(self, owner: Owner, keeper: Keeper) -> Holding:
        holding = await keeper.acquire()
        keeper.start()
        self._table[owner] = keeper
        return holding

    async def _share(self, owner: Owner, acquisition: Acquisition) -> Holding:
        acquisition.waiting += 1
        try:
            return await asyncio.shield(acquisition.task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if acquisition.task.cancelled() and not (caller and caller.cancelling()):
                raise TryAgainLater(
                    f"the lease of {owner.ifname} is not wanted any more: a DEL came meanwhile, or"
                    " the DHCP daemon stops"
                ) from None
            if acquisition.waiting == 1:
                await self._abandon(owner, acquisition)
            raise
        finally:
            acquisition.waiting -= 1

    async def _abandon(self, owner: Owner, acquisition: Acquisition) -> None:
        """Leave nothing of an ADD that nobody waits for, not even if it has just succeeded."""
        acquisition.task.cancel()
        await asyncio.wait([acquisition.task])
        if not acquisition.task.cancelled() and not acquisition.task.exception():
            self._release(owner)

    async def end(self, owner: Owner) -> None:
        """Give back what the attachment has, also if an ADD is at it; to have nothing is fine."""
        if acquisition := self._acquisitions.get(owner):
            acquisition.task.cancel()
            await asyncio.wait([acquisition.task])
        self._release(owner)

    def _release(self, owner: Owner) -> None:
        keeper = self._table.pop(owner, None)
        if keeper:
            keeper.release()
        with system_errors_logged():
            self._records.unmark(owner)

    async def adopt_all(self) -> None:
        """Go on with what an earlier daemon leased, and begin to look after what ends."""
        with system_errors_logged():
            ended = self._records.ended()
            for holding in self._records.read():
                self._adopt(holding, is_ended=marks.stem(holding.owner) in ended)
                await asyncio.sleep(0)
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep_for_ever())

    def _adopt(self, holding: Holding, *, is_ended: bool) -> None:
        journal = Journal(holding.owner)
        try:
            keeper = adopt(holding, self._patience, self._records)
        except CniError as error:
            journal.warn(f"could not go on with the lease: {error}")
            return
        if keeper is None:
            journal.note("ended while there was no daemon: the interface is gone")
            Keeper(holding, None, self._patience, self._records).release()
        elif is_ended:
            journal.note("ended while there was no daemon: it is marked so")
            keeper.release()
        else:
            journal.note("going on with the lease that an earlier daemon got")
            keeper.start()
            self._table[holding.owner] = keeper

    async def _sweep_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        parted = clock.now() - loop.time()
        while True:
            await asyncio.sleep(SWEEP_PAUSE)
            before, parted = parted, clock.now() - loop.time()
            if parted > before + SUSPENDED:  # timers stood still
                for keeper in self._table.values():
                    keeper.ring()
            await self.sweep()

    async def sweep(self) -> None:
        """End what is marked as ended, and what has lost its namespace or its interface."""
        ended: set[str] = set()
        with system_errors_logged():
            ended = self._records.ended()
        for owner, keeper in [*self._table.items()]:
            why = "it is marked as ended" if marks.stem(owner) in ended else ""
            if not why and keeper.is_gone():
                why = "its interface is gone"
            if why and self._table.get(owner) is keeper:
                Journal(owner).note(f"ended: {why}")
                self._release(owner)
            await asyncio.sleep(0)  # the others' turn
        with system_errors_logged():
            self._records.drop_marks(ended)

    def close(self) -> None:
        """Stop, and leave the leases to the next daemon."""
        if self._sweeper:
            self._sweeper.cancel()
            self._sweeper = None
        for acquisition in self._acquisitions.values():
            acquisition.task.cancel()
        for keeper in self._table.values():
            keeper.close()
        self._table.clear()


def located(place: Place, netns: int) -> Place:
    """The place with what identifies its namespace.

    Its path is forgotten if that is another one here: the caller may live in another mount
    namespace.
    """
    device, inode = interface.identity(netns)
    place = replace(place, device=device, inode=inode)
    try:
        is_here = interface.is_at(place.netns, place)
    except OSError:
        is_here = False
    return place if is_here else replace(place, netns="")


@contextmanager
def system_errors_logged() -> Iterator[None]:
    """The directory of the records may be on a disk that is broken: the leases go on."""
    try:
        yield
    except OSError as error:
        LOGGER.warning("could not look after the records: %s", error)
