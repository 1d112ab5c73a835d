"""What goes over the server's socket, and what comes instead of it."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnicore.errors import CniError, IoFailure
from cnicore.warm import client, wire
from cnicore.warm.installation import Snapshot
from cnicore.warm.worker import ENDED, Limits, Worker

PARTS = (b"other", b"/opt/cni/bin/ptp", b"CNI_COMMAND=ADD\0CNI_ARGS=A=1;B=\xff", b'{"name": "net"}')
MESSAGE = client.sections(*PARTS)
FILES = len(wire.Files._fields)
ORDER = ("fd/2", "ns/net", "ns/mnt", "root", "cwd")
HEAD = client.MAGIC + client.number(4)


@contextmanager
def pair():
    launcher, server = socket.socketpair()
    with launcher, server:
        yield launcher, server


@contextmanager
def sent(data, files=FILES):
    """The server's end of a connection over which that came, and nothing more will."""
    with pair() as (launcher, server):
        if data:
            socket.send_fds(launcher, [data], [2] * files)
        launcher.shutdown(socket.SHUT_WR)
        yield launcher, server


def open_files():
    return sorted(file.name for file in Path("/proc/self/fd").iterdir())


def test_a_request_arrives_with_its_descriptors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pair() as (launcher, server):
        before = open_files()
        client.send(launcher, MESSAGE)
        assert open_files() == before
        with wire.received(server) as request:
            assert (request.identity, request.argv0) == PARTS[:2]
            assert request.stdin == PARTS[3]
            assert request.variables == {"CNI_COMMAND": "ADD", "CNI_ARGS": "A=1;B=\udcff"}
            own = [Path("/proc/self", name).stat() for name in ORDER]
            assert all(map(os.path.samestat, map(os.fstat, request.files), own))
        assert open_files() == before


@pytest.mark.parametrize(
    ("data", "files"),
    [
        (b"", 0),
        (b"junk of nobody", FILES),
        (client.MAGIC + client.number(client.LARGEST + 1), FILES),
        (HEAD + b"abcd", FILES),
        (HEAD + b"ab", FILES),
        (client.MAGIC[:2], FILES),
        (client.sections(*PARTS[:3]), FILES),
        (client.sections(*PARTS, b""), FILES),
        (MESSAGE, 0),
        (MESSAGE, FILES - 1),
    ],
    ids=[
        "nothing",
        "junk",
        "large",
        "no lengths",
        "half",
        "head",
        "3",
        "5",
        "no file",
        "few files",
    ],
)
def test_what_is_no_request_is_broken_and_leaves_no_descriptor(data, files):
    with sent(data, files) as (_, server):
        before = open_files()
        with pytest.raises(wire.Broken), wire.received(server):
            pass
        assert [*set(open_files()) - set(before)] == []


def damaged():
    """Requests with some bytes replaced, removed or put in."""
    places = st.integers(0, len(MESSAGE))
    damage = st.tuples(places, places, st.binary(max_size=8))
    return st.lists(damage, min_size=1, max_size=4).map(with_damage)


def with_damage(damages):
    data = MESSAGE
    for start, end, new in damages:
        first, last = sorted((start, end))
        data = data[:first] + new + data[min(last, first + 8) :]
    return data


@given(data=damaged() | st.binary(max_size=64), files=st.integers(0, FILES + 2))
def test_a_worker_survives_whatever_comes_and_serves_none_of_it(data, files):
    installed = Snapshot(b"the server's", Snapshot.taken().directories)
    with sent(data, files) as (launcher, server):
        before = open_files()
        worker = Worker(server, installed, Limits(), is_own=True)
        assert worker.care_for(server) == ENDED
        assert worker.served == 0
        assert open_files() == before
        server.close()
        assert not answered(launcher)


def answered(launcher):
    """Whether there was another answer than a refusal."""
    try:
        said = launcher.recv(99)
    except ConnectionResetError:  # not all was read
        return False
    return said not in {b"", client.REFUSED + bytes(2 * client.NUMBER)}


