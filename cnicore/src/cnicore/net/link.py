"""Links of one namespace: look up, create, change, delete."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnicore.errors import CniError
from cnicore.net.messages import ifinfmsg
from cnicore.net.netlink import NLM_F_CREATE, NLM_F_EXCL, KernelError, Netlink, is_absent, tolerate

if TYPE_CHECKING:
    from cnicore.net.namespace import Namespace

# linux/rtnetlink.h, linux/if.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
IFF_UP, IFF_PROMISC, IFF_ALLMULTI = 0x1, 0x100, 0x200
RTEXT_FILTER_BRVLAN = 2
LONGEST_NAME = 15  # bytes; alternative names may be longer
IPVLAN_MODES = ("l2", "l3", "l3s")  # linux/if_link.h, by number
BRIDGE_VLAN_PVID, BRIDGE_VLAN_UNTAGGED = 0x2, 0x4  # linux/if_bridge.h


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel describes it; indexes are of its own namespace, 0 for none.

    `promiscuity` counts everything that asked for it, `is_promiscuous` and `takes_all_multicast`
    are what was set by hand. `filters_vlans` is a bridge's, `hairpin` and `isolated` are those of a
    bridge's port, `table` is a VRF's, `mode` a macvlan's or ipvlan's, `vlan` a VLAN's id. `peer` is
    the other end or what the link stands on, in the link's own namespace if `peer_is_here`.
    """

    index: int
    name: str
    kind: str = ""
    mac: str = ""
    mtu: int = 0
    is_up: bool = False
    operstate: str = ""
    master: int = 0
    peer: int = 0
    alias: str = ""
    promiscuity: int = 0
    filters_vlans: bool = False
    hairpin: bool = False
    isolated: bool = False
    is_promiscuous: bool = False
    takes_all_multicast: bool = False
    queue_length: int = 0
    table: int = 0
    mode: str = ""
    vlan: int = 0
    peer_is_here: bool = False


class LinkNotFound(CniError):
    """There is no link of that name."""


