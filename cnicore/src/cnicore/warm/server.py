"""`cni serve`: imports everything once, and keeps a few workers that answer launchers.

The parent is in no call's way: it starts workers, replaces those that end, and ends them.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import click

from cnicore import daemon
from cnicore.cli.launcher import SOCKET
from cnicore.errors import CniError, reason, system_errors
from cnicore.warm import client, wire, worker
from cnicore.warm.installation import Snapshot, import_all
from cnicore.warm.worker import Limits, Worker

USUAL = Limits()
PAUSE = 0.5
"""Seconds before the successor of a worker starts that died at once."""
MADE = "CNI_SERVE_MADE"
"""Variable with the path of a socket that the server itself has made before it began again."""
OPTION = "--socket"
ENDING = (signal.SIGTERM, signal.SIGINT)


class Ending(BaseException):
    """The server was told to end."""


@click.command(
    "serve", context_settings={"show_default": True, "help_option_names": ["-h", "--help"]}
)
@click.option("--socket", "path", default=SOCKET, help="Listen on this Unix socket.")
@click.option(
    "--workers",
    default=8,
    type=click.IntRange(1, 64),
    help="Calls served at the same time; others wait.",
)
@click.option(
    "--calls",
    default=USUAL.calls,
    type=click.IntRange(1),
    help="Calls after which a worker is replaced.",
)
@click.option(
    "--memory",
    default=USUAL.memory >> 20,
    type=click.IntRange(64),
    help="MiB of memory at which a worker is replaced.",
)
@click.option(
    "--seconds",
    default=USUAL.seconds,
    type=click.FloatRange(1),
    help="Time that a call may take.",
)
def command(path: str, workers: int, calls: int, memory: int, seconds: float) -> None:
    """Answer for the plugins without starting Python for each call.

    The plugins that `cni install` has written ask this server, and do the work themselves where
    none runs. It stays in the foreground; systemd may make its socket.
    """
    Server(path, workers, Limits(calls, memory << 20, seconds)).run()


def main(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Answer for the plugins without starting Python for each call."""
    del environ  # it is that of this process, which a successor gets too
    try:
        command.main(list(words), prog_name="cni serve", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CniError as error:
        say(f"Error: {error}")
        return 1
    return 0


@dataclass
class Server:
    path: str
    count: int
    limits: Limits
    workers: dict[int, float] = field(default_factory=dict)

    def run(self) -> None:
        """Serve until told to end. Raises CniError if it cannot begin."""
        for problem in import_all():
            say(problem)
        installed = Snapshot.taken()
        gc.collect()
        gc.freeze()
        gc.disable()
        environ = os.environ  # noqa: TID251  (the server's own)
        with ExitStack() as stack:
            passed = daemon.handed_over(environ)
            is_own = passed is None or environ.get(MADE) == self.path
            if passed and is_own:
                with suppress(FileNotFoundError):
                    stack.callback(daemon.remove, self.path, os.lstat(self.path))
            listener = passed or stack.enter_context(taken(self.path))
            listener.setblocking(True)  # noqa: FBT003  (it takes no keyword)
            colleague = Worker(listener, installed, self.limits, is_own)
            for number in ENDING:
                signal.signal(number, end)
            daemon.notify(environ, "READY=1")
            with suppress(Ending):
                self.supervise(colleague)
            daemon.notify(environ, "STOPPING=1")
        # the socket's file is gone, so that what waits there is all that will come
        self.dismiss()

    def supervise(self, colleague: Worker) -> None:
        while True:
            while len(self.workers) < self.count:
                self.hire(colleague)
            process, status = os.wait()
            began = self.workers.pop(process, None)
            if began is None:
                continue
            code = os.waitstatus_to_exitcode(status)
            if code == worker.CHANGED:
                self.begin_again(colleague)
            if code == worker.ASKED_TO_QUIT:
                return
            if code:
                say(f"worker {process} ended with {code}; another takes its place")
                if time.monotonic() - began < PAUSE:
                    time.sleep(PAUSE)

    def hire(self, colleague: Worker) -> None:
        parent = os.getpid()
        process = os.fork()
        if process:
            self.workers[process] = time.monotonic()
            return
        status = 1
        try:
            worker.die_with_parent(signal.SIGTERM)
            if os.getppid() == parent:
                status = colleague.run()
        except Exception:  # noqa: BLE001  (the process ends here, and its parent only sees a number)
            traceback.print_exc()
        finally:
            os._exit(status)

    def dismiss(self) -> None:
        """Let the workers finish what they do, those from before a renewal too."""
        self.tell_workers(signal.SIGTERM)
        with suppress(ChildProcessError):
            while True:
                os.wait()

    def tell_workers(self, number: signal.Signals) -> None:
        for process in self.workers:
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def begin_again(self, colleague: Worker) -> NoReturn:
        """Become a server of what is installed now; the socket stays, and nobody notices."""
        self.tell_workers(signal.SIGHUP)
        os.dup2(colleague.listener.fileno(), daemon.FIRST_PASSED)
        os.set_inheritable(daemon.FIRST_PASSED, True)  # noqa: FBT003  (it takes no keyword)
        passed = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
        if colleague.is_own:
            passed[MADE] = self.path
        environ = {**os.environ, **passed}  # noqa: TID251  (the server's own)
        os.execve(sys.executable, sys.orig_argv, environ)  # noqa: S606  (no shell is needed)


@contextmanager
def taken(path: str) -> Iterator[socket.socket]:
    """The socket at the path; a server that listens there finishes what it has begun and ends.

    Raises CniError.
    """
    parent = Path(path).parent
    temporary = f"{path}.{os.getpid()}"
    with system_errors(f"listen on {path} ({OPTION})"):
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with daemon.locked(parent), daemon.closing_on_failure() as listener:
            predecessor = found(path)
            daemon.bind(listener, temporary)
            own = os.lstat(temporary)
            os.rename(temporary, path)
            if predecessor:
                with predecessor:
                    predecessor.sendall(client.WRITTEN)
    try:
        yield listener
    finally:
        daemon.remove(path, own)
        listener.close()


def found(path: str) -> socket.socket | None:
    """A connection to the server that listens there and is ready to make way, if one does.

    Raises CniError if what is there cannot be replaced.
    """
    with suppress(FileNotFoundError):
        daemon.require_socket(path, OPTION)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(wire.PATIENCE)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    try:
        client.send(connection, client.sections(client.QUIT, b"", b"", b""))
        kind, _, _ = client.receive_frame(connection)
    except OSError as error:
        raise CniError(f"what listens on {path} is no server of cni: {reason(error)}") from error
    if kind != client.DONE:
        raise CniError(f"systemd listens on {path}: use `systemctl restart cni.service`")
    return connection


def end(*_: object) -> None:
    raise Ending


def say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
