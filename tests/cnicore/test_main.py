"""From argv[0] to one document on stdout and an exit status."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from types import ModuleType

import pytest

from cnicore import main
from cnicore.cli.launcher import import_directories, launcher_text, real_interpreter
from cnicore.errors import CniError, IoFailure, PluginNotAvailable, TryAgainLater
from cnicore.lean import PYDANTIC_PLUGIN_LOADER, without_pydantic_plugins
from cnicore.main import Answer, answer_as, error_document, serve

ENTRY_POINTS = "[cni.plugins]\nacme = acme_plugin\nleaf = acme_leaf\n"
VERSIONS = '"0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"'
CONF = b'{"cniVersion": "1.1.0", "name": "net", "type": "acme"}'
OLD_CONF = CONF.replace(b"1.1.0", b"0.2.0")
ENVIRONMENT = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
RESULT = """{
    "cniVersion": "1.1.0",
    "interfaces": [
        {
            "name": "eth0"
        }
    ]
}"""

PLUGIN = """
import os
import signal
import subprocess
import sys
from pathlib import Path

from cnicore.config import NetConf
from cnicore.delegate import delegate_add
from cnicore.errors import CniError, TryAgainLater
from cnicore.hookspecs import hookimpl
from cnicore.result import Interface, Result
from cnicore.rollback import rollback

MARK = Path(__file__).with_name("mark")

@hookimpl
def cni_config():
    return NetConf

@hookimpl
def cni_add(request):
    MARK.touch()
{add}
    return Result(interfaces=(Interface(request.ifname),))

@hookimpl
def cni_del(request):
{delete}
    MARK.unlink(missing_ok=True)
"""

LEAF = """
import os
from cnicore.config import NetConf
from cnicore.hookspecs import hookimpl
from cnicore.result import Interface, Result

@hookimpl
def cni_config():
    return NetConf

@hookimpl
def cni_add():
    print("said by a delegate")
    return Result(interfaces=(Interface(str(os.getpid())),))
