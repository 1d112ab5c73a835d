"""Which tests the lane runs, under which kernel, and what became of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lane.plugin import FAILED, MARKS, PASSED, RAN, SKIPPED, TAKEN, file_of

NO_TESTS = 5
"""Exit status of pytest that has found nothing to do."""
MARKED = " or ".join(MARKS)


class CollectionFailed(Exception):
    """pytest could not list the tests; the text is its own."""


def pytest(root: Path, *arguments: str) -> list[str]:
    """A command that runs pytest with the lane's part of it, on the machine and in guests."""
    program = str(Path(sys.executable).with_name("pytest"))
    path = f"PYTHONPATH={root / 'tests'}"
    return ["env", path, program, "-q", "-p", "lane.plugin", *arguments]


def select(root: Path, arguments: Sequence[str], marks: str) -> dict[str, list[str]]:
    """The names of the tests with these marks, by kernel. Raises CollectionFailed."""
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "tests.json"
        done = subprocess.run(
            pytest(root, f"--lane-list={file}", *arguments, "-m", marks),
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in {0, NO_TESTS}:
            raise CollectionFailed(done.stdout + done.stderr)
        tests: dict[str, list[str]] = json.loads(file.read_text())
        return tests


@dataclass(frozen=True)
class Tally:
    """What became of the tests of one kernel."""

    passed: frozenset[str]
    failed: frozenset[str]
    skipped: frozenset[str]
    not_run: frozenset[str]

    @property
    def is_good(self) -> bool:
        return not self.failed and not self.not_run


def tally(tests: Iterable[str], places: Iterable[Path]) -> Tally:
    """From what the guests have written down."""
    ends = dict(line.split(" ", 1)[::-1] for place in places for line in lines(place / RAN))
    wanted = frozenset(tests)
    passed, failed, skipped = (
        frozenset(test for test in wanted if ends.get(test) == end)
        for end in (PASSED, FAILED, SKIPPED)
    )
    return Tally(passed, failed, skipped, wanted - passed - failed - skipped)


def files(tests: Iterable[str]) -> set[str]:
    return {file_of(test) for test in tests}


def is_all_taken(tests: Iterable[str], shared: Path) -> bool:
    """Whether other guests have begun with the last of the files."""
    return len(files(tests)) <= len(list((shared / TAKEN).iterdir()))


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
