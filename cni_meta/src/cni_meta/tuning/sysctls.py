"""Kernel parameters of the container's network: from a name to its file, and what values mean."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address

from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.net.namespace import Namespace

TREE = "net"  # what belongs to a network namespace; all else is the host's
INTERFACE = "IFNAME"
UNREADABLE = {errno.EACCES, errno.EIO}  # route/flush; stable_secret before it has a value
KEY_GROUPS = 4


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A parameter to be set: its name with IFNAME in it, its path below /proc/sys, its value.

    `where` is the configuration key that it comes from.
    """

    where: str
    name: str
    path: str
    value: str


def sysctls_of(sources: Mapping[str, Mapping[str, str]], ifname: str) -> tuple[Sysctl, ...]:
    """The parameters of all sources, by their key; of the same one the later source's value.

    Raises InvalidNetworkConfig.
    """
    found: dict[str, Sysctl] = {}
    for where, source in sources.items():
        own: dict[str, str] = {}
        for key, value in source.items():
            sysctl = _parsed(where, key, value, ifname)
            if own.setdefault(sysctl.path, value) != value:
                raise InvalidNetworkConfig(
                    f"{where}: {sysctl.path} is duplicated with two values, under {key} and under"
                    " another spelling: write it once"
                )
            found[sysctl.path] = sysctl
    return tuple(found.values())


def _parsed(where: str, key: str, value: str, ifname: str) -> Sysctl:
    name = "/".join(part for part in key.replace(".", "/").split("/") if part)
    # after the dots, so that an interface may have some in its name
    path = name.replace(INTERFACE, ifname, 1)
    if not is_containers(path):
        raise InvalidNetworkConfig(
            f'{where}: invalid net sysctl key: "{key}": only parameters below net are the'
            " container's own, the others are the host's"
        )
    if not value.isascii() or "\0" in value:
        raise InvalidNetworkConfig(f"{where}: the value of {key} must be ASCII text")
    return Sysctl(where, name.replace("/", "."), path, value)


def is_containers(path: str) -> bool:
    """Whether the path, below /proc/sys, can only be a parameter of a network namespace."""
    tree, *parts = path.split("/")
    return tree == TREE and bool(parts) and not {"", ".", ".."} & {*parts} and path.isprintable()


class Unreadable(CniError):
    """A parameter whose value cannot be told: it is write-only, or nobody has ever set it."""


def read_value(container: Namespace, path: str) -> str | None:
    """The value, None where the kernel has no such parameter. Raises Unreadable."""
    try:
        return container.read_sysctl(path)
    except CniError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in UNREADABLE:
            raise Unreadable(error.msg) from error
        raise


def restore_value(container: Namespace, path: str, value: str) -> None:
    """Write a value that was read; the parameters of an interface that is gone are gone too."""
    if container.read_sysctl(path) not in {None, value}:
        container.write_sysctl(path, value or "\n")  # writing nothing would not empty a list


def holds(wanted: str, actual: str) -> bool:
    """Whether what is read says what was written: the kernel spells many values its own way.

    Of several numbers those that were written count: the kernel leaves the others as they are.
    """
    if wanted.strip() == actual.strip():
        return True
    ours, theirs = wanted.split(), actual.split()
    if ours and all(_is_number(word) for word in (*ours, *theirs)):
        theirs = theirs[: len(ours)]
    return [*map(_meaning, ours)] == [*map(_meaning, theirs)]


def _meaning(word: str) -> object:
    """What a word says: an address, a list of keys, a list of numbers, or else the word."""
    for read in (_address, _keys, _ranges):
        with suppress(ValueError):
            return read(word)
    return word


def _address(word: str) -> IPv6Address:
    """As stable_secret has it, which is printed in full."""
    return IPv6Address(word)


def _keys(word: str) -> list[list[int]]:
    """Keys like `1-2-3-4`, as tcp_fastopen_key has them: in groups of hexadecimal digits."""
    keys = [[int(group, 16) for group in key.split("-")] for key in word.split(",")]
    if any(len(key) != KEY_GROUPS for key in keys):
        raise ValueError(word)
    return keys


def _ranges(word: str) -> list[tuple[int, int]]:
    """The numbers of a list like `8000-8002,9000` as ranges in order."""
    ranges = sorted(_range(piece) for piece in word.split(","))
    merged = [ranges[0]]
    for low, high in ranges[1:]:
        if low > merged[-1][1] + 1:
            merged.append((low, high))
        else:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
    return merged


def _range(piece: str) -> tuple[int, int]:
    first, dash, last = piece.partition("-")
    if first and dash:
        return _number(first), _number(last)
    return _number(piece), _number(piece)


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True


def _number(text: str) -> int:
    """A number as the kernel reads it: hexadecimal, octal, decimal. Raises ValueError."""
    is_octal = text[:1] == "0" and text.isdecimal()
    return int(text, 8 if is_octal else 0)
