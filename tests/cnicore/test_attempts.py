"""Going on after a failure."""

from __future__ import annotations

import pytest

from cnicore.attempts import attempt_all
from cnicore.errors import CniError, Terminated


def fail(msg):
    raise CniError(msg)


def test_every_step_is_tried_and_one_failure_is_raised_as_it_is():
    done = []
    with pytest.raises(CniError) as caught, attempt_all() as attempt:
        attempt(fail, "one")
        attempt(done.append, "two")
    assert (caught.value.msg, done) == ("one", ["two"])


def test_several_failures_are_raised_as_a_group_in_their_order():
    with pytest.raises(ExceptionGroup) as caught, attempt_all() as attempt:
        attempt(fail, "one")
        attempt(fail, msg="two")
    assert [error.msg for error in caught.value.exceptions] == ["one", "two"]


def test_without_a_failure_nothing_is_raised():
    with attempt_all() as attempt:
        attempt(list)


def test_sigterm_is_no_failure_of_a_step_and_ends_the_block():
    def interrupted():
        raise Terminated

    done = []
    with pytest.raises(Terminated), attempt_all() as attempt:
        attempt(interrupted)
        attempt(done.append, "two")
    assert done == []
