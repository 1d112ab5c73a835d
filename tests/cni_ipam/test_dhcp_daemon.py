"""The daemon: its socket and who talks there, and the program from its start to its end."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni_ipam.dhcp import conversation, protocol
from cnicore.errors import TryAgainLater
from cnicore.result import Result
from dhcp.daemons import QUESTION, TIMEOUT, answers, dial, heard, listening_desk

CNI = Path(sys.executable).parent / "cni"
ACCEPTED = protocol.Answer(seconds=5)
DONE = protocol.Answer()
patient = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def question(**changes):
    return json.dumps({**QUESTION, **changes}).encode() + b"\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "dhcp.sock"


@pytest.fixture
def desk(path):
    path.parent.mkdir()
    with listening_desk(path) as desk:
        yield desk


def asked(path, data):
    with closing(dial(path)) as connection:
        connection.sendall(data)
        return answers(connection)


def descriptors():
    return {file.name for file in Path("/proc/self/fd").iterdir()}


class TestConversation:
    def test_a_client_hears_at_once_that_it_is_served_and_then_the_result(self, path, desk):
        desk.result = Result()

        assert asked(path, question()) == [ACCEPTED, protocol.Answer(result=Result())]
        assert asked(path, question(verb="STATUS")) == [ACCEPTED, protocol.Answer(result=Result())]
        assert [verb for verb, *_ in desk.asked] == ["ADD", "STATUS"]

    def test_a_line_may_come_byte_by_byte_and_have_more_behind_it(self, path, desk):
        with closing(dial(path)) as connection:
            for byte in question(verb="DEL"):
                connection.sendall(bytes([byte]))
            connection.sendall(b"whatever")

            assert answers(connection) == [ACCEPTED, DONE]

    def test_the_namespace_comes_with_the_line_and_is_closed_afterwards(self, path, desk):
        before = descriptors()
        with closing(dial(path)) as connection, Path("/dev/null").open() as passed:
            socket.send_fds(connection, [question()], [passed.fileno()] * 3)
            assert answers(connection)[-1] == DONE

        assert desk.asked[0][2] is not None
        assert descriptors() == before

    def test_errors_keep_their_code(self, path, desk):
        desk.error = TryAgainLater("no DHCP server answered on eth0", "look there")

        _, answer = asked(path, question())

        assert (answer.error.code, str(answer.error)) == (11, str(desk.error))

    def test_what_nobody_foresaw_is_an_answer_too_and_the_daemon_lives(self, path, desk):
        desk.error = ZeroDivisionError("division by zero")

        _, answer = asked(path, question())

        assert (answer.error.code, answer.error.msg) == (999, "ZeroDivisionError: division by zero")
        desk.error = None
        assert asked(path, question()) == [ACCEPTED, DONE]

    def test_a_client_of_the_go_suite_is_told_in_its_own_terms(self, path, desk):
        with closing(dial(path)) as connection:
            connection.sendall(b"CONNECT /_goRPC_ HTTP/1.0\n\n")
            reply = heard(connection)

        assert reply.startswith(b"HTTP/1.0 426 this daemon speaks JSON and not Go RPC")
        assert reply.endswith(b"\r\n\r\n")
        assert desk.asked == []

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"\n", 6),
            (b"nonsense\n", 6),
            (question(**{"cni.dhcp": 9}), 1),
            (question(verb="RENEW"), 4),
            (question(config={}), 7),
            (b"[" * 200_000 + b"\n", 6),
        ],
    )
    def test_what_is_no_question_is_refused_with_its_reason(self, path, desk, data, code):
        (answer,) = asked(path, data)

        assert answer.error.code == code
        assert desk.asked == []

    def test_a_line_that_is_too_long_is_not_read_to_its_end(self, path, desk):
        with closing(dial(path)) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(64):
                    connection.sendall(b"x" * 65536)
            data = heard(connection)

        assert b"longer than 1048576 bytes" in data
        assert asked(path, question()) == [ACCEPTED, DONE]

    def test_one_that_says_nothing_is_not_waited_for(self, path, desk, monkeypatch):
        monkeypatch.setattr(conversation, "LINE_TIMEOUT", 0.2)
        with closing(dial(path)) as connection:
            connection.sendall(b'{"cni.dhcp"')
            (answer,) = answers(connection)

        assert answer.error.msg == "the DHCP daemon's request: no whole line within 0.2 s"

    def test_an_add_that_nobody_waits_for_any_more_is_given_up(self, path, desk):
        desk.is_slow = True
        with closing(dial(path)) as connection:
            connection.sendall(question())
            assert desk.began.wait(TIMEOUT)

        assert desk.cancelled.wait(TIMEOUT)

    def test_an_add_of_which_nobody_gets_to_know_is_taken_back(self, path, desk):
        desk.is_slow = True
        with closing(dial(path)) as connection:
            connection.sendall(question())
            assert desk.began.wait(TIMEOUT)
            connection.shutdown(socket.SHUT_RD)  # still there, and nothing can be written to it
            desk.is_slow = False

            assert desk.taken_back.wait(TIMEOUT)

    def test_a_del_is_done_whoever_waits_for_it(self, path, desk):
        with closing(dial(path)) as connection:
            connection.sendall(question(verb="DEL"))

        assert asked(path, question(verb="CHECK")) == [ACCEPTED, DONE]
        assert not desk.cancelled.is_set()

    def test_fifty_at_once_are_served(self, path, desk):
        connections = [dial(path) for _ in range(50)]
        for number, connection in enumerate(connections):
            connection.sendall(question(containerID=f"c{number}"))
        found = [answers(connection) for connection in connections]
        for connection in connections:
            connection.close()

        assert found == [[ACCEPTED, DONE]] * 50
        assert {container for _, container, _ in desk.asked} == {f"c{n}" for n in range(50)}

    def test_slow_ones_keep_nobody_waiting(self, path, desk):
        slow = [dial(path) for _ in range(50)]
        try:
            assert asked(path, question()) == [ACCEPTED, DONE]
        finally:
            for connection in slow:
                connection.close()

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
    def test_only_root_may_talk(self, path, desk):
        for part in [path, *path.parents]:  # the file's mode is not what this is about
            with suppress(OSError):
                if part.is_relative_to("/tmp") and part != Path("/tmp"):
                    part.chmod(0o777)
        code = (
            "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
            " s.connect(sys.argv[1]); print(s.makefile().read())"
        )

        done = subprocess.run(
            [sys.executable, "-c", code, path],
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )

        assert "only root may talk to the DHCP daemon, not the user 65534" in done.stdout


mutations = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8)


@st.composite
def nearly_right(draw):
    data = bytearray(question(verb=draw(st.sampled_from(sorted(protocol.VERBS)))))
    for place, value in draw(mutations):
        data[place % len(data)] = value
    return bytes(data[: draw(st.integers(0, len(data)))])


@patient
@given(st.lists(st.binary(max_size=300) | nearly_right(), min_size=1, max_size=4), st.booleans())
def test_whatever_is_said_is_answered_or_closed(tmp_path_factory, parts, says_all):
    path = tmp_path_factory.getbasetemp() / "fuzz.sock"
    with listening_desk(path):
        with closing(dial(path)) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):
                for part in parts:
                    connection.sendall(part)
                if says_all:
                    connection.sendall(b"\n")
                connection.shutdown(socket.SHUT_WR)
            said = heard(connection)
            for line in said.splitlines() if not said.startswith(b"HTTP/") else []:
                protocol.read_answer(line)
        assert asked(path, question()) == [ACCEPTED, DONE]
    path.unlink()


def leases_of(path):
    return path.parent.parent / "leases"


def flags_of(path):
    """What a daemon needs to be a test's own."""
    return [f"-socketpath={path}", f"-leasedir={leases_of(path)}"]


