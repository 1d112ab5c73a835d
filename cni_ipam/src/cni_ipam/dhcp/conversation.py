"""One client at the daemon's socket: read its line, have it answered, write the answer.

asyncio's streams receive no file descriptors, hence the socket itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from cni_ipam.dhcp import protocol
from cni_ipam.dhcp.journal import LOGGER
from cnicore.errors import CniError, DecodingFailure
from cnicore.request import Request
from cnicore.result import Result

CHUNK = 65536
LINE_TIMEOUT = 10.0  # seconds in which a client has to have said what it wants
WRITE_TIMEOUT = 10.0
MOST_DESCRIPTORS = 8  # in one message
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True)
class Done:
    """What a request came to; `undo` takes it back if nobody gets to know."""

    result: Result | None = None
    undo: Callable[[], Awaitable[None]] | None = None


class Desk(Protocol):
    """Answers requests."""

    def seconds(self, request: Request) -> float:
        """How long that may take."""

    async def answer(self, request: Request, netns: int | None) -> Done:
        """Do what is asked; `netns` is a file descriptor that stays the caller's.

        Raises CniError. Cancelled it leaves nothing.
        """


class Vanished(Exception):
    """The client has closed the connection."""


async def converse(connection: socket.socket, desk: Desk) -> None:
    """Serve the client of a non-blocking socket and close it; raises nothing but cancellation."""
    descriptors: list[int] = []
    try:
        require_root(connection)
        line = await read_line(connection, descriptors)
        if line.startswith(protocol.GO_CLIENT):
            LOGGER.warning("a client of the Go suite was refused: it speaks another protocol")
            await write(connection, protocol.REFUSAL)
        else:
            await serve(connection, desk, protocol.read_question(line), descriptors)
    except Vanished:
        pass
    except CniError as error:
        await write_failure(connection, error)
    except Exception as error:  # noqa: BLE001  (what one client causes is its problem alone)
        LOGGER.exception("a request failed")
        await write_failure(connection, CniError(f"{type(error).__name__}: {error}"))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        connection.close()


async def serve(
    connection: socket.socket, desk: Desk, request: Request, descriptors: list[int]
) -> None:
    await write(connection, protocol.accepted(desk.seconds(request)))
    netns = descriptors[0] if descriptors else None
    done = await until_gone(connection, desk, request, netns)
    try:
        await write(connection, protocol.success(done.result))
    except BaseException:  # nobody gets to know, or the daemon stops
        await take_back(done)
        raise


def require_root(connection: socket.socket) -> None:
    """Raise CniError unless the client is root, or whoever else the daemon runs as."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _, uid, _ = CREDENTIALS.unpack(data)
    if uid not in {0, os.geteuid()}:
        raise CniError(f"only root may talk to the DHCP daemon, not the user {uid}")


async def read_line(connection: socket.socket, descriptors: list[int]) -> bytes:
    """The client's line, or how that of a Go client begins; what it passes goes to the list.

    Raises Vanished, and DecodingFailure if no line comes in time or it is too long.
    """
    data = bytearray()
    try:
        async with asyncio.timeout(LINE_TIMEOUT):
            while b"\n" not in data and not data.startswith(protocol.GO_CLIENT):
                chunk = await receive(connection, descriptors)
                if not chunk:
                    raise Vanished
                data += chunk
                if len(data) > protocol.LONGEST_LINE:
                    raise DecodingFailure(
                        f"the DHCP daemon's request: longer than {protocol.LONGEST_LINE} bytes"
                    )
    except TimeoutError:
        raise DecodingFailure(
            f"the DHCP daemon's request: no whole line within {LINE_TIMEOUT:g} s"
        ) from None
    return bytes(data.partition(b"\n")[0])


async def receive(connection: socket.socket, descriptors: list[int]) -> bytes:
    """What the client sends next, empty if it is gone."""
    while True:
        try:
            data, received, _, _ = socket.recv_fds(
                connection, CHUNK, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            await readable(connection)
        except OSError as error:
            raise Vanished from error
        else:
            descriptors += received
            while len(descriptors) > 1:
                os.close(descriptors.pop())
            return data


async def readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        loop.remove_reader(connection)
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(connection, wake)
    try:
        await ready
    finally:
        loop.remove_reader(connection)


async def until_gone(
    connection: socket.socket, desk: Desk, request: Request, netns: int | None
) -> Done:
    """Do what is asked; an ADD is given up when nobody waits for it. Raises Vanished then."""
    doing = asyncio.ensure_future(desk.answer(request, netns))
    watching = asyncio.ensure_future(gone(connection))
    awaited = {doing, watching} if request.verb == "ADD" else {doing}
    try:
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:  # the daemon stops
        await stop(doing, watching)
        if not doing.cancelled() and not doing.exception():
            await take_back(doing.result())
        raise
    await stop(doing, watching)
    if doing.cancelled():
        raise Vanished
    return doing.result()


async def stop(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what is not done, and wait for it: what was leased is given back before we are."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def take_back(done: Done) -> None:
    if done.undo:
        await done.undo()


async def gone(connection: socket.socket) -> None:
    """Return when the client has closed; whatever it says now is of no interest."""
    descriptors: list[int] = []
    with suppress(Vanished):
        while await receive(connection, descriptors):
            while descriptors:
                os.close(descriptors.pop())
            await asyncio.sleep(0)  # who talks without end keeps nobody else waiting


async def write(connection: socket.socket, data: bytes) -> None:
    """Raises Vanished if the client does not take it."""
    try:
        async with asyncio.timeout(WRITE_TIMEOUT):
            await asyncio.get_running_loop().sock_sendall(connection, data)
    except OSError as error:  # TimeoutError is one
        raise Vanished from error


async def write_failure(connection: socket.socket, error: CniError) -> None:
    with suppress(Vanished):
        await write(connection, protocol.failure(error))
