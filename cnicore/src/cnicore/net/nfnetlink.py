"""The one socket of this process to netfilter's subsystems."""

from __future__ import annotations

import os

from cnicore.net.netlink import Netlink
from cnicore.net.switch import OWN

NETLINK_NETFILTER = 12  # linux/netlink.h

_open: dict[tuple[int, int, int], Netlink] = {}
"""By process and network namespace: a fork must not share it.

Kept open, because the kernel finishes all pending work of nftables, which takes 15 to 20 ms, when
such a socket is closed, whatever it was used for.
"""


def nfnetlink() -> Netlink:
    """The socket of the namespace that the calling thread is in. Raises OSError."""
    entry = os.stat(OWN)
    place = os.getpid(), entry.st_dev, entry.st_ino
    if place not in _open:
        for netlink in _open.values():
            netlink.close()
        _open.clear()
        _open[place] = Netlink(NETLINK_NETFILTER)
    return _open[place]
