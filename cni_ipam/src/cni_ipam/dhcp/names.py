"""Lists of domain names as DHCP has them (RFC 1035, 3.1; compressed: RFC 3397)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cni_ipam.dhcp.message4 import Malformed

LONGEST_LABEL, LONGEST_NAME = 63, 253
POINTER = 0xC0
MOST_JUMPS = 32
# What a resolver's file can take: a server is not to write lines of its own into it.
SAFE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def safe_name(name: str) -> str:
    """The domain name without the dot of the root, or nothing if it is none."""
    plain = name.removesuffix(".")
    return plain if len(plain) <= LONGEST_NAME and SAFE.fullmatch(plain) else ""


def read_names(data: bytes, *, compressed: bool) -> tuple[str, ...]:
    """The names in the option; those with bytes that no domain has are left out.

    Raises Malformed if one goes on behind the end, or its pointers lead nowhere.
    """
    names = []
    offset = 0
    while offset < len(data):
        name, offset = _name_at(data, offset, compressed=compressed)
        names.append(safe_name(name))
    return tuple(filter(None, names))


def write_names(names: Iterable[str]) -> bytes:
    """The names one after the other, not compressed."""
    return b"".join(_written(name) for name in names)


def _written(name: str) -> bytes:
    labels = name.encode().split(b".")
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _name_at(data: bytes, offset: int, *, compressed: bool) -> tuple[str, int]:
    """The name and where the next one begins."""
    labels: list[bytes] = []
    after = None
    jumps = 0
    while length := _byte(data, offset):
        if length <= LONGEST_LABEL:
            labels.append(_label(data, offset + 1, length))
            offset += 1 + length
            continue
        target = _target(data, offset) if compressed else offset
        jumps += 1
        # Backwards only and not often: so a ring of pointers ends, and so does a ladder of them.
        if target >= offset or jumps > MOST_JUMPS:
            raise Malformed(f"a domain name points astray at byte {offset}")
        after = after or offset + 2
        offset = target
    return b".".join(labels).decode("latin-1"), after or offset + 1


def _byte(data: bytes, offset: int) -> int:
    if offset >= len(data):
        raise Malformed("a domain name is longer than its option")
    return data[offset]


def _label(data: bytes, start: int, length: int) -> bytes:
    label = data[start : start + length]
    if len(label) < length:
        raise Malformed("a domain name is longer than its option")
    return label


def _target(data: bytes, offset: int) -> int:
    """Where a pointer leads; the two other kinds of label that begin with a bit set are unused."""
    if data[offset] < POINTER:
        return offset
    return (data[offset] - POINTER) << 8 | _byte(data, offset + 1)