class Links:
    """The part of a namespace handle that is about links. Every method raises KernelError."""

    netlink: Netlink
    fd: int | None

    def find_link(self, name: str) -> Link | None:
        """The link of that name, which may be an alternative one, or None."""
        message = _message(name)
        if len(name.encode(errors="replace")) > LONGEST_NAME:
            message["attrs"] = [("IFLA_ALT_IFNAME", name)]
        return self._find(f"look up {name}", message)

    def find_link_by_index(self, index: int) -> Link | None:
        return self._find(f"look up link {index}", _message(index=index))

    def link(self, name: str) -> Link:
        """The link of that name. Raises LinkNotFound."""
        link = self.find_link(name)
        if link is None:
            raise LinkNotFound(f'Link not found: there is no interface "{name}"')
        return link

    def links(self) -> list[Link]:
        """Every link of the namespace."""
        return [
            decode_link(message)
            for message in self.netlink.dump("list links", RTM_GETLINK, ifinfmsg())
        ]

    def add_bridge(
        self, name: str, *, mac: str = "", mtu: int = 0, vlan_filtering: bool = False
    ) -> bool:
        """Create a bridge; whether there was none: an existing link of that name is left alone.

        A bridge with a MAC address of its own keeps it; others take that of one of their ports.
        """
        data = [("IFLA_BR_VLAN_FILTERING", 1)] if vlan_filtering else []
        attributes = [*mtu_if_set(mtu), link_info("bridge", data)]
        if mac:
            attributes.append(("IFLA_ADDRESS", mac))
        with tolerate(errno.EEXIST):
            what = "VLAN-filtering bridge" if vlan_filtering else "bridge"
            self._create(f"create {what} {name}", _message(name, attributes))
            return True
        return False

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
        """Create a veth pair whose peer is at once in the other namespace, under its final name.

        In place it takes under a millisecond; moving an end later takes twenty.
        """
        remote = [("IFLA_IFNAME", peer), *mtu_if_set(mtu)]
        if peer_mac:
            remote.append(("IFLA_ADDRESS", peer_mac))
        if peer_in.fd is not None:
            remote.append(("IFLA_NET_NS_FD", peer_in.fd))
        attributes = [
            *mtu_if_set(mtu),
            link_info("veth", [("VETH_INFO_PEER", {"index": 0, "attrs": remote})]),
        ]
        if master:
            attributes.append(("IFLA_MASTER", self.link(master).index))
        self._create(f"create the veth pair {name} and {peer}", _message(name, attributes))

    def add_ifb(self, name: str, *, mtu: int) -> None:
        """Create an intermediate device, up and without a queue of its own: it gets a qdisc."""
        message = _message(name, [*mtu_if_set(mtu), ("IFLA_TXQLEN", 0), link_info("ifb")])
        message["flags"] = message["change"] = IFF_UP
        self._create(f"create the ifb {name}", message)

    def can_make(self, kind: str) -> bool:
        """Whether the kernel has links of that kind, asked for one that cannot be named so."""
        try:
            self._create(f"try the kind {kind}", _message("/", [link_info(kind)]))
        except KernelError as error:
            return error.errno != errno.EOPNOTSUPP
        return True

    def delete_link(self, name: str) -> None:
        """Delete a link, with a veth's other end; absent is as wished."""
        with tolerate(errno.ENODEV):
            self.netlink.change(f"delete {name}", RTM_DELLINK, _message(name))

    def set_up(self, name: str) -> None:
        self._set_flags(f"set {name} up", name, IFF_UP, IFF_UP)

    def set_down(self, name: str) -> None:
        self._set_flags(f"set {name} down", name, 0, IFF_UP)

    def set_promiscuous(self, name: str) -> None:
        self._set_flags(f"make {name} promiscuous", name, IFF_PROMISC, IFF_PROMISC)

    def set_mac(self, name: str, mac: str) -> None:
        self._set(f"set the MAC address of {name} to {mac}", name, [("IFLA_ADDRESS", mac)])

    def set_alias(self, name: str, alias: str) -> None:
        """Write the link's alias, up to 255 bytes of text that the kernel only keeps."""
        self._set(f'set the alias of {name} to "{alias}"', name, [("IFLA_IFALIAS", alias)])

    def set_master(self, name: str, master: str) -> None:
        """Make the link a port of the bridge."""
        index = self.link(master).index
        self._set(f"connect {name} to {master}", name, [("IFLA_MASTER", index)])

    def set_bridge_port(self, name: str, *, hairpin: bool, isolated: bool) -> None:
        """Write two flags of a port: reflect packets; keep away from other isolated ports."""
        port = [("IFLA_BRPORT_MODE", int(hairpin)), ("IFLA_BRPORT_ISOLATED", int(isolated))]
        info = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": port})]
        message = _message(name, [("IFLA_LINKINFO", {"attrs": info})])
        # NEWLINK without "create" changes; SETLINK ignores what a port has
        self.netlink.change(f"set the bridge port flags of {name}", RTM_NEWLINK, message)

    def port_vlans(self, name: str) -> list[int]:
        """The VLANs of a bridge port; none where the kernel does not filter VLANs."""
        request = _message(attributes=[("IFLA_EXT_MASK", RTEXT_FILTER_BRVLAN)])
        request["family"] = socket.AF_BRIDGE
        index = self.link(name).index
        ports = self.netlink.dump(f"list the VLANs of {name}", RTM_GETLINK, request)
        return [vid for port in ports if port["index"] == index for vid in _vlans(port)]

    def add_port_vlan(self, name: str, vid: int, *, untagged: bool = False) -> None:
        """Admit a VLAN on a bridge port; untagged makes it the port's own (PVID)."""
        flags = BRIDGE_VLAN_PVID | BRIDGE_VLAN_UNTAGGED if untagged else 0
        self._change_port_vlan(f"add VLAN {vid} to {name}", RTM_SETLINK, name, vid, flags)

    def delete_port_vlan(self, name: str, vid: int) -> None:
        """Take a bridge port out of a VLAN; absent is as wished."""
        with tolerate(errno.ENOENT):
            self._change_port_vlan(f"remove VLAN {vid} from {name}", RTM_DELLINK, name, vid, 0)

    def _change_port_vlan(self, act: str, kind: int, name: str, vid: int, flags: int) -> None:
        info = ("IFLA_BRIDGE_VLAN_INFO", {"flags": flags, "vid": vid})
        message = _message(
            attributes=[("IFLA_AF_SPEC", {"attrs": [info]})], index=self.link(name).index
        )
        message["family"] = socket.AF_BRIDGE
        self.netlink.change(act, kind, message)

    def _create(self, act: str, message: Any) -> None:
        self.netlink.change(act, RTM_NEWLINK, message, NLM_F_CREATE | NLM_F_EXCL)

    def _set(self, act: str, name: str, attributes: list[Any]) -> None:
        self.netlink.change(act, RTM_SETLINK, _message(name, attributes))

    def _set_flags(self, act: str, name: str, flags: int, mask: int) -> None:
        message = _message(name)
        message["flags"], message["change"] = flags, mask
        self.netlink.change(act, RTM_SETLINK, message)

    def _find(self, act: str, message: Any) -> Link | None:
        try:
            return decode_link(self.netlink.get(act, RTM_GETLINK, message))
        except KernelError as error:
            if is_absent(error):
                return None
            raise


