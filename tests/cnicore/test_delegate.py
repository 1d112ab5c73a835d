"""One plugin that runs another: which file, with what, and what comes back."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path

import pytest

from cnicore.cli.launcher import import_directories, launcher_text, real_interpreter
from cnicore.delegate import delegate_add, delegate_verb
from cnicore.errors import CniError, ForeignError, TryAgainLater
from cnicore.main import error_document
from cnicore.request import read_request
from cnicore.result import Interface, IpConfig, Result
from cnicore.spec import SINCE_0_1_0

ACME = "[cni.plugins]\nacme = acme_plugin\n"
CONF = {"cniVersion": "1.1.0", "name": "net", "type": "outer", "ipam": {"type": "acme"}}

WHERE_IT_RUNS = """
import os
from cnicore.config import NetConf
from cnicore.hookspecs import hookimpl
from cnicore.result import Interface, Result

@hookimpl
def cni_config():
    return NetConf

@hookimpl
def cni_add():
    return Result(interfaces=(Interface(str(os.getpid())),))
"""
HERE = Result(interfaces=(Interface(str(os.getpid())),))


def request_for(path, verb="ADD", conf=CONF, program="", **variables):
    environ = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/c1",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": path if isinstance(path, str) else ":".join(map(str, path)),
        **variables,
    }
    stdin = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
    return read_request(environ, lambda: stdin, str(program))


def script(directory: Path, body: str, name: str = "acme") -> Path:
    """Somebody else's plugin; it leaves what it is given in `stdin` and `environ`."""
    directory.mkdir(exist_ok=True)
    file = directory / name
    keep = f"/bin/cat >{directory}/stdin; /bin/cat /proc/$$/environ >{directory}/environ"
    file.write_text(f"#!/bin/sh\n{keep}\n{body}\n")
    file.chmod(0o755)
    return file


def launcher(directory: Path, name: str = "acme") -> Path:
    """Our program in the directory with a symlink for the plugin; returns the program."""
    directory.mkdir(exist_ok=True)
    program = directory / "cni"
    program.write_text(launcher_text(real_interpreter(), import_directories(sys.path)))
    program.chmod(0o755)
    (directory / name).symlink_to("cni")
    return program


def refused(error, *arguments, work=delegate_add):
    with pytest.raises(error) as caught:
        work(*arguments)
    return caught.value


class TestWhichFile:
    """CNI_PATH decides."""

    @pytest.fixture
    def ours(self, distribute, tmp_path) -> Path:
        distribute(ACME, acme_plugin=WHERE_IT_RUNS)
        return launcher(tmp_path / "ours")

    @pytest.fixture
    def theirs(self, tmp_path) -> Path:
        return script(tmp_path / "theirs", """echo '{"interfaces": [{"name": "theirs"}]}'""").parent

    def test_our_own_program_runs_in_this_process(self, ours, theirs):
        request = request_for([ours.parent, theirs], program=ours)
        assert delegate_add("acme", request) == HERE

    def test_a_file_of_somebody_else_that_comes_first_is_run(self, ours, theirs):
        request = request_for([theirs, ours.parent], program=ours)
        assert delegate_add("acme", request) == Result(interfaces=(Interface("theirs"),))

    def test_only_a_regular_file_comes_first(self, ours, theirs, tmp_path):
        (theirs / "acme").rename(theirs / "elsewhere")
        (theirs / "acme").mkdir()
        request = request_for([tmp_path / "absent", theirs, ours.parent], program=ours)
        assert delegate_add("acme", request) == HERE

    def test_a_chain_of_symlinks_to_our_program_is_our_program(self, ours, tmp_path):
        chained = tmp_path / "chained"
        chained.mkdir()
        (chained / "acme").symlink_to(tmp_path / "link")
        (tmp_path / "link").symlink_to(ours.parent / "acme")
        assert delegate_add("acme", request_for([chained], program=ours)) == HERE

    def test_another_copy_of_our_program_is_another_program(self, ours, tmp_path):
        copy = launcher(tmp_path / "copy")
        result = delegate_add("acme", request_for([copy.parent], program=ours))
        assert len(result.interfaces) == 1
        assert result != HERE

    def test_our_program_under_a_name_that_no_distribution_has_lists_the_types(self, ours):
        (ours.parent / "frob").symlink_to("cni")
        error = refused(CniError, "frob", request_for([ours.parent], program=ours))
        assert error.msg.startswith('no plugin "frob" is installed: known types are acme')

    @pytest.mark.parametrize(
        ("plugin_type", "path", "msg"),
        [
            ("", "/bin", "no plugin name provided"),
            ("../bin/true", "/bin", "invalid plugin name: ../bin/true"),
            ("/bin/true", "/bin", "invalid plugin name: /bin/true"),
            (".", "/bin", "invalid plugin name: ."),
            (
                "acme",
                ":",
                "no paths provided: set CNI_PATH to the directories that hold the plugins",
            ),
            ("acme", "/absent:/bin", 'failed to find plugin "acme" in path [/absent /bin]'),
        ],
    )
    @pytest.mark.parametrize("work", [delegate_add, delegate_verb])
    def test_what_leads_to_no_file_is_refused(self, plugin_type, path, msg, work):
        error = refused(CniError, plugin_type, request_for(path), work=work)
        assert (error.code, error.msg) == (999, msg)

    def test_without_a_path_there_is_no_plugin(self):
        request = replace(request_for("/bin"), path="")
        assert refused(CniError, "acme", request).msg.startswith("no paths provided")

    def test_a_file_that_cannot_be_executed_is_named(self, tmp_path):
        (tmp_path / "acme").write_text("text")
        error = refused(CniError, "acme", request_for([tmp_path]))
        assert error.msg.endswith(f"exec {tmp_path}/acme: Permission denied")


