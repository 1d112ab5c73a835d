"""From samples to figures: the document that --json writes and that the tables are made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.cases import OURS, Case
from benchmarks.imports import Group, Module
from benchmarks.rounds import Sample, Samples

TRUE, BARE, IMPORTS = "true", "interpreter", "imports"
"""Other programs that are run in each round, each doing a part of what our ADD does."""

Traces = Mapping[str, Mapping[str, Sequence[Sequence[Module]]]]
"""By case and verb what our plugins import, in several runs."""


def calls(cases: Sequence[Case], samples: Samples, sides: Sequence[str]) -> list[dict[str, Any]]:
    """Each verb of each case: every side's figures, and the ratios of its pairs to the last side."""
    rows = []
    for case in cases:
        for verb in case.verbs:
            taken = {side: samples.taken[case.name, verb, side] for side in sides}
            figures = {
                side: {**summary(taken[side]), "peak_mib": samples.peaks[case.name, verb, side]}
                for side in sides
            }
            ratios = {side: ratio(taken[side], taken[sides[-1]]) for side in sides[:-1]}
            rows.append({"case": case.name, "verb": verb, "sides": figures, "ratios": ratios})
    return rows


def summary(samples: Sequence[Sample]) -> dict[str, float]:
    walls = sorted(sample.wall for sample in samples)
    return {
        "min_ms": walls[0],
        "median_ms": median(walls),
        "p90_ms": walls[math.ceil(0.9 * len(walls)) - 1],
        "cpu_ms": median(sample.processor for sample in samples),
    }


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample]) -> float:
    """The median of the pairs' ratios: what slows both of a pair cancels out."""
    return median(one.wall / other.wall for one, other in zip(ours, theirs, strict=True))


def parts(cases: Sequence[Case], samples: Samples) -> list[dict[str, Any]]:
    """Where the time of our ADD goes: medians of differences within a round."""
    rows = []
    for case in cases:
        if not samples.taken[case.name, IMPORTS, OURS.name]:
            continue  # nothing to compare with was run
        true, bare, imports, add = (
            [sample.wall for sample in samples.taken[case.name, what, OURS.name]]
            for what in (TRUE, BARE, IMPORTS, "ADD")
        )
        rows.append(
            {
                "case": case.name,
                "process_ms": median(true),
                "interpreter_ms": median_difference(bare, true),
                "imports_ms": median_difference(imports, bare),
                "work_ms": median_difference(add, imports),
                "add_ms": median(add),
            }
        )
    return rows


def median_difference(more: Sequence[float], less: Sequence[float]) -> float:
    return median(one - other for one, other in zip(more, less, strict=True))


def imports(case: str, verb: str, groups: Sequence[Group]) -> dict[str, Any]:
    return {
        "case": case,
        "verb": verb,
        "modules": sum(group.modules for group in groups),
        "ms": sum(group.own for group in groups),
        "groups": [
            {
                "name": group.name,
                "modules": group.modules,
                "own_ms": group.own,
                "cumulative_ms": group.cumulative,
            }
            for group in groups
        ],
    }


def started(counts: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By case and verb how often each side starts which programs."""
    return [{"case": case, "verb": verb, "sides": sides} for (case, verb), sides in counts.items()]


def modules(traces: Traces) -> list[dict[str, Any]]:
    return [
        {"case": case, "modules": {verb: len(runs[0]) for verb, runs in verbs.items()}}
        for case, verbs in traces.items()
    ]
