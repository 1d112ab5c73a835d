"""Netlink messages as bytes, for what pyroute2 has no lean message class for."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from cnicore.net.netlink import ATTRIBUTE, HEADER

NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF  # linux/netlink.h
NFGENMSG = struct.Struct(">BBH")  # linux/netfilter/nfnetlink.h: family, version, resource


class RawMessage:
    """What `Netlink` sends and returns; `payload` is everything behind the header."""

    def __init__(self, data: bytes = b"", *, payload: bytes = b"") -> None:
        self.data = data
        self.payload = payload
        self._header: Mapping[str, int] = {}

    def __setitem__(self, name: str, header: Mapping[str, int]) -> None:
        """Take the header, which is all that `Netlink` writes."""
        self._header = header

    def encode(self) -> None:
        header = self._header
        length = HEADER.size + len(self.payload)
        numbers = header["type"], header["flags"], header["sequence_number"], header["pid"]
        self.data = HEADER.pack(length, *numbers) + self.payload

    def decode(self) -> None:
        self.payload = self.data[HEADER.size :]


def netfilter_message(family: int, *attributes: bytes) -> RawMessage:
    """A message of one of netfilter's subsystems."""
    return RawMessage(payload=NFGENMSG.pack(family, 0, 0) + b"".join(attributes))


def attribute(kind: int, payload: bytes) -> bytes:
    header = ATTRIBUTE.pack(ATTRIBUTE.size + len(payload), kind)
    return header + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def attributes_of(data: bytes) -> dict[int, bytes]:
    """The payload of each attribute, by kind."""
    return dict(_attributes(data))


def attribute_list(data: bytes) -> list[bytes]:
    """The payloads of attributes that are all of one kind."""
    return [payload for _, payload in _attributes(data)]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < ATTRIBUTE.size:
            return
        yield kind & NLA_TYPE_MASK, data[offset + ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