class TestWhatGoesIn:
    @pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
    def test_the_environment_is_ours_with_nothing_but_the_verb_replaced(self, tmp_path, verb):
        script(tmp_path / "bin", "echo {}")
        others = {"CNI_ARGS": "IgnoreUnknown=1", "PATH": "/usr/bin", "HTTP_PROXY": "", "A": "ä\nb"}
        work, asked = (delegate_add, "CHECK") if verb == "ADD" else (delegate_verb, verb)
        work("acme", request_for([tmp_path / "bin"], asked, **others))
        seen = (tmp_path / "bin" / "environ").read_bytes().decode().removesuffix("\0").split("\0")
        assert dict(line.split("=", 1) for line in seen) == {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": "/run/netns/c1",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(tmp_path / "bin"),
            **others,
        }

    @pytest.mark.parametrize("verb", ["ADD", "DEL"])
    def test_stdin_is_the_callers_to_the_byte(self, tmp_path, verb):
        stdin = (
            b' {"x": 1.50, "cniVersion":"1.1.0",\n\t"name" :"net", "name": "net", "\\u00e4": "\xc3\xa4",'
            b' "big": 123456789012345678901234567890}\n\n'
        )
        script(tmp_path / "bin", "echo {}")
        delegate_add("acme", request_for([tmp_path / "bin"], verb, conf=stdin))
        assert (tmp_path / "bin" / "stdin").read_bytes() == stdin

    def test_the_callers_request_is_left_as_it_was(self, tmp_path):
        script(tmp_path / "bin", "echo {}")
        request = request_for([tmp_path / "bin"], "CHECK")
        delegate_add("acme", request)
        assert (request.verb, request.environ["CNI_COMMAND"]) == ("CHECK", "CHECK")


ADDRESS = {"address": "10.0.0.5/24"}
ADDRESSED = Result(ips=(IpConfig(ip_interface("10.0.0.5/24")),))
OLD = {"ip4": {"ip": "10.0.0.5/24"}}


