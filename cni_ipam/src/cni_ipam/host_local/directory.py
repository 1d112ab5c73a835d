"""A network's directory: its lock, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

LOCK = "lock"
TEMPORARY = ".new"
UNNAMED_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}
PIECE = 4096  # bytes; nearly every file is shorter
LONGEST_CONTENT = 1 << 18  # bytes; an environment variable, so a container id, has half of that


class Files(Protocol):
    """The files of the directory at `path`. Every method raises OSError."""

    path: str

    def names(self) -> dict[str, bool]:
        """The name of everything in it, and whether that is a regular file."""

    def read(self, name: str) -> bytes:
        """The start of the file's content."""

    def create(self, name: str, data: bytes) -> None:
        """Make the file, with its content at once; FileExistsError if there is one."""

    def replace(self, name: str, data: bytes) -> None:
        """Give the file another content at once; make it if there is none."""

    def remove(self, name: str) -> None:
        """Remove the file; nothing if there is none."""


class Directory:
    """The files of an open directory; only for the holder of its lock."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def names(self) -> dict[str, bool]:
        with os.scandir(self._descriptor) as entries:
            return {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}

    def read(self, name: str) -> bytes:
        file = self._open(name, os.O_RDONLY | os.O_NOFOLLOW)
        try:  # not closing_file: its generator costs half as much as reading, times thousands
            data = piece = os.read(file, PIECE)
            while len(piece) == PIECE and len(data) < LONGEST_CONTENT:
                piece = os.read(file, PIECE)
                data += piece
            return data
        finally:
            os.close(file)

    def create(self, name: str, data: bytes) -> None:
        try:
            self._create_unnamed(name, data)
        except OSError as error:
            if error.errno not in UNNAMED_UNSUPPORTED:
                raise
            self._create_by_renaming(name, data)

    def _create_unnamed(self, name: str, data: bytes) -> None:
        with closing_file(self._open(".", os.O_WRONLY | os.O_TMPFILE)) as file:
            write_all(file, data)
            os.link(f"/proc/self/fd/{file}", name, dst_dir_fd=self._descriptor)

    def _create_by_renaming(self, name: str, data: bytes) -> None:
        if name in self.names():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self.replace(name, data)

    def replace(self, name: str, data: bytes) -> None:
        # one temporary name is enough under the lock, and what a crash leaves of it is overwritten
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        try:
            with closing_file(self._open(TEMPORARY, flags)) as file:
                write_all(file, data)
            self._rename(TEMPORARY, name)
        except BaseException:
            self.remove(TEMPORARY)
            raise

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)

    def open_lock(self) -> int:
        """A descriptor of the lock's file, which is made if there is none. Raises OSError."""
        return os.open(LOCK, os.O_RDONLY | os.O_CREAT, 0o750, dir_fd=self._descriptor)

    def _rename(self, name: str, new: str) -> None:
        os.rename(name, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def _open(self, name: str, flags: int) -> int:
        return os.open(name, flags, 0o600, dir_fd=self._descriptor)


@contextmanager
def locked(path: str) -> Iterator[Directory]:
    """The directory, for this process alone while the block runs. Raises OSError.

    The lock is flock(2) on the file `lock`, which excludes the reference's programs too.
    """
    with unlocked(path) as directory, closing_file(directory.open_lock()) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory


@contextmanager
def unlocked(path: str) -> Iterator[Directory]:
    """The directory to look into, without making a lock or waiting for it. Raises OSError."""
    with closing_file(os.open(path, os.O_RDONLY | os.O_DIRECTORY)) as descriptor:
        yield Directory(path, descriptor)


@contextmanager
def closing_file(file: int) -> Iterator[int]:
    try:
        yield file
    finally:
        os.close(file)


def make_directories(path: str) -> None:
    """Make the directory, and those above it that are missing, with mode 0755. Raises OSError."""
    parent = os.path.dirname(path.rstrip("/"))
    if parent and not os.path.isdir(parent):
        make_directories(parent)
    with suppress(FileExistsError):  # opening it says so if that is no directory
        os.mkdir(path, 0o755)


def require_writable(path: str) -> None:
    """Raise OSError unless a file could be made at `path` now; makes nothing that has a name."""
    existing = path
    while not os.path.lexists(existing) and existing != "/":
        existing = os.path.dirname(os.path.abspath(existing))
    try:
        file = os.open(existing, os.O_WRONLY | os.O_TMPFILE | os.O_DIRECTORY, 0o600)
    except OSError as error:
        if error.errno not in UNNAMED_UNSUPPORTED:
            raise
        if not os.access(existing, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES)) from error
        return
    with closing_file(file):
        write_all(file, b"x")


def write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
