"""Which cases can be played here, which under another kernel, and which not at all."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from benchmarks.cases import Case, lacking, reference_of
from cnicore.net.namespace import host_namespace
from cnicore.testing.sandbox import sandboxed
from conformance.newer import FETCHED, what_is_missing


def comparable(cases: Iterable[Case]) -> list[Case]:
    """Those for which there is a reference; says which it leaves out."""
    found = []
    for case in cases:
        if reference_of(case):
            found.append(case)
        else:
            leave_out([case], what_is_missing(lacking(case)[0], FETCHED))
    return found


def divided(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Those for which this kernel has the kind of link, and the others."""
    with sandboxed(), host_namespace() as host:
        here = [case for case in cases if not case.kind or host.can_make(case.kind)]
    return here, [case for case in cases if case not in here]


def leave_out(cases: Iterable[Case], reason: str) -> None:
    names = ", ".join(case.name for case in cases)
    print(f"left out: {names}: {reason}", file=sys.stderr)  # noqa: T201
