"""A DHCPv4 message and its bytes (RFC 2131, RFC 2132, RFC 3396)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

from cnicore.net.messages_dhcp import dhcp4msg, option_at

BOOTREQUEST, BOOTREPLY = 1, 2
ETHERNET, MAC_LENGTH = 1, 6
BROADCAST_FLAG = 0x8000
COOKIE = b"\x63\x82\x53\x63"
SHORTEST = 300  # a BOOTP relay may drop what is shorter (RFC 1542, 2.1)
SNAME, FILE, COOKIE_PART = slice(44, 108), slice(108, 236), slice(236, 240)
OPTIONS = slice(240, None)
PAD, OVERLOAD, MESSAGE_TYPE, SERVER_ID, END = 0, 52, 53, 54, 255
OVERLOADED = {1: (FILE,), 2: (SNAME,), 3: (FILE, SNAME)}  # in the order of RFC 3396
NOBODY = IPv4Address(0)

OWN_CODES = frozenset({PAD, OVERLOAD, MESSAGE_TYPE, END})
"""The options that are the codec's own; a message's `options` never has them."""


class Kind4(IntEnum):
    """Option 53."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7


class Malformed(ValueError):
    """A packet is not what it claims to be; the text says where."""


@dataclass(frozen=True, slots=True)
class Message4:
    """`mac` is chaddr; `options` are raw, without OWN_CODES; `reply` tells a server's messages."""

    kind: Kind4
    xid: int
    mac: bytes
    options: Mapping[int, bytes]
    ciaddr: IPv4Address = NOBODY
    yiaddr: IPv4Address = NOBODY
    broadcast: bool = False
    secs: int = 0
    reply: bool = False

    @property
    def server(self) -> IPv4Address | None:
        """Who sent it, or whom it is for (option 54)."""
        value = self.options.get(SERVER_ID, b"")
        return IPv4Address(value) if len(value) == NOBODY.max_prefixlen // 8 else None


def encode(message: Message4) -> bytes:
    """The message for the wire. Raises ValueError if its options have one of OWN_CODES."""
    if not OWN_CODES.isdisjoint(message.options):
        raise ValueError(f"a message's options are not to have {sorted(OWN_CODES)}")
    packet = dhcp4msg(
        {
            "op": BOOTREPLY if message.reply else BOOTREQUEST,
            "xid": message.xid,
            "secs": message.secs,
            "flags": BROADCAST_FLAG if message.broadcast else 0,
            "ciaddr": str(message.ciaddr),
            "yiaddr": str(message.yiaddr),
            "chaddr": message.mac.hex(":"),
            "options": [(MESSAGE_TYPE, bytes([message.kind])), *message.options.items()],
        }
    )
    data: bytes = packet.encode().buf
    return data.ljust(SHORTEST, b"\0")


def decode(data: bytes) -> Message4:
    """The message that the bytes are. Raises Malformed, whatever they are."""
    if len(data) < OPTIONS.start:
        raise Malformed(f"{len(data)} bytes are too short for a DHCP message")
    if data[COOKIE_PART] != COOKIE:
        raise Malformed("it is BOOTP without DHCP: the magic cookie is missing")
    header = dhcp4msg(buf=data).decode()
    if (header["htype"], header["hlen"]) != (ETHERNET, MAC_LENGTH):
        raise Malformed("its client has no Ethernet address")
    if header["op"] not in (BOOTREQUEST, BOOTREPLY):
        raise Malformed(f"it is neither request nor reply: op is {header['op']}")
    options = _options(data)
    return Message4(
        kind=_kind(options.pop(MESSAGE_TYPE, b"")),
        xid=header["xid"],
        mac=bytes.fromhex(header["chaddr"].replace(":", "")),
        options=options,
        ciaddr=IPv4Address(header["ciaddr"]),
        yiaddr=IPv4Address(header["yiaddr"]),
        broadcast=bool(header["flags"] & BROADCAST_FLAG),
        secs=header["secs"],
        reply=header["op"] == BOOTREPLY,
    )


def _kind(value: bytes) -> Kind4:
    if not value:
        raise Malformed("it has no message type (option 53)")
    try:
        (number,) = value
        return Kind4(number)
    except ValueError as error:
        raise Malformed(f"its message type (option 53) is unknown: {value.hex()}") from error


def _options(data: bytes) -> dict[int, bytes]:
    """All options, parts joined (RFC 3396), those in the fields `file` and `sname` too."""
    area = data[OPTIONS]
    options: dict[int, bytes] = {}
    if not _collect(area, options):
        raise Malformed("its options have no end (option 255): it is cut off")
    overload = options.pop(OVERLOAD, b"\0")
    if overload == b"\0":
        return options
    fields = OVERLOADED.get(overload[0]) if len(overload) == 1 else None
    if fields is None:
        raise Malformed(f"its option overload (option 52) is unknown: {overload.hex()}")
    for field in fields:
        _collect(data[field], options)
    options.pop(OVERLOAD, None)
    return options


def _collect(area: bytes, options: dict[int, bytes]) -> bool:
    """Add the options of the area; true if their end was seen."""
    for code, value in _walk(area):
        if code == END:
            return True
        options[code] = options.get(code, b"") + value
    return False


def _walk(area: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(area):
        code = area[offset]
        if code == END:
            yield END, b""
            return
        if code == PAD:
            offset += 1
            continue
        try:
            value = option_at(area, offset, code)
        except ValueError as error:
            raise Malformed(f"its option {code} is longer than its packet") from error
        yield code, value
        offset += 2 + len(value)
