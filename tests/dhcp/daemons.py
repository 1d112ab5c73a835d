"""Daemons for tests of dhcp: one that says what it is told to, and the real one's socket in a thread."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import closing, contextmanager, suppress

from cni_ipam.dhcp import protocol
from cni_ipam.dhcp.conversation import Done
from cni_ipam.dhcp.daemon import accept

TIMEOUT = 60
NETWORK = {"cniVersion": "1.1.0", "name": "lan", "type": "bridge", "ipam": {"type": "dhcp"}}
QUESTION = {
    "cni.dhcp": 1,
    "verb": "ADD",
    "containerID": "c1",
    "netns": "/run/netns/c1",
    "ifname": "eth0",
    "args": "",
    "config": NETWORK,
}
"""An ADD, as a client asks for it."""


@contextmanager
def scripted(path, *parts, close=True):
    """Answers one client with the parts, whatever it says; yields what it and its fds were."""
    heard = {"line": b"", "descriptors": 0}
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(TIMEOUT)
        over = threading.Event()

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(TIMEOUT)
                while b"\n" not in heard["line"]:
                    data, fds, _, _ = socket.recv_fds(connection, 1 << 20, 4)
                    heard["line"] += data
                    heard["descriptors"] += len(fds)
                    for fd in fds:
                        os.close(fd)
                with suppress(BrokenPipeError, ConnectionResetError):  # it has heard enough
                    for part in parts:
                        connection.sendall(part)
                if not close:
                    over.wait(TIMEOUT)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            over.set()
            thread.join(TIMEOUT)
        assert not thread.is_alive()


class Desk:
    """Answers as a test says; remembers what was asked and taken back."""

    def __init__(self):
        self.asked = []
        self.taken_back = threading.Event()
        self.cancelled = threading.Event()
        self.began = threading.Event()
        self.is_slow = False
        self.error = None
        self.result = None

    def seconds(self, request):
        return 5

    async def answer(self, request, netns):
        self.asked.append((request.verb, request.container_id, netns))
        self.began.set()
        try:
            async with asyncio.timeout(TIMEOUT):
                while self.is_slow:  # noqa: ASYNC110  (the test is another thread)
                    await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error:
            raise self.error
        return Done(self.result, self.undo)

    async def undo(self):
        self.taken_back.set()


@contextmanager
def listening_desk(path):
    """The daemon's own way to answer at a socket, with a desk behind it that a test can see."""
    desk = Desk()
    loop = asyncio.new_event_loop()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(256)
    listener.setblocking(False)  # noqa: FBT003  (it takes no keyword)
    stop = asyncio.Event()

    async def serve():
        async with asyncio.TaskGroup() as clients:
            accepting = clients.create_task(accept(listener, desk, clients))
            await stop.wait()
            accepting.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    try:
        yield desk
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(TIMEOUT)
        listener.close()
        loop.close()
    assert not thread.is_alive()


def dial(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    connection.connect(str(path))
    return connection


def heard(connection):
    """All that the daemon says until it closes, which may be before it has read all."""
    data = b""
    with suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            data += chunk
    return data


def answers(connection):
    return [protocol.read_answer(line) for line in heard(connection).splitlines()]
