"""Which addresses of a result the plugin is about."""

from __future__ import annotations

from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.request import Request
from cnicore.result import Address, IpConfig, Result


def addresses_of(result: Result, ifname: str) -> tuple[IpConfig, ...]:
    """The result's addresses of the interface, each once.

    Raises InvalidNetworkConfig if there is none: to go on would take the routes from the interface
    and give them nobody.
    """
    ips = {ip.address.ip: ip for ip in reversed(result.ips) if is_of(ip, result, ifname)}
    if not ips:
        raise InvalidNetworkConfig(
            f"prevResult has no address of {ifname}: put sbr after the plugin that gives the"
            " interface its addresses"
        )
    return tuple(reversed(ips.values()))


def is_of(ip: IpConfig, result: Result, ifname: str) -> bool:
    """Whether the address may be the interface's: one that names none, as in old results, may."""
    if ip.interface is None or not 0 <= ip.interface < len(result.interfaces):
        return True
    return result.interfaces[ip.interface].name == ifname


def known_addresses(request: Request) -> list[Address]:
    """For DEL: the addresses that prevResult has for the interface, none if it cannot be read."""
    try:
        result = request.prev_result
        ips = addresses_of(result, request.ifname) if result else ()
    except CniError:
        return []
    return [ip.address.ip for ip in ips]
