"""Play the cases round by round: each verb on all sides, one directly after the other."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.cases import Case
from benchmarks.places import CONTAINER, Place
from benchmarks.process import CallFailed, Finished, Spawner

WATCHED = 3  # calls of each verb whose memory is watched; they warm up, too


@dataclass(frozen=True)
class Sample:
    """One call of a case's verb, or one run of another program, in milliseconds."""

    wall: float
    processor: float


class Samples:
    """By case, verb (or what else was run) and side: one sample for each round, in order."""

    def __init__(self) -> None:
        self.taken: defaultdict[tuple[str, str, str], list[Sample]] = defaultdict(list)
        self.peaks: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        self.rounds = 0

    def add(self, case: str, what: str, side: str, calls: Sequence[Finished]) -> None:
        """Note what was run as one: the calls of a chain count together."""
        wall, processor = (
            sum(getattr(call, field) for call in calls) for field in ("wall", "processor")
        )
        self.taken[case, what, side].append(Sample(wall, processor))

    def note_peak(self, case: str, what: str, side: str, calls: Sequence[Finished]) -> None:
        known = self.peaks[case, what, side]
        self.peaks[case, what, side] = max(known, *(call.peak for call in calls))


@dataclass(frozen=True)
class Scene:
    """Everything that takes part: by case its place for each side, and its other programs."""

    cases: Sequence[Case]
    places: Mapping[str, Mapping[str, Place]]
    programs: Mapping[str, Mapping[str, Sequence[str]]]
    spawner: Spawner


def warm_up(scene: Scene, samples: Samples) -> None:
    """Have everything in the page cache, and see how much memory the plugins take."""
    for case in scene.cases:
        for _ in range(WATCHED):
            for verb in case.verbs:
                for side, place in scene.places[case.name].items():
                    place.namespaces.enter()
                    calls = place.call(verb, watch=True)
                    samples.note_peak(case.name, verb, side, calls)


def play(scene: Scene, samples: Samples, pairs: int, seconds: float) -> float:
    """Play that many rounds, or as many as begin within that many seconds; one at least.

    Returns how many seconds it took.
    """
    begin = time.monotonic()
    for number in range(pairs):
        if number and time.monotonic() > begin + seconds:
            break
        for position, case in enumerate(scene.cases):
            play_case(scene, case, samples, number + position)
            run_programs(scene, case, samples)
        samples.rounds += 1
    return time.monotonic() - begin


def play_case(scene: Scene, case: Case, samples: Samples, turn: int) -> None:
    places = scene.places[case.name]
    names = list(places)
    first = turn % len(names)
    order = names[first:] + names[:first]
    for verb in case.verbs:
        for side in order:
            places[side].namespaces.enter()
            samples.add(case.name, verb, side, places[side].call(verb))
        if verb == "ADD":
            require_agreement(case, places)


def require_agreement(case: Case, places: Mapping[str, Place]) -> None:
    """The sides did the same work, or their times do not compare."""
    leased = {side: place.addresses(CONTAINER) for side, place in places.items()}
    if len({tuple(addresses) for addresses in leased.values()}) > 1:
        raise CallFailed(f"{case.name}: ADD gives different addresses: {leased}")


def run_programs(scene: Scene, case: Case, samples: Samples) -> None:
    for what, argv in scene.programs.get(case.name, {}).items():
        done = scene.spawner.run(argv, {})
        if done.status:
            raise CallFailed(f"{case.name}: {what}: {done.stderr.decode(errors='replace')}")
        samples.add(case.name, what, "ours", [done])
