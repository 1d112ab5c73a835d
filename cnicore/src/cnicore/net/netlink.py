"""One netlink socket: acknowledged requests, dumps, and the kernel's own words for an error."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cnicore.errors import CniError

# linux/netlink.h
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLM_F_ROOT, NLM_F_MATCH, NLM_F_DUMP = 0x100, 0x200, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
NLM_F_DUMP_INTR, NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x10, 0x100, 0x200
SOL_NETLINK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 11, 12
NLMSGERR_ATTR_MSG = 1

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
LARGEST_DATAGRAM = 1 << 18
DUMP_ATTEMPTS = 5  # a table that changes while it is dumped is read again, as in the reference

Message = Mapping[str, Any]


class KernelError(CniError):
    """The kernel refused; `errno` tells why."""

    def __init__(self, act: str, number: int, extended: str = "") -> None:
        super().__init__(f"could not {act}: {os.strerror(number)}", extended)
        self.errno = number


@contextmanager
def tolerate(*numbers: int) -> Iterator[None]:
    """Let a step succeed when the kernel's answer says that all is already as wished."""
    try:
        yield
    except KernelError as error:
        if error.errno not in numbers:
            raise


class Netlink:
    """A netlink socket of the network namespace that the calling thread is in when it is made."""

    def __init__(self, family: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
        )
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def change(self, act: str, kind: int, message: Any, flags: int = 0) -> None:
        """Send a request and wait for the kernel's yes.

        `act` completes "could not ..." should it be a no. Raises KernelError.
        """
        self._send(act, kind, NLM_F_REQUEST | NLM_F_ACK | flags, message)
        for _, flags_, payload in self._replies():
            _raise_error(act, flags_, payload)
            return

    def get(self, act: str, kind: int, message: Any) -> Any:
        """Send a request and decode its one reply, of the same class. Raises KernelError."""
        self._send(act, kind, NLM_F_REQUEST, message)
        for type_, flags, payload in self._replies():
            if type_ == NLMSG_ERROR:
                _raise_error(act, flags, payload)
            return _decode(type(message), payload)
        raise AssertionError("the generator of replies is endless")

    def dump(self, act: str, kind: int, message: Any) -> list[Any]:
        """Everything of a kind, as messages of the same class. Raises KernelError."""
        for _ in range(DUMP_ATTEMPTS):
            replies, was_interrupted = self._dump_once(act, kind, message)
            if not was_interrupted:
                break
        return replies

    def _dump_once(self, act: str, kind: int, message: Any) -> tuple[list[Any], bool]:
        self._send(act, kind, NLM_F_REQUEST | NLM_F_DUMP, message)
        found: list[Any] = []
        was_interrupted = False
        for type_, flags, payload in self._replies():
            was_interrupted = was_interrupted or bool(flags & NLM_F_DUMP_INTR)
            if type_ == NLMSG_DONE:
                break
            if type_ == NLMSG_ERROR:
                _raise_error(act, flags, payload)
            found.append(_decode(type(message), payload))
        return found, was_interrupted

    def _send(self, act: str, kind: int, flags: int, message: Any) -> None:
        self._sequence += 1
        message["header"] = {
            "type": kind,
            "flags": flags,
            "sequence_number": self._sequence,
            "pid": 0,
        }
        with _encoding_errors(act):
            message.encode()
        try:
            self._socket.sendto(bytes(message.data), (0, 0))
        except OSError as error:
            raise KernelError(act, error.errno or errno.EIO) from error

    def _replies(self) -> Iterator[tuple[int, int, bytes]]:
        """Type, flags and whole bytes of each message that answers the last request."""
        while True:
            data = self._socket.recv(LARGEST_DATAGRAM)
            offset = 0
            while offset + HEADER.size <= len(data):
                length, type_, flags, sequence, _ = HEADER.unpack_from(data, offset)
                if sequence == self._sequence:
                    yield type_, flags, data[offset : offset + length]
                offset += (length + 3) & ~3


@contextmanager
def _encoding_errors(act: str) -> Iterator[None]:
    """What does not fit into its field is what the kernel would call an invalid argument."""
    try:
        yield
    except (struct.error, OSError, ValueError) as error:
        raise KernelError(act, errno.EINVAL, str(error)) from error


def _decode(message_class: type[Any], data: bytes) -> Any:
    message = message_class(data)
    message.decode()
    return message


def _raise_error(act: str, flags: int, payload: bytes) -> None:
    """Raise KernelError unless the acknowledgement says that all went well."""
    (number,) = struct.unpack_from("=i", payload, HEADER.size)
    if number:
        raise KernelError(act, -number, _extended(flags, payload))


def _extended(flags: int, payload: bytes) -> str:
    """The sentence that the kernel adds to an errno (NETLINK_EXT_ACK), or nothing."""
    if not flags & NLM_F_ACK_TLVS:
        return ""
    inner, *_ = HEADER.unpack_from(payload, HEADER.size + 4)
    offset = HEADER.size + 4 + (HEADER.size if flags & NLM_F_CAPPED else (inner + 3) & ~3)
    while offset + ATTRIBUTE.size <= len(payload):
        length, type_ = ATTRIBUTE.unpack_from(payload, offset)
        if type_ == NLMSGERR_ATTR_MSG:
            words = payload[offset + ATTRIBUTE.size : offset + length].rstrip(b"\0")
            return words.decode(errors="replace")
        offset += max((length + 3) & ~3, ATTRIBUTE.size)
    return ""


def is_absent(error: KernelError) -> bool:
    """Whether the kernel says that what was asked for does not exist."""
    return error.errno in {errno.ENODEV, errno.ENOENT, errno.ESRCH}
