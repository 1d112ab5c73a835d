"""The names and numbers of the CNI specification: versions, and what a name may look like."""

from __future__ import annotations

import re

from cnicore.errors import CniError, InvalidEnvironment

CURRENT = "1.1.0"
SINCE_0_1_0 = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
SINCE_0_3_0 = SINCE_0_1_0[2:]
SINCE_0_3_1 = SINCE_0_1_0[3:]
SINCE_0_4_0 = SINCE_0_1_0[4:]

IDENTIFIER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
DECIMAL = re.compile(r"[0-9]+")
LONGEST_IFNAME = 15  # IFNAMSIZ less the terminating zero, in bytes
TOO_LONG = "interface name is too long"

Version = tuple[int, int, int]


def parse_version(text: str) -> Version:
    """The three numbers of a version; absent parts are 0 and an empty text is 0.1.0.

    Raises ValueError for four parts or more, and for a part that is no decimal number.
    """
    parts = (text or "0.1.0").split(".")
    if len(parts) > len(("major", "minor", "patch")) or not all(map(DECIMAL.fullmatch, parts)):
        raise ValueError(
            f'"{text}" is no version: write MAJOR.MINOR.PATCH, for example "{CURRENT}"'
        )
    numbers = [int(part) for part in parts] + [0, 0]
    return numbers[0], numbers[1], numbers[2]


def is_identifier(text: str) -> bool:
    """Whether the text may name a network or a container (specification, section 2)."""
    # fullmatch, because "$" would let a trailing newline through
    return IDENTIFIER.fullmatch(text) is not None


def require_container_id(text: str) -> None:
    """Raise InvalidEnvironment unless the text may be a container id."""
    if not is_identifier(text):
        raise InvalidEnvironment("invalid characters in containerID", text)


def require_ifname(text: str) -> None:
    """Raise InvalidEnvironment unless an interface can have the name."""
    problem = interface_name_problem(text)
    if problem:
        details = "interface name should be less than 16 characters"
        raise InvalidEnvironment(problem, details if problem == TOO_LONG else "")


def interface_name_problem(name: str) -> str:
    """Say why no interface can have the name, in the reference's words where it has any.

    Empty if there is nothing wrong with it.
    """
    problems = {
        "interface name is empty": not name,
        # what is no UTF-8 came as a byte for each character (PEP 383)
        TOO_LONG: len(name.encode(errors="replace")) > LONGEST_IFNAME,
        "interface name is . or ..": name in {".", ".."},
        "interface name contains / or : or whitespace characters": any(
            character in "/:" or character.isspace() for character in name
        ),
        # the kernel would make eth0 of eth%d
        "interface name contains %": "%" in name,
        "interface name contains a NUL character": "\0" in name,
        "interface name is not UTF-8": any(is_surrogate(character) for character in name),
    }
    return next((problem for problem, is_so in problems.items() if is_so), "")


def is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def require_plugin_type(text: str) -> None:
    """Raise CniError unless the text can name a plugin's file.

    A separator would let a configuration run any program of the host (CVE-2021-20206).
    """
    if not text:
        raise CniError("no plugin name provided")
    if "/" in text or "\0" in text or text in {".", ".."}:
        raise CniError(f"invalid plugin name: {text}")
