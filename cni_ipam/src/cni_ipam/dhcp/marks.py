"""Which attachments have a record on disk, and which of those have ended without the daemon.

The plugin marks what the daemon, when it is back, is to release. Imports little: a DEL loads this.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from hashlib import sha256

from cnicore.documents import Document, decode_object
from cnicore.errors import DecodingFailure
from cnicore.owner import Owner

RECORD, MARK = ".json", ".ended"
RECORD_NAME = re.compile(r"[0-9a-f]{32}\.json")
MARK_NAME = re.compile(r"[0-9a-f]{32}\.ended")
FORMAT = 1
LONGEST_RECORD = 1 << 20  # bytes
READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def stem(owner: Owner) -> str:
    """What the names of an attachment's files begin with."""
    text = f"{owner.container_id}/{owner.network}/{owner.ifname}"
    return sha256(text.encode()).hexdigest()[:32]


def mark_ended(directory: str, owner: Owner) -> bool:
    """Ask the daemon, whenever it is back, to release the attachment's leases.

    Returns whether there is a record of any. Raises OSError.
    """
    base = f"{directory}/{stem(owner)}"
    if not os.path.lexists(base + RECORD):
        return False
    os.close(os.open(base + MARK, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    return True


def unmark(directory: str, owner: Owner) -> None:
    """Take the mark back; absent is as wished. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(f"{directory}/{stem(owner)}{MARK}")


def marked(directory: str) -> set[str]:
    """The stems of what has ended. Raises OSError."""
    return {name.removesuffix(MARK) for name in names(directory) if MARK_NAME.fullmatch(name)}


def recorded(directory: str, network: str) -> list[Owner]:
    """The network's attachments that have a record; what cannot be read is left to the daemon.

    Raises OSError if the directory cannot be listed.
    """
    owners = [_owner_in(f"{directory}/{name}") for name in names(directory) if is_record(name)]
    return [owner for owner in owners if owner and owner.network == network]


def is_record(name: str) -> bool:
    return RECORD_NAME.fullmatch(name) is not None


def names(directory: str) -> list[str]:
    """What is in the directory, in order; nothing if there is none. Raises OSError."""
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def _owner_in(path: str) -> Owner | None:
    with suppress(OSError, DecodingFailure, ValueError):
        return owner_of(read(path))
    return None


def owner_of(document: Document) -> Owner:
    """Whose the record is. Raises ValueError if it does not say."""
    values = [document.get(key) for key in ("network", "containerID", "ifname")]
    if document.get("format") != FORMAT or not all(isinstance(value, str) for value in values):
        raise ValueError(f"it is no record of format {FORMAT}")
    return Owner(*map(str, values))


def read(path: str) -> Document:
    """What a record says. Raises OSError, and DecodingFailure if that is no JSON object."""
    with open(path, "rb", opener=lambda name, _: os.open(name, READ_FLAGS)) as file:
        return decode_object(file.read(LONGEST_RECORD), path)
