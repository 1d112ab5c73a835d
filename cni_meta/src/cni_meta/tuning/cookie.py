"""Which network namespace it is: the kernel's number for it, that no other has until a reboot.

An inode number would not do: the next namespace gets that of one that is gone.
"""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

from cnicore.net.namespace import Namespace
from cnicore.net.switch import inside

SO_NETNS_COOKIE = 71  # asm-generic/socket.h, since Linux 5.14
SIZE = 8


def netns_cookie(namespace: Namespace) -> int:
    """The number, 0 if the kernel tells none."""
    if namespace.fd is None:
        return 0
    with (
        inside(namespace.fd),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking,
        suppress(OSError),
    ):
        answer = asking.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, SIZE)
        return int.from_bytes(answer, sys.byteorder)
    return 0
