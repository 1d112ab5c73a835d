"""The flags of `dhcp daemon`, written as the reference's: `-timeout 5s`, `--timeout=1m30s`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cni_ipam.dhcp.protocol import LEASE_DIR, SOCKET
from cni_ipam.dhcp.terms import Patience

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
UNIT = "|".join(sorted(UNITS, key=len, reverse=True))
DURATION = re.compile(rf"\+?(?:{NUMBER}(?:{UNIT}))+")
PART = re.compile(rf"({NUMBER})({UNIT})")
SHORTEST, LONGEST = 0.001, 86400.0  # seconds
BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
HELP = ("h", "help")


class WrongFlags(Exception):
    """The command line was not understood; the message names the flag."""


class HelpWanted(Exception):
    """Somebody asked which flags there are."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says, or else the defaults; times in seconds."""

    pidfile: str = ""
    hostprefix: str = ""
    socketpath: str = SOCKET
    leasedir: str = LEASE_DIR
    broadcast: bool = False
    timeout: float = 10.0
    resendmax: float = 62.0
    resendtimeout: float = 208.0

    @property
    def patience(self) -> Patience:
        return Patience(self.timeout, self.resendmax, self.resendtimeout, self.broadcast)

    @property
    def socket(self) -> str:
        return self.hostprefix + self.socketpath

    @property
    def directory(self) -> str:
        return self.hostprefix + self.leasedir


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError."""
    if not DURATION.fullmatch(text):
        raise ValueError("write a number with a unit, for example 500ms, 10s or 1m30s")
    seconds = sum(float(number) * UNITS[unit] for number, unit in PART.findall(text))
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError("write a time from 1ms to 24h")
    return seconds


def parse_boolean(text: str) -> bool:
    """Raises ValueError."""
    if text not in BOOLEANS:
        raise ValueError("write true or false")
    return BOOLEANS[text]


def parse_absolute(text: str) -> str:
    """A path. Raises ValueError."""
    if text and (not text.startswith("/") or "\0" in text):
        raise ValueError("path not absolute: write one that starts with /")
    return text


def parse_path(text: str) -> str:
    """A path that must be there. Raises ValueError."""
    if not text:
        raise ValueError("path is empty: write one that starts with /")
    return parse_absolute(text)


@dataclass(frozen=True, slots=True)
class Flag:
    """How the value of a flag is written, and what it is for."""

    parse: Callable[[str], object]
    value: str
    help: str


FLAGS = {
    "pidfile": Flag(parse_absolute, "path", "write the process id there (no -hostprefix in front)"),
    "hostprefix": Flag(parse_absolute, "path", "prefix of all paths of the host"),
    "socketpath": Flag(parse_path, "path", "listen on this socket, below -hostprefix"),
    "leasedir": Flag(parse_path, "path", "keep the records of the leases there, below -hostprefix"),
    "broadcast": Flag(parse_boolean, "", "ask the servers to broadcast their answers"),
    "timeout": Flag(parse_duration, "duration", "how long to wait for an answer in one attempt"),
    "resendmax": Flag(parse_duration, "duration", "the longest pause between two attempts"),
    "resendtimeout": Flag(parse_duration, "duration", "how long an ADD tries in all"),
}


def parse_flags(words: Sequence[str]) -> Flags:
    """The flags. Raises WrongFlags and HelpWanted."""
    values: dict[str, Any] = {}  # each parser gives what its field holds
    rest = iter(words)
    for word in rest:
        name, equals, text = named(word)
        if not (equals or name == "broadcast"):
            text = following(name, rest)
        try:
            values[name] = FLAGS[name].parse(text)
        except ValueError as error:
            raise WrongFlags(f'invalid value "{text}" for flag -{name}: {error}') from None
    return Flags(**values)


def named(word: str) -> tuple[str, str, str]:
    """A flag's name, whether "=" follows, and its value; of one without a value, "true"."""
    if not word.startswith("-"):
        raise WrongFlags(f'unexpected word "{word}": the daemon takes flags only')
    name, equals, text = word.removeprefix("-").removeprefix("-").partition("=")
    if name in HELP:
        raise HelpWanted
    if not name or name.startswith("-"):
        raise WrongFlags(f'bad flag syntax: "{word}"')
    if name not in FLAGS:
        raise WrongFlags(f"flag provided but not defined: -{name}: see dhcp daemon -help")
    return name, equals, text if equals else "true"


def following(name: str, rest: Iterator[str]) -> str:
    text = next(rest, None)
    if text is None:
        raise WrongFlags(f"flag needs an argument: -{name}")
    return text


def usage() -> str:
    """The flags with their defaults, as Go programs print them."""
    defaults = Flags()
    lines = ["Usage: dhcp daemon [FLAGS]"]
    for name, flag in sorted(FLAGS.items()):
        default = getattr(defaults, name)
        shown = f" (default {written(default)})" if default else ""
        lines += [f"  -{name} {flag.value}".rstrip(), f"        {flag.help}{shown}"]
    return "\n".join(lines) + "\n"


def written(value: object) -> str:
    return f"{value:g}s" if isinstance(value, float) else str(value)
