"""Tap devices: made through /dev/net/tun, which netlink cannot."""

from __future__ import annotations


class Taps:
    """The part of a namespace handle that is about tap devices. Every method raises KernelError."""
