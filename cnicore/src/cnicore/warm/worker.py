"""A worker of the server: takes one call at a time, and keeps nothing of it."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn

from cnicore.errors import Terminated
from cnicore.main import serve
from cnicore.net.switch import move_to
from cnicore.warm import wire
from cnicore.warm.client import QUIT, SERVED
from cnicore.warm.installation import Snapshot
from cnicore.warm.wire import Request

ENDED, CHANGED, ASKED_TO_QUIT = 0, 3, 4
"""Exit status of a worker: as planned; something was installed; a successor is there."""
PR_SET_PDEATHSIG = 1  # prctl(2)
SURROUNDINGS = ("/proc/self/ns/net", "/proc/self/ns/mnt", "/")
"""What a worker cannot change and change back: namespaces, and the root directory."""
PAGE = os.sysconf("SC_PAGE_SIZE")
Place = tuple[int, int]
"""Device and inode: what tells a namespace's file, or a directory, from others."""
CALLS_TO_COLLECTION = 64
NOTICE = (signal.SIGIO, signal.SIGALRM)


@dataclass(frozen=True, slots=True)
class Limits:
    """When a worker is replaced (calls, bytes of memory), and how many seconds a call may take."""

    calls: int = 1000
    memory: int = 128 << 20
    seconds: float = 300.0


class Left(BaseException):
    """The server ends, and this worker has nothing to do."""


@dataclass
class Worker:
    """Serves what launchers send to the listening socket.

    `is_own` says whether the server has made the socket itself: then nobody else will take what
    waits there when the server ends.
    """

    listener: socket.socket
    installed: Snapshot
    limits: Limits
    is_own: bool
    is_idle: bool = False
    is_leaving: bool = False
    working_on: socket.socket | None = None
    served: int = 0
    home: tuple[Place, ...] = field(default_factory=lambda: places(*SURROUNDINGS))

    def run(self) -> int:
        """Work until there is a reason to end; returns the exit status."""
        signal.signal(signal.SIGTERM, self.leave)
        signal.signal(signal.SIGHUP, self.leave_the_rest)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the server, too
        for number in NOTICE:
            signal.signal(number, self.interrupt)
        try:
            while self.served < self.limits.calls and memory_in_use() < self.limits.memory:
                status = self.take()
                if status != ENDED:
                    return status
        except Left:
            self.take_what_waits()
        return ENDED

    def leave(self, *_: object) -> None:
        self.is_leaving = True
        if self.is_idle:
            raise Left

    def leave_the_rest(self, *_: object) -> None:
        """As `leave`, but what waits at the socket is for the workers that come."""
        self.is_own = False
        self.leave()

    def take(self) -> int:
        self.is_idle = True
        if self.is_leaving:
            raise Left
        connection, _ = self.listener.accept()
        self.is_idle = False
        with connection:
            return self.care_for(connection)

    def take_what_waits(self) -> None:
        self.is_idle = False
        if not self.is_own:
            return
        self.listener.setblocking(False)  # noqa: FBT003  (it takes no keyword)
        with suppress(BlockingIOError):
            while True:
                connection, _ = self.listener.accept()
                with connection:
                    self.care_for(connection)

    def care_for(self, connection: socket.socket) -> int:
        if not wire.is_root(connection):
            return ENDED
        try:
            with wire.received(connection) as request:
                return self.reply(connection, request)
        except wire.Broken:
            return ENDED

    def reply(self, connection: socket.socket, request: Request) -> int:
        if request.identity == QUIT:
            return self.make_way(connection)
        if not self.installed.is_current():
            wire.refuse(connection)
            return CHANGED
        if request.identity != self.installed.identity:
            wire.refuse(connection)
            return ENDED
        self.served += 1
        if places(*request.files.surroundings) == self.home:
            self.serve(connection, request)
        else:
            self.serve_elsewhere(connection, request)
        if self.served % CALLS_TO_COLLECTION == 0:
            connection.close()  # the launcher does not wait for it
            gc.collect()
        return ENDED

    def make_way(self, connection: socket.socket) -> int:
        """Another server wants to take over; it says so again once it listens at the path."""
        if not self.is_own:
            wire.refuse(connection)
            return ENDED
        wire.finish(connection, 0)
        wire.exactly(connection, 1)
        return ASKED_TO_QUIT

    def serve_elsewhere(self, connection: socket.socket, request: Request) -> None:
        """A child enters the caller's namespaces, for there is no way back from mounts."""
        child = os.fork()
        if not child:
            self.serve_and_exit(connection, request)
        connection.close()  # the launcher is to see it when the child dies
        os.waitpid(child, 0)

    def serve_and_exit(self, connection: socket.socket, request: Request) -> NoReturn:
        try:
            move_to(request.files.network, request.files.mounts)
            os.fchdir(request.files.root)
            os.chroot(".")
            self.serve(connection, request)
        finally:
            os._exit(0)

    def serve(self, connection: socket.socket, request: Request) -> None:
        with caller_files(request), self.watched(connection):
            status = serve(
                os.path.basename(os.fsdecode(request.argv0)),
                {**request.variables, os.fsdecode(SERVED): "1"},
                lambda: request.stdin,
                partial(self.answer, connection, 0),
                os.path.realpath(os.fsdecode(request.argv0)),
                partial(self.answer, connection, 1),
            )
        wire.finish(connection, status)

    def answer(self, connection: socket.socket, status: int, text: str) -> None:
        # once the answer is out it counts: a signal must not take back what it promises
        self.working_on = None
        wire.answer(connection, status, text)

    @contextmanager
    def watched(self, connection: socket.socket) -> Iterator[None]:
        """Raise Terminated in the block when the launcher is gone or wants it, or time is up."""
        fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(connection, fcntl.F_SETFL, os.O_ASYNC)
        signal.setitimer(signal.ITIMER_REAL, self.limits.seconds)
        self.working_on = connection
        try:
            if wire.is_abandoned(connection):
                signal.raise_signal(signal.SIGIO)
            yield
        finally:
            self.working_on = None
            signal.setitimer(signal.ITIMER_REAL, 0)

    def interrupt(self, number: int, _: object) -> None:
        connection = self.working_on
        if connection is None or (number == signal.SIGIO and not wire.is_abandoned(connection)):
            return
        self.working_on = None  # once is enough
        if number == signal.SIGALRM:
            why = f"not done after {self.limits.seconds:g} seconds (--seconds of `cni serve`)"
        else:
            why = "terminated by SIGTERM before the work was done"
        raise Terminated(f"{why}; what was made is taken back")


@contextmanager
def caller_files(request: Request) -> Iterator[None]:
    """Have the caller's stderr, as stdout too, and working directory in the block."""
    own = os.dup(2)
    try:
        put(request.files.stderr)
        with suppress(OSError):  # one that was removed: paths of CNI are absolute
            os.fchdir(request.files.directory)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        put(own)
        os.close(own)
        os.chdir("/")


def put(words: int) -> None:
    """Let everything that is printed go there: only the launcher writes an answer."""
    for number in (1, 2):
        os.dup2(words, number)


def places(*files: str | int) -> tuple[Place, ...]:
    return tuple(map(place, files))


def place(file: str | int) -> Place:
    entry = os.stat(file)
    return entry.st_dev, entry.st_ino


def memory_in_use() -> int:
    """Bytes of this process that are in memory (proc(5), statm)."""
    with open("/proc/self/statm", "rb") as stream:
        return int(stream.read().split()[1]) * PAGE


def die_with_parent(number: signal.Signals) -> None:
    """Get the signal when the thread that has started this process ends (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
