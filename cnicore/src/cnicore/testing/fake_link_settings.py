"""The part of the kernel in memory that is about settings of links and about VRFs."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cnicore.net.link import Link
from cnicore.net.netlink import KernelError
from cnicore.net.route import RT_TABLE_MAIN, KernelRoute
from cnicore.result import Cidr


class FakeLinkSettings:
    """Settings of the links of a FakeNamespace; VRFs need "vrf" in `parts`."""

    by_name: dict[str, Link]
    cidrs: dict[str, list[Cidr]]
    table: list[KernelRoute]
    sysctls: dict[str, str]
    parts: frozenset[str]

    def note(self, *call: Any) -> None:
        raise NotImplementedError

    def change(self, name: str, **changes: Any) -> None:
        raise NotImplementedError

    def link(self, name: str) -> Link:
        raise NotImplementedError

    def _add_link(self, link: Link) -> None:
        raise NotImplementedError

    def rename(self, name: str, new: str) -> None:
        self.note("rename", name, new)
        if new in self.by_name:
            raise KernelError(f"rename {name} to {new}", errno.EEXIST)
        self.by_name[new] = replace(self.by_name.pop(name), name=new)
        self.cidrs[new] = self.cidrs.pop(name, [])

    @contextmanager
    def bridges_locked(self) -> Iterator[None]:
        yield

    def set_mtu(self, name: str, mtu: int) -> None:
        self.note("set_mtu", name, mtu)
        self.change(name, mtu=mtu)

    def set_queue_length(self, name: str, packets: int) -> None:
        self.note("set_queue_length", name, packets)
        self.change(name, queue_length=packets)

    def set_promiscuity(self, name: str, *, on: bool) -> None:
        self.note("set_promiscuity", name, on)
        count = self.link(name).promiscuity + int(on) - int(self.link(name).is_promiscuous)
        self.change(name, is_promiscuous=on, promiscuity=count)

    def set_all_multicast(self, name: str, *, on: bool) -> None:
        self.note("set_all_multicast", name, on)
        self.change(name, takes_all_multicast=on)

    # --- VRFs

    def add_vrf(self, name: str, table: int) -> None:
        self.note("add_vrf", name, table)
        if "vrf" not in self.parts:
            raise KernelError(f"create the VRF {name} with table {table}", errno.EOPNOTSUPP)
        self._add_link(Link(0, name, "vrf", "02:00:00:00:00:f0", 65575, is_up=True, table=table))

    def join(self, name: str, vrf: Link) -> None:
        self.note("join", name, vrf.name)
        self.change(name, master=vrf.index)
        self._go_down_and_up(name, vrf.table)

    def release(self, name: str) -> None:
        self.note("release", name)
        self.change(name, master=0)
        self._go_down_and_up(name, RT_TABLE_MAIN)

    def _go_down_and_up(self, name: str, table: int) -> None:
        """A link that changes its VRF keeps IPv4 addresses; IPv6 ones if it was told to."""
        if self.sysctls.get(f"net/ipv6/conf/{name}/keep_addr_on_down", "0") == "0":
            old = self.cidrs.get(name, [])
            self.cidrs[name] = [cidr for cidr in old if cidr.version == 4]  # noqa: PLR2004  (the IP version)
        index = self.link(name).index
        self.table = [route for route in self.table if route.link != index]
        self.table += [KernelRoute(cidr, table, index) for cidr in self.cidrs.get(name, [])]
