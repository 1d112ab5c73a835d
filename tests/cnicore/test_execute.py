"""Plugins as programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnicore.errors import CniError, ForeignError
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


@pytest.mark.parametrize("document", ["[]", '{"code": "x"}', '{"code": [1]}', "5"])
def test_a_document_that_is_no_error_is_a_failure_all_the_same(program, document):
    error = failure_of(program(f"echo '{document}'; exit 1"))
    assert error.msg.startswith("netplugin failed but error parsing its diagnostic message")


def test_a_program_that_is_not_there_is_named(tmp_path):
    error = failure_of(str(tmp_path / "gone"))
    assert error.msg.endswith(f"exec {tmp_path / 'gone'}: No such file or directory")


def test_a_program_that_takes_too_long_is_killed(program):
    error = failure_of(program("exec sleep 60"), timeout=0.05)
    assert error.msg == "netplugin failed with no error message: signal: killed after 0.05 s"


def test_a_busy_file_is_tried_again_and_then_given_up(program, monkeypatch):
    # a pause of a second each, as long as somebody writes to the file
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    file = program("echo done")
    with Path(file).open("a"), pytest.raises(CniError, match="Text file busy"):
        execute(file, {}, b"")
    assert pauses == [1.0] * 5
    assert execute(file, {}, b"") == b"done\n"
