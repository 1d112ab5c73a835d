"""The part of the kernel in memory that moves devices."""

from __future__ import annotations


class FakeDevices:
    """Devices that move between FakeNamespaces."""