def _message(name: str = "", attributes: list[Any] | None = None, index: int = 0) -> Any:
    message = ifinfmsg()
    message["index"] = index
    message["attrs"] = [("IFLA_IFNAME", name)] if name else []
    message["attrs"] += attributes or []
    return message


def link_info(kind: str, data: Sequence[tuple[str, Any]] = ()) -> tuple[str, Any]:
    """The attribute that says of what kind a new link is, with what its driver is told."""
    info: list[Any] = [("IFLA_INFO_KIND", kind)]
    if data:
        info.append(("IFLA_INFO_DATA", {"attrs": list(data)}))
    return "IFLA_LINKINFO", {"attrs": info}


def mtu_if_set(mtu: int) -> list[tuple[str, int]]:
    """The attribute for an MTU; none for 0, the kernel's own."""
    return [("IFLA_MTU", mtu)] if mtu > 0 else []


def _vlans(port: Any) -> list[int]:
    spec = port.get_attr("IFLA_AF_SPEC")
    return [info["vid"] for info in spec.get_attrs("IFLA_BRIDGE_VLAN_INFO")] if spec else []


def _details(info: Any, part: str) -> Callable[[str], Any]:
    """Reads what a link's driver tells; other drivers tell nothing of that name."""
    details = info.get_attr(part) if info else None
    # absent, or of a driver whose details stay bytes
    return getattr(details, "get_attr", lambda _: None)


def _text(message: Any, name: str) -> str:
    """An attribute's text. Anybody may have named a link with bytes that are none."""
    value = message.get_attr(name) or ""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def decode_link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    own, port = _details(info, "IFLA_INFO_DATA"), _details(info, "IFLA_INFO_SLAVE_DATA")
    return Link(
        index=message["index"],
        name=_text(message, "IFLA_IFNAME"),
        kind=(info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        is_up=bool(message["flags"] & IFF_UP),
        operstate=(message.get_attr("IFLA_OPERSTATE") or "").lower(),
        master=message.get_attr("IFLA_MASTER") or 0,
        peer=message.get_attr("IFLA_LINK") or 0,
        alias=_text(message, "IFLA_IFALIAS"),
        promiscuity=message.get_attr("IFLA_PROMISCUITY") or 0,
        filters_vlans=bool(own("IFLA_BR_VLAN_FILTERING")),
        hairpin=bool(port("IFLA_BRPORT_MODE")),
        isolated=bool(port("IFLA_BRPORT_ISOLATED")),
        is_promiscuous=bool(message["flags"] & IFF_PROMISC),
        takes_all_multicast=bool(message["flags"] & IFF_ALLMULTI),
        queue_length=message.get_attr("IFLA_TXQLEN") or 0,
        table=own("IFLA_VRF_TABLE") or 0,
        mode=own("IFLA_MACVLAN_MODE")
        or dict(enumerate(IPVLAN_MODES)).get(own("IFLA_IPVLAN_MODE"), ""),
        vlan=own("IFLA_VLAN_ID") or 0,
        peer_is_here=bool(message.get_attr("IFLA_LINK"))
        and message.get_attr("IFLA_LINK_NETNSID") is None,
    )
