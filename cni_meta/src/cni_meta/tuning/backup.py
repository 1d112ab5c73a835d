"""What was there before: a file for each interface, which either implementation can restore.

Its name and the members of the attributes are the reference's. Two members more, which that does
not look at, say whose it is and what the sysctls were.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cni_meta.tuning.attributes import ATTRIBUTES, Value
from cni_meta.tuning.sysctls import is_containers
from cnicore.attempts import attempt_all
from cnicore.documents import decode_object, encode
from cnicore.errors import CniError, DecodingFailure, system_errors
from cnicore.owner import Owner, short, stale
from cnicore.rollback import OnFailure

OWNER, SYSCTLS = "owner", "sysctl"
LONGEST_NAME = 250  # bytes of a file's name, less the suffix of a temporary one


@dataclass(frozen=True, slots=True)
class Backup:
    """Values from before, attributes by their key and sysctls by their path, and whose they are.

    `owner` is the tag of an attachment, empty if the reference wrote the file.
    """

    owner: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)

    def after(self, earlier: Backup) -> Backup:
        """Both; what the earlier one has was there before this one."""
        return Backup(
            self.owner,
            {**self.attributes, **earlier.attributes},
            {**self.sysctls, **earlier.sysctls},
        )

    def is_of(self, owner: Owner) -> bool:
        """Whether it is of that interface; names with "_" can give two of them the same file."""
        return not self.owner or self.owner.split("/")[1:] == owner.tag.split("/")[1:]


class BackupFile:
    """The file of one interface. Every method raises CniError."""

    def __init__(self, directory: str, owner: Owner) -> None:
        name = f"{owner.container_id}_{owner.ifname}.json"
        self.path = Path(directory) / name
        self._temporary = Path(directory) / f"{short(name, LONGEST_NAME)}.new"

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
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                return None
            raise

    def _put_back(self, content: bytes | None) -> None:
        if content is None:
            self.remove()
        else:
            self._write(content)

    def _write(self, content: bytes) -> None:
        with system_errors(f"write {self.path}, which remembers what was there before"):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with open(os.open(self._temporary, flags, 0o600), "wb") as file:  # noqa: PTH123  (pathlib opens no descriptor)
                file.write(content)
            self._temporary.replace(self.path)


def document_of(backup: Backup) -> dict[str, Any]:
    attributes = {key: backup.attributes[key] for key in ATTRIBUTES if key in backup.attributes}
    sysctls = {SYSCTLS: dict(backup.sysctls)} if backup.sysctls else {}
    return {**attributes, OWNER: backup.owner, **sysctls}


def parse(content: bytes) -> Backup:
    """The backup in a file; whatever does not belong into one is left out."""
    try:
        document = decode_object(content, "backup")
    except DecodingFailure:
        return Backup()  # torn by a crash: what it said is lost
    owner, sysctls = document.get(OWNER), document.get(SYSCTLS)
    attributes = {
        key: document[key]
        for key, attribute in ATTRIBUTES.items()
        if type(document.get(key)) is attribute.kind
    }
    texts = sysctls.items() if isinstance(sysctls, dict) else ()
    return Backup(
        owner if isinstance(owner, str) else "",
        attributes,
        # whoever can write the file must not reach the host's parameters
        {path: value for path, value in texts if isinstance(value, str) and is_containers(path)},
    )


def remove_stale(directory: str, network: str, valid: Iterable[Owner]) -> None:
    """GC: remove the network's files that are of no valid attachment.

    The reference's stay: nothing tells which network they are of. Raises what failed after all were
    tried.
    """
    tagged = dict(_owners(Path(directory)))
    gone = stale(tagged.values(), network, valid)
    with attempt_all() as attempt:
        for path, tag in tagged.items():
            if tag in gone:
                attempt(_remove, path)


def _remove(path: Path) -> None:
    with system_errors(f"remove {path}"):
        path.unlink(missing_ok=True)


def _owners(directory: Path) -> Iterator[tuple[Path, str]]:
    with system_errors(f"look for backups in {directory}"):
        for path in directory.glob("*.json"):
            try:
                yield path, parse(path.read_bytes()).owner
            except (FileNotFoundError, IsADirectoryError):
                continue  # a DEL was faster, or it is none of ours
