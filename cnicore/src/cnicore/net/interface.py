"""Give a container's interface its addresses and routes, as every layer-3 plugin does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cnicore.net.namespace import Namespace
from cnicore.net.route import SCOPE_LINK
from cnicore.result import Address, IpConfig, Route


def configure_interface(
    ns: Namespace,
    name: str,
    ips: Sequence[IpConfig],
    routes: Sequence[Route],
    *,
    detect_duplicates: bool = True,
) -> None:
    """Add the addresses, set the link up, add the routes.

    A route without a gateway goes through the first one of its family, unless its scope is link.
    Addresses come before "up", so that the kernel announces them. Raises CniError.
    """
    if any(ip.address.version == 6 for ip in ips):  # noqa: PLR2004  (the IP version)
        enable_ipv6(ns, name)
    for ip in ips:
        ns.add_address(name, ip.address, detect_duplicates=detect_duplicates)
    ns.set_up(name)
    gateways = first_gateways(ips)
    if 6 in gateways and detect_duplicates:  # noqa: PLR2004  (the IP version)
        ns.wait_until_settled(name, [ip.address for ip in ips])
    for route in routes:
        ns.add_route(name, with_gateway(route, gateways))


def enable_ipv6(ns: Namespace, name: str) -> None:
    """Runtimes switch IPv6 off in namespaces that nobody asked it for; an address is asking."""
    for link in ("lo", name):
        ns.write_sysctl_if_there(f"net/ipv6/conf/{link}/disable_ipv6", "0")
    ns.tune_sysctl(f"net/ipv6/conf/{name}/keep_addr_on_down", "1")


def first_gateways(ips: Sequence[IpConfig]) -> dict[int, Address]:
    """The first gateway of each family, by IP version."""
    gateways: dict[int, Address] = {}
    for ip in ips:
        if ip.gateway:
            gateways.setdefault(ip.address.version, ip.gateway)
    return gateways


def with_gateway(route: Route, gateways: dict[int, Address]) -> Route:
    """The route as the kernel gets it. A gateway of 0.0.0.0 or ::, as dhcp writes it, is none."""
    if route.gw:
        return replace(route, gw=None) if route.gw.is_unspecified else route
    if route.scope == SCOPE_LINK:
        return route
    return replace(route, gw=gateways.get(route.dst.version))
