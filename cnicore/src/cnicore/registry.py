"""From a plugin's type to its module: the entry points of the installed distributions.

The files `*.dist-info/entry_points.txt` are read directly: importlib.metadata finds the same and
costs several times as much as everything else that VERSION does. Only the module asked for is
imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from cnicore import spec
from cnicore.errors import CniError, PluginNotAvailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

    from cnicore.hookspecs import CniVerbs

    Main = Callable[[Sequence[str], Mapping[str, str]], int]
    """Takes the words after its name and the environment, returns the exit status."""

PLUGINS = "cni.plugins"
EXTENSIONS = "cni.extensions"
VERSIONS = "cni.versions"
"""Group of plugins that do not support every version: `firewall = "cnicore.spec:SINCE_0_4_0"`."""
COMMANDS = "cni.commands"
"""Group of programs that belong to plugins: `TYPE-WORD = "module:function"` is `TYPE WORD`."""
GROUPS = frozenset({PLUGINS, EXTENSIONS, VERSIONS, COMMANDS})


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A line of a distribution's entry points."""

    group: str
    name: str
    value: str
    distribution: str
    version: str

    @property
    def kind(self) -> str:
        return "command" if self.group == COMMANDS else "plugin"

    @property
    def module(self) -> str:
        return self.value.partition(":")[0].strip()

    def import_module(self) -> ModuleType:
        """The module that the line names. Raises PluginNotAvailable naming the distribution."""
        from importlib import import_module  # noqa: PLC0415  (lazy: the seam "which plugin")

        try:
            return import_module(self.module)
        except Exception as error:
            raise PluginNotAvailable(
                f'cannot import {self.kind} "{self.name}"'
                f" ({self.module} of {self.distribution} {self.version})",
                f"{type(error).__name__}: {error}",
            ) from error


@dataclass(frozen=True, slots=True)
class Command:
    """A program that belongs to a plugin, such as a daemon; not imported until `load` is called."""

    entry_point: EntryPoint

    def load(self) -> Main:
        """The function behind the command. Raises PluginNotAvailable if there is none."""
        point = self.entry_point
        name = point.value.partition(":")[2].strip()
        function = getattr(point.import_module(), name, None) if name else None
        if not callable(function):
            raise PluginNotAvailable(
                f'"{point.name}" of {point.distribution} is no command:'
                f" {point.value} is no function"
            )
        return cast("Main", function)

    def run(self, words: Sequence[str], environ: Mapping[str, str]) -> int:
        """Be that program; returns its exit status. Raises PluginNotAvailable."""
        import gc  # noqa: PLC0415  (lazy: no plugin collects garbage)

        gc.enable()  # the launcher disables it, and a daemon lives for years
        return self.load()(words, environ)


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plugin; nothing of it is imported until `load` is called."""

    entry_point: EntryPoint
    versions: EntryPoint | None = None
    extensions: tuple[EntryPoint, ...] = ()

    @property
    def type(self) -> str:
        return self.entry_point.name

    @property
    def supported_versions(self) -> tuple[str, ...]:
        """All versions, or those that the distribution's line in `cni.versions` names."""
        if self.versions is None:
            return spec.SINCE_0_1_0
        attribute = self.versions.value.partition(":")[2].strip()
        return tuple(getattr(self.versions.import_module(), attribute))

    def load(self) -> CniVerbs:
        """The plugin's hooks, surrounded by the installed extensions.

        Raises PluginNotAvailable if the module cannot be imported or does not fit the hook
        specifications; the message names the plugin and its distribution.
        """
        if self.entry_point in _hooks:
            return _hooks[self.entry_point]
        import pluggy  # noqa: PLC0415  (lazy: the seam "which plugin"; VERSION needs none)

        from cnicore.hookspecs import CniVerbs  # noqa: PLC0415  (lazy: as above, it imports pydantic)

        manager = pluggy.PluginManager("cni")
        manager.add_hookspecs(CniVerbs)
        for entry_point in (self.entry_point, *self.extensions):
            try:
                manager.register(
                    entry_point.import_module(), name=f"{entry_point.group}:{entry_point.name}"
                )
                manager.check_pending()
            except pluggy.PluginValidationError as error:
                raise PluginNotAvailable(
                    f'"{entry_point.name}" of {entry_point.distribution} is no CNI plugin: {error}'
                ) from error
        hook = cast("CniVerbs", manager.hook)
        if _kept:
            _hooks[self.entry_point] = hook
        return hook

    def implements(self, verb: str) -> bool:
        """Whether the plugin's module has a hook for the verb, for example "GC"."""
        return hasattr(self.entry_point.import_module(), f"cni_{verb.lower()}")


_kept: list[EntryPoint] = []
_hooks: dict[EntryPoint, CniVerbs] = {}


def keep() -> None:
    """Look no more at the files for what is installed: for a process that notices changes itself.

    It is then the same wherever the process looks from, and each plugin is loaded once.
    """
    _kept[:] = scan(sys.path)


def _entry_points(path: Iterable[str] | None) -> list[EntryPoint]:
    if path is None:
        return _kept or list(scan(sys.path))
    return list(scan(path))


def installed(path: Iterable[str] | None = None) -> dict[str, Plugin]:
    """The plugins of every distribution on the path (default: sys.path), by type."""
    entry_points = _entry_points(path)
    extensions = tuple(point for point in entry_points if point.group == EXTENSIONS)
    versions = {point.name: point for point in entry_points if point.group == VERSIONS}
    return {
        point.name: Plugin(point, versions.get(point.name), extensions)
        for point in reversed(entry_points)  # reversed: the first on the path wins
        if point.group == PLUGINS
    }


def commands(path: Iterable[str] | None = None) -> dict[str, Command]:
    """The commands of every distribution on the path (default: sys.path), by name."""
    entry_points = _entry_points(path)
    return {
        point.name: Command(point)
        for point in reversed(entry_points)  # as above
        if point.group == COMMANDS
    }


def find(plugin_type: str) -> Plugin:
    """The plugin of the type. Raises CniError that lists the known types."""
    plugins = installed()
    if plugin_type not in plugins:
        known = ", ".join(sorted(plugins)) or "none is installed"
        raise CniError(
            f'no plugin "{plugin_type}" is installed: known types are {known}',
            "install the distribution that provides it, or correct the type",
        )
    return plugins[plugin_type]


def scan(path: Iterable[str]) -> Iterator[EntryPoint]:
    """The entry points of our groups, in the order of the path; a distribution counts once."""
    seen: set[str] = set()
    for directory in dict.fromkeys(path):
        for name in _distributions_in(directory or "."):
            distribution, _, version = name.removesuffix(".dist-info").rpartition("-")
            normal = _normalized(distribution)
            if normal not in seen:
                seen.add(normal)
                file = os.path.join(directory or ".", name, "entry_points.txt")
                yield from _parse(_text_of(file), normal, version)


def _normalized(distribution: str) -> str:
    """The name as the packaging rules compare it (PEP 503)."""
    words = distribution.lower().replace("_", "-").replace(".", "-").split("-")
    return "-".join(filter(None, words))


def _distributions_in(directory: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if name.endswith(".dist-info"))
    except OSError:
        return []


def _text_of(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def _parse(text: str, distribution: str, version: str) -> Iterator[EntryPoint]:
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            group = line.strip("[]").strip()
        elif group in GROUPS and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield EntryPoint(group, name.strip(), value.strip(), distribution, version)
