"""Undo steps."""

from __future__ import annotations

import pytest

from cnicore.errors import Terminated
from cnicore.rollback import rollback


def test_steps_run_last_first_when_the_block_raises():
    undone = []
    with pytest.raises(ValueError, match="the cause"), rollback() as on_failure:
        on_failure(undone.append, "first")
        on_failure(undone.append, "second")
        raise ValueError("the cause")
    assert undone == ["second", "first"]


def test_nothing_is_taken_back_on_success():
    undone = []
    with rollback() as on_failure:
        on_failure(undone.append, "first")
    assert undone == []


def test_a_step_that_fails_is_reported_and_stops_neither_the_others_nor_the_cause(capsys):
    def refuse(*, reason):
        raise OSError(reason)

    undone = []
    with pytest.raises(ValueError, match="the cause"), rollback() as on_failure:
        on_failure(undone.append, "first")
        on_failure(refuse, reason="busy")
        raise ValueError("the cause")
    assert undone == ["first"]
    assert capsys.readouterr().err == "rollback: busy\n"
    assert capsys.readouterr().out == ""


def test_an_interrupt_takes_back_too():
    undone = []
    with pytest.raises(KeyboardInterrupt), rollback() as on_failure:
        on_failure(undone.append, "first")
        raise KeyboardInterrupt
    assert undone == ["first"]


def test_a_step_in_which_the_signal_comes_is_done_all_the_same():
    undone = []

    def step(name):
        undone.append(f"{name} begun")
        if len(undone) == 1:
            raise Terminated
        undone.append(f"{name} done")

    with pytest.raises(Terminated), rollback() as on_failure:
        on_failure(step, "first")
        on_failure(step, "second")
        raise ValueError("the cause")
    assert undone == ["second begun", "second begun", "second done", "first begun", "first done"]
