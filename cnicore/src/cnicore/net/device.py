"""Devices of the host that move into a container and back."""

from __future__ import annotations


class Devices:
    """The part of a namespace handle that moves devices. Every method raises KernelError."""
