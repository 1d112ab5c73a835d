"""What the main table keeps of an interface whose addresses have tables of their own."""

from __future__ import annotations

from collections.abc import Sequence

from cni_meta.sbr.moving import direct_first
from cnicore.net.exact_route import ExactRoute
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace
from cnicore.net.route import SCOPE_LINK
from cnicore.result import IpConfig, Route


def clear(container: Namespace, moved: Sequence[ExactRoute]) -> None:
    """Take the routes from the main table, but for those to link-local addresses.

    No rule leads from the interface's own link-local address to another table.
    """
    for route in reversed(direct_first(moved)):
        if not is_to_link_local(route):
            container.remove_route(route)


def is_to_link_local(route: ExactRoute) -> bool:
    return route.version == 6 and route.dst.network.network_address.is_link_local  # noqa: PLR2004  (the IP version)


def clear_but_for_subnets(
    container: Namespace, link: Link, ips: Sequence[IpConfig], moved: Sequence[ExactRoute]
) -> None:
    """Leave what is reached directly, and the subnets with the address as preferred source.

    A packet that has no source yet then finds one, and with it its rule.
    """
    subnets = {ip.address.network: ip for ip in reversed(ips) if is_in_subnet(ip)}
    for network, ip in subnets.items():
        prefer(container, link, ip, [route for route in moved if route.dst.network == network])
    clear(
        container,
        [
            route
            for route in moved
            if route.dst.network not in subnets and (route.gateway or route.is_default)
        ],
    )


def is_in_subnet(ip: IpConfig) -> bool:
    return ip.address.network.prefixlen < ip.address.max_prefixlen


def prefer(container: Namespace, link: Link, ip: IpConfig, routes: Sequence[ExactRoute]) -> None:
    """Let a route to the address's subnet prefer it as the source; `routes` are those there are."""
    source = ip.address.ip
    if not routes:
        container.add_route(link.name, Route(ip.address, scope=SCOPE_LINK), src=source)
    for route in routes:
        if route.source is None:
            container.remove_route(route)  # IPv6 takes one with another source for the same
            container.put_route(route.with_source(source))
