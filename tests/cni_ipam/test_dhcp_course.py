"""The course of a lease: when it is renewed, rebound, lost and got again."""

import asyncio
import errno
import logging
import math
import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface
from itertools import islice, pairwise

import pytest

from cni_ipam.dhcp.course import Course, retry_pause
from cni_ipam.dhcp.dialogue import Refused, Unanswered, pauses
from cni_ipam.dhcp.journal import Journal
from cni_ipam.dhcp.terms import DHCPV4, Lease4, Patience, Term
from cnicore.errors import CniError, TryAgainLater
from dhcp.scene import OWNER
from dhcp.virtual import START, run

SERVER, MAC = IPv4Address("10.1.0.1"), bytes(6)


@dataclass
class Asked:
    """What a dialogue was asked for, and when."""

    what: str
    moment: float
    seconds: float = 0.0


class Script:
    """A dialogue that answers what the test says: each attempt lasts `attempt` seconds."""

    protocol = DHCPV4

    def __init__(self, lasts=1000.0):
        self.lasts = lasts
        self.attempt = 0.0
        self.address = "10.1.0.50/24"
        self.failures = {}
        self.asked = []

    async def obtain(self, seconds, since):
        return await self._answer("obtain", seconds)

    async def extend(self, lease, *, of_all, seconds):
        return await self._answer("rebind" if of_all else "renew", seconds)

    def release(self, lease):
        self.asked.append(Asked("release", now()))

    async def _answer(self, what, seconds):
        self.asked.append(Asked(what, now(), seconds))
        begin = now()
        if error := self.failures.get(what):
            await asyncio.sleep(min(self.attempt, seconds))
            raise error
        return lease(self.address, begin, self.lasts)

    def moments(self, what=None):
        return [one.moment - START for one in self.asked if what in (None, one.what)]


def now():
    return asyncio.get_running_loop().time()


def lease(address, begin, lasts):
    term = Term(begin, begin + lasts / 2, begin + lasts * 0.875, begin + lasts)
    return Lease4(IPv4Interface(address), SERVER, MAC, term)


class Observed:
    """A course with its script, and what it told to have changed."""

    def __init__(self, script, patience=None):
        self.script = script
        self.changes = []
        self.course = Course(script, patience or Patience(), Journal(OWNER), self._changed)

    def _changed(self, old, new):
        self.changes.append((now() - START, text(old), text(new)))

    def keep(self, seconds, *, lasting=1000.0, before=None):
        """Keep a lease got now for so long."""

        async def main():
            self.course.lease = before or lease("10.1.0.50/24", START, lasting)
            task = asyncio.create_task(self.course.keep())
            await asyncio.sleep(seconds)
            task.cancel()
            await asyncio.wait([task])
            return asyncio.get_running_loop().turns

        return run(main)


def text(lease):
    return str(lease.address) if lease else None


def acquire(script, patience=None):
    observed = Observed(script, patience)
    run(lambda: observed.course.acquire("eth0"))
    return observed


def trouble(script, patience=None):
    observed = Observed(script, patience)

    async def main():
        with pytest.raises(CniError) as raised:
            await observed.course.acquire("eth0")
        return raised.value, now() - START

    return run(main)


