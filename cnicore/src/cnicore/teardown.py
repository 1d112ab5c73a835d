"""What DEL can still learn about an attachment whose parts may be gone."""

from __future__ import annotations

from cnicore.errors import CniError
from cnicore.net.namespace import Namespace
from cnicore.request import Request
from cnicore.result import Address


def known_addresses(request: Request, container: Namespace | None) -> list[Address]:
    """The addresses in prevResult and those that the container's interface still has."""
    addresses = set(_promised(request))
    if container and container.find_link(request.ifname):
        addresses.update(address.cidr.ip for address in container.addresses(request.ifname))
    return [address for address in addresses if not address.is_link_local]


def _promised(request: Request) -> list[Address]:
    try:
        result = request.prev_result
    except CniError:
        return []  # a broken prevResult must not keep DEL from cleaning
    return [ip.address.ip for ip in result.ips] if result else []
