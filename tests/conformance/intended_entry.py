"""An entry of the tables of intended differences from the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Intended:
    """A difference on purpose: in which cases, in which aspects (both with wildcards), and why.

    `reference` and `ours` are the values where they are always the same; None: not there.
    """

    what: str
    why: str
    cases: tuple[str, ...]
    paths: tuple[str, ...]
    reference: Any = ...
    ours: Any = ...
