"""The part of the kernel in memory that is about queues."""

from __future__ import annotations

from typing import Any


class FakeQdiscs:
    """Queues of the links of a FakeNamespace."""

    def snapshot_qdiscs(self) -> dict[str, Any]:
        return {}
