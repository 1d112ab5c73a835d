"""The leases on disk, a file for each attachment, so that a new daemon can go on with them.

Moments are those of the clock since boot, so a record of another boot says nothing any more.
docs/reference/plugins/dhcp.md describes the format.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cni_ipam.dhcp import marks
from cni_ipam.dhcp.document import document_of, holding_of
from cni_ipam.dhcp.journal import LOGGER
from cni_ipam.dhcp.terms import Holding
from cnicore.documents import encode
from cnicore.errors import DecodingFailure, reason
from cnicore.owner import Owner

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TEMPORARY = ".new"


class Foreign(Exception):
    """A record that this daemon cannot go on with."""


class Records:
    """The directory of the records. Methods raise OSError unless they say otherwise."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._boot = BOOT_ID.read_text(encoding="ascii").strip()

    def read(self) -> Iterator[Holding]:
        """Every record of this boot; others, and what a crash left of a file, are removed."""
        for name in marks.names(self.directory):
            if name.endswith(TEMPORARY) and marks.is_record(name.removesuffix(TEMPORARY)):
                self._remove(name)
            elif marks.is_record(name) and (holding := self._usable(name)):
                yield holding

    def _usable(self, name: str) -> Holding | None:
        path = f"{self.directory}/{name}"
        try:
            return self._holding(path, name)
        except (Foreign, DecodingFailure) as error:
            LOGGER.warning("removed the record %s: %s", path, error)
            self._remove(name)
        except OSError as error:
            LOGGER.warning("left the record %s alone: %s", path, reason(error))
        return None

    def _holding(self, path: str, name: str) -> Holding:
        document = marks.read(path)
        try:
            holding = holding_of(document)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise Foreign(f"it is none of format {marks.FORMAT}: {error!r}") from error
        if document.get("boot") != self._boot:
            raise Foreign("it is from another boot")
        if name != marks.stem(holding.owner) + marks.RECORD:
            raise Foreign("it has the name of another attachment's")
        return holding

    def write(self, holding: Holding) -> None:
        """Put the record down, whole or not at all, so that a loss of power does not lose it."""
        Path(self.directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        name = marks.stem(holding.owner) + marks.RECORD
        data = encode({**document_of(holding), "boot": self._boot}).encode()
        path = f"{self.directory}/{name}"
        try:
            self._write_through(path + TEMPORARY, data)
            Path(path + TEMPORARY).replace(path)
        except BaseException:
            with suppress(OSError):
                self._remove(name + TEMPORARY)
            raise
        self._sync()

    def _write_through(self, path: str, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _sync(self) -> None:
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def remove(self, holding: Holding) -> None:
        """Forget the attachment, and a mark that it has ended; absent is as wished."""
        self._remove(marks.stem(holding.owner) + marks.RECORD)
        self.unmark(holding.owner)

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            Path(self.directory, name).unlink()

    def ended(self) -> set[str]:
        """The stems (`marks.stem`) of what has ended without the daemon."""
        return marks.marked(self.directory)

    def mark(self, owner: Owner) -> bool:
        return marks.mark_ended(self.directory, owner)

    def unmark(self, owner: Owner) -> None:
        marks.unmark(self.directory, owner)

    def is_marked(self, owner: Owner) -> bool:
        return Path(self.directory, marks.stem(owner) + marks.MARK).exists()

    def drop_marks(self, stems: set[str]) -> None:
        """Remove those marks of which no record is left."""
        for stem in stems:
            if not Path(self.directory, stem + marks.RECORD).exists():
                self._remove(stem + marks.MARK)
