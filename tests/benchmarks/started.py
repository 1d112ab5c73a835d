"""Which programs a call starts, as strace sees it."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.places import Place
from benchmarks.process import CallFailed

OPTIONS = ("--follow-forks", "--successful-only", "--trace=execve,execveat", "--quiet=all")
EXECUTED = re.compile(r'\bexecve(?:at)?\([^"]*"([^"]+)"')


def count(places: Mapping[str, Mapping[str, Place]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """By case and verb what each side starts."""
    return {
        (case, verb): {side: started(place, verb) for side, place in sides.items()}
        for case, sides in places.items()
        for verb in next(iter(sides.values())).case.verbs
    }


def started(place: Place, verb: str) -> dict[str, int]:
    """How often the verb's calls start each program; the plugins that are called do not count.

    Raises CallFailed without strace, or if it saw less than those plugins.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise CallFailed("counting programs needs strace: install Debian's package of that name")
    called = Counter(conf["type"] for conf in place.called(verb))
    with tempfile.NamedTemporaryFile(prefix="cni-bench-") as trace:
        command = [strace, *OPTIONS, "--output-append-mode", f"--output={trace.name}"]
        place.namespaces.enter()
        place.call(verb, launch=lambda program: [*command, program])
        seen = Counter(programs_in(Path(trace.name).read_text(encoding="utf-8")))
    if not called <= seen:
        raise CallFailed(f"{place.case.name}: strace did not see {verb} of {dict(called - seen)}")
    return dict(sorted((seen - called).items()))


def programs_in(trace: str) -> list[str]:
    """The names of the programs that were executed."""
    return [Path(path).name for path in EXECUTED.findall(trace)]
