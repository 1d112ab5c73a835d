"""Callers that close stdin, stdout or stderr, and callers that are not root."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from cnicore.cli.launcher import import_directories, launcher_text, real_interpreter
from cnicore.main import error_document

CONF = b'{"cniVersion": "1.1.0", "name": "net", "type": "acme"}'
ENVIRONMENT = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
PLUGIN = """
import os
import subprocess
from pathlib import Path
from cnicore.config import NetConf
from cnicore.hookspecs import hookimpl
from cnicore.result import Result

MARK = Path(__file__).with_name("mark")

@hookimpl
def cni_config():
    return NetConf

@hookimpl
def cni_add():
    with MARK.open("w"):
        print("said by the plugin", flush=True)
        os.write(1, b"said to descriptor 1")
        os.write(2, b"said to descriptor 2")
        subprocess.run(["/bin/sh", "-c", "echo said by a child; echo or so >&2"], check=True)
    return Result()

@hookimpl
def cni_del():
    MARK.unlink(missing_ok=True)
"""


TALKER = """
import sys
from cnicore.config import NetConf
from cnicore.hookspecs import hookimpl
from cnicore.result import Result

@hookimpl
def cni_config():
    return NetConf

@hookimpl
def cni_add():
    print("a note")
    print("a warning", file=sys.stderr)
    return Result()
"""


@pytest.fixture
def call(distribute, tmp_path):
    """Calls the plugin acme with some descriptors closed; returns status, stdout and the mark."""
    site = distribute("[cni.plugins]\nacme = acme_plugin\n", acme_plugin=PLUGIN)
    program = tmp_path / "acme"
    program.write_text(launcher_text(real_interpreter(), import_directories(sys.path)))
    program.chmod(0o755)

    def call(verb, closed, **variables):
        done = subprocess.run(
            [program],
            input=CONF,
            env={**ENVIRONMENT, "CNI_COMMAND": verb, **variables},
            capture_output=True,
            check=False,
            timeout=60,
            preexec_fn=lambda: [os.close(number) for number in closed],
        )
        mark = site / "mark"
        return done.returncode, done.stdout, mark.read_text() if mark.exists() else None

    return call


def test_without_stderr_the_answer_is_the_document_alone(call):
    status, stdout, mark = call("ADD", [2])

    assert (status, json.loads(stdout), mark) == (0, {"cniVersion": "1.1.0"}, "")


def test_without_stderr_version_answers(call):
    status, stdout, _ = call("VERSION", [2])

    assert (status, stdout.count(b"\n")) == (0, 1)
    assert json.loads(stdout)["cniVersion"] == "1.1.0"


def test_without_stderr_and_a_verb_there_is_nothing_to_say(call):
    assert call("", [2]) == (0, b"", None)


@pytest.mark.parametrize(
    ("closed", "variables", "code"),
    [([2], {"CNI_IFNAME": ""}, 4), ([0], {}, 5), ([0, 2], {}, 5)],
)
def test_an_error_is_the_document_alone(call, closed, variables, code):
    status, stdout, _ = call("ADD", closed, **variables)

    assert (status, json.loads(stdout)["code"]) == (1, code)


@pytest.mark.parametrize("closed", [[1], [1, 2]])
def test_an_add_that_nobody_can_hear_of_is_taken_back(call, closed):
    assert call("ADD", closed) == (1, b"", None)


@pytest.mark.parametrize("closed", [[1], [1, 2]])
def test_verbs_without_an_answer_do_without_stdout(call, closed):
    assert call("DEL", closed) == (0, b"", None)


@pytest.mark.parametrize("verb", ["ADD", "VERSION"])
def test_words_that_nobody_reads_change_no_answer(distribute, tmp_path, verb):
    distribute("[cni.plugins]\nacme = acme_plugin\n", acme_plugin=TALKER)
    program = tmp_path / "acme"
    program.write_text(launcher_text(real_interpreter(), import_directories(sys.path)))
    program.chmod(0o755)
    reader, writer = os.pipe()
    os.close(reader)

    with os.fdopen(writer, "wb") as stderr:
        done = subprocess.run(
            [program],
            input=CONF,
            env={**ENVIRONMENT, "CNI_COMMAND": verb},
            stdout=subprocess.PIPE,
            stderr=stderr,
            check=False,
            timeout=60,
        )

    assert done.returncode == 0
    assert json.loads(done.stdout)["cniVersion"] == "1.1.0"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_who_is_not_root_is_told_what_it_takes(monkeypatch, capsys, number):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert error_document(PermissionError(number, "")) == {
        "code": 999,
        "msg": f"{os.strerror(number)}: run the plugin as root:"
        " it needs CAP_SYS_ADMIN and CAP_NET_ADMIN",
    }
    assert capsys.readouterr().err == ""


def test_what_root_may_not_do_either_is_unforeseen(monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    document = error_document(PermissionError(errno.EPERM, "no"))

    assert document["msg"] == "PermissionError: [Errno 1] no"
    assert capsys.readouterr().err.startswith("PermissionError")
