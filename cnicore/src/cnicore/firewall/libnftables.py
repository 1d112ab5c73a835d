"""The one door to libnftables: transactions in, listings and the kernel's refusals out."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from cnicore.errors import CniError
from cnicore.firewall.backend import Unavailable

Command = dict[str, Any]
"""A command of the JSON schema (libnftables-json(5)), for example {"add": {"table": ...}}."""

Object = dict[str, Any]
"""An object of a listing: its kind is the one key."""

NETLINK_NETFILTER = 12  # linux/netlink.h
KINDS = {
    os.strerror(number): number
    for number in (
        errno.ENOENT,
        errno.EEXIST,
        errno.EBUSY,
        errno.EINVAL,
        errno.EOPNOTSUPP,
        errno.EPERM,
    )
}
INTERRUPTED, INTERRUPTED_ATTEMPTS = os.strerror(errno.EINTR), 20
NO_SUPPORT = {errno.EOPNOTSUPP, errno.EPERM}
NO_CACHE = "cache initialization failed"
ATTEMPTS = 10  # each is lost only to another process that changed the very same objects


class Refused(CniError):
    """The kernel or libnftables said no; `errno` tells why, 0 if it is no usual reason."""

    def __init__(self, act: str, words: str) -> None:
        super().__init__(f"could not {act}: {_first_line(words)}")
        self.errno = next((number for text, number in KINDS.items() if text in words), 0)


class Nftables(Protocol):
    """What is used of the class of that name in the nftables project's Python module."""

    def cmd(self, cmdline: str) -> tuple[int, str, str]: ...

    def json_cmd(self, json_root: Any) -> tuple[int, Any, str]: ...

    def set_json_output(self, val: bool) -> Any: ...  # noqa: FBT001  (the project's signature)


_open: dict[tuple[int, int, int], Nftables] = {}
"""The one context of this process in its network namespace.

Kept open, because closing one that deleted something waits 8 to 15 ms for the kernel.
"""


def change(act: str, commands: Sequence[Command]) -> None:
    """Run the commands as one transaction: all of them or none.

    `act` completes "could not ...". Raises Refused, Unavailable without library or kernel support.
    """
    context = _context()
    _insist(act, lambda: context.json_cmd({"nftables": list(commands)}))


def remove(act: str, find: Callable[[], Sequence[Command]]) -> None:
    """Run the deletions that `find` gives; find again if some of it vanished meanwhile.

    Raises as `change` does.
    """
    for _ in range(ATTEMPTS):
        commands = find()
        try:
            if commands:
                change(act, commands)
        except Refused as error:
            if error.errno != errno.ENOENT:
                raise
            failure = error
        else:
            return
    raise failure


def run(act: str, text: str) -> None:
    """Run commands in nft's own language as one transaction, for what the JSON schema lacks.

    The text goes to the library as it is. Raises as `change` does.
    """
    context = _context()
    context.set_json_output(False)
    _insist(act, lambda: context.cmd(text))


def read(act: str, **what: Any) -> list[Object]:
    """The objects that a listing has, for example of `chain={"family": ..., "name": ...}`.

    Raises Refused (ENOENT if there is no such object), Unavailable.
    """
    context = _context()
    with _missing_support():
        output = _insist(act, lambda: context.json_cmd({"nftables": [{"list": what}]}))
    found: list[Object] = output["nftables"] if output else []
    return [entry for entry in found if "metainfo" not in entry]


def read_if_there(act: str, **what: Any) -> list[Object]:
    """As `read`, with nothing for what does not exist."""
    try:
        return read(act, **what)
    except Refused as error:
        if error.errno != errno.ENOENT:
            raise
        return []


def chain_names(family: str, table: str) -> list[str]:
    """The chains of a table; costs the same however many elements it has."""
    listed = read_if_there("list chains", chains={"family": family})
    found = [entry["chain"] for entry in listed if "chain" in entry]
    return [chain["name"] for chain in found if chain["table"] == table]


def no_access(error: CniError) -> Unavailable:
    """What to say of a kernel that has answered like this to somebody who only asked."""
    remedy = "the kernel gives no access to nftables: load the module nf_tables"
    return Unavailable(remedy, str(error))


def _insist(act: str, run: Callable[[], tuple[int, Any, str]]) -> Any:
    """Run again while other processes change what the library reads; returns the output."""
    for _ in range(INTERRUPTED_ATTEMPTS):
        status, output, words = run()
        if not status:
            return output
        if INTERRUPTED not in words:
            break
    refused = Refused(act, words)
    # first the library reads what there is, and a kernel without nf_tables answers EINVAL
    if NO_CACHE in words and refused.errno in NO_SUPPORT | {errno.EINVAL}:
        raise no_access(refused)
    raise refused


@contextmanager
def _missing_support() -> Iterator[None]:
    """Reading asks for nothing special: a kernel that does not support that supports nothing."""
    try:
        yield
    except Refused as error:
        if error.errno in NO_SUPPORT:
            raise no_access(error) from error
        raise


def _context() -> Nftables:
    # a context speaks to the namespace that it was opened in, and a fork would share its socket
    entry = os.stat("/proc/thread-self/ns/net")
    place = os.getpid(), entry.st_dev, entry.st_ino
    if place not in _open:
        _open.clear()
        _open[place] = _open_context()
    return _open[place]


def _open_context() -> Nftables:
    _require_netfilter()
    try:
        context: Nftables = _binding()()
    except OSError as error:
        raise Unavailable(
            "libnftables.so.1 is missing: install the package libnftables1", str(error)
        ) from error
    return context


def _require_netfilter() -> None:
    """The library ends the process where the kernel does not speak netfilter."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER).close()
    except OSError as error:
        raise Unavailable(
            "the kernel does not speak nfnetlink: load the module nf_tables", str(error)
        ) from error


def _binding() -> Any:
    try:
        from nftables import Nftables as Binding  # noqa: PLC0415  (lazy: the seam "firewall")
    except ImportError:
        from cnicore.firewall.binding import Binding  # noqa: PLC0415
    return Binding


def _first_line(words: str) -> str:
    """The library's reason, without the place in a text that nobody sees."""
    line = words.strip().partition("\n")[0]
    return line.rpartition("Error: ")[2] or "libnftables gave no reason"
