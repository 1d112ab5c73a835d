"""loopback: bring up the container's own `lo`."""

from __future__ import annotations

from cnicore.config import NetConf
from cnicore.errors import CniError
from cnicore.hookspecs import hookimpl
from cnicore.net.namespace import Namespace, namespaces, remaining_namespaces
from cnicore.request import Request
from cnicore.result import Interface, IpConfig, Result
from cnicore.rollback import rollback

LOOPBACK = "lo"
NO_MAC = "00:00:00:00:00:00"


class LoopbackConf(NetConf):
    """loopback has no keys of its own."""


@hookimpl
def cni_config() -> type[NetConf]:
    return LoopbackConf


@hookimpl
def cni_add(request: Request) -> Result:
    earlier = request.prev_result
    with namespaces(request.netns) as ns, rollback() as on_failure:
        if not ns.container.link(LOOPBACK).is_up:
            ns.container.set_up(LOOPBACK)
            on_failure(ns.container.set_down, LOOPBACK)
        ips = loopback_addresses(ns.container)
    link = Interface(LOOPBACK, mac=NO_MAC, sandbox=request.netns)
    return earlier or Result(interfaces=(link,), ips=ips)


@hookimpl
def cni_del(request: Request) -> None:
    with remaining_namespaces(request.netns) as ns:
        if ns.container:
            ns.container.set_down(LOOPBACK)


@hookimpl
def cni_check(request: Request) -> None:
    with namespaces(request.netns) as ns:
        if not ns.container.link(LOOPBACK).is_up:
            raise CniError("loopback interface is down")


@hookimpl
def cni_gc() -> None:
    """Nothing outlives the container's namespace."""


@hookimpl
def cni_status() -> None:
    """There is nothing that could be missing."""


def loopback_addresses(container: Namespace) -> tuple[IpConfig, ...]:
    """The first address of each family. Raises CniError if `lo` has one that is not loopback."""
    cidrs = [address.cidr for address in container.addresses(LOOPBACK)]
    foreign = next((cidr for cidr in cidrs if not cidr.is_loopback), None)
    if foreign:
        raise CniError(
            f'loopback interface found with non-loopback address "{foreign.ip}": remove it from lo'
        )
    firsts = {cidr.version: cidr for cidr in reversed(cidrs)}
    return tuple(IpConfig(firsts[version], interface=0) for version in sorted(firsts))
