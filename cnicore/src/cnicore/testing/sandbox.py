"""A network and mount namespace for one test: whatever it does there is gone afterwards."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
PRIVATE_DIRECTORIES = ("/run", "/var/lib/cni")


class Sandbox:
    """The host of a test, which is a fresh namespace, and the containers that the test makes."""

    def container(self, name: str = "c1") -> str:
        """A new network namespace; returns its path."""
        self.shell(f"ip netns add {name}")
        return f"/run/netns/{name}"

    def remove_container(self, name: str = "c1") -> None:
        self.shell(f"ip netns delete {name}")

    def shell(self, command: str, netns: str = "") -> str:
        """The stdout of a shell command, inside the container whose path or name is given.

        Raises AssertionError with stderr if it fails.
        """
        prefix = ["ip", "netns", "exec", Path(netns).name] if netns else []
        done = subprocess.run(
            [*prefix, "sh", "-c", command], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{command}: {done.stderr or done.stdout}"
        return done.stdout

    def json(self, command: str, netns: str = "") -> Any:
        """What a command such as `ip -json addr` prints."""
        return json.loads(self.shell(command, netns) or "[]")

    def outside(self, address: str = "203.0.113.2/24", gateway: str = "203.0.113.1/24") -> str:
        """A host beyond this one, reached through a veth: the world that masquerading hides from.

        It has no route back to any container. Returns its namespace's path.
        """
        path = self.container("outside")
        self.shell("ip link add uplink type veth peer name eth0 netns outside")
        self.shell(f"ip addr add {gateway} dev uplink nodad && ip link set uplink up")
        self.shell(
            f"ip link set lo up; ip addr add {address} dev eth0 nodad; ip link set eth0 up", path
        )
        return path


@contextmanager
def sandboxed() -> Iterator[Sandbox]:
    """Move this process into fresh namespaces for the block; needs root and a single thread.

    /run and /var/lib/cni are empty and private, and lo is up. Only a directory that exists can be
    hidden, so on a machine without /var/lib/cni an empty one stays behind.
    """
    home = Path.cwd()
    net, mount = (os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("net", "mnt"))
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _call(libc.unshare, CLONE_NEWNS | CLONE_NEWNET)
        _make_private(libc)
        yield Sandbox()
    finally:
        _call(libc.setns, net, CLONE_NEWNET)
        _call(libc.setns, mount, CLONE_NEWNS)
        os.close(net)
        os.close(mount)
        os.chdir(home)


def _make_private(libc: ctypes.CDLL) -> None:
    _call(libc.mount, b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    for directory in PRIVATE_DIRECTORIES:
        Path(directory).mkdir(parents=True, exist_ok=True)
        _call(libc.mount, b"tmpfs", directory.encode(), b"tmpfs", 0, None)
    Path("/run/netns").mkdir()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _call(function: Any, *args: Any) -> None:
    if function(*args):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
