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
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # imports begin where those of the tests do

from benchmarks import machine, report, tables
from benchmarks.cases import CASES, SIDES, Case
from benchmarks.imports import grouped, middle
from benchmarks.process import CallFailed
from benchmarks.rounds import Samples, play, warm_up
from benchmarks.scene import set_up
from conformance.stage import REFERENCE

SHOWN = (("bridge", "VERSION"), ("bridge-masquerade", "ADD"))
"""Calls whose imports are listed, if their case takes part."""


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    cases: tuple[Case, ...]
    pairs: int
    seconds: float
    json: Path | None
    update: Path | None


def main() -> int:
    options = read_options()
    if os.geteuid() != 0:
        return fail("needs root, for namespaces of its own")
    if not (REFERENCE / "bridge").is_file():
        return fail(f"needs the reference plugins: Debian's package {machine.REFERENCE_PACKAGE}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("benchmark: terminated"))
    names = ", ".join(case.name for case in options.cases)
    print(f"{options.pairs} pairs of {names}, at most {options.seconds:.0f} s", file=sys.stderr)
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
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(known)}; or all")
    parser.add_argument("--pairs", type=int, default=25, help="of each call; default %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=150, help="begin no pair later; default %(default)s"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument(
        "--update", type=Path, metavar="PAGE", help="put the tables between the page's marks"
    )
    given = parser.parse_args()
    unknown = [name for name in given.cases if name not in known]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(known)}")
    if given.pairs < 1:
        parser.error("--pairs: at least 1")
    cases = tuple(known[name] for name in given.cases or known)
    files = (file and file.resolve() for file in (given.json, given.update))
    return Options(cases, given.pairs, given.seconds, *files)


def measure(options: Options) -> dict[str, Any]:
    """Play, and return the report as the document that --json writes."""
    load = machine.load()
    samples = Samples()
    with ExitStack() as stack:
        scene, traces = set_up(options.cases, stack)
        warm_up(scene, samples)
        begin = time.monotonic()
        play(scene, samples, options.pairs, options.seconds)
        seconds = time.monotonic() - begin
    return {
        "machine": machine.describe(),
        "load": [load, machine.load()],
        "pairs": samples.rounds,
        "seconds": seconds,
        "calls": report.calls(options.cases, samples, [side.name for side in SIDES]),
        "parts": report.parts(options.cases, samples),
        "imports": [
            report.imports(case, verb, middle(map(grouped, traces[case][verb])))
            for case, verb in SHOWN
            if case in traces
        ],
        "modules": report.modules(traces),
    }


if __name__ == "__main__":
    sys.exit(main())
