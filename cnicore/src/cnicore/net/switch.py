"""Enter another network namespace for a moment: the only place that calls setns.

/proc/sys/net shows the namespace of the thread that looks, and a socket belongs to the namespace
that it was made in; for everything else a handle's own socket will do.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cnicore.errors import InvalidNetns, reason

CLONE_NEWNET, CLONE_NEWNS = 0x40000000, 0x00020000
NS_GET_NSTYPE = 0xB703  # linux/nsfs.h
RETURN_ATTEMPTS = 3
OWN = "/proc/thread-self/ns/net"
# without O_NONBLOCK opening a FIFO would wait for its writer
OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ENXIO}  # the last: a socket's file


class NetnsGone(InvalidNetns):
    """At the path there is no network namespace, now or any more."""


def open_netns(path: str) -> int:
    """A file descriptor of the network namespace at the path.

    Raises NetnsGone if nothing is there or if it is something else, InvalidNetns if that cannot be
    found out.
    """
    try:
        fd = os.open(path, OPEN_FLAGS)
    except OSError as error:
        kind = NetnsGone if error.errno in NOTHING_THERE else InvalidNetns
        raise kind(
            f'failed to open netns "{path}": {reason(error)}:'
            " CNI_NETNS must name a live network namespace"
        ) from error
    if not _is_netns(fd):
        os.close(fd)
        raise NetnsGone(
            f'failed to open netns "{path}": it is no network namespace: is a mount missing?'
        )
    return fd


def _is_netns(fd: int) -> bool:
    try:
        return fcntl.ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError:
        return False


@contextmanager
def inside(fd: int | None) -> Iterator[None]:
    """Run the block with the thread in the namespace of `fd`; None is where it is already."""
    if fd is None:
        yield
        return
    home = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(fd)
        try:
            yield
        finally:
            _return_to(home)
    finally:
        os.close(home)


def move_to(network: int, mounts: int) -> None:
    """Put this process into other namespaces for good. Raises OSError."""
    _setns(mounts, CLONE_NEWNS)
    _setns(network)


def _return_to(home: int) -> None:
    """Insist: a thread that stayed would do all else, undoing too, in the wrong namespace."""
    for _ in range(RETURN_ATTEMPTS - 1):
        with suppress(OSError):
            _setns(home)
            return
    _setns(home)


def _setns(fd: int, kind: int = CLONE_NEWNET) -> None:
    if hasattr(os, "setns"):  # Python 3.12
        os.setns(fd, kind)
        return
    import ctypes  # noqa: PLC0415  (lazy: only Python 3.11 needs it)

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, kind):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
