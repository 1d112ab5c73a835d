"""The course of one lease: got, renewed at T1, rebound at T2, expired, got anew (RFC 2131, 4.4)."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from cni_ipam.dhcp import clock
from cni_ipam.dhcp.dialogue import Dialogue, Refused, Unanswered, pauses
from cni_ipam.dhcp.journal import Journal
from cni_ipam.dhcp.terms import DHCPV4, DHCPV6, Patience, Term
from cnicore.errors import CniError, TryAgainLater

LONG_PAUSE, SHORTEST_PAUSE = 60.0, 1.0
NO_ANSWER = "no server answered"
NAMES = {DHCPV4: "DHCP", DHCPV6: "DHCPv6"}


class Lease(Protocol):
    """What of a lease its course is determined by."""

    @property
    def address(self) -> object: ...
    @property
    def term(self) -> Term: ...


L = TypeVar("L", bound=Lease)


class Course(Generic[L]):
    """One lease from when it is asked for; `changed` is told the old one and the new one.

    `trouble` says why there is no lease, for as long as there is none.
    """

    def __init__(
        self,
        dialogue: Dialogue[L],
        patience: Patience,
        journal: Journal,
        changed: Callable[[L | None, L | None], None],
    ) -> None:
        self.lease: L | None = None
        self.trouble = ""
        self.alarm = clock.Alarm()
        self._dialogue = dialogue
        self._protocol = NAMES[dialogue.protocol]
        self._patience = patience
        self._journal = journal
        self._changed = changed

    async def acquire(self, ifname: str) -> None:
        """Get the first lease. Raises TryAgainLater when patience is over, CniError."""
        limit = self._patience.resend_timeout
        lease = await self._obtain(clock.now() + limit)
        if lease is None:
            heard = f": {self.trouble}" if self.trouble else ""
            raise TryAgainLater(
                f"no {self._protocol} server answered on {ifname} within {limit:g} s"
                f" (-resendtimeout){heard}: is there a server on this network, and has it a free"
                " address?"
            )
        self._become(lease)

    async def keep(self) -> None:
        """Go on for ever: renew what there is, get what there is not."""
        while True:
            if self.lease is None:
                self._become(await self._obtain(math.inf))
            else:
                await self.alarm.wait_until(self.lease.term.renew)
                self._become(await self._extend(self.lease))

    def release(self) -> None:
        """Give the lease back to its server."""
        if self.lease is not None:
            self._dialogue.release(self.lease)
            self.lease = None

    def _become(self, lease: L | None) -> None:
        old, self.lease = self.lease, lease
        if lease is not None:
            self.trouble = ""
            act = "renewed" if old and old.address == lease.address else "leased"
            self._journal.note(f"{act} {lease.address} by {self._protocol} {_lasting(lease.term)}")
        self._changed(old, lease)

    async def _obtain(self, deadline: float) -> L | None:
        """Attempt until there is a lease, or until there is no time for one: then None.

        Raises CniError for what another attempt would not change, if there is a deadline.
        """
        begin = clock.now()
        for pause in pauses(self._patience):
            seconds = min(self._patience.timeout, deadline - clock.now())
            try:
                return await self._dialogue.obtain(seconds, begin)
            except (Unanswered, Refused, OSError) as error:
                self.trouble = _words(error)
                if deadline < math.inf and getattr(error, "errno", None) == errno.ENODEV:
                    raise CniError(f"the interface is gone: {self.trouble}") from error
            except CniError as error:
                self.trouble = str(error)
                if deadline < math.inf:
                    raise
            if clock.now() + pause >= deadline:
                break
            self._journal.warn(
                f"no {self._protocol} lease: {self.trouble or NO_ANSWER}; next try in {pause:.1f} s"
            )
            await self.alarm.wait_until(clock.now() + pause)
        return None

    async def _extend(self, lease: L) -> L | None:
        """The lease with another term, None if it is lost."""
        term = lease.term
        while (now := clock.now()) < term.expire:
            of_all = now >= term.rebind
            limit = term.expire if of_all else term.rebind
            again = min(now + retry_pause(limit - now), limit)
            seconds = min(again - now, self._patience.timeout)
            try:
                return await self._dialogue.extend(lease, of_all=of_all, seconds=seconds)
            except Refused as error:
                self.trouble = str(error)
                self._journal.warn(f"lost {lease.address}: {error}")
                return None
            except (Unanswered, OSError, CniError) as error:
                self._tell_failure(lease, "rebind" if of_all else "renew", _words(error), again)
            await self.alarm.wait_until(again)
        self.trouble = f"the lease of {lease.address} has expired, and no server answered"
        self._journal.warn(self.trouble)
        return None

    def _tell_failure(self, lease: L, act: str, why: str, again: float) -> None:
        now = clock.now()
        left, pause = lease.term.expire - now, max(0.0, again - now)
        self._journal.warn(
            f"could not {act} {lease.address}, which expires in {left:.1f} s: {why or NO_ANSWER};"
            f" next try in {pause:.1f} s"
        )


def retry_pause(remaining: float) -> float:
    """How long after a failed renewal the next one is due (RFC 2131, 4.4.5), shorter at the end."""
    if remaining >= LONG_PAUSE:
        return max(remaining / 2, LONG_PAUSE)
    return max(remaining / 4, SHORTEST_PAUSE)


def _words(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _lasting(term: Term) -> str:
    if math.isinf(term.expire):
        return "for ever"
    now = clock.now()
    return f"for {term.expire - now:.0f} s, to be renewed in {term.renew - now:.0f} s"
