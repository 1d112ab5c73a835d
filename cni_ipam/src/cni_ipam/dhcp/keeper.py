"""One attachment's leases, from its ADD to its DEL: what changes is changed on its interface."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterable
from dataclasses import replace

from cni_ipam.dhcp import clock, interface
from cni_ipam.dhcp.course import Course
from cni_ipam.dhcp.exchange4 import Client4, Exchange4
from cni_ipam.dhcp.exchange6 import Client6, Exchange6
from cni_ipam.dhcp.interface import Belongings
from cni_ipam.dhcp.journal import Journal
from cni_ipam.dhcp.outcome import belongings4, belongings6
from cni_ipam.dhcp.records import Records
from cni_ipam.dhcp.terms import (
    DHCPV4,
    DHCPV6,
    Holding,
    Lease4,
    Lease6,
    Patience,
    Wish,
)
from cnicore.errors import CniError, reason, system_errors

AFTER_AN_ERROR = 60.0  # seconds until a lease goes on that met an error that nobody foresaw


class Keeper:
    """Keeps the leases of one attachment; the file descriptor `netns` becomes its own.

    Without `netns` the container is gone, and what is left to do is `release`.
    """

    def __init__(
        self, holding: Holding, netns: int | None, patience: Patience, records: Records
    ) -> None:
        self.holding = holding
        self._netns = netns
        self._patience = patience
        self._records = records
        self._journal = Journal(holding.owner)
        self._task: asyncio.Task[None] | None = None
        self._courses = self._plan()

    def _plan(self) -> list[Course[Lease4] | Course[Lease6]]:
        """The course of each lease that is wished for, from where it is."""
        holding, patience, journal = self.holding, self._patience, self._journal
        place, wish, name = holding.place, holding.wish, holding.client_id
        courses: list[Course[Lease4] | Course[Lease6]] = []
        if DHCPV4 in wish.protocols:
            client4 = Client4(self._netns, place, wish, name, patience.broadcast)
            four = Course(Exchange4(client4, journal), patience, journal, self._change4)
            four.lease = holding.lease4
            courses.append(four)
        if DHCPV6 in wish.protocols:
            client6 = Client6(self._netns, place, wish, name)
            six = Course(Exchange6(client6, journal), patience, journal, self._change6)
            six.lease = holding.lease6
            courses.append(six)
        return courses

    async def acquire(self) -> Holding:
        """Get all leases and write them down; on failure leave none. Raises CniError."""
        place, wish = self.holding.place, self.holding.wish
        place = interface.prepare(self._require_netns(), place, wish.protocols)
        self.holding = replace(self.holding, place=place)
        self._courses = self._plan()
        try:
            await together(course.acquire(place.ifname) for course in self._courses)
            with system_errors(f"write the lease down in {self._records.directory} (-leasedir)"):
                self._records.write(self.holding)
        except BaseException:
            self._give_back()
            raise
        return self.holding

    def _require_netns(self) -> int:
        if self._netns is None:
            raise CniError(f"the network namespace of {self.holding.place.ifname} is gone")
        return self._netns

    def start(self) -> None:
        """Begin to keep the leases; from now on what changes is changed on the interface."""
        self._task = asyncio.create_task(together(self._keep(course) for course in self._courses))

    async def _keep(self, course: Course[Lease4] | Course[Lease6]) -> None:
        while True:
            try:
                await course.keep()
            except Exception as error:  # noqa: BLE001  (one lease's error must not end it, nor others)
                self._journal.report(
                    f"an error that nobody foresaw; going on in {AFTER_AN_ERROR:.0f} s", error
                )
            await course.alarm.wait_until(clock.now() + AFTER_AN_ERROR)

    @property
    def is_bound(self) -> bool:
        """Whether all leases that are wished for are good now."""
        leases = [course.lease for course in self._courses]
        return all(lease and lease.term.expire > clock.now() for lease in leases)

    def check(self) -> None:
        """Raise CniError with what is wrong, if anything is."""
        if not self.is_bound:
            why = "; ".join(course.trouble for course in self._courses if course.trouble)
            raise CniError(
                f"{self.holding.place.ifname} has no lease now: {why or 'it has expired'};"
                " the DHCP daemon goes on asking for one"
            )

    def ring(self) -> None:
        """Let everything that is due be done: the machine was suspended."""
        for course in self._courses:
            course.alarm.ring()

    def is_gone(self) -> bool:
        """Whether the container's namespace has ended, or its interface."""
        place = self.holding.place
        try:
            if place.netns and not interface.is_at(place.netns, place):
                return True
            return not interface.looker.get()(self._require_netns(), place.ifname)
        except (OSError, CniError) as error:  # nobody can tell, so it stays
            self._journal.warn(f"could not see whether the interface is still there: {error}")
            return False

    def is_of(self, netns: int, wish: Wish) -> bool:
        """Whether an ADD for that namespace with that wish gets what is here."""
        place = self.holding.place
        return (
            self.is_bound
            and self.holding.wish == wish
            and interface.identity(netns) == (place.device, place.inode)
            and interface.mac_of(netns, place.ifname) == place.mac
        )

    def release(self) -> None:
        """Stop, give the leases back and forget them; what fails is for the journal only."""
        self._stop()
        self._give_back()
        try:
            self._records.remove(self.holding)
        except OSError as error:
            self._journal.warn(f"could not remove the record of the lease: {reason(error)}")
        self.close()

    def close(self) -> None:
        """Stop, and leave the leases to the next daemon."""
        self._stop()
        if self._netns is not None:
            os.close(self._netns)
            self._netns = None

    def _stop(self) -> None:
        if self._task:
            self._task.cancel()
            self._task = None

    def _give_back(self) -> None:
        for course in self._courses:
            course.release()

    def _change4(self, old: Lease4 | None, new: Lease4 | None) -> None:
        wish = self.holding.wish
        self.holding = replace(self.holding, lease4=new)
        self._apply(belongings4(old, wish), belongings4(new, wish))

    def _change6(self, old: Lease6 | None, new: Lease6 | None) -> None:
        self.holding = replace(self.holding, lease6=new)
        self._apply(belongings6(old), belongings6(new))

    def _apply(self, old: Belongings, new: Belongings) -> None:
        if self._task is None:  # the ADD: the main plugin does it, and `acquire` writes it down
            return
        if old != new:
            self._change_interface(old, new)
        try:
            self._records.write(self.holding)
        except OSError as error:
            self._journal.warn(f"could not write the lease down: {reason(error)}")

    def _change_interface(self, old: Belongings, new: Belongings) -> None:
        ifname = self.holding.place.ifname
        try:
            interface.exchange(self._require_netns(), ifname, old, new)
        except CniError as error:
            self._journal.warn(f"could not change {ifname}: {error}")
        else:
            self._journal.note(f"changed {ifname} from {_texts(old)} to {_texts(new)}")


def adopt(holding: Holding, patience: Patience, records: Records) -> Keeper | None:
    """A keeper of what an earlier daemon leased, None if the container is gone. Raises CniError."""
    netns = interface.open_place(holding.place)
    if netns is None:
        return None
    keeper = Keeper(holding, netns, patience, records)
    if keeper.is_gone():
        keeper.close()
        return None
    return keeper


async def together(steps: Iterable[Coroutine[object, object, None]]) -> None:
    """Run them all; the first failure, or a cancellation, ends the others before it is raised."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _texts(belongings: Belongings) -> str:
    return ", ".join(str(ip.address) for ip in belongings.ips) or "nothing"
