"""tap: an interface whose wire is a process, such as a virtual machine, that reads its frames.

The device stays when no process is attached. It may be a port of a bridge in the container.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from cni_main import parent
from cni_main.mac import MacConf, requested_mac
from cnicore import ipam, verify
from cnicore.config import NetConf
from cnicore.documents import encode
from cnicore.errors import CniError, InvalidNetworkConfig, PluginNotAvailable
from cnicore.hookspecs import hookimpl
from cnicore.net.interface import configure_interface
from cnicore.net.link import Link, LinkNotFound
from cnicore.net.namespace import Namespace, host_namespace, namespaces
from cnicore.net.netlink import KernelError
from cnicore.net.tuntap import KIND, Tap, has_selinux
from cnicore.net.veth import require_free_name
from cnicore.request import Request
from cnicore.result import Interface, Result
from cnicore.rollback import OnFailure, rollback

SMALLEST_MTU, LARGEST_MTU = 68, 65521  # the kernel's: IPv4's own, and 64 KiB less the header
HIGHEST_ID = 2**32 - 2  # the next one is "none" to the kernel


class TapConf(NetConf):
    """The keys of tap; values are looked at where they are needed, so that DEL needs none."""

    multi_queue: bool = Field(default=False, description="Let several files of a process attach.")
    mtu: int = Field(
        default=0,
        description="MTU in bytes; 0 keeps the kernel's 1500.",
        json_schema_extra={"minimum": 0, "maximum": LARGEST_MTU},
    )
    mac: str = Field(
        default="", description="MAC address; CNI_ARGS and the capability mac come before it."
    )
    owner: int | None = Field(
        default=None,
        description="Number of the user that may attach; unset: any.",
        json_schema_extra={"minimum": 0, "maximum": HIGHEST_ID},
    )
    group: int | None = Field(
        default=None,
        description="Number of the group that may attach; unset: any.",
        json_schema_extra={"minimum": 0, "maximum": HIGHEST_ID},
    )
    selinux_context: str = Field(
        default="", description="The SELinux context of the device; unset: that of the runtime."
    )
    bridge: str = Field(
        default="", description="A bridge in the container that the interface becomes a port of."
    )
    runtime_config: MacConf = Field(
        default=MacConf(), description="What the runtime adds for the capability mac."
    )


@hookimpl
def cni_config() -> type[NetConf]:
    return TapConf


@hookimpl
def cni_add(request: Request, conf: TapConf) -> Result:
    require_possible(conf)
    mac = requested_mac(conf.runtime_config, request.args, conf.mac)
    with namespaces(request.netns) as ns, rollback() as on_failure:
        require_free_name(ns.container, request.ifname)
        if conf.bridge:
            find_bridge(ns.container, conf.bridge)
        create(ns.container, request.ifname, conf, mac, on_failure)
        leased = attach(request, conf, ns.container, on_failure)
        link = ns.container.link(request.ifname)
    interface = Interface(link.name, link.mac, request.netns)
    return Result((interface,), leased.ips, leased.routes, conf.dns.to_dns())


@hookimpl
def cni_del(request: Request, conf: TapConf) -> None:
    parent.delete(request, conf)


@hookimpl
def cni_check(request: Request, conf: TapConf) -> None:
    result = verify.required_prev_result(request)
    ipam.forward(request, conf)
    expected = verify.container_interface(result, request)
    with namespaces(request.netns) as ns:
        link = verify.verify_link(ns.container, expected, KIND)
        verify_tap(ns.container.find_tap(link.name), conf, link)
        if conf.bridge:
            verify_port(ns.container, conf.bridge, link)
        verify.verify_addresses(ns.container, request.ifname, result.ips)
        verify.verify_routes(ns.container, link, result.ips, result.routes)


@hookimpl
def cni_gc(request: Request, conf: TapConf) -> None:
    parent.collect(request, conf)


@hookimpl
def cni_status(request: Request, conf: TapConf) -> None:
    require_possible(conf, error=PluginNotAvailable)
    requested_mac(conf.runtime_config, "", conf.mac)
    with host_namespace() as host:
        try:
            host.require_taps()
        except KernelError as error:
            raise PluginNotAvailable(error.msg, error.details) from error
    ipam.status(request, conf)


def require_possible(conf: TapConf, error: type[CniError] = InvalidNetworkConfig) -> None:
    """Raise InvalidNetworkConfig naming a key that is wrong; `error` for what this host lacks."""
    if conf.mtu and not SMALLEST_MTU <= conf.mtu <= LARGEST_MTU:
        raise InvalidNetworkConfig(
            f"mtu: {conf.mtu} is no MTU of a tap: set {SMALLEST_MTU} to {LARGEST_MTU}, or 0"
        )
    for key, number in (("owner", conf.owner), ("group", conf.group)):
        if number is not None and not 0 <= number <= HIGHEST_ID:
            raise InvalidNetworkConfig(
                f"{key}: there can be no {number}: set a number from 0 to {HIGHEST_ID}"
            )
    if conf.selinux_context and not has_selinux():
        raise error(
            f'selinuxContext: "{conf.selinux_context}" cannot be set: this kernel runs without'
            " SELinux: remove the key"
        )


def find_bridge(container: Namespace, name: str) -> Link:
    """Raises LinkNotFound if there is none, InvalidNetworkConfig if it is something else."""
    link = container.find_link(name)
    if link is None:
        raise LinkNotFound(
            f"bridge: failed to get bridge {name}: Link not found: there is no such interface"
            " in the container: make it first"
        )
    if link.kind != "bridge":
        raise InvalidNetworkConfig(
            f'bridge: "{name}" in the container is not a bridge: name one that is'
        )
    return link


def create(container: Namespace, name: str, conf: TapConf, mac: str, on_failure: OnFailure) -> None:
    tap = wanted_tap(conf)
    container.add_tap(name, tap, on_failure, selinux_context=conf.selinux_context)
    if mac:
        container.set_mac(name, mac)
    if conf.mtu:
        container.set_mtu(name, conf.mtu)
    if conf.bridge:
        container.set_master(name, conf.bridge)


def wanted_tap(conf: TapConf) -> Tap:
    return Tap(conf.owner, conf.group, conf.multi_queue)


def attach(request: Request, conf: TapConf, container: Namespace, on_failure: OnFailure) -> Result:
    """Lease addresses if there is ipam, and put the interface into service."""
    if not conf.ipam.type:
        container.set_up(request.ifname)
        return Result()
    leased = ipam.lease(request, conf, on_failure)
    ips = tuple(replace(ip, interface=0) for ip in leased.ips)
    # the neighbours may remember who had the addresses before
    container.tune_sysctl(f"net/ipv4/conf/{request.ifname}/arp_notify", "1")
    configure_interface(container, request.ifname, ips, leased.routes)
    return replace(leased, ips=ips)


def verify_tap(actual: Tap | None, conf: TapConf, link: Link) -> None:
    """Raise CniError unless the device is a tap as configured."""
    expected = wanted_tap(conf)
    if actual is None:
        raise CniError(f"Interface {link.name} is a tun device, not a tap")
    if conf.mtu and link.mtu != conf.mtu:
        raise CniError(
            f"{link.name} has mtu {link.mtu}, not {conf.mtu}:"
            " delete the attachment and add it again"
        )
    for key, is_, should_be in (
        ("owner", actual.owner, expected.owner),
        ("group", actual.group, expected.group),
        ("multiQueue", actual.is_multi_queue, expected.is_multi_queue),
        ("persistence", actual.is_persistent, expected.is_persistent),
    ):
        if is_ != should_be:
            raise CniError(
                f"{link.name} has {key} {encode(is_)}, not {encode(should_be)}:"
                " delete the attachment and add it again"
            )


def verify_port(container: Namespace, bridge: str, link: Link) -> None:
    """Raise CniError unless the link is a port of the bridge."""
    if link.master != find_bridge(container, bridge).index:
        raise CniError(
            f"{link.name} is not a port of {bridge}: run"
            f" `ip link set {link.name} master {bridge}` in the container"
        )
