"""Remember what is attached: results of ADD on disk, laid out as the reference does."""

from __future__ import annotations

import json
import os
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnicore.documents import Document, decode_object, encode, kind_of
from cnicore.errors import CniError, DecodingFailure, system_errors
from cnicore.owner import Owner
from cnicore.runtime.network import Attachment
from cnicore.versions import convert, decode_result

KIND = "cniCacheV1"
# the reference's encoder escapes these in every string
ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


@dataclass(frozen=True, slots=True)
class CachedAttachment:
    """An attachment as it was made; `config` is the configuration's bytes."""

    network: str
    attachment: Attachment
    config: bytes


@dataclass(frozen=True, slots=True)
class ResultCache:
    """The directory that holds a file for each attachment."""

    directory: Path

    def write(self, owner: Owner, entry: CachedAttachment, result: Document) -> None:
        """Store an ADD's result, all of it or nothing. Raises CniError."""
        file = self._file(owner)
        with system_errors(f"write {file}"):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # no fsync: what a power cut loses here belonged to containers that it ended
            replace_file(file, encode_entry(entry, result))

    def knows(self, owner: Owner) -> bool:
        """Whether there is a file for the attachment, readable or not."""
        with suppress(CniError):
            return os.path.lexists(self._file(owner))
        return False

    def read_result(self, owner: Owner, version: str) -> Document | None:
        """Read the result, converted to the version; None if there is no readable file.

        Raises CniError if the file is torn or its result cannot be converted.
        """
        data = read_or_none(self._file(owner))
        if data is None:
            return None
        result = result_of(decode_object(data, "cached result"))
        decode_result(result, str(result.get("cniVersion") or "0.1.0"))
        return convert(result, version)

    def read_attachment(self, owner: Owner) -> CachedAttachment | None:
        """Read how the attachment was made; None if there is no readable file.

        Raises DecodingFailure if the file is torn or of another kind.
        """
        data = read_or_none(self._file(owner))
        return None if data is None else decode_entry(data)

    def remove(self, owner: Owner) -> None:
        """Forget the attachment, known or not; a file that cannot be removed stays."""
        with suppress(OSError, CniError):
            self._file(owner).unlink()

    def attachments(self, container_id: str = "") -> Iterator[CachedAttachment]:
        """List what is attached, in the order of the files; files that say nothing are left out."""
        files = self.directory.iterdir() if self.directory.is_dir() else ()
        for file in sorted(files):
            name = file.name
            if name.startswith(".") or (container_id and f"-{container_id}-" not in name):
                continue
            with suppress(OSError, DecodingFailure):
                cached = decode_entry(file.read_bytes())
                if container_id in {"", cached.attachment.container_id}:
                    yield cached

    def _file(self, owner: Owner) -> Path:
        parts = (owner.network, owner.container_id, owner.ifname)
        if not all(parts) or any("/" in part or "\0" in part for part in parts):
            raise CniError(
                "cache file path requires network name, container ID and interface name"
                f" without separators, not {parts}"
            )
        return self.directory / "-".join(parts)


def replace_file(file: Path, data: bytes) -> None:
    """Put a file of mode 0600 in place whole. Raises OSError."""
    handle, temporary = tempfile.mkstemp(prefix=".", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(temporary).rename(file)
    except BaseException:
        Path(temporary).unlink()
        raise


def read_or_none(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def encode_entry(entry: CachedAttachment, result: Document) -> bytes:
    """Write a cache file as the reference does: its order of keys, its escapes, no spaces."""
    attachment = entry.attachment
    document: Document = {
        "kind": KIND,
        "containerId": attachment.container_id,
        "config": b64encode(entry.config).decode(),
        "ifName": attachment.ifname,
        "networkName": entry.network,
    }
    optional: Document = {
        "netns": attachment.netns,
        "cniArgs": attachment.args,
        "capabilityArgs": sort_keys(dict(attachment.capability_args)),
        "result": sort_keys(result),
    }
    document |= {key: value for key, value in optional.items() if value}
    return encode(document, indent=None).translate(ESCAPES).encode(errors="replace")


def sort_keys(document: Document) -> Any:
    return json.loads(json.dumps(document, sort_keys=True))


def result_of(document: Document) -> Document:
    """Take the result out of a cache file; without a kind it is the result, as once."""
    result = document.get("result") or {} if document.get("kind") == KIND else document
    if not isinstance(result, dict):
        raise DecodingFailure(f"cached result: expected an object, not {kind_of(result)}")
    return result


def decode_entry(data: bytes) -> CachedAttachment:
    """Read how an attachment was made. Raises DecodingFailure."""
    document = decode_object(data, "cached attachment")
    if document.get("kind") != KIND:
        raise DecodingFailure(f'cached attachment: kind must be "{KIND}"')
    try:
        return CachedAttachment(
            network=require_text(document, "networkName"),
            attachment=Attachment(
                container_id=require_text(document, "containerId"),
                netns=str(document.get("netns") or ""),
                ifname=require_text(document, "ifName"),
                args=tuple((str(key), str(value)) for key, value in document.get("cniArgs") or ()),
                capability_args=dict(document.get("capabilityArgs") or {}),
            ),
            config=b64decode(document.get("config") or "", validate=True),
        )
    except (ValueError, TypeError) as error:
        raise DecodingFailure(f"cached attachment: {error}") from error


def require_text(document: Document, key: str) -> str:
    text = document.get(key)
    if not isinstance(text, str) or not text:
        raise ValueError(f"{key} must be a text that is not empty")
    return text


def merged(cached: CachedAttachment, attachment: Attachment) -> CachedAttachment:
    """Give the caller's attachment what ADD was called with; only if it had no args, they stay."""
    was = cached.attachment
    return replace(
        cached,
        attachment=replace(
            attachment, args=was.args or attachment.args, capability_args=was.capability_args
        ),
    )
