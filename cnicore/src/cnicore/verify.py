"""CHECK: does the kernel still say what the result said."""

from __future__ import annotations

from collections.abc import Sequence

from cnicore.addresses import is_default
from cnicore.errors import CniError
from cnicore.net.interface import first_gateways, with_gateway
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace
from cnicore.net.route import RT_TABLE_MAIN, KernelRoute
from cnicore.request import Request
from cnicore.result import Interface, IpConfig, Result, Route


def required_prev_result(request: Request) -> Result:
    """What CHECK compares with. Raises CniError if the runtime gave none."""
    result = request.prev_result
    if result is None:
        raise CniError("Required prevResult missing: CHECK compares with the result of the ADD")
    return result


def container_interface(result: Result, request: Request) -> Interface:
    """The result's entry for CNI_IFNAME in CNI_NETNS. Raises CniError if there is none."""
    for interface in reversed(result.interfaces):
        if interface.name == request.ifname and interface.sandbox == request.netns:
            return interface
    sandboxes = " ".join(link.sandbox for link in result.interfaces if link.sandbox) or "no sandbox"
    raise CniError(
        f'prevResult has no interface "{request.ifname}" in netns {request.netns}:'
        f" Sandbox in prevResult {sandboxes} doesn't match configured netns: {request.netns}"
    )


def verify_link(ns: Namespace, expected: Interface, kind: str) -> Link:
    """The link that the result names, if it is of the kind and has the MAC. Raises CniError."""
    link = ns.find_link(expected.name)
    if link is None:
        raise CniError(f"Interface {expected.name} not found: it was deleted after the ADD")
    if kind and link.kind != kind:
        raise CniError(
            f"Interface {expected.name} is of type {link.kind or 'unknown'}, not of type {kind}"
        )
    if expected.mac and link.mac.lower() != expected.mac.lower():
        raise CniError(
            f"Interface {expected.name} Mac {link.mac} doesn't match prevResult: {expected.mac}"
        )
    return link


def verify_addresses(ns: Namespace, ifname: str, ips: Sequence[IpConfig]) -> None:
    """Raise CniError unless the interface is up and has each address with its prefix."""
    link = ns.find_link(ifname)
    if link is None:
        raise CniError(f"Cannot find container link {ifname}")
    if not link.is_up:
        raise CniError(f"Interface {ifname} is down")
    present = {address.cidr for address in ns.addresses(ifname)}
    for ip in ips:
        if ip.address not in present:
            raise CniError(f"Failed to match addr {ip.address} on interface {ifname}")


def verify_routes(
    ns: Namespace, link: Link, ips: Sequence[IpConfig], routes: Sequence[Route]
) -> None:
    """Raise CniError unless every route leads through the link, in its table, to its gateway.

    A route of the main table, which is that of one that names none, may be where chained plugins
    moved it: sbr to a table that a rule leads the addresses to, vrf to that of the link's VRF.
    """
    present, tables = ns.routes(), tables_of(ns, link, ips)
    gateways = first_gateways(ips)
    for route in routes:
        expected = with_gateway(route, gateways)
        in_tables = tables if route.table in {None, 0, RT_TABLE_MAIN} else {route.table}
        candidates = [one for one in present if one.table in in_tables]
        if not any(is_like(candidate, link, expected) for candidate in candidates):
            via = f" via {expected.gw}" if expected.gw else ""
            raise CniError(
                f"Expected Route {route.dst}{via} not found in routing table:"
                f" there is none through {link.name}"
            )


def tables_of(ns: Namespace, link: Link, ips: Sequence[IpConfig]) -> set[int]:
    """The tables that packets of the link's addresses are looked up in."""
    vrf = ns.find_link_by_index(link.master) if link.master else None
    if vrf and vrf.table:
        return {vrf.table}
    addresses = {ip.address.ip for ip in ips}
    return {RT_TABLE_MAIN, *(rule.table for rule in ns.rules() if rule.source in addresses)}


def is_like(present: KernelRoute, link: Link, expected: Route) -> bool:
    """Whether a kernel route through the link does what the result's route says.

    One of several next hops is taken for the link's if it has the gateway.
    The gateway of a default route is not compared: a chained plugin may have put another before it.
    """
    return (
        present.dst.network == expected.dst.network
        and present.link in {link.index, 0}
        and (is_default(expected.dst) or not expected.gw or expected.gw in present.gateways)
    )