class TestAcquire:
    def test_the_first_lease_is_told(self, caplog):
        caplog.set_level(logging.INFO)
        observed = acquire(Script())

        assert observed.changes == [(0, None, "10.1.0.50/24")]
        assert caplog.messages == [
            "c1/mynet/eth0: leased 10.1.0.50/24 by DHCP for 1000 s, to be renewed in 500 s"
        ]

    def test_without_an_answer_patience_has_an_end_that_the_error_names(self):
        script = Script()
        script.attempt, script.failures = 10.0, {"obtain": Unanswered()}
        error, seconds = trouble(script)

        assert isinstance(error, TryAgainLater)
        assert "no DHCP server answered on eth0 within 208 s (-resendtimeout)" in error.msg
        assert "is there a server on this network" in error.msg
        assert 208 - 65 <= seconds <= 208

    def test_the_error_says_what_was_heard_instead(self):
        script = Script()
        script.failures = {"obtain": Refused("the server 10.1.0.1 said no")}
        error, _ = trouble(script)

        assert "(-resendtimeout): the server 10.1.0.1 said no: is there" in error.msg

    @pytest.mark.parametrize("limit", [0.5, 3.0, 12.0, 30.0])
    def test_it_is_never_longer_than_allowed(self, limit):
        script = Script()
        script.attempt, script.failures = 10.0, {"obtain": Unanswered()}
        error, seconds = trouble(script, Patience(resend_timeout=limit))

        assert f"within {limit:g} s" in error.msg
        assert seconds <= limit

    def test_each_wait_is_told_with_its_seconds(self, caplog):
        script = Script()
        script.attempt, script.failures = 10.0, {"obtain": Unanswered()}
        trouble(script)

        told = [float(re.search(r"next try in ([\d.]+) s", one)[1]) for one in caplog.messages]
        gaps = [later - earlier for earlier, later in pairwise(script.moments())]
        assert [round(gap - 10, 1) for gap in gaps] == told
        for pause, wanted in zip(told, (2, 2, 2, 2, 4, 8, 16, 32, 62), strict=False):
            assert wanted - 1.05 <= pause <= wanted + 1.05

    def test_what_another_attempt_would_not_change_is_raised_at_once(self):
        script = Script()
        script.failures = {"obtain": CniError("no subnet mask")}
        error, seconds = trouble(script)

        assert (error.msg, seconds) == ("no subnet mask", 0)

    def test_a_link_that_cannot_send_yet_is_asked_on(self):
        script = Script()
        script.failures = {"obtain": OSError(errno.ENETDOWN, "Network is down")}

        assert "Network is down" in trouble(script)[0].msg
        assert len(script.asked) > 5

    def test_an_interface_that_has_gone_ends_the_waiting(self):
        script = Script()
        script.failures = {"obtain": OSError(errno.ENODEV, "No such device")}
        error, seconds = trouble(script)

        assert (error.msg, seconds) == ("the interface is gone: No such device", 0)


class TestPauses:
    def test_they_grow_up_to_the_limit(self):
        wanted = [2, 2, 2, 2, 4, 8, 16, 32, 62, 62]
        for pause, middle in zip(pauses(Patience()), wanted, strict=False):
            assert middle - 1 <= pause <= middle + 1

    def test_the_limit_may_be_small(self):
        for pause in islice(pauses(Patience(resend_max=0)), 4, 20):
            assert 0.1 <= pause <= 1

    @pytest.mark.parametrize(
        ("remaining", "pause"),
        [(1000, 500), (120, 60), (100, 60), (60, 60), (59, 14.75), (8, 2), (2, 1), (0.1, 1)],
    )
    def test_of_a_renewal(self, remaining, pause):
        assert retry_pause(remaining) == pause


