"""Where our plugins answer otherwise than the reference on purpose, and how that is told apart from a defect.

Run as a program it prints the page of the documentation that is made from the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from conformance.intended import INTENDED
from conformance.intended_dhcp import DHCP
from conformance.intended_entry import Intended
from conformance.intended_macvlan import NEWER
from conformance.intended_sublinks import NEWER_SUBLINKS, SUBLINKS
from conformance.intended_tap import TAP
from conformance.snapshot import Table

UNCOMPARED = ("stderr", "stdout", "error/msg", "error/details")
"""Texts are for people: each case says what ours must name."""

INTRODUCTION = """\
# Differences from the reference

Our plugins get the same environment and standard input as the reference plugins, and leave the same
exit status, result, links, addresses, routes, sysctls, firewall rules and files, except for what
stands here. The page is made from the tables that the differential tests use (`tests/conformance/intended*.py`);
they fail on a difference that is in none, and on an entry that no configuration needs.
Compared is Debian's package containernetworking-plugins 1.1.1; texts of errors are not compared.
"""
NEWER_INTRODUCTION = """
## Beside a newer reference

What 1.1.1 lacks is compared with 1.9 in the same way: dummy, tap, macvlan's `bcqueuelen` and the key
`linkInContainer`.

"""


@dataclass(frozen=True)
class Difference:
    """One aspect of one step in which the two sets of plugins differ; a missing aspect is None."""

    case: str
    path: str
    reference: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.path}: reference {self.reference!r}, ours {self.ours!r}"


def differences(
    case: str, reference: dict[str, Table], ours: dict[str, Table]
) -> Iterable[Difference]:
    """All differences of a case, step by step."""
    for step, expected in reference.items():
        for aspect in sorted(expected.keys() | ours[step].keys()):
            pair = expected.get(aspect), ours[step].get(aspect)
            if pair[0] != pair[1] and aspect not in UNCOMPARED:
                yield Difference(case, f"{step}/{aspect}", *pair)


def covers(intended: Intended, difference: Difference) -> bool:
    return (
        any(fnmatchcase(difference.case, name) for name in intended.cases)
        and any(fnmatchcase(difference.path, path) for path in intended.paths)
        and all(
            wanted is ... or wanted == actual
            for wanted, actual in (
                (intended.reference, difference.reference),
                (intended.ours, difference.ours),
            )
        )
    )


def page() -> str:
    """The documentation's page: every reason with the configurations that show it."""
    newer = entries((*NEWER, *NEWER_SUBLINKS, *TAP))
    return f"{INTRODUCTION}\n{entries((*INTENDED, *SUBLINKS, *DHCP))}{NEWER_INTRODUCTION}{newer}"


def entries(table: Iterable[Intended]) -> str:
    return "".join(
        f"- **{intended.what}** {intended.why} Seen with: {', '.join(intended.cases)}.\n"
        for intended in table
    )


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
