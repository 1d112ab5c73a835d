"""What was there before: a file for each interface, which either implementation can restore.

Its name and the members of the attributes are the reference's. Four members more, which that does
not look at, say whose it is, in which network namespace, what the sysctls were, and what the kernel
made of values that it takes for others.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

from cni_meta.tuning.attributes import ATTRIBUTES, Value, is_possible
from cni_meta.tuning.sysctls import is_containers
from cnicore.attempts import attempt_all
from cnicore.documents import decode_object, encode
from cnicore.errors import CniError, DecodingFailure, system_errors
from cnicore.owner import Owner, short, stale
from cnicore.rollback import OnFailure

OWNER, SYSCTLS, NETNS, READINGS = "owner", "sysctl", "netns", "readings"
LONGEST_NAME = 250  # bytes of a file's name, less the suffix of a temporary one
TEMPORARY = ("*.json.new", "~*.new")
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}  # what nobody can have made is not there


@dataclass(frozen=True, slots=True)
class Backup:
    """Values from before, attributes by their key and sysctls by their path, and whose they are.

    `owner` is the tag of an attachment, empty if the reference wrote the file. `netns` is the
    cookie of the network namespace, 0 if it is not known. `readings` are of now: by the path of a
    sysctl what was written, and what is read since.
    """

    owner: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    netns: int = 0
    readings: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def after(self, earlier: Backup) -> Backup:
        """Both; what the earlier one has was there before this one."""
        return Backup(
            self.owner,
            {**self.attributes, **earlier.attributes},
            {**self.sysctls, **earlier.sysctls},
            self.netns,
            {**earlier.readings, **self.readings},
        )

    def is_of(self, owner: Owner) -> bool:
        """Whether it is of that interface; names with "_" can give two of them the same file."""
        return not self.owner or self.owner.split("/")[1:] == owner.tag.split("/")[1:]

    def is_elsewhere(self, netns: int) -> bool:
        """Whether it is of another network namespace, so that nothing of it is true in this one."""
        return bool(self.netns and netns and self.netns != netns)

    def is_beside(self, owner: Owner) -> bool:
        """Whether it is of another interface of the same container."""
        container = owner.tag.split("/")[1:2]
        return self.owner.split("/")[1:2] == container and not self.is_of(owner)


class BackupFile:
    """The file of one interface. Every method raises CniError."""

    def __init__(self, directory: str, owner: Owner) -> None:
        name = f"{owner.container_id}_{owner.ifname}.json"
        self._directory = Path(directory)
        self._owner = owner
        self.path = Path(directory) / name
        self._temporary = Path(directory) / f"{short(name, LONGEST_NAME)}.new"

    @contextmanager
    def locked(self, *, make: bool = False) -> Iterator[None]:
        """Keep out who changes another interface, and with it maybe the same parameters."""
        if make:
            with system_errors(self._writing):
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._directory):
            yield

    def beside(self, netns: int) -> list[Backup]:
        """What is saved of the other interfaces of the container, if it is in that namespace."""
        pattern = f"{escape(self._owner.container_id)}_*.json"
        found = [backup for _, backup in _backups(self._directory, pattern)]
        own = [backup for backup in found if backup.is_beside(self._owner)]
        return [backup for backup in own if not backup.is_elsewhere(netns)]

    def read(self) -> Backup | None:
        """What the file holds, an empty backup if that is not to be understood, None without it."""
        content = self._content()
        return None if content is None else parse(content)

    def save(self, backup: Backup, on_failure: OnFailure) -> None:
        """Replace the file at once; on failure it is as it was."""
        before = self._content()
        after = encode(document_of(backup), indent=1).encode()
        if after != before:
            on_failure(self._put_back, before)  # before: a signal may come after the renaming
            self._write(after)

    def remove(self) -> None:
        """Remove it; absent is as wished."""
        _remove(self._temporary)  # what a crash left
        _remove(self.path)

    def _content(self) -> bytes | None:
        try:
            with system_errors(f"read {self.path}"):
                return self.path.read_bytes()
        except CniError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in ABSENT:
                return None
            raise

    @property
    def _writing(self) -> str:
        return f"write {self.path}, which remembers what was there before"

    def _put_back(self, content: bytes | None) -> None:
        if content is None:
            self.remove()
        else:
            self._write(content)

    def _write(self, content: bytes) -> None:
        with system_errors(self._writing):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with open(os.open(self._temporary, flags, 0o600), "wb") as file:  # noqa: PTH123  (pathlib opens no descriptor)
                file.write(content)
            self._temporary.replace(self.path)


def document_of(backup: Backup) -> dict[str, Any]:
    attributes = {key: backup.attributes[key] for key in ATTRIBUTES if key in backup.attributes}
    sysctls = {SYSCTLS: dict(backup.sysctls)} if backup.sysctls else {}
    netns = {NETNS: backup.netns} if backup.netns else {}
    readings = {READINGS: dict(backup.readings)} if backup.readings else {}
    return {**attributes, OWNER: backup.owner, **netns, **sysctls, **readings}


def parse(content: bytes) -> Backup:
    """The backup in a file; whatever does not belong into one is left out."""
    try:
        document = decode_object(content, "backup")
    except DecodingFailure:
        return Backup()  # torn by a crash: what it said is lost
    owner, netns = document.get(OWNER), document.get(NETNS)
    sysctls, readings = (_members(document.get(key)) for key in (SYSCTLS, READINGS))
    attributes = {key: document[key] for key in ATTRIBUTES if key in document}
    impossible = [key for key, value in attributes.items() if not is_possible(key, value)]
    for key in impossible:
        print(f"backup: {key} was {attributes.pop(key)!r}, which is left out", file=sys.stderr)  # noqa: T201  (stdout is the answer's alone)
    return Backup(
        owner if isinstance(owner, str) else "",
        attributes,
        # whoever can write the file must not reach the host's parameters
        {path: one for path, one in sysctls if isinstance(one, str) and is_containers(path)},
        netns if type(netns) is int else 0,
        {path: (one[0], one[1]) for path, one in readings if _is_pair(one)},
    )


def _members(value: object) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and [str, str] == [type(one) for one in value]


def remove_stale(directory: str, network: str, valid: Iterable[Owner]) -> None:
    """GC: remove the network's files that are of no valid attachment.

    The reference's stay: nothing tells which network they are of. Raises what failed after all were
    tried.
    """
    with locked(Path(directory)), attempt_all() as attempt:
        tagged = {path: backup.owner for path, backup in _backups(Path(directory), "*.json")}
        gone = stale(tagged.values(), network, valid)
        for path, tag in tagged.items():
            if tag in gone:
                attempt(_remove, path)
        for pattern in TEMPORARY:  # under the lock nobody is writing: a crash left them
            for path in Path(directory).glob(pattern):
                attempt(_remove, path)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold flock(2) on the directory; one that is not there needs none."""
    with ExitStack() as stack:
        with system_errors(f"lock {directory}"), suppress_absence():
            handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def suppress_absence() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in ABSENT:
            raise


def _remove(path: Path) -> None:
    with system_errors(f"remove {path}"), suppress_absence():
        path.unlink()


def _backups(directory: Path, pattern: str) -> Iterator[tuple[Path, Backup]]:
    with system_errors(f"look for backups in {directory}"):
        for path in directory.glob(pattern):
            try:
                yield path, parse(path.read_bytes())
            except (FileNotFoundError, IsADirectoryError):
                continue  # a DEL was faster, or it is none of ours