class TestWhatComesOut:
    @pytest.mark.parametrize(
        ("version", "document", "expected"),
        [
            ("1.1.0", {"cniVersion": "1.1.0", "ips": [ADDRESS]}, ADDRESSED),
            ("1.1.0", {"cniVersion": "0.4.0", "ips": [{**ADDRESS, "version": "4"}]}, ADDRESSED),
            ("1.1.0", {"cniVersion": "0.2.0", **OLD}, ADDRESSED),
            ("0.2.0", {"cniVersion": "1.0.0", "ips": [ADDRESS]}, ADDRESSED),
            ("1.1.0", {"ips": [ADDRESS]}, ADDRESSED),
            ("1.1.0", {"cniVersion": "", "ips": [ADDRESS]}, ADDRESSED),
            ("1.1.0", {"cniVersion": None, "ips": [ADDRESS]}, ADDRESSED),
            ("1.1.0", {"cniVersion": 1, "ips": [ADDRESS]}, ADDRESSED),
            ("0.2.0", OLD, ADDRESSED),
            ("", OLD, ADDRESSED),
            ("1.1.0", None, Result()),
            ("0.4.0", {}, Result()),
        ],
    )
    def test_a_result_has_its_own_version_or_the_configurations(
        self, tmp_path, version, document, expected
    ):
        script(tmp_path / "bin", f"echo '{json.dumps(document)}'")
        request = request_for([tmp_path / "bin"], conf={**CONF, "cniVersion": version})
        assert delegate_add("acme", request) == expected

    @pytest.mark.parametrize(
        ("output", "msg"),
        [
            ("", "failed to unmarshal raw result: Expecting value"),
            ("oops", "failed to unmarshal raw result: Expecting value"),
            ("[]", "failed to unmarshal raw result: expected a JSON object, not a list"),
            ("{} {}", "failed to unmarshal raw result: Extra data"),
            ('{"cniVersion": "2.0.0"}', 'unsupported CNI result version "2.0.0"'),
            ('{"ips": [{}]}', "ips[0].address: invalid CIDR address: "),
        ],
    )
    def test_an_output_that_is_no_result_is_an_error(self, tmp_path, output, msg):
        script(tmp_path / "bin", f"printf '%s' '{output}'")
        assert refused(CniError, "acme", request_for([tmp_path / "bin"])).msg.startswith(msg)

    @pytest.mark.parametrize("verb", ["DEL", "CHECK", "GC", "STATUS"])
    def test_the_output_of_other_verbs_does_not_matter(self, tmp_path, verb):
        script(tmp_path / "bin", "echo oops")
        delegate_verb("acme", request_for([tmp_path / "bin"], verb))
        assert f"CNI_COMMAND={verb}\0" in (tmp_path / "bin" / "environ").read_text()

    @pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
    def test_an_error_passes_through_with_its_code_and_its_details(self, tmp_path, verb):
        document = {"cniVersion": "1.1.0", "code": 11, "msg": "full", "details": "try a /16"}
        script(tmp_path / "bin", f"echo '{json.dumps(document)}'; exit 1")
        work = delegate_add if verb == "ADD" else delegate_verb
        error = refused(ForeignError, "acme", request_for([tmp_path / "bin"], verb), work=work)
        assert error_document(error) == {"code": 11, "msg": "full", "details": "try a /16"}

    @pytest.mark.parametrize(
        ("body", "msg"),
        [
            ("exit 3", "netplugin failed with no error message: exit status 3"),
            ("echo broken >&2; exit 1", r'netplugin failed: "broken\n": exit status 1'),
            ("echo oops; exit 1", "netplugin failed but error parsing its diagnostic message"),
        ],
    )
    def test_a_failure_without_an_error_document_has_code_0(self, tmp_path, body, msg):
        script(tmp_path / "bin", body)
        document = error_document(refused(CniError, "acme", request_for([tmp_path / "bin"])))
        assert document["code"] == 0
        assert str(document["msg"]).startswith(msg)

    def test_what_a_successful_plugin_says_on_stderr_is_said_again(self, tmp_path, capfd):
        script(tmp_path / "bin", "echo a hint >&2; echo {}")
        delegate_add("acme", request_for([tmp_path / "bin"]))
        assert capfd.readouterr() == ("", "a hint\n")

    def test_a_file_that_is_being_written_is_tried_again(self, tmp_path, monkeypatch):
        file = script(tmp_path / "bin", "echo {}")
        with file.open("a") as stream:
            monkeypatch.setattr("time.sleep", lambda _: stream.close())
            assert delegate_add("acme", request_for([tmp_path / "bin"])) == Result()


