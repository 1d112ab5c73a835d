"""Default routes: which gateways somebody named, and how to know one that was there before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cnicore.addresses import is_default
from cnicore.net.exact_route import ExactRoute
from cnicore.net.interface import first_gateways, with_gateway
from cnicore.result import Address, IpConfig, Result

RTPROT_RA = 9
"""linux/rtnetlink.h: the kernel adds such a route whenever a router announces itself."""

FOUND = 67
"""Nobody's protocol there: of a default route that was moved and whose gateway nobody named."""

NextHop = Address | None


@dataclass(frozen=True, slots=True)
class Gateways:
    """By IP version those that are configured, and those of the result's default routes."""

    static: Mapping[int, Address]
    announced: Mapping[int, set[NextHop]]

    def named_for(self, ip: IpConfig) -> set[NextHop]:
        """Where a default route for the address may lead to."""
        static = self.static.get(ip.address.version)
        return {static} if static else self.named_by_result(ip)

    def named_by_result(self, ip: IpConfig) -> set[NextHop]:
        own = {ip.gateway} if ip.gateway else set()
        return own | self.announced[ip.address.version]


def gateways_of(result: Result, static: Mapping[int, Address]) -> Gateways:
    gateways = first_gateways(result.ips)
    announced: dict[int, set[NextHop]] = {4: set(), 6: set()}
    for route in result.routes:
        if is_default(route.dst):
            announced[route.dst.version].add(with_gateway(route, gateways).gw)
    return Gateways(static, announced)


def default_routes(routes: Iterable[ExactRoute], version: int) -> list[ExactRoute]:
    return [route for route in routes if route.is_default and route.version == version]


def used_of(defaults: list[ExactRoute]) -> list[ExactRoute]:
    """Those that packets take: of the lowest metric, the first one of IPv4 and all of IPv6."""
    lowest = min(_preference(route) for route in defaults)
    used = [route for route in defaults if _preference(route) == lowest]
    return used[:1] if used[0].version == 4 else used  # noqa: PLR2004  (the IP version)


def _preference(route: ExactRoute) -> tuple[int, int]:
    return route.header.tos, route.priority


def is_by_router(route: ExactRoute) -> bool:
    return route.header.protocol == RTPROT_RA


def is_known(route: ExactRoute, named: set[NextHop]) -> bool:
    """Whether somebody named the gateway, announces it, or had the route before the ADD."""
    return route.gateway in named or route.header.protocol in {RTPROT_RA, FOUND}


def with_marks(routes: Iterable[ExactRoute], named: set[NextHop]) -> list[ExactRoute]:
    """The routes, with the mark on those default routes that CHECK could not know otherwise.

    The hops of one route of IPv6 have but one protocol.
    """
    routes = list(routes)
    found = {one.rank for one in routes if one.is_default and not is_known(one, named)}
    return [marked(one) if one.rank in found else one for one in routes]


def marked(route: ExactRoute) -> ExactRoute:
    return replace(route, header=route.header._replace(protocol=FOUND))
