"""Remove the rules of an interface, and its routes from the tables that they led to."""

from __future__ import annotations

from collections.abc import Iterable

from cni_meta.sbr.moving import RESERVED
from cnicore.attempts import attempt_all
from cnicore.net.namespace import Namespace
from cnicore.net.rule import Rule
from cnicore.result import Address


def remove(
    container: Namespace, ifname: str, promised: Iterable[Address], table: int | None
) -> None:
    """Remove what an ADD made, be it the reference's; with `table` only rules that lead there.

    The addresses are those promised and those that the interface has now. Raises what failed after
    all was tried.
    """
    with container.one_at_a_time(), attempt_all() as attempt:
        addresses = {*promised, *present_addresses(container, ifname)}
        doomed = [rule for rule in container.rules() if is_doomed(rule, addresses, table)]
        for rule in doomed:
            attempt(container.delete_rule, rule)
        if table is None and doomed:
            attempt(empty_tables, container, ifname, {rule.table for rule in doomed})


def present_addresses(container: Namespace, ifname: str) -> list[Address]:
    if container.find_link(ifname) is None:
        return []
    return [address.cidr.ip for address in container.addresses(ifname)]


def is_doomed(rule: Rule, addresses: set[Address], table: int | None) -> bool:
    """Whether the rule goes by one of the addresses alone and leads to a table for it."""
    is_ours = rule.table not in RESERVED if table is None else rule.table == table
    return is_ours and rule.source is not None and rule.source in addresses


def empty_tables(container: Namespace, ifname: str, tables: set[int]) -> None:
    """Remove the interface's routes from the tables that no other rule leads to."""
    link = container.find_link(ifname)
    if link is None:
        return  # its routes went with it
    tables -= {rule.table for rule in container.rules()}
    with attempt_all() as attempt:
        for route in container.exact_routes():
            if route.link == link.index and route.table in tables:
                attempt(container.remove_route, route)
