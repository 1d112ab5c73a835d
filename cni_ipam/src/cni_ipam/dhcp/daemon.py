"""`dhcp daemon`: keeps the leases of this host's containers alive, and answers the plugin."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cni_ipam.dhcp.conversation import Desk, converse
from cni_ipam.dhcp.flags import Flags, HelpWanted, WrongFlags, parse_flags, usage
from cni_ipam.dhcp.journal import LOGGER
from cni_ipam.dhcp.keepers import Keepers
from cni_ipam.dhcp.records import Records
from cni_ipam.dhcp.service import Service
from cnicore.daemon import listening, notify
from cnicore.errors import CniError, reason, system_errors

DONE, FAILED, NOT_UNDERSTOOD = 0, 1, 2
SIGNALS = (signal.SIGTERM, signal.SIGINT)
PAUSE = 1.0  # seconds, when no more connections can be accepted
FAREWELL = 5.0  # seconds for what is being done when the daemon has to stop
OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def main(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the daemon of dhcp, which keeps leases alive. Its -help shows the flags."""
    try:
        flags = parse_flags(words)
    except HelpWanted:
        sys.stdout.write(usage())
        return DONE
    except WrongFlags as error:
        sys.stderr.write(f"dhcp daemon: {error}\n")
        return NOT_UNDERSTOOD
    log_to_stderr()
    try:
        with (
            owned(flags.directory),
            listening(flags.socket, environ, "-socketpath") as listener,
            announced(flags.pidfile),
        ):
            asyncio.run(run(flags, listener, environ))
    except CniError as error:
        LOGGER.error("%s", error)
        return FAILED
    return DONE


def log_to_stderr() -> None:
    logging.raiseExceptions = False  # a log that cannot be written is no reason to end
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y/%m/%d %H:%M:%S",
    )


@contextmanager
def owned(directory: str) -> Iterator[None]:
    """Make the directory of the records, and keep other daemons from it. Raises CniError."""
    with system_errors(f"use the directory {directory} (-leasedir)"):
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise CniError(
            f"another DHCP daemon keeps its leases in {directory}: stop it,"
            " or choose another -leasedir"
        ) from error
    finally:
        os.close(handle)


@contextmanager
def announced(pidfile: str) -> Iterator[None]:
    """Have the process id in the file while the block runs. Raises CniError."""
    if not pidfile:
        yield
        return
    with system_errors(f"write {pidfile} (-pidfile)"):
        Path(pidfile).write_text(str(os.getpid()), encoding="ascii")
    try:
        yield
    finally:
        with suppress(OSError):
            Path(pidfile).unlink()


async def run(flags: Flags, listener: socket.socket, environ: Mapping[str, str]) -> None:
    """Work until a signal says that it is enough; leases stay as they are."""
    stop = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    working = asyncio.ensure_future(work(flags, listener, environ))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        working.result()  # it ends by a defect only
    tell(environ, "STOPPING=1")
    working.cancel()
    await asyncio.wait({working}, timeout=FAREWELL)
    LOGGER.info("stopped; the leases stay")


async def work(flags: Flags, listener: socket.socket, environ: Mapping[str, str]) -> None:
    """Go on with the leases that there are, and answer clients; it ends by being cancelled."""
    keepers = Keepers(flags.patience, Records(flags.directory))
    service = Service(
        keepers, flags.directory, add_seconds=flags.resendtimeout, hostprefix=flags.hostprefix
    )
    try:
        await keepers.adopt_all()
        LOGGER.info("listening on %s, with %d leases", flags.socket, len(keepers))
        tell(environ, "READY=1")
        async with asyncio.TaskGroup() as clients:
            clients.create_task(accept(listener, service, clients))
    finally:
        keepers.close()


def tell(environ: Mapping[str, str], state: str) -> None:
    if problem := notify(environ, state):
        LOGGER.warning("%s", problem)


async def accept(listener: socket.socket, desk: Desk, tasks: asyncio.TaskGroup) -> None:
    """Serve each client in a task of its own, without end."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
        except OSError as error:
            # that of one client that is gone again is none of ours; without files left, wait
            if error.errno in OUT_OF_FILES:
                LOGGER.warning("cannot accept a connection: %s", reason(error))
                await asyncio.sleep(PAUSE)
            continue
        connection.setblocking(False)  # noqa: FBT003  (it takes no keyword)
        tasks.create_task(converse(connection, desk))
