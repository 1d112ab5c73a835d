"""Our plugins as whole processes: what the protocol demands whatever the plugin does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from conformance.cases_bridge import bridge
from conformance.cases_ptp import loopback, ptp
from conformance.snapshot import Symbols, snapshot
from conformance.stage import PLUGINS, Answer, environment

pytestmark = pytest.mark.kernel

ERROR_KEYS = {"code", "msg", "details"}
VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
NO_CONTAINER_ID = {"CNI_CONTAINERID": ""}
BAD_NAME = b'{"cniVersion": "1.1.0", "name": "a b", "type": "loopback"}'
BAD_VERSION = b'{"cniVersion": "9.9.9", "name": "n1", "type": "loopback"}'
BAD_KEY = b'{"cniVersion": "1.1.0", "name": "n1", "type": "loopback", "dns": 1}'


def start(conf, verb="ADD", plugin="loopback", **settings):
    settings = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **settings}
    settings.setdefault("env", environment(verb, {}))
    return subprocess.Popen([PLUGINS / plugin], stderr=subprocess.PIPE, **settings)


@pytest.mark.parametrize(
    ("variables", "stdin", "code", "message"),
    [
        (
            {"CNI_CONTAINERID": "a/b", "CNI_IFNAME": ""},
            b"{",
            4,
            "invalid characters in containerID",
        ),
        ({"CNI_CONTAINERID": "", "CNI_IFNAME": "a/b"}, b"{", 4, "interface name contains"),
        ({**NO_CONTAINER_ID, "CNI_PATH": ""}, b"{", 4, "[CNI_CONTAINERID,CNI_PATH] missing"),
        (NO_CONTAINER_ID, b"{", 4, "[CNI_CONTAINERID] missing"),
        ({"CNI_COMMAND": "FROB"}, b"{", 6, "error unmarshall network config"),
        ({"CNI_COMMAND": "FROB"}, b"{}", 7, "missing network name"),
        ({"CNI_COMMAND": "FROB"}, BAD_NAME, 7, "invalid characters found in network name"),
        ({"CNI_COMMAND": "FROB"}, BAD_VERSION, 4, "unknown CNI_COMMAND: FROB"),
        ({}, BAD_VERSION, 1, "incompatible CNI versions"),
        ({"CNI_NETNS": "/proc/self/ns/net"}, BAD_VERSION, 1, "incompatible CNI versions"),
        ({"CNI_NETNS": "/proc/self/ns/net"}, BAD_KEY, 8, "should not be the same"),
        ({"CNI_NETNS": "/run/netns/gone"}, BAD_KEY, 7, "dns"),
    ],
)
def test_checks_come_in_the_references_order(our_stage, variables, stdin, code, message):
    answer = our_stage.call("ADD", stdin, variables, "loopback")

    assert (answer.status, answer.document["code"]) == (1, code)
    assert message in answer.document["msg"]
    assert answer.document.keys() <= ERROR_KEYS


@pytest.mark.parametrize("plugin", ["bridge", "ptp", "loopback", "host-local", "static"])
def test_version_needs_nothing_but_the_verb(our_stage, plugin):
    done = subprocess.run(
        [PLUGINS / plugin],
        env={"CNI_COMMAND": "VERSION"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.count(b"\n") == 1
    assert json.loads(done.stdout) == {"cniVersion": "1.1.0", "supportedVersions": VERSIONS}
    assert done.stderr == b""


def test_version_does_not_wait_for_stdin(our_stage):
    process = start({}, "VERSION")
    status = process.wait(timeout=60)  # its stdin is still open

    assert status == 0
    process.communicate()


def test_an_attachment_lives_without_path_home_and_anything_but_cni_variables(our_stage):
    conf = bridge(isDefaultGateway=True)
    nothing_else = {"PATH": None}

    added = our_stage.call("ADD", conf, nothing_else)
    assert added.status == 0, added.stdout
    conf["prevResult"] = added.document
    assert our_stage.call("CHECK", conf, nothing_else) == Answer(0, b"", b"")
    assert our_stage.call("DEL", conf, nothing_else) == Answer(0, b"", b"")


def test_stdout_is_one_document_although_descriptor_1_is_everybodys(our_stage):
    answer = our_stage.call("ADD", loopback())

    assert answer.document["interfaces"][0]["name"] == "lo"
    assert not answer.stdout.endswith(b"\n")


def test_without_a_verb_the_plugin_says_what_it_is(our_stage):
    answer = our_stage.call("", loopback(), {"CNI_COMMAND": None})

    assert (answer.status, answer.stdout) == (0, b"")
    lines = answer.stderr.decode().splitlines()
    assert lines[0].startswith("CNI loopback plugin ")
    assert lines[1] == "CNI protocol versions supported: " + ", ".join(VERSIONS)


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "only for writing"])
def test_an_unreadable_stdin_is_an_error(our_stage, is_open):
    sink = os.open(os.devnull, os.O_WRONLY)
    close = None if is_open else lambda: os.close(0)
    process = start({}, stdin=sink, preexec_fn=close)
    os.close(sink)
    stdout, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert json.loads(stdout)["code"] == 5


def test_a_result_that_nobody_can_receive_is_taken_back(our_stage):
    before = seen(our_stage)
    reader, writer = os.pipe()
    os.close(reader)
    process = start({}, plugin="ptp", stdout=writer)
    os.close(writer)
    _, stderr = process.communicate(json.dumps(ptp()).encode(), timeout=60)

    assert process.returncode == 1
    assert b"Broken pipe" in stderr
    assert seen(our_stage) == before


def test_with_a_closed_stdout_the_plugin_does_not_write_into_another_file(our_stage):
    process = start({}, plugin="ptp", stdout=None, preexec_fn=lambda: os.close(1))
    process.communicate(json.dumps(ptp()).encode(), timeout=60)

    assert process.returncode in {0, 1}
    assert our_stage.call("DEL", ptp()).status == 0
    assert not our_stage.sandbox.json("ip -json link show type veth")


@pytest.mark.parametrize("syscall", ["socket", "rename", "sendto"])
def test_a_plugin_that_is_terminated_leaves_nothing(our_stage, strace, syscall):
    before = seen(our_stage)
    conf = json.dumps(ptp()).encode()

    for number in (1, 2, 6, 12):
        process = subprocess.Popen(
            [
                *strace,
                "-o",
                "/dev/null",
                "-e",
                f"inject={syscall}:signal=SIGTERM:when={number}",
                PLUGINS / "ptp",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment("ADD", {}),
        )
        stdout, stderr = process.communicate(conf, timeout=60)

        if process.returncode == 0:
            our_stage.call("DEL", ptp())
        else:
            assert process.returncode == 1, stderr
            assert "SIGTERM" in json.loads(stdout)["msg"]
            assert seen(our_stage) == before, number


def test_a_signal_after_the_answer_does_not_take_it_back(our_stage, strace):
    command = [*strace, "-o", "/dev/null", "-e", "inject=write:signal=SIGTERM:when=1"]
    done = subprocess.run(
        [*command, PLUGINS / "loopback"],
        input=json.dumps(loopback()).encode(),
        env=environment("ADD", {}),
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["interfaces"][0]["name"] == "lo"


@pytest.mark.parametrize("delay", [0.05, 0.1, 0.15, 0.2, 0.25])
def test_sigterm_while_modules_are_loaded_is_named_for_what_it_is(our_stage, delay):
    before = seen(our_stage)
    process = start({}, plugin="ptp")
    process.stdin.write(json.dumps(ptp()).encode())
    process.stdin.close()
    process.stdin = None
    time.sleep(delay)
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=60)

    if process.returncode == 0:  # it was faster
        our_stage.call("DEL", ptp())
    elif process.returncode != -signal.SIGTERM:  # the interpreter got as far as its handler
        document = json.loads(stdout)
        assert (document["code"], document["msg"][:21]) == (999, "terminated by SIGTERM")
    assert seen(our_stage) == before


def test_without_stderr_an_add_succeeds_and_an_error_is_one_document(our_stage):
    close = {"preexec_fn": lambda: os.close(2)}
    process = start({}, **close)
    stdout, _ = process.communicate(json.dumps(loopback()).encode(), timeout=60)
    assert (process.returncode, json.loads(stdout)["interfaces"][0]["name"]) == (0, "lo")

    process = start({}, **close)
    stdout, _ = process.communicate(b"{", timeout=60)
    assert (process.returncode, json.loads(stdout)["code"]) == (1, 6)


@pytest.mark.parametrize("name", [b"\xff\xfe", b"eth%d", b"50%"])
def test_a_name_that_no_interface_can_have_is_refused(our_stage, name):
    before = seen(our_stage)
    variables = {"CNI_IFNAME": os.fsdecode(name)}

    answer = our_stage.call("ADD", ptp(), variables)

    assert (answer.status, answer.document["code"]) == (1, 4)
    assert answer.document["msg"].startswith("interface name ")
    assert seen(our_stage) == before


def test_sigterm_while_stdin_is_awaited_ends_the_plugin(our_stage):
    process = start({})
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=60)

    # the interpreter may not have got as far as its handler
    assert process.returncode in {1, -signal.SIGTERM}
    assert stdout == b"" or json.loads(stdout)["code"] == 999


def test_an_unknown_name_lists_the_known_types(our_stage, tmp_path):
    (tmp_path / "frob").symlink_to(PLUGINS.resolve() / "cni")
    done = subprocess.run(
        [tmp_path / "frob"],
        env=environment("ADD", {}),
        input=b"{}",
        capture_output=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 1
    message = json.loads(done.stdout)["msg"]
    assert message.startswith(
        'no plugin "frob" is installed: known types are bandwidth, bridge, dhcp, dummy, firewall, '
    )


@pytest.mark.parametrize("plugin_type", ["../host-local", "/run/cni-bin/host-local", "..", "."])
def test_a_type_that_is_a_path_is_refused(our_stage, plugin_type):
    before = seen(our_stage)

    answer = our_stage.call("ADD", ptp(ipam={"type": plugin_type}))

    assert answer.status == 1
    assert plugin_type in f"{answer.document['msg']} {answer.document.get('details')}"
    assert seen(our_stage) == before


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_the_hosts_own_namespace_is_refused_before_anything_is_done(our_stage, verb):
    before = seen(our_stage)

    answer = our_stage.call(verb, bridge(), {"CNI_NETNS": "/proc/thread-self/ns/net"})

    assert answer.document["code"] == 8
    assert seen(our_stage) == before


@pytest.mark.parametrize("value", ["1", "true", "TRUE"])
def test_the_override_allows_the_hosts_own_namespace(our_stage, value):
    variables = {"CNI_NETNS": "/proc/thread-self/ns/net", "CNI_NETNS_OVERRIDE": value}

    assert our_stage.call("ADD", loopback(), variables).status == 0


def test_a_configuration_of_ten_megabytes_is_read(our_stage):
    assert our_stage.call("ADD", loopback(padding="x" * 10_000_000)).status == 0


def test_deeply_nested_json_is_an_error_and_no_crash(our_stage):
    answer = our_stage.call("ADD", b"[" * 100_000, plugin="loopback")

    assert (answer.status, answer.document["code"]) == (1, 6)


@pytest.mark.parametrize("verb", ["GC", "STATUS", "CHECK"])
def test_verbs_without_an_answer_print_nothing(our_stage, verb):
    assert our_stage.call("ADD", loopback()).status == 0

    answer = our_stage.call(verb, loopback(cniVersion="1.1.0"))

    assert answer == Answer(0, b"", b"")


def seen(stage):
    """The state of both namespaces, without forwarding (never taken back) and host-local's memory."""
    state = snapshot(stage.sandbox, ["c1"], Symbols(""))
    kept = ("forwarding", "ip_forward")
    return {
        key: value
        for key, value in state.items()
        if (not key.endswith(kept) and not key.startswith("files/n1"))
        or key.startswith("files/n1/10.")
    }
