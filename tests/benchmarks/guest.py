"""A guest with a kernel that has what this machine's may lack, and the benchmark inside it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.process import CallFailed
from benchmarks.selection import leave_out
from lane.guest import Guests, Order
from lane.kernels import Kernel, user_mode_linux
from lane.obstacles import obstacle
from lane.packages import CACHE, Packages, Unavailable

ROOT = Path(__file__).parents[2]
RUN = Path(__file__).with_name("run.py")
SET_UP = 600.0
"""Seconds that a guest may take for all that is not limited by the benchmark's own option."""


def play(cases: Sequence[Case], words: Sequence[str], seconds: float) -> dict[str, Any]:
    """The report of a guest that plays these cases; empty, saying why, if none can be started."""
    try:
        kernel = ready_kernel()
    except Unavailable as error:
        leave_out(cases, str(error))
        return {}
    say(f"goes on under {kernel.name}, which takes minutes")
    return measure(kernel, [*words, *(case.name for case in cases)], seconds)


def ready_kernel() -> Kernel:
    """Debian's user-mode-linux, which is downloaded the first time. Raises Unavailable."""
    if reason := obstacle():
        raise Unavailable(reason)
    CACHE.mkdir(exist_ok=True)
    return user_mode_linux(Packages(CACHE))


def measure(kernel: Kernel, words: Sequence[str], seconds: float) -> dict[str, Any]:
    """The report of the benchmark with these arguments in a guest on one processor.

    Raises CallFailed if it fails there, or the guest dies.
    """
    with tempfile.TemporaryDirectory(prefix="cni-bench-") as shared:
        report = Path(shared) / "report.json"
        command = [sys.executable, str(RUN), "--here", "--json", str(report), *words]
        order = Order(Path(shared) / "guest", command, ROOT, SET_UP + seconds)
        ended = Guests().run(kernel, order, min(os.sched_getaffinity(0)))
        if ended.status != 0:
            raise CallFailed(f"under {kernel.name}: {ended.output.strip()}")
        say(ended.output.partition("\n### ")[0])  # what it said before its tables
        document: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return document


def say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201
