"""The delegate's configurations on disk, kept from ADD to DEL: one file for each attachment.

`<dataDir>/<container id>` is the reference's, so each of the two deletes what the other attached.
The reference lets a second interface of the container overwrite it; here that one's file is named
`<container id>:<interface>`, which is no container id. A member that plugins ignore says whose the
first one is.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cnicore.documents import Document, decode_object, encode
from cnicore.errors import DecodingFailure, system_errors
from cnicore.owner import Owner
from cnicore.rollback import OnFailure

INTERFACE = "cni.flannel/ifname"
SEPARATOR = ":"  # neither a container id nor an interface's name contains it
NOT_STATE = "."  # no container id begins with it
NEW = ".new"


@dataclass(frozen=True, slots=True)
class State:
    """A file and the configuration in it, None if the file is torn."""

    file: Path
    document: Document | None


def find(directory: Path, owner: Owner) -> State | None:
    """The attachment's file, None if there is none. Raises CniError if it cannot be read.

    A torn one may be anybody's, and so may the reference's for the container in this network.
    """
    for file in (second_file(directory, owner), first_file(directory, owner)):
        state = read(file)
        if state and (state.document is None or may_be_of(state.document, owner)):
            return state
    return None


def first_file(directory: Path, owner: Owner) -> Path:
    return directory / owner.container_id


def second_file(directory: Path, owner: Owner) -> Path:
    return directory / f"{owner.container_id}{SEPARATOR}{owner.ifname}"


def read(file: Path) -> State | None:
    with system_errors(f"read {file}"):
        try:
            return State(file, parse(file.read_bytes()))
        except FileNotFoundError:
            return None


def parse(data: bytes) -> Document | None:
    try:
        document = decode_object(data, "")
    except DecodingFailure:
        return None
    is_whole = all(isinstance(document.get(key), str) for key in ("name", "type"))
    return document if is_whole else None


def may_be_of(document: Document, owner: Owner) -> bool:
    named = document.get(INTERFACE, owner.ifname)
    return (document["name"], named) == (owner.network, owner.ifname)


def configuration(document: Document) -> Document:
    """What the delegate gets of a file's content."""
    return {key: value for key, value in document.items() if key != INTERFACE}


def save(directory: Path, owner: Owner, document: Document, on_failure: OnFailure | None) -> None:
    """Write down the delegate's configuration, all of it or nothing, and how to take that back.

    Raises CniError.
    """
    with system_errors(f"save the delegate's configuration in {directory}"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(directory) as handle:
            file = choose_file(directory, owner)
            if on_failure:
                on_failure(put_back, file, file.read_bytes() if file.exists() else None)
            replace_file(file, encode_state({**document, INTERFACE: owner.ifname}))
            os.fsync(handle)


def put_back(file: Path, data: bytes | None) -> None:
    """Give the file the content that it had, None if there was none."""
    if data is None:
        remove(file)
        return
    with system_errors(f"put back {file}"), locked(file.parent):
        replace_file(file, data)


@contextmanager
def locked(directory: Path) -> Iterator[int]:
    """Keep interfaces of one container from choosing the same file at the same time.

    Who holds the lock is the only one that writes: a new file that is there then is a leftover.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def choose_file(directory: Path, owner: Owner) -> Path:
    """The reference's name unless that file is, or may be, another attachment's."""
    first, second = first_file(directory, owner), second_file(directory, owner)
    if second.exists():
        return second
    state = read(first)
    if state is None or state.document is None:
        return first
    is_mine = INTERFACE in state.document and may_be_of(state.document, owner)
    return first if is_mine else second


def encode_state(document: Document) -> bytes:
    """Without spaces and with sorted keys, as the reference writes it."""
    ordered = json.loads(json.dumps(document, sort_keys=True))
    return encode(ordered, indent=None).encode(errors="backslashreplace")


def replace_file(file: Path, data: bytes) -> None:
    """Write the file, all of it or nothing; the directory must be locked."""
    temporary = new_file(file)
    try:
        temporary.touch(mode=0o600)
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def new_file(file: Path) -> Path:
    """Where the file is written; always the same, so that a killed ADD leaves one at most."""
    return file.with_name(f"{NOT_STATE}{file.name}{NEW}")


def remove(file: Path) -> None:
    """Remove a file; absent is as wished. Raises CniError."""
    with system_errors(f"remove {file}"), locked(file.parent):
        file.unlink(missing_ok=True)
        new_file(file).unlink(missing_ok=True)


def remove_leftovers(directory: Path, owner: Owner | None = None) -> None:
    """Remove what killed ADDs were writing, only those for the attachment if one is given."""
    with system_errors(f"remove leftovers in {directory}"):
        names = (first_file(directory, owner), second_file(directory, owner)) if owner else ()
        wanted = {new_file(file) for file in names}
        found = [
            file for file in directory.glob(f"{NOT_STATE}*{NEW}") if file in wanted or not owner
        ]
        if found:
            with locked(directory):
                for file in found:
                    file.unlink(missing_ok=True)


def files(directory: Path) -> list[Path]:
    with system_errors(f"list {directory}"):
        try:
            return sorted(file for file in directory.iterdir() if file.name[0] != NOT_STATE)
        except FileNotFoundError:
            return []


def stale(directory: Path, network: str, valid: set[Owner]) -> Iterator[tuple[State, Owner]]:
    """The network's attachments that are not valid; torn files say no network.

    The owner has no interface if the file is the reference's.
    """
    for file in files(directory):
        state = read(file)
        if state and state.document and state.document["name"] == network:
            ifname = state.document.get(INTERFACE, "")
            owner = Owner(network, file.name.partition(SEPARATOR)[0], str(ifname))
            if not is_valid(owner, valid, any_interface=not ifname):
                yield state, owner


def is_valid(owner: Owner, valid: set[Owner], *, any_interface: bool) -> bool:
    """Whether the attachment is valid; of the reference's files only the container is known."""
    if any_interface:
        return owner.container_id in {one.container_id for one in valid}
    return owner in valid
