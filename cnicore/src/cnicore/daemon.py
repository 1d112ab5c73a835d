"""What daemons have in common: a Unix socket, made here or handed over by systemd, and news for it.

See sd_listen_fds(3) and sd_notify(3). Sockets are non-blocking.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from cnicore.errors import CniError, reason, system_errors

FIRST_PASSED = 3  # SD_LISTEN_FDS_START
BACKLOG = 256
ONLY_ROOT = 0o177  # umask
PROBE_TIMEOUT = 2.0
NOBODY_LISTENS = (errno.ECONNREFUSED, errno.ENOENT)


@contextmanager
def listening(path: str, environ: Mapping[str, str], option: str) -> Iterator[socket.socket]:
    """The listening socket, non-blocking; its file, if it was made here, goes with the block.

    `option` is what chooses the path on the command line. Raises CniError.
    """
    passed = handed_over(environ)
    if passed is not None:
        with passed:
            yield passed
        return
    with made(path, option) as listener:
        yield listener


def handed_over(environ: Mapping[str, str]) -> socket.socket | None:
    """The socket that systemd has made, None if there is none for this process. Raises CniError."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = environ.get("LISTEN_FDS", "0")
    if count == "0":
        return None
    if count != "1":
        raise CniError(
            f"Too many ({count}) FDs passed through socket activation:"
            " give the socket unit exactly one ListenStream"
        )
    with system_errors("use the socket that systemd passed"):
        listener = socket.socket(fileno=FIRST_PASSED)
        is_listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listener.family != socket.AF_UNIX or listener.type != socket.SOCK_STREAM or not is_listening:
        raise CniError("what systemd passed is no Unix socket that listens: use ListenStream=/PATH")
    listener.setblocking(False)  # noqa: FBT003  (it takes no keyword)
    os.set_inheritable(FIRST_PASSED, False)  # noqa: FBT003  (as above)
    return listener


@contextmanager
def made(path: str, option: str) -> Iterator[socket.socket]:
    parent = Path(path).parent
    with system_errors(f"listen on {path} ({option})"):
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(parent), closing_on_failure() as listener:
            replace_stale(path, option)
            bind(listener, path)
            own = os.lstat(path)
    try:
        yield listener
    finally:
        # removed before it is closed: nobody is to find a file that nobody listens at
        remove(path, own)
        listener.close()


@contextmanager
def closing_on_failure() -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        yield listener
    except BaseException:
        listener.close()
        raise


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One daemon at a time looks whether the socket is in use, and takes it."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def replace_stale(path: str, option: str) -> None:
    """Remove a socket that nobody listens at. Raises CniError for one in use, and for others."""
    with suppress(FileNotFoundError):
        require_socket(path, option)
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
            probe.settimeout(PROBE_TIMEOUT)
            code = probe.connect_ex(path)
        if code not in NOBODY_LISTENS:
            raise CniError(
                f"another program listens on {path}: stop it, or choose another {option}"
            )
        Path(path).unlink()


def require_socket(path: str, option: str) -> None:
    """Raises CniError if something else is there, FileNotFoundError if nothing is."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise CniError(f"{path} is no socket: remove it, or choose another {option}")


def bind(listener: socket.socket, path: str) -> None:
    before = os.umask(ONLY_ROOT)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(BACKLOG)


def remove(path: str, own: os.stat_result) -> None:
    """Only the socket that was made here: another daemon may have put its own in its place."""
    with suppress(OSError):
        if os.path.samestat(os.lstat(path), own):
            Path(path).unlink()


def notify(environ: Mapping[str, str], state: str) -> str:
    """Tell systemd, if it wants to know; says what went wrong (sd_notify(3))."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return ""
    if address.startswith("@"):  # one without a file
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        try:
            datagram.settimeout(PROBE_TIMEOUT)
            datagram.sendto(state.encode(), address)
        except OSError as error:
            return f"could not tell systemd {state}: {reason(error)}"
    return ""