def test_whom_it_does_not_know_it_refuses():
    installed = Snapshot(b"the server's", Snapshot.taken().directories)
    with pair() as (launcher, server):
        client.send(launcher, MESSAGE)
        with wire.received(server) as request:
            worker = Worker(server, installed, Limits(), is_own=True)
            assert worker.reply(server, request) == ENDED
        assert client.receive_frame(launcher) == (client.REFUSED, 0, b"")


@pytest.mark.parametrize("said", [client.WRITTEN, 2 * client.TERMINATED + client.WRITTEN])
def test_an_answer_that_is_written_counts(said):
    with pair() as (launcher, server):
        launcher.sendall(said)
        wire.answer(server, 1, "{}")
        assert client.receive_frame(launcher) == (client.ANSWER, 1, b"{}")


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (client.FAILED + client.number(errno.ENOSPC), IoFailure, "No space left on device"),
        (client.FAILED, IoFailure, "the caller is gone"),
        (client.TERMINATED, IoFailure, "the caller is gone"),
        (b"", IoFailure, "the caller is gone"),
        (b"x0000", CniError, "run `cni install` again"),
    ],
)
def test_an_answer_that_is_not_written_is_a_failure(said, kind, words):
    with sent(said, 0) as (_, server), pytest.raises(kind, match=words):
        wire.answer(server, 0, "{}")


def test_an_answer_may_be_read_late():
    with pair() as (launcher, server):
        patience = wire.TIMEVAL.pack(0, 50_000)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        late = threading.Timer(0.3, launcher.sendall, [client.WRITTEN])
        late.start()
        wire.answer(server, 0, "{}")
        late.join()


def test_an_answer_may_hold_half_a_surrogate_pair():
    with pair() as (launcher, server):
        launcher.sendall(client.WRITTEN)
        wire.answer(server, 0, "\ud800")
        assert client.receive_frame(launcher)[2] == b"\\ud800"


def test_a_launcher_is_there_until_it_goes_or_wants_to():
    with pair() as (launcher, server):
        assert not wire.is_abandoned(server)
        launcher.send(client.TERMINATED)
        assert wire.is_abandoned(server)
        assert wire.is_abandoned(server)  # looking takes nothing away
    with sent(b"") as (_, server):
        assert wire.is_abandoned(server)


def test_saying_something_to_a_launcher_that_is_gone_is_no_error():
    with pair() as (launcher, server):
        launcher.close()
        wire.refuse(server)
        wire.finish(server, 0)


def frame(kind, status=0, text=b""):
    return kind + client.number(status) + client.number(len(text)) + text


ANSWERED = frame(client.ANSWER, 0, b"{}")


@pytest.mark.parametrize(
    ("data", "outcome", "stdout"),
    [
        (frame(client.REFUSED), (None, False), ""),
        (frame(client.DONE, 1), (1, False), ""),
        (ANSWERED + frame(client.DONE), (0, False), "{}"),
        (ANSWERED, (0, False), "{}"),
        (frame(client.ANSWER, 1, b"{}"), (1, False), "{}"),
        (b"", (None, True), ""),
        (ANSWERED[:-1], (None, True), ""),
        (ANSWERED[:3], (None, True), ""),
    ],
    ids=["refused", "done", "answer", "dies later", "dies after an error", "dies", "text", "head"],
)
def test_what_a_launcher_makes_of_what_comes(capfd, data, outcome, stdout):
    with pair() as (launcher, server):
        server.sendall(data)
        server.shutdown(socket.SHUT_WR)
        assert client.take_answer(launcher) == outcome
    assert capfd.readouterr().out == stdout


def test_what_could_not_be_written_is_no_success_when_the_server_dies_then():
    full = os.open("/dev/full", os.O_WRONLY)
    stdout = os.dup(1)
    sys.stdout.flush()
    try:
        os.dup2(full, 1)
        with pair() as (launcher, server):
            server.sendall(ANSWERED)
            server.shutdown(socket.SHUT_WR)
            assert client.take_answer(launcher) == (None, True)
            assert server.recv(99) == client.FAILED + client.number(errno.ENOSPC)
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(full)
