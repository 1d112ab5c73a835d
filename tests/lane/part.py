"""The tests of one kernel, which its guests share out among themselves, file by file."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lane.guest import Ended, Guests, Order
from lane.kernels import Kernel
from lane.plugin import TAKEN, TESTS
from lane.selection import Tally, files, is_all_taken, tally


@dataclass
class Part:
    kernel: Kernel
    tests: Sequence[str]
    shared: Path
    places: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.shared / TAKEN).mkdir(parents=True)

    @property
    def most_guests(self) -> int:
        """More would find nothing to do."""
        return len(files(self.tests))

    def run_guest(
        self, guests: Guests, pytest: Sequence[str], folder: Path, limit: float, processor: int
    ) -> Ended | None:
        """One guest from its start to its end; None if nothing is left for it to do."""
        if is_all_taken(self.tests, self.shared):
            return None
        place = self.shared / str(len(self.places) + 1)
        self.places.append(place)
        place.mkdir()
        (place / TESTS).write_text(json.dumps(self.tests))
        order = Order(place, [*pytest, f"--lane-share={place}"], folder, limit)
        return guests.run(self.kernel, order, processor)

    def give_up(self, tests: Collection[str]) -> list[str]:
        """Leave those of the tests to another kernel that did not pass here; returns them."""
        ends = self.tally()
        left = sorted((ends.failed | ends.skipped) & set(tests))
        self.tests = [test for test in self.tests if test not in set(left)]
        return left

    def tally(self) -> Tally:
        return tally(self.tests, self.places)
