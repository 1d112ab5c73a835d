"""Move the routes of an interface into a table for each of its addresses, and back on failure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

from cni_meta.sbr.defaults import Gateways, default_routes, with_marks
from cnicore.addresses import any_cidr
from cnicore.net.exact_route import ExactRoute
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace
from cnicore.net.route import RT_TABLE_MAIN
from cnicore.net.rule import Rule
from cnicore.result import Address, IpConfig, Route
from cnicore.rollback import OnFailure

FIRST_TABLE = 100
RESERVED = frozenset({253, 254, 255})
"""The tables default, main and local, which are nobody's own."""


class Share(NamedTuple):
    """What one address gets: a table, with the link's routes in it already and those to come."""

    ip: IpConfig
    table: int
    present: list[ExactRoute]
    copies: list[ExactRoute]


def divide(
    container: Namespace,
    link: Link,
    ips: Sequence[IpConfig],
    gateways: Gateways,
    on_failure: OnFailure,
) -> list[ExactRoute]:
    """Give each address its rule and its table; returns what is to be taken from main after that.

    The rule comes first: while its table lacks a route, the kernel goes on to the next rule. An
    ADD that was killed leaves it, and the next one goes on with the same table.
    """
    rules, routes = container.rules(), container.exact_routes()
    own = [route for route in routes if route.link == link.index]
    moving = [route for route in own if is_moving(route, ips)]
    free = free_tables(rules, routes)
    on_failure(restore, container, link, routes)
    for ip in ips:
        table = own_table(ip.address.ip, rules) or next(free)
        require_rule(container, ip.address.ip, table, rules, on_failure)
        present = [route for route in own if route.table == table]
        belonging = (route.in_table(table) for route in moving if belongs(route, ip, ips))
        copies = with_marks(belonging, gateways.named_for(ip))
        static = gateways.static.get(ip.address.version)
        fill(container, link, Share(ip, table, present, copies), static)
    return moving


def is_moving(route: ExactRoute, ips: Sequence[IpConfig]) -> bool:
    """Whether the route of the main table is for one of the addresses, or for all.

    One that prefers another source stays: there is no rule for that address.
    """
    networks = [ip.address.network for ip in ips if ip.address.version == route.version]
    source = route.source
    return (
        route.table == RT_TABLE_MAIN
        and bool(networks)
        and (source is None or any(source in network for network in networks))
    )


def belongs(route: ExactRoute, ip: IpConfig, ips: Sequence[IpConfig]) -> bool:
    """Whether the route goes into the address's table; one that points into no subnet does."""
    return route.version == ip.address.version and (
        points_into(route, ip) or not any(points_into(route, one) for one in ips)
    )


def points_into(route: ExactRoute, ip: IpConfig) -> bool:
    ends = (route.source, route.gateway)
    return any(end is not None and end in ip.address.network for end in ends)


def free_tables(rules: Iterable[Rule], routes: Iterable[ExactRoute]) -> Iterator[int]:
    """The numbers from 100 on that no rule leads to and that no route is in."""
    used = {rule.table for rule in rules} | {route.table for route in routes} | RESERVED
    return (number for number in count(FIRST_TABLE) if number not in used)


def own_table(address: Address, rules: Iterable[Rule]) -> int:
    """The table that a rule for the address leads to already, or 0."""
    tables = [rule.table for rule in rules if rule.source == address]
    return next((one for one in tables if one >= FIRST_TABLE and one not in RESERVED), 0)


def require_rule(
    container: Namespace,
    address: Address,
    table: int,
    rules: Iterable[Rule],
    on_failure: OnFailure,
) -> None:
    """Add the rule unless it is among those that are there: the kernel would take it twice."""
    if not any((rule.source, rule.table) == (address, table) for rule in rules):
        container.add_rule(address, table)
        on_failure(container.delete_rule, Rule(address.version, table, source=address))


def fill(container: Namespace, link: Link, share: Share, static: Address | None) -> None:
    """Copy the routes into the table; without a default route it gets one through the gateway.

    A gateway that the configuration gives takes the place of every default route.
    """
    if static:
        for route in default_routes(share.present, static.version):
            container.remove_route(route)
    for route in direct_first(share.copies):
        if not (static and route.is_default):
            container.put_route(route)
    version = share.ip.address.version
    if static or not default_routes([*share.present, *share.copies], version):
        add_default(container, link, static or share.ip.gateway, share.table)


def add_default(container: Namespace, link: Link, gateway: Address | None, table: int) -> None:
    if gateway and not gateway.is_unspecified:  # 0.0.0.0 and :: are none, as dhcp writes it
        container.add_route(link.name, Route(any_cidr(gateway.version), gateway, table=table))


def direct_first(routes: Iterable[ExactRoute]) -> list[ExactRoute]:
    """In an order in which they can be added: a gateway must be reached without another."""
    return sorted(routes, key=lambda route: route.gateway is not None)


def restore(container: Namespace, link: Link, before: Sequence[ExactRoute]) -> None:
    """Undo: give the link the routes that it had, each in its place among those of its rank."""
    present = container.exact_routes()
    for route in reversed(direct_first(present)):
        if route.link == link.index and route not in before:
            container.remove_route(route)
    missing = [route for route in before if route.link == link.index and route not in present]
    for route in direct_first(missing):
        container.put_route(route)
    ranks = set()
    for route in before:
        if route.rank in ranks:  # it stood behind one that is now the last
            container.remove_route(route)
            container.put_route(route)
        elif route in missing:
            ranks.add(route.rank)
