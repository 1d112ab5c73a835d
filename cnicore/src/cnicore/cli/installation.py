"""Put the program and a symlink per plugin into a directory, and take them back."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from cnicore.cli.launcher import is_launcher
from cnicore.errors import CniError, system_errors
from cnicore.spec import require_plugin_type

PROGRAM = "cni"


@dataclass(frozen=True, slots=True)
class Installation:
    """What is ours in a directory: the program `cni`, and symlinks to it named after plugins."""

    directory: Path

    @property
    def program(self) -> Path:
        return self.directory / PROGRAM

    def install(
        self, script: str, wanted: Collection[str], known: Collection[str], *, force: bool = False
    ) -> list[str]:
        """Write the program and the wanted types' symlinks, remove those of types not known.

        What is already as it should be stays. Returns the removed names. Raises CniError, before
        anything is changed, if files of others are in the way: all of them, or with `force` only
        what cannot be replaced.
        """
        for plugin_type in wanted:
            require_plugin_type(plugin_type)
        files = [self.directory / name for name in (PROGRAM, *wanted)]
        require_free(files, self._is_own, force=force)
        stale = [link.name for link in self._own_links() if link.name not in known]
        with system_errors(f"install into {self.directory}"):
            self.directory.mkdir(parents=True, exist_ok=True)
            replace(self.program, script, 0o755)
            for plugin_type in wanted:
                self._link(plugin_type)
            for name in stale:
                (self.directory / name).unlink(missing_ok=True)
            sync(self.directory)
        return stale

    def uninstall(self) -> list[str]:
        """Remove what is ours; returns the names, none if nothing is. Raises CniError."""
        # the program last: an interrupted call can be repeated
        files = [*self._own_links(), *([self.program] if is_launcher(self.program) else [])]
        with system_errors(f"uninstall from {self.directory}"):
            for file in files:
                file.unlink(missing_ok=True)
        return [file.name for file in files]

    def _is_own(self, file: Path) -> bool:
        if file == self.program:
            return not file.is_symlink() and is_launcher(file)
        foreign = os.path.lexists(self.program) and not self._is_own(self.program)
        return file.is_symlink() and str(file.readlink()) == PROGRAM and not foreign

    def _own_links(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        with system_errors(f"list {self.directory}"):
            files = sorted(self.directory.iterdir())
            return [file for file in files if file != self.program and self._is_own(file)]

    def _link(self, plugin_type: str) -> None:
        link = self.directory / plugin_type
        if link.is_symlink() and str(link.readlink()) == PROGRAM:
            return
        temporary = self.directory / f".{plugin_type}.{os.getpid()}"
        try:
            temporary.symlink_to(PROGRAM)
            temporary.rename(link)
        finally:
            temporary.unlink(missing_ok=True)


def require_free(
    files: Collection[Path], is_own: Callable[[Path], bool], *, force: bool = False
) -> None:
    """Raise CniError if files of others are in the way; with `force`, if they cannot be replaced.

    It names all of them.
    """
    if force:
        blocked = [file for file in files if file.is_dir() and not file.is_symlink()]
        advice = "remove them first"
    else:
        blocked = [file for file in files if os.path.lexists(file) and not is_own(file)]
        advice = "remove them, or replace them with --force"
    if blocked:
        listed = ", ".join(map(str, blocked))
        raise CniError(f"these files are not of this program: {listed}: {advice}")


def replace(file: Path, text: str, mode: int) -> None:
    """Write the file at once: whoever reads it gets the old text or the new one."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())  # an empty program would leave the node without network
        temporary.chmod(mode)
        temporary.rename(file)
    finally:
        temporary.unlink(missing_ok=True)


def sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
