"""The node's list of sysctls that networks may set; it is the node's, not the configuration's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar
from pathlib import Path

from cni_meta.tuning.sysctls import Sysctl
from cnicore.errors import CniError, InvalidNetworkConfig, reason

REMEDY = "until it can be read no sysctl is allowed"

location: ContextVar[str] = ContextVar("location", default="/etc/cni/tuning/allowlist.conf")
"""Where the list is. Tests put one of their own in its place."""


def require_allowed(sysctls: Iterable[Sysctl]) -> None:
    """Raise CniError unless a line of the list matches the whole name of each.

    Without a list everything is allowed. One that cannot be read allows nothing, and so does a link
    that leads nowhere, be it a directory's: there is meant to be a list.
    """
    wanted = list(sysctls)
    lines = _lines(location.get()) if wanted else None
    if lines is None:
        return
    for sysctl in wanted:
        if not any(_matches(line, sysctl.name) for line in lines):
            raise InvalidNetworkConfig(
                f"{sysctl.where}: {sysctl.name} is not allowed: no line of {location.get()} matches"
                " the whole name, add one if networks may set it",
                f"the list has {' '.join(lines) or 'no line'}",
            )


def _lines(path: str) -> list[str] | None:
    """The list without blank lines, None if there is none."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        broken = next(
            (one for one in (Path(path), *Path(path).parents) if _leads_nowhere(one)), None
        )
        if broken is None:
            return None
        raise CniError(f"{broken} is a link to a file that is not there: {REMEDY}") from error
    except OSError as error:
        raise CniError(f"could not read {path}: {reason(error)}: {REMEDY}") from error
    except UnicodeDecodeError as error:
        raise CniError(f"could not read {path}: it is no text: {REMEDY}") from error
    return [line.strip() for line in lines if line.strip()]


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _matches(line: str, name: str) -> bool:
    """Whether the regular expression matches the name, spelled with dots or with slashes."""
    try:
        pattern = re.compile(line)
    except re.error as error:
        raise CniError(
            f'{location.get()}: the line "{line}" is no regular expression: {error}: correct it'
        ) from error
    return any(pattern.fullmatch(spelling) for spelling in (name, name.replace(".", "/")))
