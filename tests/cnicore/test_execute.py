"""Plugins as programs."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import pytest

from cnicore.errors import CniError, ForeignError, Terminated
from cnicore.execute import execute


@pytest.fixture
def program(tmp_path):
    """Writes a shell script; returns its path."""

    def program(body):
        file = tmp_path / "plugin"
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)
        return str(file)

    return program


def failure_of(file, **options):
    with pytest.raises(ForeignError) as caught:
        execute(file, {}, b"", **options)
    return caught.value


def test_environment_and_stdin_go_in_and_stdout_and_stderr_come_out(program, capsys):
    file = program('echo "$A"; while read -r line; do echo "$line"; done; echo hint >&2')
    assert execute(file, {"A": "b"}, b"stdin\n") == b"b\nstdin\n"
    assert capsys.readouterr().err == "hint\n"


def test_a_program_that_does_not_read_its_stdin_is_no_failure(program):
    assert execute(program("echo done"), {}, b"x" * 1_000_000) == b"done\n"


def test_an_error_document_keeps_its_code(program):
    error = failure_of(program("""echo '{"Code": 11, "msg": "full", "details": "d"}'; exit 1"""))
    assert (error.code, error.msg, error.details) == (11, "full", "d")


@pytest.mark.parametrize(
    ("body", "msg"),
    [
        ("exit 3", "netplugin failed with no error message: exit status 3"),
        ("echo broken >&2; exit 1", r'netplugin failed: "broken\n": exit status 1'),
        ("kill -9 $$", "netplugin failed with no error message: signal: 9"),
        (
            "echo oops; exit 1",
            r'netplugin failed but error parsing its diagnostic message "oops\n": Expecting value:'
            " line 1 column 1 (char 0)",
        ),
    ],
)
def test_a_failure_without_a_document_is_told_as_the_reference_does(program, body, msg):
    error = failure_of(program(body))
    assert (error.code, error.msg) == (0, msg)


@pytest.mark.parametrize(
    "document",
    [
        *("[]", "5", '{"code": "x"}', '{"code": [1]}', '{"code": 1.5}', '{"code": true}'),
        *('{"code": -1}', '{"code": 1e999}', '{"code": NaN}', "[" * 50_000),
        *('{"msg": 5}', '{"details": {}}', f'{{"code": {"9" * 5000}}}'),
    ],
)
def test_a_document_that_is_no_error_is_a_failure_all_the_same(program, document):
    error = failure_of(program(f"echo '{document}'; exit 1"))
    assert error.msg.startswith("netplugin failed but error parsing its diagnostic message")


def test_a_program_that_is_not_there_is_named(tmp_path):
    error = failure_of(str(tmp_path / "gone"))
    assert error.msg.endswith(f"exec {tmp_path / 'gone'}: No such file or directory")


class TestTimeout:
    def test_a_program_that_takes_too_long_is_terminated(self, program):
        error = failure_of(program("exec sleep 60"), timeout=0.05)
        assert (error.code, error.msg) == (
            0,
            "netplugin failed with no error message: signal: terminated after 0.05 s",
        )

    def test_it_may_take_back_what_it_made(self, program, tmp_path):
        mark = tmp_path / "mark"
        body = f"trap 'rm {mark}; exit 1' TERM; touch {mark}; while :; do sleep 0.05; done"
        failure_of(program(body), timeout=0.5)
        assert not mark.exists()

    def test_it_is_killed_if_it_does_not_end(self, program, monkeypatch):
        monkeypatch.setattr("cnicore.execute.GRACE", 0.2)
        error = failure_of(program("trap '' TERM; while :; do sleep 0.05; done"), timeout=0.2)
        assert error.msg == "netplugin failed with no error message: signal: killed after 0.2 s"

    def test_a_child_of_it_that_keeps_stdout_open_keeps_nobody_waiting(self, program, monkeypatch):
        monkeypatch.setattr("cnicore.execute.GRACE", 0.2)
        begin = monotonic()
        failure_of(program("sleep 5; exit 0"), timeout=0.05)
        assert monotonic() - begin < 4


class TestOnSuccess:
    """When the caller has to register how to take back what the program did."""

    @pytest.fixture
    def successes(self):
        return []

    def run(self, file, successes, **options):
        execute(file, {}, b"", on_success=lambda: successes.append(1), **options)

    def test_it_is_called_when_the_program_succeeded(self, program, successes):
        self.run(program("echo garbage"), successes)
        assert successes == [1]

    def test_it_is_not_called_when_the_program_failed(self, program, successes):
        for body in ("exit 1", "kill $$"):
            with pytest.raises(ForeignError):
                self.run(program(body), successes)
        assert successes == []

    def test_it_is_called_when_nobody_knows_because_it_took_too_long(self, program, successes):
        with pytest.raises(ForeignError):
            self.run(program("exec sleep 60"), successes, timeout=0.05)
        assert successes == [1]

    @pytest.mark.parametrize(
        ("body", "expected"), [("exit 0", [1]), ("exit 1", []), ("kill $$", [])]
    )
    def test_it_is_called_when_this_process_is_to_end_and_the_program_succeeded(
        self, program, successes, tmp_path, body, expected
    ):
        begun = tmp_path / "begun"
        interrupt = f"touch {begun}; while [ -e {begun} ]; do sleep 0.01; done; {body}"
        alarm = Thread(target=interrupt_when, args=(begun,))
        alarm.start()
        with pytest.raises(Terminated), terminated_by(signal.SIGUSR1):
            self.run(program(interrupt), successes)
        alarm.join()
        assert successes == expected


def interrupt_when(begun):
    while not begun.exists():
        sleep(0.01)
    os.kill(os.getpid(), signal.SIGUSR1)
    sleep(0.2)
    begun.unlink()


@contextmanager
def terminated_by(number):
    def terminate(_number, _frame):
        raise Terminated

    before = signal.signal(number, terminate)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_busy_file_is_tried_again_and_then_given_up(program, monkeypatch):
    # a pause of a second each, as long as somebody writes to the file
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    file = program("echo done")
    with Path(file).open("a"), pytest.raises(CniError, match="Text file busy"):
        execute(file, {}, b"")
    assert pauses == [1.0] * 5
    assert execute(file, {}, b"") == b"done\n"
