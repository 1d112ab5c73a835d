"""A container whose interface has a kernel in memory, and what its leases are kept by."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

from cni_ipam.dhcp.interface import looker
from cni_ipam.dhcp.records import Records
from cni_ipam.dhcp.terms import Patience, Place
from cnicore.net.namespace import opener
from cnicore.owner import Owner
from cnicore.testing.fake_kernel import FakeKernel

OWNER = Owner("mynet", "c1", "eth0")
PATIENCE = Patience()
REAL = (
    "/proc/self/ns/net"  # something that can be opened as a namespace, and whose path is not this
)
MAC = "02:00:00:00:00:02"


class Scene:
    """`path` is the namespace's: it ends when that is removed. eth0 is a port's other end of br0."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "netns"
        self.path.symlink_to(REAL)
        self.records = Records(str(directory / "leases"))
        self.kernel = FakeKernel()
        self.host = self.kernel.namespaces[""]
        self.container = self.kernel.add_namespace(str(self.path))
        self.host.add_bridge("br0")
        self.host.add_veth("veth0", peer="eth0", peer_in=self.container, peer_mac=MAC, master="br0")

    def open(self, path: str = ""):
        """What `opener` wants: every descriptor is the container's."""
        return self.kernel.open(str(self.path) if path.startswith("/proc/") else path)

    def place(self) -> Place:
        status = self.path.stat()
        return Place(
            str(self.path),
            status.st_dev,
            status.st_ino,
            "eth0",
            bytes.fromhex(MAC.replace(":", "")),
            ("br0",),
        )

    def descriptor(self) -> int:
        return os.open(self.path, os.O_RDONLY)

    def addresses(self) -> list[str]:
        return [str(cidr) for cidr in self.container.cidrs.get("eth0", [])]


@contextmanager
def in_place(scene: Scene):
    token = opener.set(scene.open)
    looking = looker.set(lambda _, ifname: ifname in scene.container.by_name)
    try:
        yield scene
    finally:
        looker.reset(looking)
        opener.reset(token)
