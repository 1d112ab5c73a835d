"""Links on top of another one (macvlan, ipvlan, vlan), and dummy, which needs none."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnicore.errors import CniError
from cnicore.net.link import IPVLAN_MODES, RTM_NEWLINK, Link, link_info, mtu_if_set
from cnicore.net.messages import ifinfmsg
from cnicore.net.netlink import NLM_F_CREATE, NLM_F_EXCL, KernelError, Netlink

if TYPE_CHECKING:
    from cnicore.net.namespace import Namespace

MODULES = {"vlan": "8021q"}  # the others' modules are called as their kinds
UNKNOWN = "Unknown device type"  # the kernel's words for a kind that it has no driver of
MACVLAN_MODES = ("private", "vepa", "bridge", "passthru")


@dataclass(frozen=True, slots=True)
class Macvlan:
    """What a macvlan is to be; empty and 0 leave the kernel's choice.

    `mode` is one of MACVLAN_MODES, `queue_length` how many broadcasts may wait, in packets.
    """

    mode: str
    mac: str = ""
    mtu: int = 0
    queue_length: int = 0


class Sublinks:
    """The part of a namespace handle that makes links on others. Every method raises KernelError.

    The handle is that of the parent's namespace; the new link is at once `into` the other one.
    """

    netlink: Netlink

    def add_macvlan(self, name: str, parent: Link, into: Namespace, macvlan: Macvlan) -> None:
        data: list[tuple[str, Any]] = [("IFLA_MACVLAN_MODE", macvlan.mode)]
        if macvlan.queue_length:
            import cnicore.net.messages_macvlan  # noqa: F401, PLC0415  (lazy: for one rare key)

            data.append(("IFLA_MACVLAN_BC_QUEUE_LEN", macvlan.queue_length))
        attributes = [*_on(parent, macvlan.mtu), link_info("macvlan", data)]
        if macvlan.mac:
            attributes.append(("IFLA_ADDRESS", macvlan.mac))
        self._add(name, into, attributes, f"the macvlan {name}", parent)

    def add_ipvlan(
        self, name: str, parent: Link, into: Namespace, *, mode: str, mtu: int = 0
    ) -> None:
        """Create an ipvlan in one of IPVLAN_MODES; it has its parent's MAC address."""
        kind = link_info("ipvlan", [("IFLA_IPVLAN_MODE", IPVLAN_MODES.index(mode))])
        self._add(name, into, [*_on(parent, mtu), kind], f"the ipvlan {name}", parent)

    def add_vlan(
        self, name: str, parent: Link, into: Namespace, *, vlan_id: int, mtu: int = 0
    ) -> None:
        """Create the parent's 802.1Q VLAN; there is one link for each id."""
        kind = link_info("vlan", [("IFLA_VLAN_ID", vlan_id)])
        self._add(name, into, [*_on(parent, mtu), kind], f"VLAN {vlan_id} as {name}", parent)

    def add_dummy(self, name: str) -> None:
        """Create a dummy in the handle's own namespace."""
        self._request(f"create the dummy {name}", name, [link_info("dummy")])

    def find_link(self, name: str) -> Link | None:
        raise NotImplementedError

    def _add(
        self, name: str, into: Namespace, attributes: list[Any], what: str, parent: Link
    ) -> None:
        """Under its final name at once: a rename costs some 20 ms."""
        act = f"create {what} on {parent.name}"
        if into.fd is not None:
            attributes = [*attributes, ("IFLA_NET_NS_FD", into.fd)]
        try:
            self._request(act, name, attributes)
        except KernelError as error:
            # kernels before 6.13 look for the name where the parent is, and may find another link
            if error.errno != errno.EEXIST or into.find_link(name) or not self.find_link(name):
                raise
            # a link with an index of its own is looked up by that, not by its name
            self._request(act, name, attributes, index=_index_by_lot())

    def _request(self, act: str, name: str, attributes: list[Any], *, index: int = 0) -> None:
        message = ifinfmsg()
        message["index"] = index
        message["attrs"] = [("IFLA_IFNAME", name), *attributes]
        try:
            self.netlink.change(act, RTM_NEWLINK, message, NLM_F_CREATE | NLM_F_EXCL)
        except KernelError as error:
            if error.details != UNKNOWN:
                raise
            (kind,) = (info["attrs"][0][1] for key, info in attributes if key == "IFLA_LINKINFO")
            raise CniError(f"could not {act}: {missing_driver(kind)}") from error


def _index_by_lot() -> int:
    """An index that no link has: the kernel counts from 1."""
    return 1 << 24 | int.from_bytes(os.urandom(3), "big")


def missing_driver(kind: str) -> str:
    """What to say where the kernel cannot make links of that kind."""
    return f"the kernel has no {kind} links: load its module {MODULES.get(kind, kind)}"


def _on(parent: Link, mtu: int) -> list[tuple[str, Any]]:
    return [("IFLA_LINK", parent.index), *mtu_if_set(mtu)]
