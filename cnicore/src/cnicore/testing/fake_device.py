"""The part of the kernel in memory that moves devices."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cnicore.net.device import Belongings, Device
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace
from cnicore.net.netlink import KernelError
from cnicore.net.route import KernelRoute
from cnicore.result import Cidr
from cnicore.testing.fake_rules import exact

if TYPE_CHECKING:
    from cnicore.testing.fake_kernel import FakeKernel


@dataclass(frozen=True, slots=True)
class FakeBelongings(Belongings):
    """The addresses and routes of a link of a FakeNamespace."""

    cidrs: tuple[Cidr, ...] = ()
    through: tuple[KernelRoute, ...] = ()


class FakeDevices:
    """Devices that move between FakeNamespaces; `has_altnames`: links may have other names."""

    by_name: dict[str, Link]
    cidrs: dict[str, list[Cidr]]
    table: list[KernelRoute]
    kernel: FakeKernel
    path: str
    has_altnames = True

    @property
    def altnames(self) -> dict[int, list[str]]:
        """The other names of each link, by its index, in all namespaces."""
        names: dict[int, list[str]] = vars(self.kernel).setdefault("_altnames", {})
        return names

    @property
    def parents(self) -> dict[int, str]:
        """What each link is a function of, by its index, in all namespaces."""
        parents: dict[int, str] = vars(self.kernel).setdefault("_parents", {})
        return parents

    def note(self, *call: Any) -> None:
        raise NotImplementedError

    def link(self, name: str) -> Link:
        raise NotImplementedError

    def _add_link(self, link: Link) -> None:
        raise NotImplementedError

    def _forget(self, name: str) -> None:
        raise NotImplementedError

    def snapshot_devices(self) -> dict[str, Any]:
        names = {
            name: list(self.altnames.get(link.index, ())) for name, link in self.by_name.items()
        }
        return {"altnames": {name: found for name, found in names.items() if found}}

    def add_device(self, name: str, parent: str = "", **keys: Any) -> None:
        """A device of hardware, which survives its namespace."""
        mac = f"02:00:00:00:01:{len(self.by_name):02x}"
        self._add_link(Link(0, name, **{"mac": mac, "mtu": 1500, **keys}))
        self.parents[self.link(name).index] = parent

    def devices(self) -> list[Device]:
        self.note("devices")
        return [self._device(link) for link in self.by_name.values()]

    def find_device(self, altname: str) -> Device | None:
        self.note("find_device", altname)
        return next(
            (one for one in map(self._device, self.by_name.values()) if altname in one.altnames),
            None,
        )

    def find_device_by_index(self, index: int) -> Device | None:
        self.note("find_device_by_index", index)
        return next(
            (self._device(one) for one in self.by_name.values() if one.index == index), None
        )

    def add_altname(self, link: Link, altname: str) -> bool:
        self.note("add_altname", link.name, altname)
        if not self.has_altnames:
            return False
        if any(altname in self.altnames.get(one.index, ()) for one in self.by_name.values()):
            raise KernelError(f"give {link.name} the other name {altname}", errno.EEXIST)
        self.altnames.setdefault(link.index, []).append(altname)
        return True

    def delete_altname(self, link: Link, altname: str) -> None:
        self.note("delete_altname", link.name, altname)
        self.altnames[link.index] = [
            name for name in self.altnames.get(link.index, []) if name != altname
        ]

    def move_device(self, link: Link, into: Namespace, name: str) -> None:
        self.note("move_device", link.name, into.path, name)
        assert isinstance(into, FakeDevices)
        if link.name not in self.by_name:
            raise KernelError(f"move {link.name}", errno.ENODEV)
        current = self.by_name[link.name]
        first = name if link.name in into.by_name else link.name
        if first in into.by_name:
            raise KernelError(f"move {link.name} to {into.path} as {name}", errno.EEXIST)
        self._forget(link.name)
        into.by_name[first] = replace(current, name=first, is_up=False, master=0)
        if first != name:
            if name in into.by_name:
                raise KernelError(f"move {link.name} to {into.path} as {name}", errno.EEXIST)
            into.by_name[name] = replace(into.by_name.pop(first), name=name)

    def cookie(self) -> str:
        self.note("cookie")
        return self.path

    @contextmanager
    def moving_devices(self) -> Iterator[None]:
        self.note("moving_devices")
        yield

    def belongings(self, link: Link) -> FakeBelongings:
        self.note("belongings", link.name)
        through = tuple(route for route in self.table if route.link == link.index)
        routes, cidrs = tuple(map(exact, through)), tuple(self.cidrs.get(link.name, ()))
        return FakeBelongings((), routes, cidrs, through)

    def put_addresses(self, link: Link, belongings: Belongings) -> None:
        self.note("put_addresses", link.name)
        assert isinstance(belongings, FakeBelongings)
        self.cidrs[link.name] = list(belongings.cidrs)

    def put_routes(self, link: Link, belongings: Belongings) -> None:
        self.note("put_routes", link.name)
        assert isinstance(belongings, FakeBelongings)
        self.table += belongings.through

    def _device(self, link: Link) -> Device:
        names = tuple(self.altnames.get(link.index, ()))
        return Device(link, names, self.parents.get(link.index, ""))


def end_namespace(kernel: FakeKernel, path: str) -> None:
    """As the kernel ends one: hardware falls back to the host, everything else is gone."""
    container, host = kernel.namespaces.pop(path), kernel.namespaces[""]
    for link in container.by_name.values():
        if not link.kind:
            name = f"dev{link.index}" if link.name in host.by_name else link.name
            host.by_name[name] = replace(link, name=name, is_up=False)
