"""A kernel in memory: links, addresses, routes and sysctls, which fail when told to."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cnicore import masquerade
from cnicore.net.address import LinkAddress
from cnicore.net.link import Link, LinkNotFound
from cnicore.net.namespace import Namespace, opener
from cnicore.net.netlink import KernelError
from cnicore.net.route import RT_TABLE_MAIN, KernelRoute
from cnicore.net.switch import NetnsGone
from cnicore.result import Address, Cidr, Route
from cnicore.testing.fake_device import FakeDevices
from cnicore.testing.fake_firewall import FakeFirewall
from cnicore.testing.fake_link_settings import FakeLinkSettings
from cnicore.testing.fake_qdiscs import FakeQdiscs
from cnicore.testing.fake_rules import FakeRules
from cnicore.testing.fake_sublinks import FakeSublinks
from cnicore.testing.fake_traffic import FakeTraffic
from cnicore.testing.fake_tuntap import FakeTaps


class FakeKernel:
    """Namespaces by path ("" is the host); `calls` is everything that was asked of them.

    `fail_at` makes the call of that number (from 1) fail with EIO, before it has any effect.
    """

    def __init__(self) -> None:
        self.namespaces = {"": FakeNamespace(self, "")}
        self.firewall = FakeFirewall(self)
        self.calls: list[tuple[Any, ...]] = []
        self.fail_at = 0
        self._indexes = 0

    def add_namespace(self, path: str) -> FakeNamespace:
        self.namespaces[path] = FakeNamespace(self, path)
        return self.namespaces[path]

    def open(self, path: str = "") -> FakeNamespace:
        """What `cnicore.net.namespace.opener` wants."""
        self.note(path, "open")
        if path not in self.namespaces:
            raise NetnsGone(f'failed to open netns "{path}": No such file or directory')
        return self.namespaces[path]

    @contextmanager
    def in_place(self) -> Iterator[FakeKernel]:
        """Let every handle that is opened in the block be this kernel's, and the firewall."""
        token = opener.set(self.open)
        firewall_token = masquerade.loader.set(lambda _: self.firewall)
        try:
            yield self
        finally:
            masquerade.loader.reset(firewall_token)
            opener.reset(token)

    def note(self, *call: Any) -> None:
        self.calls.append(call)
        if len(self.calls) == self.fail_at:
            raise KernelError(" ".join(map(str, call)), errno.EIO)

    def next_index(self) -> int:
        self._indexes += 1
        return self._indexes

    def snapshot(self) -> dict[str, Any]:
        """Everything that is there and that an ADD which failed must not leave changed."""
        state: dict[str, Any] = {
            path: namespace.snapshot() for path, namespace in self.namespaces.items()
        }
        state[""]["masqueraded"] = dict(self.firewall.masqueraded)
        return state


