"""The part of the kernel in memory that is about tap devices."""

from __future__ import annotations


class FakeTaps:
    """Tap devices of a FakeNamespace."""
