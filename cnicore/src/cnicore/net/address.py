"""Addresses of the links of one namespace, and waiting until IPv6 ones may be used."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Interface, ip_interface
from typing import Any

from cnicore.errors import CniError
from cnicore.net.link import Link
from cnicore.net.messages import ifaddrmsg
from cnicore.net.netlink import NLM_F_CREATE, NLM_F_EXCL, Netlink, tolerate
from cnicore.result import Cidr

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x02, 0x08, 0x40  # linux/if_addr.h
SHORTEST_WITHOUT_BROADCAST = 31
SETTLE_TIMEOUT = 5.0  # seconds; duplicate address detection takes 1 to 2
SETTLE_PAUSE = 0.002


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An address as the kernel has it."""

    cidr: Cidr
    is_tentative: bool = False
    is_duplicate: bool = False


class Addresses:
    """The part of a namespace handle that is about addresses. Every method raises KernelError."""

    netlink: Netlink

    def link(self, name: str) -> Link:
        raise NotImplementedError

    def addresses(self, name: str) -> list[LinkAddress]:
        """Every address of the link, link-local ones included."""
        index = self.link(name).index
        request = ifaddrmsg()
        request["index"] = index
        found = self.netlink.dump(f"list the addresses of {name}", RTM_GETADDR, request)
        return [_decode(message) for message in found if message["index"] == index]

    def add_address(self, name: str, address: Cidr, *, detect_duplicates: bool = True) -> None:
        """Give the link an address with its prefix; having it already is as wished.

        Without detection of duplicates an IPv6 address can be used at once, which is right where no
        other host can have it.
        """
        message = _message(self.link(name).index, address)
        if (
            isinstance(address, IPv4Interface)
            and address.network.prefixlen < SHORTEST_WITHOUT_BROADCAST
        ):
            message["attrs"].append(("IFA_BROADCAST", str(address.network.broadcast_address)))
        if address.version == 6 and not detect_duplicates:  # noqa: PLR2004  (the IP version)
            message["flags"] = IFA_F_NODAD
        with tolerate(errno.EEXIST):
            self.netlink.change(
                f"add {address} to {name}", RTM_NEWADDR, message, NLM_F_CREATE | NLM_F_EXCL
            )

    def delete_address(self, name: str, address: Cidr) -> None:
        """Take an address from the link; absent is as wished."""
        message = _message(self.link(name).index, address)
        with tolerate(errno.EADDRNOTAVAIL):
            self.netlink.change(f"remove {address} from {name}", RTM_DELADDR, message)

    def wait_until_settled(self, name: str, wanted: Collection[Cidr]) -> None:
        """Wait until none of the link's wanted addresses is tentative any more, at most 5 s.

        Raises CniError for a duplicate address, and when the time is over although the link works.
        """
        deadline = time.monotonic() + SETTLE_TIMEOUT
        while self._is_tentative(name, wanted) and not self._is_unattached_tap(name):
            if time.monotonic() > deadline:
                self._require_no_carrier(name)
                return
            time.sleep(SETTLE_PAUSE)

    def _is_tentative(self, name: str, wanted: Collection[Cidr]) -> bool:
        addresses = [address for address in self.addresses(name) if address.cidr in wanted]
        duplicate = next((one for one in addresses if one.is_duplicate), None)
        if duplicate:
            raise CniError(
                f"link {name} has address {duplicate.cidr} in DADFAILED state:"
                " another host on the network already uses it"
            )
        return any(one.is_tentative for one in addresses)

    def _is_unattached_tap(self, name: str) -> bool:
        """The search begins when a process attaches, which is after the ADD."""
        link = self.link(name)
        return link.kind == "tun" and link.operstate == "down"

    def _require_no_carrier(self, name: str) -> None:
        """Without a carrier detection never ends, and nobody could be disturbed."""
        if self.link(name).operstate == "up":
            raise CniError(f"link {name} still has tentative addresses after {SETTLE_TIMEOUT:g} s")


def _message(index: int, address: Cidr) -> Any:
    message = ifaddrmsg()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004  (the IP version)
    message["prefixlen"] = address.network.prefixlen
    message["index"] = index
    message["attrs"] = [("IFA_LOCAL", str(address.ip)), ("IFA_ADDRESS", str(address.ip))]
    return message


def _decode(message: Any) -> LinkAddress:
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return LinkAddress(
        cidr=ip_interface(f"{address}/{message['prefixlen']}"),
        is_tentative=bool(flags & IFA_F_TENTATIVE),
        is_duplicate=bool(flags & IFA_F_DADFAILED),
    )
