"""Sockets that wait for packets at a port, and the processes that hold them."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple

from cnicore.net.netlink import Netlink
from cnicore.net.raw import RawMessage, attributes_of
from cnicore.result import Address

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20  # linux/sock_diag.h
# linux/inet_diag.h: inet_diag_req_v2 and inet_diag_msg up to the address, and the inode
REQUEST = struct.Struct("=BBBxI2s2x32x12x")
REPLY = struct.Struct("=4x2s2x16s")
INODE_OFFSET, REPLY_SIZE = 68, 72
INET_DIAG_SKV6ONLY = 11
# net/tcp_states.h: TCP and SCTP listen, a UDP socket that nobody connected is "closed"
LISTEN, CLOSED = 1 << 10, 1 << 7
STATES = {socket.IPPROTO_UDP: CLOSED}


class Listener(NamedTuple):
    """A socket that waits at an address, which may be "any"; `versions` are the IP versions."""

    address: Address
    versions: tuple[int, ...]
    inode: int


def listeners(protocol: int, port: int) -> list[Listener]:
    """Who waits for the protocol (IPPROTO_TCP, ...) at the port of some address.

    They are those of the namespace that the thread is in. Raises KernelError, OSError.
    """
    states = STATES.get(protocol, LISTEN)
    found = []
    netlink = Netlink(NETLINK_SOCK_DIAG)
    try:
        for family in (socket.AF_INET, socket.AF_INET6):
            request = REQUEST.pack(family, protocol, 0, states, port.to_bytes(2, "big"))
            act = f"look who listens at port {port}"
            found += netlink.dump(act, SOCK_DIAG_BY_FAMILY, RawMessage(payload=request))
    finally:
        netlink.close()
    return [_decode(reply.payload) for reply in found]


def process_of(inode: int) -> tuple[int, str] | None:
    """Number and name of a process that holds the socket; None if none is in sight."""
    wanted = f"socket:[{inode}]"
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        if wanted in _open_files(pid):
            with suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                return int(pid), file.read().strip()
    return None


def _open_files(pid: str) -> Iterator[str]:
    with suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                yield os.readlink(f"/proc/{pid}/fd/{fd}")


def _decode(payload: bytes) -> Listener:
    _, raw = REPLY.unpack_from(payload)
    is_ipv4 = payload[0] == socket.AF_INET
    (inode,) = struct.unpack_from("=I", payload, INODE_OFFSET)
    only6 = attributes_of(payload[REPLY_SIZE:]).get(INET_DIAG_SKV6ONLY, b"\0") != b"\0"
    versions = (4,) if is_ipv4 else (6,) if only6 else (4, 6)
    return Listener(ip_address(raw[:4] if is_ipv4 else raw), versions, inode)
