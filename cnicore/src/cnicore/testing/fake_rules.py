"""The part of the kernel in memory that is about policy rules."""

from __future__ import annotations

from typing import Any


class FakeRules:
    """Rules of a FakeNamespace."""

    def snapshot_rules(self) -> dict[str, Any]:
        return {}
