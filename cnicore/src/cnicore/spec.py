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
    """Raise InvalidEnvironment unless the kernel takes the text as an interface name."""
    if not text:
        raise InvalidEnvironment("interface name is empty")
    if len(text.encode()) > LONGEST_IFNAME:
        raise InvalidEnvironment(
            "interface name is too long", "interface name should be less than 16 characters"
        )
    if text in {".", ".."}:
        raise InvalidEnvironment("interface name is . or ..")
    if any(character in "/:" or character.isspace() for character in text):
        raise InvalidEnvironment("interface name contains / or : or whitespace characters")


def require_plugin_type(text: str) -> None:
    """Raise CniError unless the text can name a plugin's file.

    A separator would let a configuration run any program of the host (CVE-2021-20206).
    """
    if not text:
        raise CniError("no plugin name provided")
    if "/" in text or "\0" in text or text in {".", ".."}:
        raise CniError(f"invalid plugin name: {text}")
