"""Settings of a link that tuning changes and puts back."""

from __future__ import annotations

from cnicore.net.netlink import Netlink


class LinkSettings:
    """The part of a namespace handle that sets what a link has. Every method raises KernelError."""

    netlink: Netlink
