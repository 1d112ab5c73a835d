"""Queues of one namespace's links: how fast and whereto packets leave."""

from __future__ import annotations

from cnicore.net.netlink import Netlink


class Qdiscs:
    """The part of a namespace handle that is about queues. Every method raises KernelError."""

    netlink: Netlink
