"""The plugin's side of the daemon's socket: dial, ask, wait no longer than the daemon promised."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cni_ipam.dhcp import protocol
from cni_ipam.dhcp.protocol import Answer
from cnicore.errors import TryAgainLater, reason
from cnicore.request import Request
from cnicore.result import Result

KEY = "ipam.daemonSocketPath"
PROMPT = 5.0  # seconds; within these the daemon says at least that it has begun
GRACE = 5.0  # seconds by which the daemon may exceed what it promised
SHORTEST_WAIT = 0.001
CHUNK = 65536


class DaemonUnreachable(TryAgainLater):
    """There is no daemon of ours at the socket, or it does not answer."""


def ask(request: Request, path: str, netns: int | None = None) -> Result | None:
    """What the daemon at the socket answers; the file descriptor `netns` goes with the question.

    Raises DaemonUnreachable, and CniError for what the daemon itself reports.
    """
    line = protocol.question(request)
    with _dialled(path) as connection:
        _send(connection, line, netns)
        answer, rest = _next(connection, path, PROMPT)
        if answer.seconds is not None:
            answer, _ = _next(connection, path, answer.seconds + GRACE, rest)
    if answer.error:
        raise answer.error
    return answer.result


@contextmanager
def _dialled(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PROMPT)
        try:
            connection.connect(path)
        except OSError as error:
            raise DaemonUnreachable(
                f"{KEY}: cannot reach the DHCP daemon at {path}: {reason(error)}:"
                ' start it with "dhcp daemon"'
            ) from error
        yield connection


def _send(connection: socket.socket, line: bytes, netns: int | None) -> None:
    # a daemon that has refused us has closed, and its answer says why
    with suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
        sent = socket.send_fds(connection, [line], [] if netns is None else [netns])
        connection.sendall(line[sent:])


def _next(
    connection: socket.socket, path: str, seconds: float, data: bytes = b""
) -> tuple[Answer, bytes]:
    """The daemon's next line, and what it has said behind it."""
    deadline = time.monotonic() + seconds
    while b"\n" not in data and len(data) <= protocol.LONGEST_LINE:
        chunk = _receive(connection, path, deadline, seconds)
        if not chunk:
            raise _mute(path, "it closed the connection without an answer")
        data += chunk
    line, _, rest = data.partition(b"\n")
    if line.startswith(protocol.GO_DAEMON):
        raise DaemonUnreachable(
            f"{KEY}: at {path} is a daemon that speaks HTTP, which is the Go suite's:"
            ' stop it and start "dhcp daemon" of this suite'
        )
    return protocol.read_answer(line), rest


def _receive(connection: socket.socket, path: str, deadline: float, seconds: float) -> bytes:
    try:
        # zero would mean not to wait at all, and less is refused
        connection.settimeout(max(deadline - time.monotonic(), SHORTEST_WAIT))
        return connection.recv(CHUNK)
    except TimeoutError:
        raise _mute(path, f"no answer within {seconds:g} s") from None
    except OSError as error:
        raise _mute(path, reason(error)) from error


def _mute(path: str, why: str) -> DaemonUnreachable:
    return DaemonUnreachable(
        f"{KEY}: the DHCP daemon at {path} does not answer: {why}: see its log, or restart it"
    )
