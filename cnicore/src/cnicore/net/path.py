"""Where a packet to an address would go from one namespace."""

from __future__ import annotations

import errno
from typing import NamedTuple

from cnicore.net.messages import rtmsg
from cnicore.net.netlink import Netlink, tolerate
from cnicore.net.route import FAMILIES, RTM_GETROUTE
from cnicore.result import Address

RTN_LOCAL = 2  # linux/rtnetlink.h
NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL)


class Path(NamedTuple):
    """The link that a packet leaves by; `is_local` if it is for this namespace itself."""

    link: int
    is_local: bool


def path_to(netlink: Netlink, address: Address) -> Path | None:
    """The kernel's choice for the destination, None if there is no route. Raises KernelError."""
    request = rtmsg()
    request["family"] = FAMILIES[address.version]
    request["dst_len"] = address.max_prefixlen
    request["attrs"] = [("RTA_DST", str(address))]
    with tolerate(*NO_ROUTE):
        reply = netlink.get(f"look up the route to {address}", RTM_GETROUTE, request)
        return Path(reply.get_attr("RTA_OIF") or 0, reply["type"] == RTN_LOCAL)
    return None
