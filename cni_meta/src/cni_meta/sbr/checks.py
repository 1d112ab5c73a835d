"""CHECK: has each address its rule and its table a way out, and what has the main table again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cni_meta.sbr.defaults import (
    Gateways,
    NextHop,
    default_routes,
    is_by_router,
    is_known,
    used_of,
)
from cni_meta.sbr.main_table import is_in_subnet
from cni_meta.sbr.moving import RESERVED, is_moving
from cnicore.errors import CniError
from cnicore.net.exact_route import ExactRoute
from cnicore.net.namespace import Namespace
from cnicore.net.route import RT_TABLE_MAIN
from cnicore.net.rule import Rule
from cnicore.result import Address, Cidr, IpConfig

REMEDY = "delete the attachment and add it again"


def verify_rules(container: Namespace, ips: Sequence[IpConfig], table: int) -> None:
    """Raise CniError for the first address without a rule that leads to the table."""
    rules = container.rules()
    for ip in ips:
        table_of(ip.address.ip, rules, table)


def verify_tables(
    container: Namespace,
    routes: Sequence[ExactRoute],
    ips: Sequence[IpConfig],
    gateways: Gateways,
    *,
    is_by_reference: bool,
) -> None:
    """Raise CniError for the first address that has lost something; `routes` are the link's."""
    rules = container.rules()
    for ip in ips:
        version = ip.address.version
        table = table_of(ip.address.ip, rules, None)
        there = [route for route in routes if (route.table, route.version) == (table, version)]
        where = f"table {table} of {ip.address}"
        verify_default(where, ip, there, gateways, is_by_reference=is_by_reference)
        if is_in_subnet(ip) and not reaches(there, ip.address):
            raise CniError(f"{where} has lost the route to {ip.address.network}: {REMEDY}")


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
    gateways: Gateways,
    *,
    is_by_reference: bool,
) -> None:
    """The table has a default route if it got one, and that leads to where somebody said."""
    static = gateways.static.get(ip.address.version)
    gateway = static or ip.gateway
    if gateway is None or gateway.is_unspecified:
        return
    defaults = default_routes(routes, ip.address.version)
    if not defaults:
        raise CniError(f"{where} has lost its default route: {REMEDY}")
    named = gateways.named_for(ip) | (gateways.named_by_result(ip) if is_by_reference else set())
    is_unmarked = is_by_reference and not static
    for route in used_of(defaults):
        is_found = is_unmarked and route.gateway is not None and route.gateway in ip.address.network
        if not (is_known(route, named) or is_found):
            author = "gateways" if static else "prevResult"
            raise CniError(
                f"the default route in {where} does not go through {gateway}, as {author} says:"
                f" {REMEDY}"
            )


def looks_like_the_references(
    container: Namespace, ifname: str, routes: Sequence[ExactRoute]
) -> bool:
    """Whether it was the reference's ADD: that leaves main no route of the link, ours fe80::/64.

    It marks no default route that was there before, and older versions know neither gateways nor
    addSourceHints. Without a link-local address nothing tells the two apart.
    """
    if any(route.table == RT_TABLE_MAIN for route in routes):
        return False
    addresses = (address.cidr for address in container.addresses(ifname))
    return any(cidr.version == 6 and cidr.is_link_local for cidr in addresses)  # noqa: PLR2004  (the IP version)


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
