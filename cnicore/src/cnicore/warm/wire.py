"""The server's end of what `cnicore.warm.client` describes."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from cnicore.errors import CniError, IoFailure
from cnicore.warm.client import (
    ANSWER,
    DONE,
    FAILED,
    LARGEST,
    MAGIC,
    NUMBER,
    REFUSED,
    TERMINATED,
    WRITTEN,
    number,
    receive,
)

PATIENCE = 10
"""Seconds that a launcher may take for the next part of its request, or to take an answer."""
TIMEVAL = struct.Struct("@ll")
CREDENTIALS = struct.Struct("=iII")


class Broken(Exception):
    """The launcher is gone, or sends what no launcher sends."""


class Files(NamedTuple):
    """Descriptors of the caller, in the order in which they are sent."""

    stderr: int
    network: int
    mounts: int
    root: int
    directory: int

    @property
    def surroundings(self) -> tuple[int, int, int]:
        return self.network, self.mounts, self.root


@dataclass(frozen=True, slots=True)
class Request:
    """A call of a plugin; text as the operating system has it, in bytes."""

    identity: bytes
    argv0: bytes
    environ: bytes
    stdin: bytes
    files: Files

    @property
    def variables(self) -> dict[str, str]:
        pairs = (entry.partition(b"=") for entry in self.environ.split(b"\0") if entry)
        return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def is_root(connection: socket.socket) -> bool:
    """Whether it is root that has connected (SO_PEERCRED of unix(7))."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _, user, _ = CREDENTIALS.unpack(packed)
    return bool(user == 0)


@contextmanager
def received(connection: socket.socket) -> Iterator[Request]:
    """A request, whose descriptors are closed with the block. Raises Broken."""
    try:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            # not settimeout(), with which a socket waits even where it is told not to
            connection.setsockopt(socket.SOL_SOCKET, option, TIMEVAL.pack(PATIENCE, 0))
        head, files, _, _ = socket.recv_fds(connection, len(MAGIC) + NUMBER, len(Files._fields))
    except OSError as error:
        raise Broken from error
    try:
        if len(files) != len(Files._fields):
            raise Broken
        head += exactly(connection, len(MAGIC) + NUMBER - len(head))
        length = int.from_bytes(head[len(MAGIC) :], sys.byteorder)
        if head[: len(MAGIC)] != MAGIC or length > LARGEST:
            raise Broken
        identity, argv0, environ, stdin = parts(exactly(connection, length), 4)
        yield Request(identity, argv0, environ, stdin, Files(*files))
    finally:
        for file in files:
            os.close(file)


def parts(body: bytes, count: int) -> list[bytes]:
    """The sections of a request. Raises Broken."""
    found, offset = [], 0
    for _ in range(count):
        start = offset + NUMBER
        offset = start + int.from_bytes(body[offset:start], sys.byteorder)
        found.append(body[start:offset])
    if offset != len(body):
        raise Broken
    return found


def exactly(connection: socket.socket, length: int) -> bytes:
    """So many bytes. Raises Broken if they do not come."""
    try:
        return receive(connection, length)
    except (OSError, EOFError) as error:
        raise Broken from error


def is_abandoned(connection: socket.socket) -> bool:
    """Whether the launcher has ended or wants the work to end; waits for nothing."""
    try:
        said = connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return said in {b"", TERMINATED}


def refuse(connection: socket.socket) -> None:
    frame(connection, REFUSED)


def finish(connection: socket.socket, status: int) -> None:
    frame(connection, DONE, status)


def answer(connection: socket.socket, status: int, text: str) -> None:
    """Let the launcher write the text to stdout. Raises IoFailure if it could not."""
    # half a surrogate pair is valid JSON as an escape
    frame(connection, ANSWER, status, text.encode(errors="backslashreplace"))
    # a caller that reads late holds a plugin up for as long
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEVAL.pack(0, 0))
    try:
        came_of_it = exactly(connection, 1)
        while came_of_it == TERMINATED:  # too late: the answer is out
            came_of_it = exactly(connection, 1)
        if came_of_it == WRITTEN:
            return
        code = int.from_bytes(exactly(connection, NUMBER), sys.byteorder)
    except Broken as error:
        raise IoFailure("cannot write the answer to stdout: the caller is gone") from error
    if came_of_it != FAILED:
        raise CniError("the launcher does not speak the server's language: run `cni install` again")
    raise IoFailure(f"cannot write the answer to stdout: {os.strerror(code)}")


def frame(connection: socket.socket, kind: bytes, status: int = 0, text: bytes = b"") -> None:
    """Send a frame; of a launcher that is gone, what it says later tells."""
    with suppress(OSError):
        connection.sendall(kind + number(status) + number(len(text)) + text)
