"""Settings of a link that tuning changes and puts back, and the VRF that a link is a member of."""

from __future__ import annotations

from typing import Any

from cnicore.net.link import (
    IFF_ALLMULTI,
    IFF_PROMISC,
    IFF_UP,
    RTM_NEWLINK,
    RTM_SETLINK,
    Link,
    link_info,
)
from cnicore.net.messages import ifinfmsg
from cnicore.net.netlink import NLM_F_CREATE, NLM_F_EXCL, Netlink

VRF = "vrf"


class LinkSettings:
    """The part of a namespace handle that sets what a link has. Every method raises KernelError."""

    netlink: Netlink

    def _set(self, act: str, name: str, attributes: list[Any]) -> None:
        raise NotImplementedError

    def _set_flags(self, act: str, name: str, flags: int, mask: int) -> None:
        raise NotImplementedError

    def link(self, name: str) -> Link:
        raise NotImplementedError

    def rename(self, name: str, new: str) -> None:
        """Rename a link, which must be down on kernels before 6.2; takes the kernel some 20 ms."""
        message = ifinfmsg()
        message["index"] = self.link(name).index
        message["attrs"] = [("IFLA_IFNAME", new)]
        self.netlink.change(f"rename {name} to {new}", RTM_SETLINK, message)

    def set_mtu(self, name: str, mtu: int) -> None:
        self._set(f"set the MTU of {name} to {mtu}", name, [("IFLA_MTU", mtu)])

    def set_queue_length(self, name: str, packets: int) -> None:
        act = f"set the transmit queue length of {name} to {packets}"
        self._set(act, name, [("IFLA_TXQLEN", packets)])

    def set_promiscuity(self, name: str, *, on: bool) -> None:
        """Let the link take packets for other hosts, or no longer because of this setting."""
        self._set_flag(f"promiscuous mode of {name}", name, IFF_PROMISC, on=on)

    def set_all_multicast(self, name: str, *, on: bool) -> None:
        """Let the link take every multicast packet, or no longer because of this setting."""
        self._set_flag(f"all-multicast mode of {name}", name, IFF_ALLMULTI, on=on)

    def add_vrf(self, name: str, table: int) -> None:
        """Create a VRF that routes by the table, up."""
        message = ifinfmsg()
        message["flags"] = message["change"] = IFF_UP
        message["attrs"] = [("IFLA_IFNAME", name), link_info(VRF, [("IFLA_VRF_TABLE", table)])]
        act = f"create the VRF {name} with table {table}"
        self.netlink.change(act, RTM_NEWLINK, message, NLM_F_CREATE | NLM_F_EXCL)

    def join(self, name: str, vrf: Link) -> None:
        """Make the link a member of the VRF; its routes in the main table are lost."""
        self._set(f"make {name} a member of {vrf.name}", name, [("IFLA_MASTER", vrf.index)])

    def release(self, name: str) -> None:
        """Take the link from its master; a VRF's member loses its routes in the VRF's table."""
        self._set(f"take {name} from its master", name, [("IFLA_MASTER", 0)])

    def _set_flag(self, what: str, name: str, flag: int, *, on: bool) -> None:
        self._set_flags(f"switch {what} {'on' if on else 'off'}", name, flag if on else 0, flag)
