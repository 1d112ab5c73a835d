"""CHECK: has each address its rule and its table a way out, and what has the main table again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cni_meta.sbr.main_table import is_in_subnet
from cni_meta.sbr.moving import RESERVED, default_routes, is_moving
from cnicore.addresses import is_default
from cnicore.errors import CniError
from cnicore.net.exact_route import ExactRoute
from cnicore.net.interface import first_gateways, with_gateway
from cnicore.net.namespace import Namespace
from cnicore.net.route import RT_TABLE_MAIN
from cnicore.net.rule import Rule
from cnicore.result import Address, Cidr, IpConfig, Result

RTPROT_RA = 9
"""linux/rtnetlink.h: the kernel adds such a route whenever a router announces itself."""

REMEDY = "delete the attachment and add it again"
NextHop = Address | None


def verify_rules(container: Namespace, ips: Sequence[IpConfig], table: int) -> None:
    """Raise CniError for the first address without a rule that leads to the table."""
    rules = container.rules()
    for ip in ips:
        table_of(ip.address.ip, rules, table)


def verify_tables(
    container: Namespace,
    routes: Sequence[ExactRoute],
    ips: Sequence[IpConfig],
    static: Mapping[int, Address],
    announced: Mapping[int, set[NextHop]],
) -> None:
    """Raise CniError for the first address that has lost something; `routes` are the link's."""
    rules = container.rules()
    for ip in ips:
        version = ip.address.version
        table = table_of(ip.address.ip, rules, None)
        there = [route for route in routes if (route.table, route.version) == (table, version)]
        where = f"table {table} of {ip.address}"
        verify_default(where, ip, there, static.get(version), announced[version])
        if is_in_subnet(ip) and not reaches(there, ip.address):
            raise CniError(f"{where} has lost the route to {ip.address.network}: {REMEDY}")


def announced_gateways(result: Result) -> dict[int, set[NextHop]]:
    """By IP version, where the result's default routes lead to."""
    gateways = first_gateways(result.ips)
    found: dict[int, set[NextHop]] = {4: set(), 6: set()}
    for route in result.routes:
        if is_default(route.dst):
            found[route.dst.version].add(with_gateway(route, gateways).gw)
    return found


def table_of(address: Address, rules: Sequence[Rule], table: int | None) -> int:
    """The table that the first rule for the address leads to, which must be `table` if given."""
    tables = [rule.table for rule in rules if rule.source == address]
    own = [one for one in tables if (one not in RESERVED if table is None else one == table)]
    if not own:
        wanted = f" that leads to table {table}" if table else ""
        raise CniError(f"there is no rule for packets from {address}{wanted}: {REMEDY}")
    return own[0]


def verify_default(
    where: str,
    ip: IpConfig,
    routes: Sequence[ExactRoute],
    static: Address | None,
    announced: set[NextHop],
) -> None:
    """The table has a default route if it got one, through a gateway that somebody named."""
    gateway = static or ip.gateway
    if gateway is None or gateway.is_unspecified:
        return
    defaults = default_routes(routes, ip.address.version)
    if not defaults:
        raise CniError(f"{where} has lost its default route: {REMEDY}")
    named: set[NextHop] = {static} if static else {gateway, *announced}
    is_announced = not static and any(is_by_router(route) for route in defaults)
    if not is_announced and named.isdisjoint(route.gateway for route in defaults):
        author = "gateways" if static else "prevResult"
        raise CniError(
            f"the default route in {where} does not go through {gateway}, as {author} says:"
            f" {REMEDY}"
        )


def is_by_router(route: ExactRoute) -> bool:
    return route.header.protocol == RTPROT_RA


def reaches(routes: Sequence[ExactRoute], address: Cidr) -> bool:
    """Whether a route that is no default leads to the whole subnet."""
    wanted = address.network
    return any(
        not route.is_default
        and route.dst.network.prefixlen <= wanted.prefixlen
        and wanted.network_address in route.dst.network
        for route in routes
    )


def verify_main(
    routes: Sequence[ExactRoute],
    others: Sequence[ExactRoute],
    ips: Sequence[IpConfig],
    *,
    has_hints: bool,
) -> None:
    """Raise CniError if a default route is back in main, or a hint is gone.

    `routes` are the link's, `others` those of other links.
    """
    shared = {route.rank for route in others}
    for route in routes:
        if route.is_default and is_moving(route, ips) and not is_expected(route, shared):
            raise CniError(
                f"a default route{via(route.gateway)} is in the main table again, where it"
                f" competes with those of other interfaces: delete it, or {REMEDY}"
            )
    for ip in ips if has_hints else ():
        if is_in_subnet(ip) and not is_hinted(routes, ip.address):
            raise CniError(
                f"the main table has lost the route to {ip.address.network} that prefers"
                f" {ip.address.ip}, as addSourceHints says: {REMEDY}"
            )


def is_expected(route: ExactRoute, shared: set[tuple[object, ...]]) -> bool:
    """Whether a router announced it, or it is one hop of several, which the reference leaves."""
    is_one_hop = route.version == 6 and route.rank in shared  # noqa: PLR2004  (the IP version)
    return is_by_router(route) or is_one_hop


def via(gateway: NextHop) -> str:
    return f" via {gateway}" if gateway else ""


def is_hinted(routes: Iterable[ExactRoute], address: Cidr) -> bool:
    """Whether a route of main prefers an address of the subnet: of several the first has it."""
    return any(
        route.table == RT_TABLE_MAIN
        and route.dst.network == address.network
        and route.source is not None
        and route.source in address.network
        for route in routes
    )
