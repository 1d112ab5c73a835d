"""What a plugin's process imports, and a program that does nothing else."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.places import Place
from benchmarks.traced import LOADED

TRACED = Path(__file__).with_name("traced.py")
RUNS = 3
PREFIX = "import time:"
GROUPS = {
    "cnicore": ("cnicore",),
    "the plugins' own modules": ("cni_main", "cni_ipam", "cni_meta"),
    "pydantic and what it is made of": (
        "pydantic",
        "pydantic_core",
        "annotated_types",
        "typing_extensions",
        "typing_inspection",
    ),
    "pluggy": ("pluggy",),
    "pyroute2's message classes": ("pyroute2",),
    "nftables binding": ("nftables", "cnicore.firewall.binding"),
}
REST = "standard library"


@dataclass(frozen=True)
class Module:
    """A line of `-X importtime`, in milliseconds; `depth` is how many imports it is inside of."""

    name: str
    own: float
    cumulative: float
    depth: int


@dataclass(frozen=True)
class Group:
    """Modules that belong together, in milliseconds.

    `cumulative` is with everything that they were the first to import.
    """

    name: str
    modules: int
    own: float
    cumulative: float


def imported(place: Place, verb: str, script: Path) -> list[Module]:
    """The modules that the call of the verb imports, in the order in which they were done."""
    command = [*interpreter(script), "-X", "importtime", str(TRACED)]
    calls = place.call(verb, launch=lambda program: [*command, program])
    return [module for call in calls for module in parse(call.stderr.decode())]


def interpreter(script: Path) -> list[str]:
    """The command in the script's first line, with its options."""
    first, _, _ = script.read_text(encoding="utf-8").partition("\n")
    return first.removeprefix("#!").split()


def parse(stderr: str) -> Iterator[Module]:
    """What `traced` and the interpreter wrote."""
    lines = stderr.splitlines()
    loaded = lines[-1].removeprefix(LOADED).split()
    timed = [line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)]
    for own, cumulative, indented in (line.split("|") for line in timed[1:]):  # after the heading
        name = indented.strip()
        depth = (len(indented) - len(name) - 1) // 2
        if name in loaded:
            yield Module(name, int(own) / 1000, int(cumulative) / 1000, depth)


def group_of(name: str) -> str:
    belonging = [
        (prefix, group)
        for group, prefixes in GROUPS.items()
        for prefix in prefixes
        if name == prefix or name.startswith(f"{prefix}.")
    ]
    return max(belonging, key=lambda one: len(one[0]))[1] if belonging else REST


def grouped(modules: Sequence[Module]) -> list[Group]:
    """All the modules by their group; each module's own time is in exactly one."""
    members: defaultdict[str, list[Module]] = defaultdict(list)
    totals: defaultdict[str, float] = defaultdict(float)
    path: list[str] = []  # groups of the modules that the one at hand is inside of
    for module in reversed(modules):  # an importer's line comes after those of its imports
        del path[module.depth :]
        group = group_of(module.name)
        members[group].append(module)
        if group not in path:
            totals[group] += module.cumulative
        path.append(group)
    return [
        Group(name, len(ours), sum(module.own for module in ours), totals[name])
        for name, ours in ((name, members[name]) for name in (*GROUPS, REST))
    ]


def middle(runs: Iterable[list[Group]]) -> list[Group]:
    """Of several runs the median of each figure."""
    return [
        Group(
            same[0].name,
            same[0].modules,
            statistics.median(group.own for group in same),
            statistics.median(group.cumulative for group in same),
        )
        for same in zip(*runs, strict=True)
    ]


def only_imports(modules: Sequence[Module], script: Path) -> list[str]:
    """A command that imports the same modules in the same order, and ends."""
    prologue, _, _ = script.read_text(encoding="utf-8").partition("from cnicore.warm")
    names = [
        module.name
        for module in modules
        # cnicore.net.messages imports these without the rest of their package
        if group_of(module.name) != "pyroute2's message classes"
    ]
    code = [
        prologue,
        "import os",
        "from importlib import import_module",
        "from cnicore.lean import without_pydantic_plugins",
        "without_pydantic_plugins()",
        f"for name in {names!r}: import_module(name)",
        "os._exit(0)",
    ]
    return [*interpreter(script), "-c", "\n".join(code)]
