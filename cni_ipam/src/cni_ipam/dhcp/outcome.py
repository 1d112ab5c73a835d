"""What leases amount to: addresses and routes on the interface, and the result of an ADD."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Interface

from cni_ipam.dhcp.interface import Belongings
from cni_ipam.dhcp.options4 import DNS_SERVERS, DOMAIN_NAME, INTERFACE_MTU, SEARCH_LIST
from cni_ipam.dhcp.terms import Holding, Lease4, Lease6, Wish
from cnicore.result import Dns, IpConfig, Result


def result(holding: Holding) -> Result:
    """What the plugin reports. Name servers and domains are those that were asked for."""
    four = belongings4(holding.lease4, holding.wish)
    six = belongings6(holding.lease6)
    return Result(ips=four.ips + six.ips, routes=four.routes + six.routes, dns=_dns(holding))


def belongings4(lease: Lease4 | None, wish: Wish) -> Belongings:
    if lease is None:
        return Belongings()
    mtu = lease.mtu if INTERFACE_MTU in wish.request else 0
    routes = (replace(route, priority=wish.priority, mtu=mtu) for route in lease.routes)
    return Belongings((IpConfig(lease.address, lease.gateway),), tuple(routes))


def belongings6(lease: Lease6 | None) -> Belongings:
    """An address alone: what is on its link, and where to go from there, routers advertise."""
    return Belongings((IpConfig(IPv6Interface(lease.address)),)) if lease else Belongings()


def _dns(holding: Holding) -> Dns:
    four, six, asked = holding.lease4, holding.lease6, holding.wish.request
    servers = [*(four.dns if four else ()), *(six.dns if six else ())]
    search = (*(four.search if four else ()), *(six.search if six else ()))
    return Dns(
        nameservers=tuple(map(str, servers)) if DNS_SERVERS in asked else (),
        domain=four.domain if four and DOMAIN_NAME in asked else "",
        search=tuple(dict.fromkeys(search)) if SEARCH_LIST in asked else (),
    )
