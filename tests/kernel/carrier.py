"""A link between host and container that a process carries, as it does a virtual machine's.

As a program it makes both ends, of kind tap (frames) or tun (packets), and copies what leaves one
to the other until its standard input ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

TUNSETIFF = 0x400454CA  # linux/if_tun.h
MODES = {"tun": 0x1001, "tap": 0x1002}  # IFF_TUN or IFF_TAP, with IFF_NO_PI
CLONE_NEWNET = 0x40000000
LARGEST_FRAME = 1 << 16


@contextmanager
def carried(mode: str, host: str, netns: str, container: str) -> Iterator[None]:
    """Both ends, which are there for the block: `host` here, `container` in the namespace."""
    command = [sys.executable, "-I", __file__, mode, host, netns, container]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        try:
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.stdin.close()
            process.wait(timeout=30)


def end_of_link(mode: str, name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), MODES[mode]))
    return fd


def enter(netns: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(os.open(netns, os.O_RDONLY), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"could not enter {netns}")


def carry(one: int, other: int) -> None:
    towards = {one: other, other: one}
    while True:
        readable, _, _ = select.select([sys.stdin, *towards], [], [])
        if sys.stdin in readable:
            return
        for end in readable:
            with suppress(OSError):  # an end that is down
                os.write(towards[end], os.read(end, LARGEST_FRAME))


if __name__ == "__main__":
    mode, host, netns, container = sys.argv[1:]
    first = end_of_link(mode, host)
    enter(netns)
    second = end_of_link(mode, container)
    os.write(sys.stdout.fileno(), b"ready\n")
    carry(first, second)
