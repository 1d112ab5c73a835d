"""The host as the containers' gateway: its addresses on the bridge or on a VLAN's own device."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_interface

from cni_main.bridge.configuration import BridgeConf
from cni_main.bridge.sharing import unless_shared
from cni_main.bridge.vlans import admit, gateway_vlans
from cnicore.addresses import any_cidr, is_default
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.net.interface import first_gateways
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace
from cnicore.net.netlink import tolerate
from cnicore.net.route import RT_TABLE_MAIN
from cnicore.net.veth import free_name
from cnicore.result import Address, Cidr, IpConfig, Result, Route
from cnicore.rollback import OnFailure

CONTAINER_END = 2  # its index in the result's interfaces


def with_gateways(leased: Result, conf: BridgeConf) -> Result:
    """What was leased, with the gateways and default routes that the configuration asks for."""
    ips = tuple(
        replace(ip, interface=CONTAINER_END, gateway=gateway_of(ip, conf)) for ip in leased.ips
    )
    missing = default_routes(ips, leased.routes) if conf.is_default_gateway else ()
    return replace(leased, ips=ips, routes=(*leased.routes, *missing))


def gateway_of(ip: IpConfig, conf: BridgeConf) -> Address | None:
    """The leased gateway; where the bridge is one, the subnet's first address stands in."""
    if ip.gateway or not conf.has_gateway:
        return ip.gateway
    try:
        return ip.address.network.network_address + 1
    except ValueError:  # the last address of all
        raise InvalidNetworkConfig(
            f"no gateway can stand after {ip.address}: give the address one in ipam"
        ) from None


def default_routes(ips: Sequence[IpConfig], routes: Sequence[Route]) -> tuple[Route, ...]:
    """A default route for each family that has none in the main table yet.

    One without a gateway counts: it gets the family's first one, so another would be its double.
    """
    present = {
        route.dst.version
        for route in routes
        if is_default(route.dst) and route.table in {None, 0, RT_TABLE_MAIN}
    }
    return tuple(
        Route(any_cidr(version), gateway)
        for version, gateway in first_gateways(ips).items()
        if version not in present
    )


def gateway_addresses(ips: Sequence[IpConfig]) -> list[Cidr]:
    """The gateways with their subnets' prefixes, IPv4 before IPv6."""
    cidrs = [
        ip_interface(f"{ip.gateway}/{ip.address.network.prefixlen}") for ip in ips if ip.gateway
    ]
    return sorted(cidrs, key=lambda cidr: cidr.version)


def answer_as_gateway(
    host: Namespace, conf: BridgeConf, ips: Sequence[IpConfig], port: str, on_failure: OnFailure
) -> None:
    """Give the gateways' addresses to the bridge, or to the VLAN's device, and forward packets.

    `port` is the new attachment's own: on failure everything is taken back that no other one may
    rely on; forwarding stays. Raises CniError.
    """
    if conf.vlan:
        ensure_vlan_device(host, conf, port, on_failure)
    for cidr in gateway_addresses(ips):
        if make_room(host, conf, cidr, on_failure):
            # containers must reach it from the first packet on, which detection would delay
            host.add_address(conf.gateway_device, cidr, detect_duplicates=False)
            undo = partial(host.delete_address, conf.gateway_device, cidr)
            on_failure(unless_shared, host, conf.bridge, port, undo)
            pin_mac(host, conf.gateway_device)
        host.enable_forwarding(cidr.version)


def ensure_vlan_device(host: Namespace, conf: BridgeConf, port: str, on_failure: OnFailure) -> None:
    """A veth of the host whose other end is a port of the bridge, in the VLAN.

    A VLAN device on the bridge would do, but this is what live nodes have.
    """
    name = conf.gateway_device
    if host.find_link(name) is None:
        make_vlan_device(host, conf, port, on_failure)
    connect_vlan_device(host, conf, host.link(name))
    host.write_sysctl_if_there(f"net/ipv6/conf/{name}/accept_ra", "0")
    host.set_up(name)


def make_vlan_device(host: Namespace, conf: BridgeConf, port: str, on_failure: OnFailure) -> None:
    name, end, mtu = conf.gateway_device, free_name(host), host.link(conf.bridge).mtu
    on_failure(unless_shared, host, conf.bridge, port, partial(host.delete_link, end))
    with tolerate(errno.EEXIST):  # another ADD was faster
        host.add_veth(end, peer=name, peer_in=host, mtu=mtu, master=conf.bridge)


def connect_vlan_device(host: Namespace, conf: BridgeConf, device: Link) -> None:
    """Let the device's other end into the VLAN and set it up.

    Whoever made the device may not have come so far: it was killed, or is a moment behind. A device
    that an operator made in another way is left alone.
    """
    end = host.find_link_by_index(device.peer)
    bridge = host.link(conf.bridge)
    if device.kind != "veth" or end is None or end.master != bridge.index:
        return
    if conf.vlan not in host.port_vlans(end.name):
        admit(host, end.name, gateway_vlans(conf))
    host.write_sysctl_if_there(f"net/ipv6/conf/{end.name}/accept_ra", "0")
    host.set_up(end.name)


def make_room(host: Namespace, conf: BridgeConf, cidr: Cidr, on_failure: OnFailure) -> bool:
    """Whether the gateway's device lacks the address; what conflicts with it is gone then.

    Raises CniError if something conflicts and forceAddress is not set.
    """
    device = conf.gateway_device
    present = [address.cidr for address in host.addresses(device)]
    if cidr in present:
        return False
    for other in present:
        if conflicts(other, cidr):
            require_force(conf, cidr)
            host.delete_address(device, other)
            on_failure(host.add_address, device, other, detect_duplicates=False)
    return True


def conflicts(present: Cidr, wanted: Cidr) -> bool:
    """Several IPv6 addresses go together if their subnets do not overlap; IPv4 ones never do."""
    if present.version != wanted.version:
        return False
    overlap = present.ip in wanted.network or wanted.ip in present.network
    return present.version == 4 or overlap  # noqa: PLR2004


def require_force(conf: BridgeConf, cidr: Cidr) -> None:
    if not conf.force_address:
        raise CniError(
            f'"{conf.gateway_device}" already has an IP address different from {cidr}:'
            " remove it or set forceAddress"
        )


def pin_mac(host: Namespace, device: str) -> None:
    """Write the device's MAC address back to it, so that a bridge stops following its ports."""
    host.set_mac(device, host.link(device).mac)
