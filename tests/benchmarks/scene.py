"""Make everything that takes part in the rounds: plugins, places, and programs to compare with."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path

from benchmarks.cases import OURS, SHOWN, SIDES, Case, Side
from benchmarks.imports import RUNS, Module, imported, interpreter, only_imports
from benchmarks.places import Namespaces, Place, placed
from benchmarks.process import Spawner
from benchmarks.report import BARE, IMPORTS, TRUE, Traces
from benchmarks.rounds import Scene


def set_up(cases: Sequence[Case], stack: ExitStack, *, timed: bool) -> tuple[Scene, Traces]:
    """What takes part, until the stack ends, and for cases to be timed what our plugins import."""
    directories = install(stack)
    script = directories[OURS.name] / "cni"
    home = stack.enter_context(closing(Namespaces()))
    spawner = stack.enter_context(closing(Spawner()))

    def make_place(case: Case, side: Side) -> AbstractContextManager[Place]:
        directory = side.for_case(directories[side.name], case)
        return placed(case, side, directory, home=home, spawner=spawner)

    traces = {case.name: trace(make_place(case, OURS), script) for case in cases if timed}
    programs = {
        case.name: programs_of(traces[case.name]["ADD"][0], script)
        for case in cases
        if timed and len(case.plugins) == 1  # the parts of a chain are several processes'
    }
    places = {
        case.name: {side.name: stack.enter_context(make_place(case, side)) for side in SIDES}
        for case in cases
    }
    return Scene(cases, places, programs, spawner), traces


def install(stack: ExitStack) -> dict[str, Path]:
    """The directory of each side's plugins."""
    temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cni-bench-")))
    return {side.name: side.directory(temporary / side.name) for side in SIDES}


def trace(making: AbstractContextManager[Place], script: Path) -> dict[str, list[Sequence[Module]]]:
    """By verb what our plugins import; in a place that is for this alone.

    The times of what is shown are worth several runs.
    """
    runs: dict[str, list[Sequence[Module]]] = {}
    with making as place:
        place.namespaces.enter()
        for _ in range(RUNS if place.case.name in dict(SHOWN) else 1):
            for verb in place.case.verbs:
                runs.setdefault(verb, []).append(imported(place, verb, script))
    return runs


def programs_of(add: Sequence[Module], script: Path) -> dict[str, Sequence[str]]:
    """Programs that each do a part of what that ADD does."""
    return {
        TRUE: ["/bin/true"],
        BARE: [*interpreter(script), "-c", "import os; os._exit(0)"],
        IMPORTS: only_imports(add, script),
    }