class TestKeep:
    def test_a_lease_is_renewed_at_t1_again_and_again(self):
        observed = Observed(Script())
        observed.keep(1600)

        assert observed.script.moments("renew") == [500, 1000, 1500]
        assert observed.script.moments() == [500, 1000, 1500]

    def test_nothing_wakes_between(self):
        """Some turns of the loop for each renewal, and none for waiting."""
        observed = Observed(Script(lasts=2000.0))

        assert observed.keep(10_000, lasting=2000.0) < 10 * len(observed.script.asked)

    def test_an_endless_lease_is_left_alone(self):
        observed = Observed(Script())
        endless = replace(
            lease("10.1.0.50/24", START, 1), term=Term(START, math.inf, math.inf, math.inf)
        )
        observed.keep(10**8, before=endless)

        assert observed.script.asked == []

    def test_renewal_is_tried_at_half_of_what_remains_then_rebinding_then_it_is_over(self):
        script = Script()
        script.attempt = 10.0
        script.failures = {"renew": Unanswered(), "rebind": Unanswered(), "obtain": Unanswered()}
        observed = Observed(script)
        observed.keep(1005)

        assert script.moments("renew")[:5] == [500, 687.5, 781.25, 841.25, 849.6875]
        assert script.moments("rebind")[:3] == [875, 937.5, 997.5]
        assert script.moments("obtain") == [1000]
        assert observed.changes == [(1000, "10.1.0.50/24", None)]
        assert len(script.asked) < 25

    def test_the_log_says_when_the_next_attempt_is_and_when_it_is_over(self, caplog):
        script = Script()
        script.failures = {
            "renew": Unanswered(),
            "rebind": OSError(errno.ENETDOWN, "Network is down"),
        }
        Observed(script).keep(1005)

        assert caplog.messages[0] == (
            "c1/mynet/eth0: could not renew 10.1.0.50/24, which expires in 500.0 s: no server"
            " answered; next try in 187.5 s"
        )
        assert any(": could not rebind 10.1.0.50/24" in one for one in caplog.messages)
        assert "Network is down" in caplog.text
        assert caplog.messages[-1].endswith(
            "the lease of 10.1.0.50/24 has expired, and no server answered"
        )

    def test_an_answer_to_a_rebinding_saves_the_lease(self):
        script = Script()
        script.failures = {"renew": Unanswered()}
        observed = Observed(script)
        observed.keep(1370)

        assert observed.changes == [(875, "10.1.0.50/24", "10.1.0.50/24")]
        assert script.moments("obtain") == []

    def test_no_to_a_renewal_ends_the_lease_and_another_one_is_got_at_once(self):
        script = Script()
        script.address = "10.1.0.77/24"
        script.failures = {"renew": Refused("no")}
        observed = Observed(script)
        observed.keep(600)

        assert observed.changes == [(500, "10.1.0.50/24", None), (500, None, "10.1.0.77/24")]

    def test_after_the_end_it_is_asked_for_without_end(self):
        script = Script()
        script.attempt = 10.0
        script.failures = {"renew": Refused("no"), "obtain": Unanswered()}
        observed = Observed(script)
        observed.keep(3000)

        assert len(script.moments("obtain")) > 20
        late = [later - earlier for earlier, later in pairwise(script.moments("obtain")[10:])]
        assert all(71 <= gap <= 73 for gap in late)

    def test_what_ends_an_add_does_not_end_the_keeping(self):
        script = Script()
        script.failures = {"renew": Refused("no"), "obtain": CniError("no subnet mask")}
        observed = Observed(script)
        observed.keep(1000)

        assert len(script.moments("obtain")) > 5
        assert observed.course.trouble == "no subnet mask"

    @pytest.mark.parametrize("seconds", [1, 2, 4, 10])
    def test_short_leases_are_renewed(self, seconds):
        script = Script(lasts=float(seconds))
        observed = Observed(script)
        observed.keep(10 * seconds + 0.1, lasting=float(seconds))

        assert script.moments("renew") == pytest.approx(
            [seconds / 2 * number for number in range(1, 21)]
        )
        assert all(new for _, _, new in observed.changes)

    @pytest.mark.parametrize("seconds", [1, 2, 4])
    def test_short_leases_end_when_they_have_to(self, seconds):
        script = Script(lasts=float(seconds))
        script.attempt = 10.0
        script.failures = {"renew": Unanswered(), "rebind": Unanswered(), "obtain": Unanswered()}
        observed = Observed(script)
        observed.keep(seconds + 1, lasting=float(seconds))

        assert observed.changes == [(pytest.approx(seconds), "10.1.0.50/24", None)]
        assert len(script.asked) < 10

    def test_a_lease_that_has_expired_meanwhile_is_over(self):
        observed = Observed(Script())
        observed.keep(10, before=lease("10.1.0.50/24", START - 2000, 1000))

        assert observed.changes == [(0, "10.1.0.50/24", None), (0, None, "10.1.0.50/24")]

    def test_one_that_was_due_meanwhile_is_renewed_at_once(self):
        script = Script()
        Observed(script).keep(10, before=lease("10.1.0.50/24", START - 600, 1000))

        assert [(one.what, one.moment) for one in script.asked] == [("renew", START)]

    def test_a_release_gives_back_what_is_had_once(self):
        observed = acquire(Script())

        async def release():
            observed.course.release()
            observed.course.release()

        run(release)
        assert [one.what for one in observed.script.asked] == ["obtain", "release"]
