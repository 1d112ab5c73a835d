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
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # imports begin where those of the tests do

from benchmarks import guest, machine, report, scale, started, tables
from benchmarks.cases import CASES, SHOWN, SIDES, Case
from benchmarks.imports import grouped, middle
from benchmarks.mappings import MOST
from benchmarks.process import CallFailed
from benchmarks.rounds import Samples, play, warm_up
from benchmarks.scene import set_up
from benchmarks.selection import comparable, divided, leave_out
from conformance.stage import REFERENCE

CALLS, PROGRAMS, SCALE = PARTS = ("calls", "programs", "scale")
"""Times of the cases' calls, the programs that these start, and portmap with many mappings."""
OF_CASES = {CALLS, PROGRAMS}
KNOWN = {case.name: case for case in CASES}


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    parts: frozenset[str]
    cases: tuple[Case, ...]
    pairs: int
    seconds: float
    mappings: tuple[int, ...]
    here: bool
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
    parser = command_line()
    given = parser.parse_args()
    unknown = [name for name in given.wanted if name not in {*KNOWN, *PARTS}]
    if unknown:
        parser.error(
            f"no such case or part: {', '.join(unknown)};"
            f" there are {', '.join(KNOWN)}, and {', '.join(PARTS)}"
        )
    if given.pairs < 1:
        parser.error("--pairs: at least 1")
    names = [name for name in given.wanted if name in KNOWN]
    parts = {name for name in given.wanted if name in PARTS}
    if names and not parts & OF_CASES:
        parts.add(CALLS)
    cases = tuple(KNOWN[name] for name in names or KNOWN)
    files = [file and file.resolve() for file in (given.json, given.update)]
    return Options(
        parts=frozenset(parts or PARTS),
        cases=cases,
        pairs=given.pairs,
        seconds=given.seconds,
        mappings=given.mappings,
        here=given.here,
        json=files[0],
        update=files[1],
    )


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "wanted",
        nargs="*",
        metavar="CASE|PART",
        help=f"cases, of {', '.join(KNOWN)}; parts, of {', '.join(PARTS)}; or all",
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
    parser.add_argument(
        "--here", action="store_true", help="leave out the cases that need another kernel"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument(
        "--update", type=Path, metavar="PAGE", help="put the tables between the page's marks"
    )
    return parser


def numbers(text: str) -> tuple[int, ...]:
    """Different numbers of mappings, in order. Raises ValueError."""
    found = tuple(sorted({int(word) for word in text.split(",")}))
    if not 0 <= found[0] <= found[-1] <= MOST:
        raise ValueError
    return found


def measure(options: Options) -> dict[str, Any]:
    """Play, and return the report as the document that --json writes."""
    load = machine.load()
    here, elsewhere = divided(comparable(options.cases) if options.parts & OF_CASES else ())
    document = {**play_cases(options, here), **play_scale(options)}
    loads = [load, machine.load()]  # a guest is load
    under = play_guest(options, elsewhere)
    return {"machine": machine.describe(here), "load": loads, **document, "guest": under}


def play_cases(options: Options, cases: Sequence[Case]) -> dict[str, Any]:
    samples, seconds, counts = Samples(), 0.0, {}
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


def play_guest(options: Options, cases: Sequence[Case]) -> dict[str, Any]:
    """The report of a guest whose kernel has the kinds of link; empty, saying why, if there is none."""
    if not cases:
        return {}
    if options.here:
        leave_out(cases, "this kernel has no such links")
        return {}
    limits = ["--pairs", str(options.pairs), "--seconds", str(options.seconds)]
    return guest.play(cases, [*limits, *sorted(options.parts & OF_CASES)], options.seconds)


def play_scale(options: Options) -> dict[str, Any]:
    hosts = scale.measure(options.mappings, options.pairs) if SCALE in options.parts else []
    return scale.report(hosts)


if __name__ == "__main__":
    sys.exit(main())
