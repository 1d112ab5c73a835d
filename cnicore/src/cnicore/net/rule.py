"""Policy rules of one namespace: which routing table a packet is looked up in."""

from __future__ import annotations

from cnicore.net.netlink import Netlink


class Rules:
    """The part of a namespace handle that is about rules. Every method raises KernelError."""

    netlink: Netlink