@contextmanager
def daemon(*flags, program=(CNI, "dhcp-daemon"), **environ):
    """The program, which is ended after the block; its log is read from `.log`."""
    process = subprocess.Popen(
        [*program, *flags],
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], **environ},
        close_fds=False,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(TIMEOUT)
        process.stderr.close()


def until_listening(process):
    """The log up to the line that says so."""
    log = []
    for line in process.stderr:
        log.append(line)
        if "listening on" in line:
            return "".join(log)
    raise AssertionError("".join(log))


def ended(process, number=signal.SIGTERM):
    """Exit status and log after a signal."""
    process.send_signal(number)
    _, log = process.communicate(timeout=TIMEOUT)
    return process.returncode, log


def refused(*flags, **environ):
    """Status and log of a daemon that cannot start."""
    with daemon(*flags, **environ) as process:
        _, log = process.communicate(timeout=TIMEOUT)
        return process.returncode, log


def status(path):
    return asked(path, question(verb="STATUS"))


class TestProgram:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_listens_until_a_signal_and_takes_its_files_with_it(self, path, number):
        pidfile = path.parent / "dhcp.pid"
        with daemon(*flags_of(path), "--pidfile", pidfile) as process:
            log = until_listening(process)
            seen = (pidfile.read_text(), stat.S_IMODE(path.stat().st_mode))
            answer = status(path)
            code, rest = ended(process, number)

        assert seen == (str(process.pid), 0o600)
        assert [one.error for one in answer] == [None, None]
        assert (code, rest.endswith("stopped; the leases stay\n")) == (0, True), rest
        assert list(path.parent.iterdir()) == []
        year = time.strftime("%Y/")
        assert all(line.startswith(year) for line in (log + rest).splitlines())

    def test_what_it_makes_is_for_root_alone(self, path):
        with daemon(*flags_of(path)) as process:
            until_listening(process)
            modes = [stat.S_IMODE(p.stat().st_mode) for p in (path.parent, leases_of(path))]

        assert modes == [0o700, 0o700]

    def test_a_socket_that_nobody_listens_at_is_replaced(self, path):
        with daemon(*flags_of(path)) as process:
            until_listening(process)
            process.kill()
            process.wait(TIMEOUT)
        assert path.is_socket()

        with daemon(*flags_of(path)) as process:
            until_listening(process)
            assert status(path)[-1] == DONE

    def test_a_second_daemon_is_refused_and_the_first_one_stays(self, path, tmp_path):
        with daemon(*flags_of(path)) as process:
            until_listening(process)
            same_socket = refused(f"-socketpath={path}", f"-leasedir={tmp_path / 'other'}")
            same_leases = refused(f"-socketpath={path}.other", flags_of(path)[1])
            answer = status(path)

        assert same_socket[0] == same_leases[0] == 1
        assert f"another program listens on {path}: stop it" in same_socket[1]
        assert f"another DHCP daemon keeps its leases in {leases_of(path)}" in same_leases[1]
        assert answer[-1] == DONE

    def test_a_file_in_the_way_is_left_alone(self, path):
        path.parent.mkdir()
        path.write_text("precious")

        code, log = refused(*flags_of(path))

        assert (code, path.read_text()) == (1, "precious")
        assert f"{path} is no socket: remove it, or choose another -socketpath" in log

    @pytest.mark.parametrize(
        ("flags", "code", "message"),
        [
            (["-socketpath", "/dev/null/x"], 1, "could not listen on /dev/null/x (-socketpath): "),
            (["-socketpath", "/tmp/" + "x" * 200], 1, "(-socketpath): AF_UNIX path too long"),
            (
                ["-leasedir", "/dev/null/x"],
                1,
                "could not use the directory /dev/null/x (-leasedir)",
            ),
            (["-pidfile", "/dev/null/x"], 1, "could not write /dev/null/x (-pidfile): "),
            (["-pidfile", "x"], 2, 'dhcp daemon: invalid value "x" for flag -pidfile: path not'),
            (["-nope"], 2, "dhcp daemon: flag provided but not defined: -nope"),
        ],
    )
    def test_what_it_cannot_start_with_is_named(self, path, flags, code, message):
        status, log = refused(*flags_of(path), *flags)

        assert (status, message in log) == (code, True), log
        assert not path.exists()

    def test_two_that_find_the_same_stale_socket_do_not_both_take_it(self, path):
        path.parent.mkdir()
        with closing(socket.socket(socket.AF_UNIX)) as stale:
            stale.bind(str(path))
        processes = [
            subprocess.Popen(
                [CNI, "dhcp-daemon", f"-socketpath={path}", f"-leasedir={path.parent}/{number}"],
                stderr=subprocess.DEVNULL,
            )
            for number in range(4)
        ]
        try:
            deadline = time.monotonic() + TIMEOUT
            while sum(one.poll() is None for one in processes) > 1:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            (alive,) = (one for one in processes if one.poll() is None)
            assert status(path)[-1] == DONE
            assert alive.poll() is None
        finally:
            for process in processes:
                process.kill()
                process.wait(TIMEOUT)

    def test_help_is_printed(self):
        done = subprocess.run(
            [CNI, "dhcp-daemon", "-h"], check=False, capture_output=True, text=True
        )

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Usage: dhcp daemon [FLAGS]\n")


