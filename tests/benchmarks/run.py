"""Time our plugins against the reference's, as whole processes: the program behind `make bench`.

Needs root. Everything happens in network and mount namespaces of its own, which end with it.
"""

# ruff: noqa: E402, T201  (the path has to be set before the imports; it speaks to a person)

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # imports begin where those of the tests do

from benchmarks import machine, report, scale, started, tables
from benchmarks.cases import CASES, SHOWN, SIDES, Case
from benchmarks.imports import grouped, middle
from benchmarks.mappings import MOST
from benchmarks.process import CallFailed
from benchmarks.rounds import Samples, play, warm_up
from benchmarks.scene import set_up
from cnicore.net.namespace import host_namespace
from cnicore.testing.sandbox import sandboxed
from conformance.stage import REFERENCE

CALLS, PROGRAMS, SCALE = PARTS = ("calls", "programs", "scale")
"""Times of the cases' calls, the programs that these start, and portmap with many mappings."""


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    parts: frozenset[str]
    cases: tuple[Case, ...]
    pairs: int
    seconds: float
    mappings: tuple[int, ...]
    json: Path | None
    update: Path | None


def main() -> int:
    options = read_options()
    if os.geteuid() != 0:
        return fail("needs root, for namespaces of its own")
    if not (REFERENCE / "bridge").is_file():
        return fail(f"needs the reference plugins: Debian's package {machine.REFERENCE_PACKAGE}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmark: terminated"))
    parts = ", ".join(part for part in PARTS if part in options.parts)
    names = ", ".join(case.name for case in options.cases)
    print(f"{parts}; of the cases {names}; at most {options.pairs} pairs", file=sys.stderr)
    try:
        outcome = measure(options)
        text = tables.markdown(outcome)
        print(text)
        if options.json:
            options.json.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
        if options.update:
            tables.update(options.update, text)
    except (CallFailed, OSError, ValueError) as error:
        return fail(str(error))
    return 0


def fail(message: str) -> int:
    print(f"benchmark: {message}", file=sys.stderr)
    return 1


def read_options() -> Options:
    known = {case.name: case for case in CASES}
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "wanted",
        nargs="*",
        metavar="CASE|PART",
        help=f"cases, of {', '.join(known)}; parts, of {', '.join(PARTS)}; or all",
    )
    parser.add_argument("--pairs", type=int, default=25, help="of each call; default %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=150, help="time no case's calls later; default %(default)s"
    )
    parser.add_argument(
        "--mappings",
        type=numbers,
        default=scale.COUNTS,
        metavar="N,N…",
        help="how many mappings of others there are in the part scale",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument(
        "--update", type=Path, metavar="PAGE", help="put the tables between the page's marks"
    )
    given = parser.parse_args()
    unknown = [name for name in given.wanted if name not in {*known, *PARTS}]
    if unknown:
        parser.error(
            f"no such case or part: {', '.join(unknown)};"
            f" there are {', '.join(known)}, and {', '.join(PARTS)}"
        )
    if given.pairs < 1:
        parser.error("--pairs: at least 1")
    names = [name for name in given.wanted if name in known]
    parts = {name for name in given.wanted if name in PARTS} | ({CALLS} if names else set())
    cases = tuple(known[name] for name in names or known)
    files = (file and file.resolve() for file in (given.json, given.update))
    return Options(
        frozenset(parts or PARTS), cases, given.pairs, given.seconds, given.mappings, *files
    )


def numbers(text: str) -> tuple[int, ...]:
    """Different numbers of mappings, in order. Raises ValueError."""
    found = tuple(sorted({int(word) for word in text.split(",")}))
    if not 0 <= found[0] <= found[-1] <= MOST:
        raise ValueError
    return found


def measure(options: Options) -> dict[str, Any]:
    """Play, and return the report as the document that --json writes."""
    load = machine.load()
    document = {**play_cases(options), **play_scale(options)}
    return {"machine": machine.describe(), "load": [load, machine.load()], **document}


def play_cases(options: Options) -> dict[str, Any]:
    samples, seconds, counts = Samples(), 0.0, {}
    cases = possible(options.cases) if options.parts & {CALLS, PROGRAMS} else ()
    timed, counted = (cases if part in options.parts else () for part in (CALLS, PROGRAMS))
    with ExitStack() as stack:
        scene, traces = set_up(timed or counted, stack, timed=bool(timed))
        if timed:
            warm_up(scene, samples)
            seconds = play(scene, samples, options.pairs, options.seconds)
        if counted:
            counts = started.count(scene.places)
    return {
        "pairs": samples.rounds,
        "seconds": seconds,
        "calls": report.calls(timed, samples, [side.name for side in SIDES]),
        "parts": report.parts(timed, samples),
        "imports": [
            report.imports(case, verb, middle(map(grouped, traces[case][verb])))
            for case, verb in SHOWN
            if case in traces
        ],
        "modules": report.modules(traces),
        "started": report.started(counts),
    }


def possible(cases: Iterable[Case]) -> tuple[Case, ...]:
    """Those for which the kernel has the kind of link; says which it leaves out."""
    with sandboxed(), host_namespace() as host:
        lacking = {case.name for case in cases if case.kind and not host.can_make(case.kind)}
    if lacking:
        print(f"left out, the kernel has no such links: {', '.join(lacking)}", file=sys.stderr)
    return tuple(case for case in cases if case.name not in lacking)


def play_scale(options: Options) -> dict[str, Any]:
    hosts = scale.measure(options.mappings, options.pairs) if SCALE in options.parts else []
    return scale.report(hosts)


if __name__ == "__main__":
    sys.exit(main())
