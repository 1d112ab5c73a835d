"""nftables transactions that race with those of other calls: try again on what there is then."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cni_meta.firewall.elements import Element, creation, deletions, elements_of
from cnicore.firewall import libnftables
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.libnftables import ATTEMPTS, NO_SUPPORT, Command, Refused, change

RACES = {errno.ENOENT, errno.EEXIST, errno.EBUSY}


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be there before the elements, and the elements."""

    frame: Sequence[Command]
    elements: Sequence[Element]

    def __add__(self, other: Plan) -> Plan:
        return Plan([*self.frame, *other.frame], [*self.elements, *other.elements])


def establish(act: str, plan: Callable[[], Plan]) -> None:
    """Make what the plan says; an element that somebody left under the same key is replaced.

    The plan is made again if the kernel refuses. Raises Refused, Unavailable.
    """
    occupied: list[Command] = []
    for _ in range(ATTEMPTS):
        wanted = plan()
        commands = [*wanted.frame, *occupied, *map(creation, wanted.elements)]
        try:
            if commands:
                change(act, commands)
        except Refused as error:
            failure = error
            if error.errno in NO_SUPPORT:
                raise Unavailable("nftables cannot be used here", error.msg) from error
            if error.errno not in RACES:
                raise
            occupied = deletions(standing(wanted.elements))
        else:
            return
    raise failure


def remove(act: str, find: Callable[[], Iterable[Element]]) -> list[Element]:
    """Delete the elements found, all at once; find again if some vanished meanwhile.

    Returns what was deleted.
    """
    found: list[Element] = []

    def removal() -> list[Command]:
        found[:] = find()
        return deletions(found) if found else []

    libnftables.remove(act, removal)
    return found


def delete_unused(act: str, commands: Sequence[Command]) -> None:
    """Delete objects all at once, unless one is in use again or gone, which the kernel tells."""
    try:
        change(act, commands)
    except Refused as error:
        if error.errno not in {errno.EBUSY, errno.ENOENT}:
            raise


def standing(elements: Iterable[Element]) -> list[Element]:
    """What stands where the elements are to be."""
    keys: dict[str, set[str]] = {}
    places = {}
    for element in elements:
        keys.setdefault(str(element.place), set()).add(element.key)
        places[str(element.place)] = element.place
    return [one for name in keys for one in elements_of(places[name]) if one.key in keys[name]]
