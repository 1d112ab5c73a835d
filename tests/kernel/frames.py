"""Frames with and without an IEEE 802.1Q tag: which of them come from one place to another, and how.

A tag is the number of its VLAN; None is no tag.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from cnicore.net.switch import inside, open_netns

EVERYTHING, EXPERIMENT, TAGGED = 3, 0x88B5, 0x8100  # types of frames; nobody else uses the second
HEADER = struct.Struct("!6s6s")
BROADCAST, SOURCE = bytes([255] * 6), bytes.fromhex("020000000001")
SOL_PACKET, PACKET_AUXDATA, TAG_IS_VALID = 263, 8, 0x10
AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata
LAST = 0xFFFF


@dataclass(frozen=True)
class Place:
    """An interface in a namespace, and the interface of the host that it is the other end of."""

    path: str
    behind: str
    link: str = "eth0"


def crossing(source: Place, target: Place, *tags: int | None) -> dict[int | None, int | None]:
    """Send a frame with each of the tags; returns the tags with which the frames arrived, by those."""
    with raw(source.link, source.path) as sender, raw(target.link, target.path) as receiver:
        for tag in tags:
            sender.send(frame(tag))
        # what the bridge lets through is there by now, and this does not go through the bridge
        with raw(target.behind, "") as host:
            host.send(frame(None, LAST))
        return {sent or None: seen for sent, seen in arrivals(receiver)}


def raw(link: str, path: str) -> socket.socket:
    fd = open_netns(path) if path else None
    with inside(fd):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING))
    if fd is not None:
        os.close(fd)
    made.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    made.bind((link, EVERYTHING))
    made.settimeout(30)
    return made


def frame(tag: int | None, label: int | None = None) -> bytes:
    """A broadcast that says inside with which tag it was sent."""
    tagging = b"" if tag is None else struct.pack("!HH", TAGGED, tag)
    content = struct.pack("!HH", EXPERIMENT, (tag or 0) if label is None else label)
    return HEADER.pack(BROADCAST, SOURCE) + tagging + content + bytes(44)


def arrivals(receiver: socket.socket) -> Iterator[tuple[int, int | None]]:
    """What each frame says inside, and its tag, until the last one."""
    while True:
        content, ancillary, _, _ = receiver.recvmsg(2048, socket.CMSG_SPACE(AUXDATA.size))
        kind, label = struct.unpack_from("!HH", content, HEADER.size)
        if kind == EXPERIMENT:
            if label == LAST:
                return
            yield label, tag_of(ancillary)


def tag_of(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """The tag, which the kernel takes from the frame and hands over beside it."""
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, *_, tag, _ = AUXDATA.unpack(data)
            return tag & 0xFFF if status & TAG_IS_VALID else None
    return None