SYSTEMD = """
import os, sys
listener, pid, count, *command = sys.argv[1:]
os.dup2(int(listener), 3)
environ = {**os.environ, "LISTEN_PID": pid or str(os.getpid()), "LISTEN_FDS": count}
os.execve(command[0], command, environ)
"""


def activated(path, listener, count="1", pid=""):
    """The program as systemd starts it: the socket is descriptor 3."""
    command = [CNI, "dhcp-daemon", *flags_of(path)]
    return (sys.executable, "-c", SYSTEMD, listener, pid, count, *command)


@contextmanager
def made_by_systemd(path, kind=socket.SOCK_STREAM, backlog=16):
    path.parent.mkdir()
    with closing(socket.socket(socket.AF_UNIX, kind)) as listener:
        listener.bind(str(path))
        if backlog:
            listener.listen(backlog)
        listener.set_inheritable(True)
        yield str(listener.fileno())


class TestActivation:
    def test_it_listens_at_the_socket_that_it_is_given_and_leaves_its_file(self, path):
        with (
            made_by_systemd(path) as listener,
            daemon(program=activated(path, listener)) as process,
        ):
            until_listening(process)
            assert status(path)[-1] == DONE
            code, _ = ended(process)

        assert code == 0
        assert path.is_socket()

    @pytest.mark.parametrize(
        ("kind", "backlog", "count", "message"),
        [
            (
                socket.SOCK_STREAM,
                16,
                "2",
                "Too many (2) FDs passed through socket activation: give",
            ),
            (
                socket.SOCK_STREAM,
                16,
                "x",
                "Too many (x) FDs passed through socket activation: give",
            ),
            (socket.SOCK_STREAM, 0, "1", "what systemd passed is no Unix socket that listens"),
            (socket.SOCK_DGRAM, 0, "1", "what systemd passed is no Unix socket that listens"),
        ],
    )
    def test_another_than_one_listening_socket_is_refused(
        self, path, kind, backlog, count, message
    ):
        with (
            made_by_systemd(path, kind, backlog) as listener,
            daemon(program=activated(path, listener, count)) as process,
        ):
            _, log = process.communicate(timeout=TIMEOUT)

        assert (process.returncode, message in log) == (1, True), log

    @pytest.mark.parametrize(("count", "pid"), [("0", ""), ("1", "1")])
    def test_what_is_meant_for_others_is_none_of_its_business(self, path, tmp_path, count, pid):
        with (
            made_by_systemd(tmp_path / "x" / "other.sock") as listener,
            daemon(program=activated(path, listener, count, pid)) as process,
        ):
            until_listening(process)
            assert status(path)[-1] == DONE

    @pytest.mark.parametrize("name", ["file", "abstract"])
    def test_it_tells_systemd_when_it_is_ready_and_when_it_stops(self, path, tmp_path, name):
        address = str(tmp_path / "n") if name == "file" else f"@cni-test-{os.getpid()}"
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
            manager.settimeout(TIMEOUT)
            manager.bind(address.replace("@", "\0"))
            with daemon(*flags_of(path), NOTIFY_SOCKET=address) as process:
                assert manager.recv(100) == b"READY=1"
                ended(process)
                assert manager.recv(100) == b"STOPPING=1"

    def test_one_that_it_cannot_tell_is_no_reason_to_stop(self, path, tmp_path):
        with daemon(*flags_of(path), NOTIFY_SOCKET=str(tmp_path / "none")) as process:
            log = until_listening(process)
            line = process.stderr.readline()
            assert status(path)[-1] == DONE

        assert "could not tell systemd READY=1: No such file or directory" in log + line
