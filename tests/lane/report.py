"""What the lane tells: each guest's own words on stdout, and on stderr one line at the end."""

# ruff: noqa: T201  (it speaks to a person)

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from lane.guest import Ended
from lane.part import Part

SHOWN = 10
"""Names of tests that are told before the rest is only counted."""
FRAME = "!" * 100


def guest(name: str, ended: Ended) -> None:
    print(f"--- kernel lane, {name}", ended.output.rstrip("\n"), sep="\n", flush=True)


def summary(parts: Sequence[Part], seconds: float) -> int:
    """Tell the end in one line; 1 if a test has failed or was not run."""
    passed = failed = skipped = 0
    not_run: list[str] = []
    for part in parts:
        tally = part.tally()
        passed += len(tally.passed)
        failed += len(tally.failed)
        skipped += len(tally.skipped)
        not_run += sorted(tally.not_run)
    if not_run:
        print(
            "these tests were not run to their end:", *shown(not_run), sep="\n  ", file=sys.stderr
        )
    ends = {
        "passed": passed,
        "failed": failed,
        "skipped": skipped,
        "not run to the end": len(not_run),
    }
    words = ", ".join(f"{number} {end}" for end, number in ends.items() if number) or "no tests"
    under = " and ".join(dict.fromkeys(part.kernel.name for part in parts))
    tell(f"{words}{f' under {under}' if under else ''} in {seconds:.0f} s")
    return int(bool(failed or not_run))


def shown(names: Sequence[str]) -> Iterable[str]:
    rest = len(names) - SHOWN
    return [*names[:SHOWN], *([f"and {rest} more"] if rest > 0 else [])]


def not_run(reasons: Mapping[str, str], *, is_forgiven: bool) -> int:
    """Warn, so that nobody overlooks it, of what could not be run; 1 unless that is forgiven."""
    lines = [f"{what}: {reason}" for what, reason in reasons.items()]
    print(
        FRAME,
        "The kernel lane was NOT RUN, or not all of it:",
        *lines,
        FRAME,
        sep="\n",
        file=sys.stderr,
    )
    tell(f"NOT RUN: {'; '.join(lines)}")
    return int(not is_forgiven)


def broken(reason: str) -> int:
    tell(f"FAILED: {reason}")
    return 1


def tell(words: str) -> None:
    print(f"kernel lane: {words}", file=sys.stderr, flush=True)
