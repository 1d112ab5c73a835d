"""Run the tests that this machine's kernel cannot, under kernels that can: behind `make test-kernel`.

Arguments that it does not know are pytest's.
"""

# ruff: noqa: E402, T201  (the path has to be set before the imports; it speaks to a person)

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

sys.path[0] = str(Path(__file__).parent.parent)  # imports begin where those of the tests do

from lane import report
from lane.guest import Ended, Guests
from lane.kernels import Kernel, emulated, user_mode_linux
from lane.obstacles import obstacle
from lane.packages import CACHE, Packages, Unavailable
from lane.part import Part
from lane.plugin import EITHER, QEMU, UML
from lane.selection import MARKED, CollectionFailed, pytest, select

ROOT = Path(__file__).parents[2]
KERNELS: Mapping[str, Callable[[Packages], Kernel]] = {
    QEMU: emulated,  # first, because it is slow: the guests of the other share what time is left
    UML: user_mode_linux,
}


def main(words: Sequence[str]) -> int:
    """0 if every test of the lane has passed, or with --if-possible if none could be run."""
    choice, arguments = parse(words)
    if reason := obstacle():
        return report.not_run({"all of it": reason}, is_forgiven=choice.if_possible)
    began = time.monotonic()
    whole = ["tests/kernel"] if choice.whole else []
    try:
        tests = select(ROOT, [*whole, *arguments], "kernel" if choice.whole else MARKED)
    except CollectionFailed as error:
        print(error)
        return report.broken("its tests cannot be listed")
    either = tests.pop(EITHER)
    tests[UML] += either
    kernels, lacking = make_ready(key for key in KERNELS if tests[key] or either)
    with tempfile.TemporaryDirectory(prefix="cni-lane.") as shared:
        parts = {key: Part(kernels[key], tests[key], Path(shared) / key) for key in kernels}
        command = pytest(
            ROOT, *whole, *arguments, f"--color={'yes' if sys.stdout.isatty() else 'no'}"
        )
        show(parts.values(), command, choice)
        if either and not lacking:
            left = parts[UML].give_up(either)
            parts["again"] = Part(kernels[QEMU], left, Path(shared) / "again")
            show([parts["again"]], command, choice)
        status = 0
        if parts or not lacking:
            status = report.summary([*parts.values()], time.monotonic() - began)
    if lacking:
        reasons = {f"{len(tests[key])} tests for {key}": why for key, why in lacking.items()}
        status = max(status, report.not_run(reasons, is_forgiven=choice.if_possible))
    return status


def parse(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--whole", action="store_true", help="all of tests/kernel, which takes long")
    add("--if-possible", action="store_true", help="succeed where no such kernel can be started")
    add("--guests", type=int, default=2, help="how many at a time (default: 2)")
    add("--limit", type=float, default=900, help="seconds that a guest may take (default: 900)")
    return parser.parse_known_args(words)


def make_ready(keys: Iterator[str]) -> tuple[dict[str, Kernel], dict[str, str]]:
    """The kernels, and why others cannot be had."""
    CACHE.mkdir(exist_ok=True)
    kernels, lacking = {}, {}
    for key in keys:
        try:
            kernels[key] = KERNELS[key](Packages(CACHE))
        except Unavailable as error:
            lacking[key] = str(error)
    return kernels, lacking


def show(parts: Iterable[Part], command: Sequence[str], choice: argparse.Namespace) -> None:
    for name, ended in play([*parts], command, choice):
        report.guest(name, ended)


def play(
    parts: Sequence[Part], command: Sequence[str], choice: argparse.Namespace
) -> Iterator[tuple[str, Ended]]:
    """Run the guests, some at a time and each on a processor of its own; gives them as they end."""
    guests, processors = Guests(), SimpleQueue[int]()
    usable = sorted(os.sched_getaffinity(0))
    for number in range(choice.guests):
        processors.put(usable[number % len(usable)])

    def one(part: Part) -> Ended | None:
        processor = processors.get()
        try:
            return part.run_guest(guests, command, ROOT, choice.limit, processor)
        finally:
            processors.put(processor)

    turns = [part for number in range(choice.guests) for part in parts if number < part.most_guests]
    with ThreadPoolExecutor(choice.guests) as pool:
        try:
            running = {pool.submit(one, part): part.kernel.name for part in turns}
            for future in as_completed(running):
                if ended := future.result():
                    yield running[future], ended
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            guests.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
