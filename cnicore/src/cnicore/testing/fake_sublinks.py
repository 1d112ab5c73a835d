"""The part of the kernel in memory that is about links on others, and about dummies."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from cnicore.net.link import Link
from cnicore.net.namespace import Namespace
from cnicore.net.netlink import KernelError
from cnicore.net.sublink import Macvlan


class FakeSublinks:
    """Links that a FakeNamespace makes on its own ones, in whatever namespace."""

    by_name: dict[str, Link]
    note: Callable[..., None]

    def _add_link(self, link: Link) -> None:
        raise NotImplementedError

    def add_macvlan(self, name: str, parent: Link, into: Namespace, macvlan: Macvlan) -> None:
        self.note("add_macvlan", name, parent.name, into.path, macvlan)
        mac = macvlan.mac or "02:00:00:00:00:03"
        self._add_on(parent, into, name, "macvlan", mac=mac, mtu=macvlan.mtu, mode=macvlan.mode)

    def add_ipvlan(
        self, name: str, parent: Link, into: Namespace, *, mode: str, mtu: int = 0
    ) -> None:
        self.note("add_ipvlan", name, parent.name, into.path, mode, mtu)
        self._add_on(parent, into, name, "ipvlan", mac=parent.mac, mtu=mtu, mode=mode)

    def add_vlan(
        self, name: str, parent: Link, into: Namespace, *, vlan_id: int, mtu: int = 0
    ) -> None:
        self.note("add_vlan", name, parent.name, into.path, vlan_id, mtu)
        self._add_on(parent, into, name, "vlan", mac=parent.mac, mtu=mtu, vlan=vlan_id)

    def add_dummy(self, name: str) -> None:
        self.note("add_dummy", name)
        self._add_link(Link(0, name, "dummy", "02:00:00:00:00:04", 1500))

    def _add_on(
        self, parent: Link, into: Namespace, name: str, kind: str, *, mtu: int, **keys: Any
    ) -> None:
        assert isinstance(into, FakeSublinks)
        if self.by_name.get(parent.name) != parent:
            raise KernelError(f"create {name} on {parent.name}", errno.ENODEV)
        # as the kernel does: on a link of the same kind it becomes a sibling, unless tags stack
        is_sibling = parent.kind == kind != "vlan"
        peer = parent.peer if is_sibling else parent.index
        into._add_link(Link(0, name, kind, mtu=mtu or parent.mtu, peer=peer, **keys))
