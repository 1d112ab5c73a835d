"""sbr: what a container sends leaves by the interface whose address it carries.

Each address of the interface gets a routing table and a rule that leads to it; the interface's
routes are moved there, so that none of them competes with those of the container's other ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from cni_meta.sbr.checks import (
    looks_like_the_references,
    verify_main,
    verify_rules,
    verify_tables,
)
from cni_meta.sbr.defaults import gateways_of
from cni_meta.sbr.main_table import clear, clear_but_for_subnets
from cni_meta.sbr.moving import RESERVED, divide, require_rule
from cni_meta.sbr.selection import addresses_of, known_addresses
from cni_meta.sbr.teardown import remove
from cnicore.addresses import parse_address
from cnicore.chained import result_so_far
from cnicore.config import ListOf, NetConf
from cnicore.errors import InvalidNetworkConfig, PluginNotAvailable
from cnicore.hookspecs import hookimpl
from cnicore.net.namespace import host_namespace, namespaces, remaining_namespaces
from cnicore.request import Request
from cnicore.result import Address, Result
from cnicore.rollback import rollback
from cnicore.verify import required_prev_result

HIGHEST_TABLE = 2**32 - 1
FAMILIES = (4, 6)


class SbrConf(NetConf):
    table: int | None = Field(
        default=None,
        ge=1,
        le=HIGHEST_TABLE,
        description="Only add rules, which lead to this table; somebody else fills it.",
    )
    gateways: ListOf[str] = Field(
        default=(),
        description="Default gateways in place of the addresses' own, one of each family at most.",
    )
    add_source_hints: bool = Field(
        default=False,
        description="Leave the subnets in the main table, with the address as preferred source.",
    )


@hookimpl
def cni_config() -> type[NetConf]:
    return SbrConf


@hookimpl
def cni_add(request: Request, conf: SbrConf) -> Result:
    result = result_so_far(request)
    ips = addresses_of(result, request.ifname)
    gateways = gateways_of(result, static_gateways(conf))
    with (
        namespaces(request.netns) as ns,
        ns.container.one_at_a_time(),
        rollback() as on_failure,
    ):
        link = ns.container.link(request.ifname)
        if conf.table:
            rules = ns.container.rules()
            for ip in ips:
                require_rule(ns.container, ip.address.ip, conf.table, rules, on_failure)
        else:
            moved = divide(ns.container, link, ips, gateways, on_failure)
            if conf.add_source_hints:
                clear_but_for_subnets(ns.container, link, ips, moved)
            else:
                clear(ns.container, moved)
    return result


@hookimpl
def cni_del(request: Request, conf: SbrConf) -> None:
    with remaining_namespaces(request.netns) as ns:
        if ns.container:  # else rules and tables went with it
            remove(ns.container, request.ifname, known_addresses(request), conf.table)


@hookimpl
def cni_check(request: Request, conf: SbrConf) -> None:
    result = required_prev_result(request)
    ips = addresses_of(result, request.ifname)
    gateways = gateways_of(result, static_gateways(conf))
    with namespaces(request.netns) as ns:
        link = ns.container.link(request.ifname)
        if conf.table:
            verify_rules(ns.container, ips, conf.table)
            return
        present = ns.container.exact_routes()
        routes = [route for route in present if route.link == link.index]
        others = [route for route in present if route.link != link.index]
        is_by_reference = looks_like_the_references(ns.container, link.name, routes)
        verify_tables(ns.container, routes, ips, gateways, is_by_reference=is_by_reference)
        has_hints = conf.add_source_hints and not is_by_reference
        verify_main(routes, others, ips, has_hints=has_hints)


@hookimpl
def cni_gc() -> None:
    """Nothing outlives the container's namespace."""


@hookimpl
def cni_status(conf: SbrConf) -> None:
    static_gateways(conf)
    with host_namespace() as host:
        if all(host.rules_of(version) is None for version in FAMILIES):
            raise PluginNotAvailable(
                "this kernel has no policy routing: sbr needs one that was built with"
                " CONFIG_IP_MULTIPLE_TABLES, for IPv6 CONFIG_IPV6_MULTIPLE_TABLES"
            )


def static_gateways(conf: SbrConf) -> Mapping[int, Address]:
    """The configured gateways by IP version; with `table` they are ignored.

    Raises InvalidNetworkConfig.
    """
    require_own_table(conf)
    if conf.table:
        return {}
    gateways: dict[int, Address] = {}
    for index, text in enumerate(conf.gateways):
        gateway = parse_gateway(index, text)
        if gateway.version in gateways:
            raise InvalidNetworkConfig(
                f"gateways list contains multiple IPv{gateway.version} addresses:"
                f" {listed(conf.gateways)}: give one of each family at most"
            )
        gateways[gateway.version] = gateway
    return gateways


def require_own_table(conf: SbrConf) -> None:
    if conf.table in RESERVED:
        raise InvalidNetworkConfig(
            f"table: {conf.table} is the kernel's own (253 default, 254 main, 255 local): use"
            " another number"
        )


def parse_gateway(index: int, text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError:
        raise InvalidNetworkConfig(
            f"gateways[{index}]: invalid static gateway IP address: {text or 'it is empty'}"
        ) from None


def listed(texts: Sequence[str]) -> str:
    return ", ".join(texts)
