"""What is timed: configurations and the sets of plugins that get them. To time more, add an entry."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.cases_bridge import bridge, host_local
from conformance.cases_ipam import conf as ipam_conf
from conformance.cases_ptp import loopback, ptp
from conformance.stage import REFERENCE, Stage, install

ATTACHMENT = ("ADD", "CHECK", "DEL")
VERBS = ("VERSION", *ATTACHMENT)


@dataclass(frozen=True)
class Case:
    """A chain of plugins, one after the other as in a conflist; most have a single one."""

    name: str
    plugins: tuple[Mapping[str, Any], ...]
    verbs: tuple[str, ...] = ATTACHMENT


@dataclass(frozen=True)
class Side:
    """A set of plugins: `directory` gives theirs, and may make it in the one that it gets.

    `beside` is open while the side is timed, on each of its stages: what has to run beside the calls.
    """

    name: str
    directory: Callable[[Path], Path]
    beside: Callable[[Stage], AbstractContextManager[object]] = nullcontext


OURS = Side("ours", lambda place: install(place, sys.executable))
THEIRS = Side("reference", lambda _: REFERENCE)
SIDES = (OURS, THEIRS)
"""Ratios are to the last one."""

GATEWAY = {"isDefaultGateway": True}

CASES = (
    Case("bridge", (bridge(**GATEWAY),), VERBS),
    Case("bridge-masquerade", (bridge(**GATEWAY, ipMasq=True),)),
    Case("ptp", (ptp(),), VERBS),
    Case("ptp-masquerade", (ptp(ipMasq=True),)),
    Case("loopback", (loopback(),), VERBS),
    Case("host-local", (ipam_conf(host_local()),), VERBS),
)
"""Without ipMasqBackend each side masquerades through its own default."""