"""


@pytest.fixture
def acme(distribute):
    """Makes the plugin acme; its ADD and DEL begin with the given lines. Returns its folder."""

    def acme(add="pass", delete="pass") -> Path:
        source = PLUGIN.format(add=indent(add, "    "), delete=indent(delete, "    "))
        return distribute(ENTRY_POINTS, acme_plugin=source, acme_leaf=LEAF)

    return acme


def not_read() -> bytes:
    raise AssertionError("stdin was read")


def answer(verb="ADD", stdin=CONF, name="acme", **variables) -> Answer:
    return answer_as(name, {**ENVIRONMENT, "CNI_COMMAND": verb, **variables}, lambda: stdin)


class TestAnswer:
    """What goes to stdout, and the exit status."""

    def test_a_result_is_printed_with_four_spaces_and_no_newline(self, acme):
        acme()
        assert answer() == Answer(RESULT, 0)

    @pytest.mark.parametrize("verb", ["DEL", "CHECK", "GC", "STATUS"])
    def test_other_verbs_print_nothing(self, acme, verb):
        acme()
        assert answer(verb) == Answer("", 0)

    def test_version_is_one_line_and_reads_no_stdin(self, acme):
        acme()
        assert answer_as("acme", {"CNI_COMMAND": "VERSION"}, not_read) == Answer(
            f'{{"cniVersion":"1.1.0","supportedVersions":[{VERSIONS}]}}\n', 0
        )

    def test_version_lists_what_the_plugin_supports(self, distribute):
        distribute(
            "[cni.plugins]\nnew = new_plugin\n[cni.versions]\nnew = cnicore.spec:SINCE_0_4_0\n"
        )
        assert answer("VERSION", name="new").text == (
            '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}\n'
        )

    @pytest.mark.parametrize("environ", [{}, {"CNI_COMMAND": ""}, ENVIRONMENT])
    def test_without_a_verb_two_lines_on_stderr_say_what_it_is(self, acme, capsys, environ):
        acme()
        assert answer_as("acme", environ, not_read) == Answer("", 0)
        assert capsys.readouterr().err == (
            "CNI acme plugin 1.2.3\n"
            "CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n"
        )

    @pytest.mark.parametrize("name", ["frob", "", "acme_plugin", "ACME", "cni"])
    @pytest.mark.parametrize("environ", [{}, {"CNI_COMMAND": "VERSION"}])
    def test_a_name_that_no_distribution_has_lists_the_known_types(self, acme, name, environ):
        acme()
        given = answer_as(name, environ, not_read)
        document = json.loads(given.text)
        assert (given.status, document["code"]) == (1, 999)
        assert document["msg"].startswith(
            f'no plugin "{name}" is installed: known types are acme, '
        )

    def test_a_wrong_environment_is_reported_before_stdin_is_read(self, acme):
        acme()
        environ = {**ENVIRONMENT, "CNI_COMMAND": "ADD", "CNI_IFNAME": ""}
        assert json.loads(answer_as("acme", environ, not_read).text)["code"] == 4

    def test_a_plugin_that_cannot_be_imported_is_named(self, distribute):
        distribute(ENTRY_POINTS, acme_plugin="import no_such_module_anywhere")
        given = answer()
        assert given.status == 1
        assert json.loads(given.text) == {
            "code": 50,
            "msg": 'cannot import plugin "acme" (acme_plugin of acme-plugins 1.2.3)',
            "details": "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
        }


class TestErrors:
    @pytest.mark.parametrize(
        ("add", "text"),
        [
            (
                'raise TryAgainLater("no address is free", "all 254 are leased")',
                '{\n    "code": 11,\n    "msg": "no address is free",\n'
                '    "details": "all 254 are leased"\n}',
            ),
            ('raise CniError("no")', '{\n    "code": 999,\n    "msg": "no"\n}'),
            (
                'raise CniError("<é> & \\u2028")',
                '{\n    "code": 999,\n    "msg": "<é> & \u2028"\n}',
            ),
        ],
    )
    def test_an_error_is_printed_as_the_specifications_document(self, acme, capsys, add, text):
        acme(add)
        assert answer() == Answer(text, 1)
        assert capsys.readouterr().err == ""

    def test_what_nobody_foresaw_has_code_999_and_a_traceback_on_stderr(self, acme, capsys):
        acme('raise LookupError("which")')
        assert answer() == Answer('{\n    "code": 999,\n    "msg": "LookupError: which"\n}', 1)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("Traceback (most recent call last):\n")
        assert captured.err.endswith("LookupError: which\n")

    def test_an_interrupt_is_an_error_like_any_other(self, acme):
        acme("raise KeyboardInterrupt")
        given = answer()
        assert (given.status, json.loads(given.text)["code"]) == (1, 999)

    def test_several_errors_have_the_first_ones_code_and_everybodys_words(self):
        failures = [TryAgainLater("full", "all leased"), PluginNotAvailable("gone"), CniError("x")]
        document = error_document(ExceptionGroup("several steps failed", failures))
        assert list(document.items()) == [
            ("code", 11),
            ("msg", "full"),
            ("details", "full; all leased; gone; x"),
        ]

    def test_so_have_errors_of_a_group_within_a_group(self):
        inner = ExceptionGroup("several steps failed", [PluginNotAvailable("one"), CniError("two")])
        document = error_document(
            ExceptionGroup("several steps failed", [inner, CniError("three")])
        )
        assert document == {"code": 50, "msg": "one", "details": "one; two; three"}

    def test_several_failures_of_a_plugin_are_one_document(self, acme):
        acme(delete='raise ExceptionGroup("", [TryAgainLater("one"), CniError("two", "more")])')
        assert json.loads(answer("DEL").text) == {
            "code": 11,
            "msg": "one",
            "details": "one; two; more",
        }


class Gone:
    """A stdout that nobody reads."""

    def __init__(self) -> None:
        self.tried: list[str] = []

    def __call__(self, text: str) -> None:
        self.tried.append(text)
        raise IoFailure("cannot write the answer to stdout: Broken pipe")


class TestTakenBack:
    """An ADD of which nobody learns leaves nothing."""

    def test_the_answer_cannot_be_written(self, acme, capsys):
        site = acme()
        gone = Gone()
        environ = {**ENVIRONMENT, "CNI_COMMAND": "ADD"}
        assert serve("acme", environ, lambda: CONF, gone) == 1
        assert gone.tried[0] == RESULT
        assert not (site / "mark").exists()
        assert "cannot write the answer to stdout: Broken pipe" in capsys.readouterr().err

    def test_the_version_cannot_say_the_result(self, acme):
        site = acme()
        assert answer(stdin=OLD_CONF) == Answer(
            '{\n    "code": 999,\n    "msg": "cannot convert: no valid IP addresses"\n}', 1
        )
        assert not (site / "mark").exists()

    def test_a_plugin_gives_something_that_is_no_result(self, acme):
        site = acme('return {"ips": []}')
        assert answer().status == 1
        assert not (site / "mark").exists()

    def test_taking_back_fails_as_well(self, acme, capsys):
        acme(delete='raise CniError("stuck")')
        assert json.loads(answer(stdin=OLD_CONF).text)["msg"].startswith("cannot convert")
        assert "rollback: stuck" in capsys.readouterr().err

    def test_an_error_of_the_plugin_is_its_own_to_undo(self, acme):
        site = acme('raise CniError("no")', delete='raise AssertionError("DEL was called")')
        assert json.loads(answer().text)["msg"] == "no"
        assert (site / "mark").exists()

    @pytest.mark.parametrize("verb", ["DEL", "VERSION"])
    def test_nothing_is_taken_back_of_other_verbs(self, acme, verb):
        site = acme()
        (site / "mark").touch()
        environ = {**ENVIRONMENT, "CNI_COMMAND": verb}
        serve("acme", environ, lambda: CONF, Gone())
        assert (site / "mark").exists() is (verb == "VERSION")


class TestWrite:
    """The one place where stdout is written."""

    def test_every_byte_arrives_although_a_pipe_holds_fewer(self, tmp_path):
        text = "ä" * 200_000
        with (
            (tmp_path / "out").open("wb") as out,
            subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=out) as process,
        ):
            main._write(process.stdin.fileno(), text)
        assert (tmp_path / "out").read_text() == text

    def test_half_of_a_surrogate_pair_is_printed_as_an_escape(self, tmp_path):
        with (tmp_path / "out").open("wb") as stream:
            main._write(stream.fileno(), '{"name": "\ud800"}')
        assert (tmp_path / "out").read_bytes() == b'{"name": "\\ud800"}'

    def test_a_failure_says_why(self):
        with Path("/dev/full").open("wb") as full, pytest.raises(IoFailure) as caught:
            main._write(full.fileno(), "text")
        assert caught.value.msg == (
            f"cannot write the answer to stdout: {os.strerror(errno.ENOSPC)}"
        )


class TestWithoutPydanticPlugins:
    def test_pydantic_finds_none(self, monkeypatch):
        monkeypatch.delitem(sys.modules, PYDANTIC_PLUGIN_LOADER, raising=False)
        without_pydantic_plugins()
        stand_in = sys.modules[PYDANTIC_PLUGIN_LOADER]
        assert list(stand_in.get_plugins()) == []

    def test_a_loader_that_is_there_already_stays(self, monkeypatch):
        loader = ModuleType(PYDANTIC_PLUGIN_LOADER)
        monkeypatch.setitem(sys.modules, PYDANTIC_PLUGIN_LOADER, loader)
        without_pydantic_plugins()
        assert sys.modules[PYDANTIC_PLUGIN_LOADER] is loader

    def test_the_loader_is_where_pydantic_looks_for_it(self):
        import pydantic.plugin._loader as loader

        assert loader.__name__ == PYDANTIC_PLUGIN_LOADER
        assert callable(loader.get_plugins)


# --- whole processes


@pytest.fixture
def program(tmp_path):
    """Installs the launcher, with symlinks acme and leaf, once the plugin is there."""

    def program() -> Path:
        directory = tmp_path / "bin"
        directory.mkdir()
        file = directory / "cni"
        file.write_text(launcher_text(real_interpreter(), import_directories(sys.path)))
        file.chmod(0o755)
        for name in ("acme", "leaf"):
            (directory / name).symlink_to("cni")
        return directory

    return program


def run(command, verb="ADD", stdin=CONF, *, stdout=subprocess.PIPE, variables=None, **settings):
    """Run a plugin in an environment of nothing but the CNI_* variables."""
    environ = {**ENVIRONMENT, "CNI_COMMAND": verb, **(variables or {})}
    return subprocess.run(
        [command],
        input=stdin,
        env=environ,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
        **settings,
    )


EVERYBODY_PRINTS = """
print("said by the plugin")
sys.stdout.write("said without a newline")
os.write(1, b"said to descriptor 1\\n")
subprocess.run(["/bin/echo", "said by a child"], check=True)
"""

DELEGATES = """
return delegate_add("leaf", request)
"""

TERMINATED = """
with rollback() as on_failure:
    on_failure(MARK.unlink)
    on_failure(os.kill, os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
"""


class TestProcess:
    def test_nothing_but_the_document_reaches_stdout(self, acme, program):
        acme(EVERYBODY_PRINTS)
        done = run(program() / "acme")
        assert (done.returncode, done.stdout.decode()) == (0, RESULT)
        said = ["by the plugin", "without a newline", "to descriptor 1", "by a child"]
        assert [words for words in said if f"said {words}" not in done.stderr.decode()] == []

    def test_nothing_but_the_error_reaches_stdout(self, acme, program):
        acme(EVERYBODY_PRINTS + "raise LookupError('which')")
        done = run(program() / "acme")
        assert done.returncode == 1
        assert json.loads(done.stdout) == {"code": 999, "msg": "LookupError: which"}
        assert b"\nLookupError: which\n" in done.stderr

    @pytest.mark.parametrize(
        "command", ["./acme", "../bin/acme", "chained"], ids=["relative", "dots", "symlinks"]
    )
    def test_a_delegate_runs_in_this_process_by_whatever_path_it_was_called(
        self, acme, program, tmp_path, command
    ):
        acme(DELEGATES)
        directory = program()
        if command == "chained":
            (tmp_path / "link").symlink_to("bin/acme")
            (tmp_path / "elsewhere").mkdir()
            command = tmp_path / "elsewhere" / "acme"
            command.symlink_to(tmp_path / "link")
        process = subprocess.Popen(
            [command],
            cwd=directory,
            env={**ENVIRONMENT, "CNI_COMMAND": "ADD", "CNI_PATH": str(directory)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        stdout, stderr = process.communicate(CONF, timeout=60)
        assert json.loads(stdout)["interfaces"] == [{"name": str(process.pid)}]
        assert stderr == b"said by a delegate\n"

    def test_a_plugin_that_is_terminated_undoes_once_and_says_so(self, acme, program):
        site = acme(TERMINATED)
        done = run(program() / "acme")
        assert done.returncode == 1
        assert json.loads(done.stdout) == {
            "code": 999,
            "msg": "terminated by SIGTERM before the work was done; what was made is taken back",
        }
        assert not (site / "mark").exists()

    def test_a_stdout_that_is_full_is_an_error_and_the_add_is_taken_back(self, acme, program):
        site = acme()
        with Path("/dev/full").open("wb") as full:
            done = run(program() / "acme", stdout=full)
        assert done.returncode == 1
        assert b"cannot write the answer to stdout: No space left on device" in done.stderr
        assert not (site / "mark").exists()

    def test_a_closed_stdout_is_an_error_and_the_add_is_taken_back(self, acme, program):
        site = acme()
        done = run(program() / "acme", stdout=None, preexec_fn=lambda: os.close(1))
        assert done.returncode == 1
        assert b"cannot write the answer to stdout" in done.stderr
        assert not (site / "mark").exists()

    def test_verbs_without_an_answer_need_no_stdout(self, acme, program):
        acme()
        done = run(program() / "acme", "DEL", stdout=None, preexec_fn=lambda: os.close(1))
        assert (done.returncode, done.stderr) == (0, b"")

    def test_a_closed_stderr_keeps_nobody_from_the_answer(self, acme, program):
        acme('print("nobody hears")')
        done = run(program() / "acme", preexec_fn=lambda: os.close(2))
        assert (done.returncode, done.stdout.decode()) == (0, RESULT)

    def test_a_closed_stdin_is_an_error_whatever_stdout_is(self, acme, program, tmp_path):
        acme()
        with (tmp_path / "out").open("w+b") as out:
            out.write(CONF)
            out.seek(0)
            done = run(program() / "acme", stdout=out, preexec_fn=lambda: os.close(0))
        assert done.returncode == 1
        assert json.loads((tmp_path / "out").read_bytes().removeprefix(CONF))["code"] == 5

    @pytest.mark.parametrize(
        ("variables", "code", "named"),
        [
            ({"CNI_CONTAINERID": b"\xff"}, 4, "containerID"),
            ({"CNI_IFNAME": b"\xff" * 16}, 4, "interface name is too long"),
            ({"CNI_COMMAND": b"\xff"}, 4, "unknown CNI_COMMAND"),
        ],
    )
    def test_variables_that_are_no_utf_8_are_refused_in_a_document_that_is(
        self, acme, program, variables, code, named
    ):
        acme()
        done = run(program() / "acme", variables=variables)
        assert done.returncode == 1
        document = json.loads(done.stdout.decode())
        assert document["code"] == code
        assert named in document["msg"]
        assert done.stderr == b""


COMMAND = """
import gc, os, sys

def main(words, environ):
    \"\"\"Look after acme.\"\"\"
    print(words, environ["CNI_COMMAND"], gc.isenabled())
    return 7
"""


class TestCommands:
    """A word behind the plugin's name may be a program of its own."""

    @pytest.fixture
    def acme_daemon(self, acme, distribute, program):
        acme()
        entry_points = "[cni.commands]\nacme-daemon = acme_daemon:main\n"
        distribute(entry_points, name="acme_daemons", acme_daemon=COMMAND)
        return program() / "acme"

    def call(self, *words):
        environ = {**ENVIRONMENT, "CNI_COMMAND": "ADD"}
        return subprocess.run(
            words, input=CONF, env=environ, capture_output=True, check=False, timeout=60
        )

    def test_it_is_run_with_the_words_behind_it_whatever_the_environment_says(self, acme_daemon):
        done = self.call(acme_daemon, "daemon", "-pidfile", "x")
        assert (done.returncode, done.stderr) == (7, b"")
        assert done.stdout == b"['-pidfile', 'x'] ADD True\n"

    @pytest.mark.parametrize("words", [[], ["nonsense"], ["-h"]])
    def test_any_other_word_is_ignored_as_by_the_reference(self, acme_daemon, words):
        done = self.call(acme_daemon, *words)
        assert (done.returncode, done.stdout.decode()) == (0, RESULT)

    def test_one_that_cannot_be_imported_is_named_on_stderr(self, acme, distribute, program):
        acme()
        distribute("[cni.commands]\nacme-daemon = no_such_module:main\n", name="acme_daemons")
        done = self.call(program() / "acme", "daemon")
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(b'Error: cannot import command "acme-daemon"')
