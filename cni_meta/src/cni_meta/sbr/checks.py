"""CHECK: does each address still have its rule, and its table a way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cni_meta.sbr.moving import RESERVED
from cnicore.errors import CniError
from cnicore.net.exact_route import ExactRoute
from cnicore.net.namespace import Namespace
from cnicore.net.rule import Rule
from cnicore.result import Address, Cidr, IpConfig

REMEDY = "delete the attachment and add it again"


def verify(
    container: Namespace,
    ifname: str,
    ips: Sequence[IpConfig],
    gateways: Mapping[int, Address],
    table: int | None,
) -> None:
    """Raise CniError for the first address that has lost something.

    With `table` only its rule is ours.
    """
    link = container.link(ifname)
    rules = container.rules()
    routes = [route for route in container.exact_routes() if route.link == link.index]
    for ip in ips:
        found = table_of(ip.address.ip, rules, table)
        if table is None:
            there = [route for route in routes if route.table == found]
            verify_table(found, ip, there, gateways.get(ip.address.version))


def table_of(address: Address, rules: Sequence[Rule], table: int | None) -> int:
    """The table that the first rule for the address leads to, which must be `table` if given."""
    tables = [rule.table for rule in rules if rule.source == address]
    own = [one for one in tables if (one not in RESERVED if table is None else one == table)]
    if not own:
        wanted = f" that leads to table {table}" if table else ""
        raise CniError(f"there is no rule for packets from {address}{wanted}: {REMEDY}")
    return own[0]


def verify_table(
    table: int, ip: IpConfig, routes: Sequence[ExactRoute], static: Address | None
) -> None:
    """The table has a default route if it got one, through the given gateway, and the subnet."""
    same = [route for route in routes if route.version == ip.address.version]
    defaults = [route for route in same if route.is_default]
    gateway = static or ip.gateway
    if gateway and not gateway.is_unspecified and not defaults:
        raise CniError(f"table {table} of {ip.address} has lost its default route: {REMEDY}")
    if static and static not in {route.gateway for route in defaults}:
        raise CniError(
            f"the default route in table {table} of {ip.address} does not go through {static},"
            f" as gateways says: {REMEDY}"
        )
    network = ip.address.network
    if network.prefixlen < ip.address.max_prefixlen and not reaches(same, ip.address):
        raise CniError(f"table {table} of {ip.address} has lost the route to {network}: {REMEDY}")


def reaches(routes: Sequence[ExactRoute], address: Cidr) -> bool:
    """Whether a route that is no default leads to the whole subnet."""
    wanted = address.network
    return any(
        not route.is_default
        and route.dst.network.prefixlen <= wanted.prefixlen
        and wanted.network_address in route.dst.network
        for route in routes
    )