EVERYTHING = """
import sys
from ipaddress import ip_address, ip_interface
from pathlib import Path

from cnicore.config import NetConf
from cnicore.errors import CniError, TryAgainLater
from cnicore.hookspecs import hookimpl
from cnicore.result import Dns, Interface, IpConfig, Result, Route

MARK = Path(__file__).with_name("mark")
RESULT = Result(
    (Interface("eth0", "02:00:00:00:00:02", "/run/netns/c1", 1400, "/run/s", "0"),),
    (
        IpConfig(ip_interface("fd00::5/64"), ip_address("fd00::1"), 0),
        IpConfig(ip_interface("10.0.0.5/24"), None, 0),
        IpConfig(ip_interface("10.0.1.5/24")),
    ),
    (
        Route(ip_interface("10.9.0.1/16"), ip_address("10.0.0.1"), 1400, 1360, 5, 0, 253),
        Route(ip_interface("::/0")),
    ),
    Dns(("10.0.0.53",), "example.org", ("a",), ("b",)),
)

@hookimpl
def cni_config():
    return NetConf

@hookimpl
def cni_add(request):
    MARK.touch()
    match request.document.get("behave"):
        case "as told":
            raise TryAgainLater("no address is free", "all 254 are leased")
        case "badly":
            raise KeyError("x")
        case "in several ways":
            raise ExceptionGroup("", [TryAgainLater("one", "more"), CniError("two"), OSError(5, "three")])
        case "without an address":
            return Result()
    return RESULT

@hookimpl
def cni_del(request):
    MARK.unlink(missing_ok=True)
"""


class TestBothWays:
    """In this process or as another: the caller cannot tell."""

    @pytest.fixture
    def site(self, distribute) -> Path:
        return distribute(ACME, acme_plugin=EVERYTHING)

    @pytest.fixture
    def program(self, site, tmp_path) -> Path:
        return launcher(tmp_path / "bin")

    @staticmethod
    def both(program, **members):
        conf = {**CONF, **members}
        return (
            request_for([program.parent], conf=conf, program=program),
            request_for([program.parent], conf=conf),
        )

    @pytest.mark.parametrize("version", SINCE_0_1_0)
    def test_the_result_says_what_the_version_can_say(self, program, version):
        here, there = self.both(program, cniVersion=version)
        result = delegate_add("acme", here)
        assert result == delegate_add("acme", there)
        assert len(result.ips) == (2 if version < "0.3.0" else 3)

    @pytest.mark.parametrize(
        "members",
        [
            {"behave": "as told"},
            {"behave": "badly"},
            {"behave": "in several ways"},
            {"behave": "without an address", "cniVersion": "0.2.0"},
            {"cniVersion": "9.9.9"},
            {"dns": 5},
        ],
    )
    def test_a_failure_becomes_the_same_error_document(self, program, members):
        here, there = self.both(program, **members)
        expected = error_document(refused(ForeignError, "acme", there))
        assert error_document(refused(Exception, "acme", here)) == expected

    @pytest.mark.parametrize("way", [0, 1], ids=["here", "there"])
    def test_a_result_that_the_version_cannot_say_is_taken_back(self, program, site, way):
        request = self.both(program, behave="without an address", cniVersion="0.2.0")[way]
        error = refused(CniError, "acme", request)
        assert error.msg == "cannot convert: no valid IP addresses"
        assert not (site / "mark").exists()

    def test_verbs_without_an_answer_give_none(self, program, site):
        here, there = self.both(program)
        for request in (here, there):
            (site / "mark").touch()
            delegate_verb("acme", request.with_verb("DEL"))
            assert not (site / "mark").exists()
            delegate_verb("acme", request.with_verb("GC"))

    def test_an_error_in_this_process_keeps_its_class(self, program):
        here, _ = self.both(program, behave="as told")
        assert refused(TryAgainLater, "acme", here).details == "all 254 are leased"
