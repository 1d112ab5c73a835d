"""What is installed, as a server found it when it started."""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module

from cnicore import registry
from cnicore.errors import CniError
from cnicore.warm.client import identity

NOT_FOR_CALLS = ("cnicore.testing", "cnicore.cli", "cnicore.runtime", "cnicore.conformance")
LATE = ("encodings.ascii", "encodings.idna", "json", "subprocess", "traceback")
"""What calls import only now and then; in another mount namespace they might not find it."""
Entry = tuple[str, int, int] | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The directories that modules come from, as they were, and what launchers must agree to.

    Installing and removing a distribution makes and removes a directory in one of them.
    """

    identity: bytes
    directories: tuple[Entry, ...]

    @classmethod
    def taken(cls) -> Snapshot:
        return cls(identity(), tuple(map(entry, sys.path)))

    def is_current(self) -> bool:
        return tuple(map(entry, sys.path)) == self.directories


def entry(directory: str) -> Entry:
    try:
        found = os.stat(directory)
    except OSError:
        return None
    return directory, found.st_ino, found.st_mtime_ns


def import_all() -> list[str]:
    """Import whatever a call may need; returns what could not be imported, in words."""
    problems = []
    registry.keep()
    for module in (*LATE, *modules_below("cnicore")):
        import_module(module)
    for plugin in registry.installed().values():
        try:
            plugin.load()
            for module in modules_below(plugin.entry_point.module):
                import_module(module)
        except (CniError, ImportError) as error:
            problems.append(f"{plugin.type}: {error}")
    return problems


def modules_below(package: str) -> Iterator[str]:
    """The names of all modules in a package, its own excluded; none of a module."""
    path: Sequence[str] = getattr(import_module(package), "__path__", ())
    for module in pkgutil.iter_modules(path, f"{package}."):
        if not module.name.startswith(NOT_FOR_CALLS):
            yield module.name
            if module.ispkg:
                yield from modules_below(module.name)
