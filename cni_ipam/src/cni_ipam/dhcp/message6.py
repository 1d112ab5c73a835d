"""A DHCPv6 message and its bytes, as far as a client of addresses needs it (RFC 8415, RFC 3646).

docs/decisions/0013-dhcp.md says why the codec is our own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address

from cni_ipam.dhcp.message4 import Malformed
from cni_ipam.dhcp.names import read_names, write_names

CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS, OPTION_REQUEST, PREFERENCE, ELAPSED = 1, 2, 3, 5, 6, 7, 8
STATUS_CODE, DNS_SERVERS, DOMAIN_LIST = 13, 23, 24
HEADER = struct.Struct("!I")  # a byte for the kind, three for the transaction
OPTION = struct.Struct("!HH")
IA_HEADER = struct.Struct("!III")
ADDRESS_HEADER = struct.Struct("!16sII")
NUMBER16, NUMBER8, ADDRESS = struct.Struct("!H"), struct.Struct("!B"), struct.Struct("!16s")
LONGEST_DUID = 130
LONGEST_ELAPSED = 0xFFFF
LONGEST_XID = 0xFFFFFF


class Kind6(IntEnum):
    """The kinds of message that a client sends or understands."""

    SOLICIT = 1
    ADVERTISE = 2
    REQUEST = 3
    CONFIRM = 4
    RENEW = 5
    REBIND = 6
    REPLY = 7
    RELEASE = 8


FROM_SERVERS = (Kind6.ADVERTISE, Kind6.REPLY)


@dataclass(frozen=True, slots=True)
class Status:
    """What a server thinks of the message, or of one address; 0 is success."""

    code: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class IaAddress:
    """An address and for how many seconds it is preferred and valid."""

    address: IPv6Address
    preferred: int = 0
    valid: int = 0


@dataclass(frozen=True, slots=True)
class Ia:
    """An association of addresses; t1 and t2 in seconds, 0 if the client is to choose."""

    iaid: int
    t1: int = 0
    t2: int = 0
    addresses: tuple[IaAddress, ...] = ()
    status: Status | None = None

    @property
    def granted(self) -> IaAddress | None:
        """The first address that a client may take (RFC 8415, 21.4 and 21.6)."""
        if 0 < self.t2 < self.t1:
            return None
        return next((one for one in self.addresses if 0 < one.valid >= one.preferred), None)


@dataclass(frozen=True, slots=True)
class Message6:
    """`client` and `server` are DUIDs, `request` asks for options, `elapsed` is in 1/100 s."""

    kind: Kind6
    xid: int
    client: bytes = b""
    server: bytes | None = None
    ia: Ia | None = None
    status: Status | None = None
    dns: tuple[IPv6Address, ...] = ()
    search: tuple[str, ...] = ()
    request: tuple[int, ...] = ()
    elapsed: int = 0
    preference: int = 0


def encode(message: Message6) -> bytes:
    """The message for the wire; a client's always tells the time that has elapsed."""
    options = (
        (CLIENT_ID, message.client),
        (SERVER_ID, message.server or b""),
        (IA_NA, _encode_ia(message.ia)),
        (ELAPSED, _encode_elapsed(message)),
        (OPTION_REQUEST, b"".join(map(NUMBER16.pack, message.request))),
        (PREFERENCE, NUMBER8.pack(message.preference) if message.preference else b""),
        (STATUS_CODE, _encode_status(message.status)),
        (DNS_SERVERS, b"".join(one.packed for one in message.dns)),
        (DOMAIN_LIST, write_names(message.search)),
    )
    return HEADER.pack(message.kind << 24 | message.xid) + _written(options)


def _written(options: Iterable[tuple[int, bytes]]) -> bytes:
    """The options; one without bytes is one that is not there."""
    return b"".join(OPTION.pack(code, len(value)) + value for code, value in options if value)


def _encode_ia(ia: Ia | None) -> bytes:
    if ia is None:
        return b""
    addresses = (
        (IA_ADDRESS, ADDRESS_HEADER.pack(one.address.packed, one.preferred, one.valid))
        for one in ia.addresses
    )
    inner = (*addresses, (STATUS_CODE, _encode_status(ia.status)))
    return IA_HEADER.pack(ia.iaid, ia.t1, ia.t2) + _written(inner)


