"""portmap on hosts where others have many ports: the time of its calls, new connections, memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from statistics import median
from typing import Any, TypeVar

from benchmarks.cases import GATEWAY, OURS, PORTS, SIDES, THEIRS, WITHOUT_CHECK, Case
from benchmarks.connections import make_outside, rate
from benchmarks.mappings import SUBNET, put_ours, put_reference
from benchmarks.places import Namespaces, Place, placed
from benchmarks.process import Spawner
from benchmarks.report import ratio, summary
from benchmarks.rounds import Sample
from benchmarks.scene import install
from conformance.cases_bridge import bridge, host_local

T = TypeVar("T")

COUNTS = (0, 1_000, 20_000)
SECONDS = 60.0  # no round begins later
LONGEST = 25.0  # seconds of calls on one host; it takes no part in later rounds
WATCHED = 2  # ADDs on each host whose memory is watched; they warm up, too
WINDOWS, WINDOW = 5, 0.4  # how often connections are counted on each host, for how many seconds

PUBLISHED = Case(
    "portmap",
    (PORTS,),
    WITHOUT_CHECK,
    before=(bridge(**GATEWAY, ipam=host_local({"subnet": SUBNET})),),
)
PUT: dict[str, Callable[[Place, int], None]] = {OURS.name: put_ours, THEIRS.name: put_reference}


@dataclass
class Host:
    """A side's place with that many mappings of others, and what was seen there in each round."""

    side: str
    mappings: int
    place: Place
    calls: dict[str, list[Sample]] = field(
        default_factory=lambda: {verb: [] for verb in WITHOUT_CHECK}
    )
    rates: list[float] = field(default_factory=list)
    peak: float = 0.0

    @property
    def is_worn(self) -> bool:
        walls = (sample.wall for samples in self.calls.values() for sample in samples)
        return sum(walls) > LONGEST * 1000


def measure(counts: Sequence[int], pairs: int) -> list[Host]:
    """Play that many rounds, or as many as begin in time; returns the hosts, gone by then."""
    with ExitStack() as stack:
        hosts = list(set_up(counts, stack))
        for host in hosts:
            host.peak = watch(host.place)
        limit = time.monotonic() + SECONDS
        for number in range(pairs):
            if number and time.monotonic() > limit:
                break
            play(hosts, number)
    return hosts


def set_up(counts: Sequence[int], stack: ExitStack) -> Iterator[Host]:
    """Sides next to one another for each number of mappings."""
    directories = install(stack)
    home = stack.enter_context(closing(Namespaces()))
    spawner = stack.enter_context(closing(Spawner()))
    make_place = partial(placed, PUBLISHED, home=home, spawner=spawner)
    for count in counts:
        for side in SIDES:
            place = stack.enter_context(make_place(side, directories[side.name]))
            PUT[side.name](place, count)
            make_outside(place)
            yield Host(side.name, count, place)


def watch(place: Place) -> float:
    """The peak memory of an ADD."""
    place.namespaces.enter()
    peaks = []
    for _ in range(WATCHED):
        peaks += [call.peak for call in place.call("ADD", watch=True)]
        place.call("DEL")
    return max(peaks)


def play(hosts: Sequence[Host], turn: int) -> None:
    """One round: every host that is not worn, in an order that turns from round to round."""
    first = turn % len(hosts)
    for host in (*hosts[first:], *hosts[:first]):
        if not host.is_worn:
            play_one(host)


def play_one(host: Host) -> None:
    host.place.namespaces.enter()
    for verb in WITHOUT_CHECK:
        (call,) = host.place.call(verb)
        host.calls[verb].append(Sample(call.wall, call.processor))
        if verb == "ADD" and len(host.rates) < WINDOWS:
            host.rates.append(rate(host.place, WINDOW))


def report(hosts: Sequence[Host]) -> dict[str, list[dict[str, Any]]]:
    """The parts of the report; in each a row has every side's figures for a number of mappings."""
    groups = [list(group) for _, group in groupby(hosts, lambda host: host.mappings)]
    return {
        "scale": [calls(verb, group, hosts) for verb in WITHOUT_CHECK for group in groups],
        "connections": [row(group, partial(connections, hosts)) for group in groups],
        "memory": [row(group, partial(memory, hosts)) for group in groups],
    }


def row(group: Sequence[Host], figures: Callable[[Host], dict[str, float]]) -> dict[str, Any]:
    sides = {host.side: figures(host) for host in group}
    return {"mappings": group[0].mappings, "sides": sides}


def calls(verb: str, group: Sequence[Host], hosts: Sequence[Host]) -> dict[str, Any]:
    """`to_empty` is the ratio to the side's host with the fewest mappings, in the same rounds."""

    def figures(host: Host) -> dict[str, float]:
        taken, empty = host.calls[verb], emptiest(hosts, host.side).calls[verb]
        return {"calls": len(taken), **summary(taken), "to_empty": ratio(*together(taken, empty))}

    last = group[-1].calls[verb]
    ratios = {host.side: ratio(*together(host.calls[verb], last)) for host in group[:-1]}
    return {"verb": verb, **row(group, figures), "ratios": ratios}


def connections(hosts: Sequence[Host], host: Host) -> dict[str, float]:
    rounds = zip(*together(host.rates, emptiest(hosts, host.side).rates), strict=True)
    to_empty = median(one / other for one, other in rounds)
    return {"per_second": median(host.rates), "to_empty": to_empty}


def memory(hosts: Sequence[Host], host: Host) -> dict[str, float]:
    return {"peak_mib": host.peak, "to_empty": host.peak / emptiest(hosts, host.side).peak}


def emptiest(hosts: Sequence[Host], side: str) -> Host:
    return min((host for host in hosts if host.side == side), key=lambda host: host.mappings)


def together(one: Sequence[T], other: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """What both have of the rounds in which both took part: the first ones."""
    count = min(len(one), len(other))
    return one[:count], other[:count]