class FakeNamespace(
    FakeSublinks,
    FakeLinkSettings,
    FakeTaps,
    FakeDevices,
    FakeRules,
    FakeQdiscs,
    FakeTraffic,
    Namespace,
):
    """A handle on one namespace of a FakeKernel; parts of it are in modules beside this one."""

    def __init__(self, kernel: FakeKernel, path: str) -> None:
        self.kernel = kernel
        self.path = path
        self.fd = None
        self.by_name: dict[str, Link] = {}
        self.cidrs: dict[str, list[Cidr]] = {}
        self.table: list[KernelRoute] = []
        self.sysctls: dict[str, str] = {}
        self.vlans: dict[str, list[int]] = {}
        self.peers: dict[str, tuple[FakeNamespace, str]] = {}
        self.init_traffic()

    def close(self) -> None:
        pass

    def snapshot(self) -> dict[str, Any]:
        return {
            "links": dict(self.by_name),
            "addresses": {name: list(cidrs) for name, cidrs in self.cidrs.items() if cidrs},
            "routes": list(self.table),
            **self.snapshot_rules(),
            **self.snapshot_qdiscs(),
            **self.snapshot_devices(),
        }

    def note(self, *call: Any) -> None:
        self.kernel.note(self.path, *call)

    def change(self, name: str, **changes: Any) -> None:
        self.by_name[name] = replace(self.link(name), **changes)

    def _add_link(self, link: Link) -> None:
        if link.name in self.by_name:
            raise KernelError(f"create {link.name}", errno.EEXIST)
        self.by_name[link.name] = replace(link, index=self.kernel.next_index(), operstate="up")

    # --- links

    def find_link(self, name: str) -> Link | None:
        self.note("find_link", name)
        return self.by_name.get(name)

    def find_link_by_index(self, index: int) -> Link | None:
        self.note("find_link_by_index", index)
        return next((link for link in self.by_name.values() if link.index == index), None)

    def link(self, name: str) -> Link:
        if name not in self.by_name:
            raise LinkNotFound(f'Link not found: there is no interface "{name}"')
        return self.by_name[name]

    def links(self) -> list[Link]:
        self.note("links")
        return list(self.by_name.values())

    def add_bridge(
        self, name: str, *, mac: str = "", mtu: int = 0, vlan_filtering: bool = False
    ) -> bool:
        self.note("add_bridge", name, mtu, vlan_filtering)
        is_new = name not in self.by_name
        if is_new:
            mac = mac or "02:00:00:00:00:b0"
            self._add_link(Link(0, name, "bridge", mac, mtu or 1500, filters_vlans=vlan_filtering))
        return is_new

    def add_veth(
        self,
        name: str,
        *,
        peer: str,
        peer_in: Namespace,
        mtu: int = 0,
        peer_mac: str = "",
        master: str = "",
    ) -> None:
        self.note("add_veth", name, peer, mtu, peer_mac, master)
        assert isinstance(peer_in, FakeNamespace)
        master_index = self.link(master).index if master else 0
        if name in self.by_name or peer in peer_in.by_name:
            raise KernelError(f"create {name} and {peer}", errno.EEXIST)
        self._add_link(Link(0, name, "veth", "02:00:00:00:00:01", mtu or 1500, master=master_index))
        peer_in._add_link(Link(0, peer, "veth", peer_mac or "02:00:00:00:00:02", mtu or 1500))
        self.change(name, peer=peer_in.link(peer).index)
        peer_in.change(peer, peer=self.link(name).index)
        self.peers[name], peer_in.peers[peer] = (peer_in, peer), (self, name)

    def delete_link(self, name: str) -> None:
        self.note("delete_link", name)
        if name not in self.by_name:
            return
        other, other_name = self.peers.get(name, (self, name))
        for namespace, link in ((self, name), (other, other_name)):
            namespace._forget(link)

    def _forget(self, name: str) -> None:
        link = self.by_name.pop(name, None)
        self.peers.pop(name, None)
        self.cidrs.pop(name, None)
        self.table = [route for route in self.table if link is None or route.link != link.index]

    def set_up(self, name: str) -> None:
        self.note("set_up", name)
        self.change(name, is_up=True)

    def set_down(self, name: str) -> None:
        self.note("set_down", name)
        self.change(name, is_up=False)

    def set_promiscuous(self, name: str) -> None:
        self.note("set_promiscuous", name)
        self.change(name, promiscuity=1)

    def set_mac(self, name: str, mac: str) -> None:
        self.note("set_mac", name, mac)
        self.change(name, mac=mac)

    def set_alias(self, name: str, alias: str) -> None:
        self.note("set_alias", name, alias)
        self.change(name, alias=alias)

    def set_master(self, name: str, master: str) -> None:
        self.note("set_master", name, master)
        self.change(name, master=self.link(master).index)

    def set_bridge_port(self, name: str, *, hairpin: bool, isolated: bool) -> None:
        self.note("set_bridge_port", name, hairpin, isolated)
        self.change(name, hairpin=hairpin, isolated=isolated)

    def port_vlans(self, name: str) -> list[int]:
        self.note("port_vlans", name)
        return list(self.vlans.setdefault(name, [1]))

    def add_port_vlan(self, name: str, vid: int, *, untagged: bool = False) -> None:
        self.note("add_port_vlan", name, vid, untagged)
        if vid not in self.vlans.setdefault(name, [1]):
            self.vlans[name].append(vid)

    def delete_port_vlan(self, name: str, vid: int) -> None:
        self.note("delete_port_vlan", name, vid)
        self.vlans[name] = [one for one in self.vlans.get(name, [1]) if one != vid]

    # --- addresses

    def addresses(self, name: str) -> list[LinkAddress]:
        self.note("addresses", name)
        return [LinkAddress(cidr) for cidr in self.cidrs.get(self.link(name).name, [])]

    def add_address(self, name: str, address: Cidr, *, detect_duplicates: bool = True) -> None:
        self.note("add_address", name, str(address), detect_duplicates)
        cidrs = self.cidrs.setdefault(self.link(name).name, [])
        if address not in cidrs:
            cidrs.append(address)
            self._route(name, Route(address))

    def delete_address(self, name: str, address: Cidr) -> None:
        self.note("delete_address", name, str(address))
        self.cidrs[name] = [cidr for cidr in self.cidrs.get(name, []) if cidr != address]
        index = self.link(name).index
        self.table = [route for route in self.table if (route.link, route.dst) != (index, address)]

    def wait_until_settled(self, name: str, wanted: Collection[Cidr]) -> None:
        self.note("wait_until_settled", name, [str(cidr) for cidr in wanted])

    # --- routes

    def routes(self) -> list[KernelRoute]:
        self.note("routes")
        return list(self.table)

    def add_route(self, name: str, route: Route, *, src: Address | None = None) -> None:
        self.note("add_route", name, str(route.dst), str(route.gw or ""), str(src or ""))
        self._route(name, route, src)

    def _route(self, name: str, route: Route, src: Address | None = None) -> None:
        gateways = (route.gw,) if route.gw else ()
        known = KernelRoute(
            route.dst,
            route.table or RT_TABLE_MAIN,
            self.link(name).index,
            gateways,
            route.priority,
            route.scope or 0,
            src=src,
        )
        if known not in self.table:
            self.table.append(known)

    def delete_route(self, name: str, dst: Cidr) -> None:
        self.note("delete_route", name, str(dst))
        index = self.link(name).index
        self.table = [
            route for route in self.table if (route.link, route.dst.network) != (index, dst.network)
        ]

    # --- sysctls

    def read_sysctl(self, key: str) -> str | None:
        self.note("read_sysctl", key)
        return self.sysctls.get(key, "0")

    def write_sysctl(self, key: str, value: str) -> None:
        self.note("write_sysctl", key, value)
        self.sysctls[key] = value