def _encode_elapsed(message: Message6) -> bytes:
    if message.kind in FROM_SERVERS and not message.elapsed:
        return b""
    return NUMBER16.pack(min(message.elapsed, LONGEST_ELAPSED))


def _encode_status(status: Status | None) -> bytes:
    return NUMBER16.pack(status.code) + status.text.encode() if status else b""


def decode(data: bytes) -> Message6:
    """The message that the bytes are. Raises Malformed, whatever they are.

    Of an option that is there twice the first counts.
    """
    (number,) = _fixed(HEADER, data, "its header")
    options = _first(_walk(data[HEADER.size :]))
    ia, status = options.get(IA_NA), options.get(STATUS_CODE)
    server = options.get(SERVER_ID)
    return Message6(
        kind=_kind(number >> 24),
        xid=number & LONGEST_XID,
        client=_duid(options[CLIENT_ID]) if CLIENT_ID in options else b"",
        server=None if server is None else _duid(server),
        ia=None if ia is None else _decode_ia(ia),
        status=None if status is None else _decode_status(status),
        dns=tuple(map(IPv6Address, _list(ADDRESS, options.get(DNS_SERVERS, b""), "name servers"))),
        search=read_names(options.get(DOMAIN_LIST, b""), compressed=False),
        request=tuple(_list(NUMBER16, options.get(OPTION_REQUEST, b""), "option request")),
        elapsed=_number(NUMBER16, options.get(ELAPSED), "elapsed time"),
        preference=_number(NUMBER8, options.get(PREFERENCE), "preference"),
    )


def _kind(number: int) -> Kind6:
    try:
        return Kind6(number)
    except ValueError as error:
        raise Malformed(f"its message type is unknown: {number}") from error


def _first(options: Iterable[tuple[int, bytes]]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for code, value in options:
        found.setdefault(code, value)
    return found


def _walk(area: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(area):
        code, length = _fixed(OPTION, area[offset:], "an option's header")
        offset += OPTION.size
        value = area[offset : offset + length]
        if len(value) < length:
            raise Malformed(f"its option {code} is longer than its packet")
        yield code, value
        offset += length


def _duid(value: bytes) -> bytes:
    if not 0 < len(value) <= LONGEST_DUID:
        raise Malformed(f"a DUID has {len(value)} bytes")
    return value


def _decode_ia(value: bytes) -> Ia:
    iaid, t1, t2 = _fixed(IA_HEADER, value, "its IA_NA")
    inner = list(_walk(value[IA_HEADER.size :]))
    status = _first(inner).get(STATUS_CODE)
    return Ia(
        iaid,
        t1,
        t2,
        tuple(_decode_address(one) for code, one in inner if code == IA_ADDRESS),
        None if status is None else _decode_status(status),
    )


def _decode_address(value: bytes) -> IaAddress:
    address, preferred, valid = _fixed(ADDRESS_HEADER, value, "an IA address")
    for _ in _walk(value[ADDRESS_HEADER.size :]):
        pass  # nothing in there matters, but it is to be whole
    return IaAddress(IPv6Address(address), preferred, valid)


def _decode_status(value: bytes) -> Status:
    """The text of a server goes into errors and logs: it is not to break their lines."""
    (code,) = _fixed(NUMBER16, value, "its status")
    text = value[NUMBER16.size :].decode(errors="replace")
    return Status(
        code, "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    )


def _fixed(layout: struct.Struct, data: bytes, what: str) -> tuple[int, ...]:
    if len(data) < layout.size:
        raise Malformed(f"{what} is cut off: {len(data)} bytes of {layout.size}")
    return layout.unpack_from(data)


def _list(layout: struct.Struct, value: bytes, what: str) -> Iterator[int]:
    if len(value) % layout.size:
        raise Malformed(f"its {what} have {len(value)} bytes, not a multiple of {layout.size}")
    return (one for (one,) in layout.iter_unpack(value))


def _number(layout: struct.Struct, value: bytes | None, what: str) -> int:
    if value is None:
        return 0
    if len(value) != layout.size:
        raise Malformed(f"its {what} has {len(value)} bytes, not {layout.size}")
    (number,) = layout.unpack(value)
    return int(number)
