"""ptp: a veth pair per container, routed on the host, no bridge.

A veth cannot be point-to-point, so the container keeps its subnet's address but reaches everything,
its own subnet included, through the gateway on the host's end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pydantic import Field

from cnicore import ipam, masquerade, verify
from cnicore.addresses import host_cidr
from cnicore.attempts import attempt_all
from cnicore.config import MasqueradeConf, NetConf
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.hookspecs import hookimpl
from cnicore.net.interface import configure_interface
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace, host_namespace, namespaces, remaining_namespaces
from cnicore.net.route import SCOPE_HOST, SCOPE_LINK
from cnicore.net.veth import (
    create_veth,
    delete_owned_links,
    delete_stale_links,
    require_free_name,
    require_possible_mtu,
)
from cnicore.request import Request
from cnicore.result import Address, Interface, IpConfig, Result, Route
from cnicore.rollback import rollback
from cnicore.teardown import promised_addresses

CONTAINER_END = 1  # its index in the result's interfaces


class PtpConf(MasqueradeConf):
    mtu: int = Field(
        default=0, description="MTU of both ends in bytes; 0 keeps the kernel's default."
    )


@hookimpl
def cni_config() -> type[NetConf]:
    return PtpConf


@hookimpl
def cni_add(request: Request, conf: PtpConf) -> Result:
    require_possible_mtu(conf.mtu)
    with namespaces(request.netns) as ns, rollback() as on_failure:
        require_free_name(ns.container, request.ifname)
        # before the lease: dhcp asks for it through the link
        host, container = create_veth(ns, request.owner, on_failure, mtu=conf.mtu)
        leased = ipam.lease(request, conf, on_failure)
        ips = tuple(replace(ip, interface=CONTAINER_END) for ip in leased.ips)
        for ip in ips:
            gateway_of(ip)
        # nobody else is on the wire, so no address can be a duplicate
        configure_interface(
            ns.container, container.name, ips, leased.routes, detect_duplicates=False
        )
        for ip in ips:
            route_through_gateway(ns.container, container.name, ip)
            route_to_container(ns.host, host.name, ip)
        if conf.ip_masq:
            on_failure(masquerade.delete, request.owner, addresses_of(ips))
            masquerade.add(request.owner, ips, conf.ip_masq_backend)
    interfaces = describe(host, container, request.netns)
    return Result(interfaces, ips, leased.routes, conf.dns.or_leased(leased.dns))


@hookimpl
def cni_del(request: Request, conf: PtpConf) -> None:
    with remaining_namespaces(request.netns) as ns, attempt_all() as attempt:
        with ipam.releasing(request, conf, attempt):
            if ns.container:
                attempt(ns.container.delete_link, request.ifname)  # its other end goes with it
            attempt(delete_owned_links, ns.host, request.owner)
        if conf.ip_masq:
            attempt(masquerade.delete, request.owner, promised_addresses(request))


@hookimpl
def cni_check(request: Request, conf: PtpConf) -> None:
    result = verify.required_prev_result(request)
    ipam.forward(request, conf)
    expected = verify.container_interface(result, request)
    with namespaces(request.netns) as ns:
        container = verify.verify_link(ns.container, expected, "veth")
        verify.verify_addresses(ns.container, request.ifname, result.ips)
        verify.verify_routes(ns.container, container, result.ips, result.routes)
        verify_host_end(ns.host, container, result.ips)
    if conf.ip_masq:
        masquerade.verify(request.owner, result.ips)


@hookimpl
def cni_gc(request: Request, conf: PtpConf) -> None:
    valid = request.valid_attachments
    if valid is None:
        return
    with host_namespace() as host, attempt_all() as attempt:
        attempt(ipam.forward, request, conf)
        attempt(delete_stale_links, host, request.network, valid)
        attempt(masquerade.gc, request.network, valid)


@hookimpl
def cni_status(request: Request, conf: PtpConf) -> None:
    ipam.require_plugin(conf)
    if conf.ip_masq:
        masquerade.require(conf.ip_masq_backend)
    ipam.status(request, conf)


def gateway_of(ip: IpConfig) -> Address:
    """The address that the host's end answers with. Raises InvalidNetworkConfig without one."""
    if ip.gateway is None:
        raise InvalidNetworkConfig(
            f"address {ip.address} has no gateway: ptp needs one for each, set it in ipam"
        )
    return ip.gateway


def route_through_gateway(container: Namespace, name: str, ip: IpConfig) -> None:
    """Reach the gateway directly and the subnet through it, in place of the kernel's own route."""
    gateway = gateway_of(ip)
    container.delete_route(name, ip.address)
    container.add_route(name, Route(host_cidr(gateway), scope=SCOPE_LINK), src=ip.address.ip)
    container.add_route(name, Route(ip.address, gateway), src=ip.address.ip)


def route_to_container(host: Namespace, name: str, ip: IpConfig) -> None:
    """Answer as the gateway and send the container's own address through the host's end."""
    host.enable_forwarding(ip.address.version)
    host.add_address(name, host_cidr(gateway_of(ip)), detect_duplicates=False)
    host.add_route(name, Route(host_cidr(ip.address.ip), scope=SCOPE_HOST))


def verify_host_end(host: Namespace, container: Link, ips: Iterable[IpConfig]) -> None:
    """Raise CniError unless the host's end is up, has the gateways and leads to the container."""
    end = host.find_link_by_index(container.peer)
    if end is None or end.peer != container.index or not end.is_up:
        raise CniError(
            f"the host's end of {container.name} is down or gone:"
            " delete the attachment and add it again"
        )
    present = {address.cidr.ip for address in host.addresses(end.name)}
    routed = {route.dst.ip for route in host.routes() if route.link == end.index}
    for ip in ips:
        if ip.gateway not in present or ip.address.ip not in routed:
            raise CniError(
                f"{end.name} has lost the gateway {ip.gateway} or the route to {ip.address.ip}:"
                " delete the attachment and add it again"
            )


def describe(host: Link, container: Link, netns: str) -> tuple[Interface, Interface]:
    return Interface(host.name, host.mac), Interface(container.name, container.mac, netns)


def addresses_of(ips: Iterable[IpConfig]) -> list[Address]:
    return [ip.address.ip for ip in ips]
