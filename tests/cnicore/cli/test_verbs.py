"""`cni add` and its siblings: cnitool's variables, container id, output, and what is new."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cnicore.cli.call import absolute, default_container_id, parse_args
from cnicore.errors import InvalidEnvironment

BLUE = ("dbnet", "/run/netns/blue")
BLUE_ID = "cnitool-df26705e2e4ffd095eb1"


@pytest.mark.parametrize(("netns", "container_id"), [
    ("/var/run/netns/testing", "cnitool-77383ca0a0715733ca6f"),
    ("/run/netns/blue", "cnitool-df26705e2e4ffd095eb1"),
    ("/run//netns/../netns/./blue/", "cnitool-df26705e2e4ffd095eb1"),
    ("//run/netns/blue", "cnitool-df26705e2e4ffd095eb1"),
])  # fmt: skip
def test_the_container_id_is_cnitools(netns: str, container_id: str) -> None:
    assert default_container_id(absolute(netns)) == container_id


def test_a_relative_namespace_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("blue") == f"{tmp_path}/blue"


def test_add_prints_the_result_indented_and_without_a_newline(run_cni, node) -> None:
    done = run_cni("add", *BLUE)
    assert done.exit_code == 0
    assert done.stdout == '{\n    "cniVersion": "1.1.0",\n    "ips": []\n}'
    assert done.stderr == ""
    assert [file.name for file in (node / "cache" / "results").iterdir()] == [
        f"dbnet-{BLUE_ID}-eth0"
    ]


def test_the_plugin_gets_what_the_variables_say(run_cni, node) -> None:
    (node / "net.d" / "10-dbnet.conflist").write_text(
        '{"cniVersion": "1.1.0", "name": "dbnet",'
        ' "plugins": [{"type": "fake", "capabilities": {"mac": true}}]}'
    )
    variables = {
        "CNI_ARGS": "A=b;C=d",
        "CAP_ARGS": '{"mac": "02:00:00:00:00:01"}',
        "CNI_IFNAME": "net7",
    }
    run_cni("add", *BLUE, variables=variables)
    assert (node / "bin" / "environ").read_text().splitlines() == [
        "CNI_ARGS=A=b;C=d",
        "CNI_COMMAND=ADD",
        f"CNI_CONTAINERID={BLUE_ID}",
        "CNI_IFNAME=net7",
        "CNI_NETNS=/run/netns/blue",
        f"CNI_PATH={node / 'bin'}",
    ]
    stdin = json.loads((node / "bin" / "stdin").read_text())
    assert stdin["runtimeConfig"] == {"mac": "02:00:00:00:00:01"}


def test_options_win_over_variables(run_cni, node) -> None:
    run_cni(
        *("add", *BLUE, "-i", "net1", "--container-id", "abc"),
        variables={"CNI_IFNAME": "net7"},
    )
    environ = (node / "bin" / "environ").read_text()
    assert "CNI_IFNAME=net1\n" in environ
    assert "CNI_CONTAINERID=abc\n" in environ


def test_check_del_and_status_print_nothing(run_cni, node) -> None:
    run_cni("add", *BLUE)
    for command in (
        ("check", *BLUE),
        ("del", *BLUE),
        ("del", *BLUE),
        ("status", "dbnet"),
        ("status", *BLUE),
    ):
        done = run_cni(*command)
        assert (done.exit_code, done.output) == (0, "")
    verbs = (node / "bin" / "verbs").read_text().split()
    assert verbs == ["ADD", "CHECK", "DEL", "DEL", "STATUS", "STATUS"]


def test_gc_removes_what_is_not_kept(run_cni, node) -> None:
    for container_id, ifname in (("a", "eth0"), ("a", "net1"), ("b", "eth0"), ("b", "net1")):
        run_cni("add", *BLUE, "--container-id", container_id, "-i", ifname)
    done = run_cni("gc", "dbnet", "--keep", "a", "--keep", "b/eth0", "--keep", "c")
    assert (done.exit_code, done.output) == (0, "")
    left = sorted(file.name for file in (node / "cache" / "results").iterdir())
    assert left == ["dbnet-a-eth0", "dbnet-a-net1", "dbnet-b-eth0"]
    stdin = json.loads((node / "bin" / "stdin").read_text())
    assert stdin["cni.dev/valid-attachments"] == [
        {"containerID": "a", "ifname": "eth0"},
        {"containerID": "a", "ifname": "net1"},
        {"containerID": "b", "ifname": "eth0"},
        {"containerID": "c", "ifname": "eth0"},
    ]


def test_gc_without_keep_tells_plugins_that_nothing_is_valid(run_cni, node) -> None:
    run_cni("gc", "dbnet")
    assert json.loads((node / "bin" / "stdin").read_text())["cni.dev/valid-attachments"] == []


def test_a_failure_is_one_line_on_stderr_and_status_1(run_cni, node) -> None:
    (node / "bin" / "answer").write_text(
        '{"code": 50, "msg": "no addresses", "details": "10.0.0.0/30"}'
    )
    done = run_cni("add", *BLUE)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == 'Error: plugin type="fake" failed (add): no addresses; 10.0.0.0/30\n'


def test_a_failure_may_be_the_specifications_document_on_stdout(run_cni, node) -> None:
    (node / "bin" / "answer").write_text('{"code": 50, "msg": "no addresses", "details": "d"}')
    done = run_cni("status", "dbnet", "--json")
    assert (done.exit_code, done.stderr) == (1, "")
    assert json.loads(done.stdout) == {"code": 50, "msg": "no addresses", "details": "d"}


def test_with_json_success_is_a_document_too(run_cni, node) -> None:
    assert json.loads(run_cni("add", *BLUE, "--json").stdout)["cniVersion"] == "1.1.0"
    assert json.loads(run_cni("del", *BLUE, "--json").stdout) == {}


def test_a_file_may_be_given_instead_of_the_directory(run_cni, node) -> None:
    file = node / "own.conf"
    file.write_text('{"cniVersion": "1.1.0", "name": "own", "type": "fake"}')
    assert run_cni("status", "own", "--config", str(file)).exit_code == 0
    done = run_cni("status", "dbnet", "--config", str(file))
    assert done.stderr == f'Error: {file} defines the network "own", not "dbnet"\n'


@pytest.mark.parametrize(("variables", "message"), [
    ({"CNI_ARGS": "A"}, 'invalid CNI_ARGS pair "A": write KEY=VALUE'),
    ({"CNI_ARGS": "A=b;"}, 'invalid CNI_ARGS pair "": write KEY=VALUE'),
    ({"CNI_ARGS": "A="}, 'invalid CNI_ARGS pair "A=": write KEY=VALUE'),
    ({"CNI_ARGS": "A=b=c"}, 'invalid CNI_ARGS pair "A=b=c": write KEY=VALUE'),
    ({"CAP_ARGS": "{"}, "CAP_ARGS: Expecting property name"),
    ({"CAP_ARGS": "[]"}, "CAP_ARGS: expected a JSON object, not a list"),
    ({"CNI_PATH": None}, "no plugin directories: set CNI_PATH, or use the program that "),
    ({"NETCONFPATH": "/nonexistent"}, "no net configurations found in /nonexistent"),
])  # fmt: skip
def test_a_wrong_variable_is_named(run_cni, variables: dict[str, str | None], message: str) -> None:
    done = run_cni("add", *BLUE, variables=variables)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {message}")
    assert done.stderr.count("\n") == 1


def test_no_arguments_are_no_pairs() -> None:
    assert parse_args("") == ()
    with pytest.raises(InvalidEnvironment):
        parse_args("=")


@pytest.mark.parametrize(("arguments", "message"), [
    (["nonsense"], "No such command 'nonsense'"),
    (["add", "dbnet"], "Missing argument 'NETNS'"),
    (["add"], "Missing argument 'NETWORK'"),
    (["add", "dbnet", "/x", "--nonsense"], "No such option"),
    (["add", "dbnet", "/x", "extra"], "Got unexpected extra argument"),
])  # fmt: skip
def test_bad_usage_exits_with_2(run_cni, arguments: list[str], message: str) -> None:
    done = run_cni(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
