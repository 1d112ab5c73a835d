"""The part of the kernel in memory that is about settings of links."""

from __future__ import annotations


class FakeLinkSettings:
    """Settings of the links of a FakeNamespace."""
