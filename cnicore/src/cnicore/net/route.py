"""Routes of one namespace, in all of its tables."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Any

from cnicore.addresses import any_cidr, is_default
from cnicore.net import exact_route
from cnicore.net.exact_route import ExactRoute
from cnicore.net.link import Link
from cnicore.net.messages import rtmsg
from cnicore.net.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    KernelError,
    Netlink,
    tolerate,
)
from cnicore.result import Address, Cidr, Route

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RT_TABLE_MAIN = 254  # linux/rtnetlink.h
RTPROT_BOOT, RTN_UNICAST = 3, 1
SCOPE_GLOBAL, SCOPE_LINK, SCOPE_HOST, SCOPE_NOWHERE = 0, 253, 254, 255
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
DEFAULT_PRIORITIES = {4: 0, 6: 1024}  # linux/ipv6_route.h: IP6_RT_PRIO_USER


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """A unicast route as the kernel has it; `gateways` has those of all its next hops.

    `link` is 0 if there are several next hops.
    """

    dst: Cidr
    table: int
    link: int = 0
    gateways: tuple[Address, ...] = ()
    priority: int = 0
    scope: int = 0
    mtu: int = 0
    advmss: int = 0
    src: Address | None = None


class Routes:
    """The part of a namespace handle that is about routes. Every method raises KernelError."""

    netlink: Netlink

    def link(self, name: str) -> Link:
        raise NotImplementedError

    def routes(self) -> list[KernelRoute]:
        """The unicast routes of all tables and both families, without the kernel's cached ones."""
        messages = [
            message
            for family in FAMILIES.values()
            for message in self.netlink.dump("list routes", RTM_GETROUTE, _empty(family))
        ]
        return [_decode(message) for message in messages if message["type"] == RTN_UNICAST]

    def add_route(self, name: str, route: Route, *, src: Address | None = None) -> None:
        """Add a route through the link; an identical one is as wished.

        A route to the same destination through another gateway or link is added beside it.
        """
        index = self.link(name).index
        message = _message(index, route, src)
        via = f" via {route.gw}" if route.gw else ""
        act = f"add route '{route.dst}{via} dev {name} metric {route.priority}'"
        try:
            self.netlink.change(act, RTM_NEWROUTE, message, NLM_F_CREATE | _exclusive(route))
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            if not any(_is_in_place_of(present, route, index) for present in self.routes()):
                with tolerate(errno.EEXIST):
                    self.netlink.change(act, RTM_NEWROUTE, message, NLM_F_CREATE)

    def delete_route(self, name: str, dst: Cidr) -> None:
        """Delete the link's route to the destination; absent is as wished."""
        message = _message(self.link(name).index, Route(dst, scope=SCOPE_NOWHERE), None)
        message["proto"] = 0
        with tolerate(errno.ESRCH):
            self.netlink.change(f"delete route {dst} dev {name}", RTM_DELROUTE, message)

    def exact_routes(self) -> list[ExactRoute]:
        """The routes of all types, tables and both families, whole, without cached ones."""
        return [
            route
            for version in FAMILIES
            for message in self.netlink.dump(
                "list routes", RTM_GETROUTE, exact_route.all_routes_of(version)
            )
            for route in exact_route.decode(message.payload)
        ]

    def put_route(self, route: ExactRoute) -> None:
        """Add the route behind all of its rank; one that is there is as wished."""
        act = f"add route {route.dst} to table {route.table}"
        with tolerate(errno.EEXIST):
            self.netlink.change(act, RTM_NEWROUTE, route.message(), NLM_F_CREATE | NLM_F_APPEND)

    def remove_route(self, route: ExactRoute) -> None:
        """Delete this route and no other; absent is as wished."""
        act = f"delete route {route.dst} from table {route.table}"
        with tolerate(errno.ESRCH):
            self.netlink.change(act, RTM_DELROUTE, route.message())


def _exclusive(route: Route) -> int:
    """Routes with a gateway can be hops of one route; of those without, the second is the first."""
    return 0 if route.gw else NLM_F_EXCL


def _is_in_place_of(present: KernelRoute, route: Route, link: int) -> bool:
    """Whether the kernel's route keeps another to the destination through the link from being."""
    priority = route.priority or DEFAULT_PRIORITIES[route.dst.version]
    return (
        present.link == link
        and present.dst.network == route.dst.network
        and present.table == (route.table or RT_TABLE_MAIN)
        and present.priority == priority
    )


def _empty(family: int) -> Any:
    message = rtmsg()
    message["family"] = family
    return message


def _message(index: int, route: Route, src: Address | None) -> Any:
    message = _empty(FAMILIES[route.dst.version])
    table = route.table or RT_TABLE_MAIN
    message["dst_len"] = route.dst.network.prefixlen
    message["table"] = table if table < 256 else 0  # noqa: PLR2004  (one byte; the attribute has it whole)
    message["proto"], message["type"] = RTPROT_BOOT, RTN_UNICAST
    message["scope"] = route.scope or SCOPE_GLOBAL
    attributes: list[Any] = [("RTA_OIF", index), ("RTA_TABLE", table)]
    if not is_default(route.dst):
        attributes.append(("RTA_DST", str(route.dst.network.network_address)))
    if route.gw:
        attributes.append(("RTA_GATEWAY", str(route.gw)))
    if src:
        attributes.append(("RTA_PREFSRC", str(src)))
    if route.priority:
        attributes.append(("RTA_PRIORITY", route.priority))
    message["attrs"] = attributes + _metrics(route)
    return message


def _metrics(route: Route) -> list[Any]:
    metrics = [("RTAX_MTU", route.mtu), ("RTAX_ADVMSS", route.advmss)]
    given = [(name, value) for name, value in metrics if value]
    return [("RTA_METRICS", {"attrs": given})] if given else []


def _decode(message: Any) -> KernelRoute:
    version = 4 if message["family"] == socket.AF_INET else 6
    dst = message.get_attr("RTA_DST")
    metrics = message.get_attr("RTA_METRICS")
    src = message.get_attr("RTA_PREFSRC")
    return KernelRoute(
        dst=ip_interface(f"{dst}/{message['dst_len']}") if dst else any_cidr(version),
        table=message.get_attr("RTA_TABLE") or message["table"],
        link=message.get_attr("RTA_OIF") or 0,
        gateways=_gateways(message),
        priority=message.get_attr("RTA_PRIORITY") or 0,
        scope=message["scope"],
        mtu=(metrics.get_attr("RTAX_MTU") or 0) if metrics else 0,
        advmss=(metrics.get_attr("RTAX_ADVMSS") or 0) if metrics else 0,
        src=ip_address(src) if src else None,
    )


def _gateways(message: Any) -> tuple[Address, ...]:
    hops = [message, *(message.get_attr("RTA_MULTIPATH") or [])]
    texts = [hop.get_attr("RTA_GATEWAY") for hop in hops]
    return tuple(ip_address(text) for text in texts if text)
