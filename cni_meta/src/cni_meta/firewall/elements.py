"""Elements of nftables maps and sets that carry an owner's tag as their comment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cnicore.firewall.libnftables import Command, read_if_there
from cnicore.firewall.single import find_element
from cnicore.result import Address


@dataclass(frozen=True, slots=True)
class Place:
    """A set, or a map whose values are verdicts that go to a chain."""

    family: str
    table: str
    name: str
    is_map: bool = True

    @property
    def table_keys(self) -> dict[str, str]:
        return {"family": self.family, "table": self.table}

    @property
    def keys(self) -> dict[str, str]:
        return {**self.table_keys, "name": self.name}

    @property
    def kind(self) -> str:
        return "map" if self.is_map else "set"

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True, slots=True)
class Element:
    """An entry; comment and chain are empty if it has none."""

    place: Place
    key: str
    comment: str
    chain: str = ""


def creation(element: Element) -> Command:
    """Creates the element; the kernel refuses if there is one of that key."""
    key = {"elem": {"val": element.key, "comment": element.comment}}
    entry = [key, {"goto": {"target": element.chain}}] if element.place.is_map else key
    return {"create": {"element": {**element.place.keys, "elem": [entry]}}}


def deletions(elements: Iterable[Element]) -> list[Command]:
    """Delete the elements; the kernel refuses if one is gone."""
    return [{"delete": {"element": {**one.place.keys, "elem": [one.key]}}} for one in elements]


def find(place: Place, address: Address) -> Element | None:
    """The element of an address, asked from the kernel alone however many others there are."""
    found = find_element(place.family, place.table, place.name, address.packed)
    return Element(place, str(address), found.comment, found.chain) if found else None


def elements_of(place: Place) -> Iterator[Element]:
    """Every element; none if the place does not exist."""
    for entry in read_if_there(f"list {place}", **{place.kind: place.keys}):
        for item in entry.get(place.kind, {}).get("elem", []):
            key, verdict = item if place.is_map else (item, {})
            # libnftables writes a key without a comment as a plain string
            described = key["elem"] if isinstance(key, dict) else {"val": key}
            chain = (verdict.get("goto") or {}).get("target", "")
            yield Element(place, described["val"], described.get("comment", ""), chain)


def rule(table: dict[str, str], chain: str, *expression: Any) -> Command:
    """Appends a rule to a chain."""
    return {"add": {"rule": {**table, "chain": chain, "expr": list(expression)}}}


def matches(key: str, right: str) -> Any:
    """Whether a packet's property equals a name or is in a set."""
    return {"match": {"op": "==", "left": {"meta": {"key": key}}, "right": right}}


def looks_up(key: Any, place_name: str) -> Any:
    """Does what the map says about a packet's property."""
    return {"vmap": {"key": key, "data": f"@{place_name}"}}
