"""host-local: leases addresses from ranges; a file for each address says who holds it.

The files are the reference's to the byte, so its programs and this one can share a directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_interface

from cni_ipam.host_local.allocation import Holders, choose, require_free
from cni_ipam.host_local.conf import (
    HostLocalConf,
    Settings,
    directory_of,
    read_settings,
    requested_addresses,
)
from cni_ipam.host_local.directory import locked, make_directories, require_writable, unlocked
from cni_ipam.host_local.ranges import RangeSet, is_in
from cni_ipam.host_local.resolv_conf import read_dns
from cni_ipam.host_local.store import Store
from cnicore.config import NetConf
from cnicore.errors import CniError, InvalidNetworkConfig, PluginNotAvailable, system_errors
from cnicore.hookspecs import hookimpl
from cnicore.request import Request
from cnicore.result import Address, Dns, IpConfig, Result


@hookimpl
def cni_config() -> type[NetConf]:
    return HostLocalConf


@hookimpl
def cni_add(request: Request) -> Result:
    settings = read_settings(request)
    if not settings.range_sets:
        raise InvalidNetworkConfig("no IP ranges specified: add ipam.ranges")
    requested = requested_addresses(request)
    dns = dns_of(settings)
    ips = lease_addresses(request, settings, requested)
    return Result(ips=ips, routes=settings.routes, dns=dns)


@hookimpl
def cni_del(request: Request) -> None:
    with existing_store(request) as store:
        if store:
            store.release(request.owner)


@hookimpl
def cni_check(request: Request) -> None:
    with existing_store(request) as store:
        holders = store.holders() if store else {}
    if not any(holder.is_owner(request.owner) for holder in holders.values()):
        raise CniError(
            f"host-local: Failed to find address added by container {request.container_id}:"
            f" no file in {directory_of(request)} names it with {request.ifname}; attach it again"
        )
    for address in addresses_in_use(request):
        require_held(request, address, holders)


@hookimpl
def cni_gc(request: Request) -> None:
    valid = request.valid_attachments
    if valid is None:
        return
    with existing_store(request) as store:
        if store:
            store.keep_only(valid)


@hookimpl
def cni_status(request: Request) -> None:
    settings = read_settings(request)
    try:
        dns_of(settings)
        require_space(request, settings)
    except CniError as error:
        raise PluginNotAvailable(error.msg, error.details) from error


def dns_of(settings: Settings) -> Dns:
    """What ipam.resolvConf says, nothing if it is unset. Raises CniError if it cannot be read."""
    if not settings.resolv_conf:
        return Dns()
    with system_errors(f"read {settings.resolv_conf} (ipam.resolvConf)"):
        return read_dns(settings.resolv_conf)


def lease_addresses(
    request: Request, settings: Settings, requested: tuple[Address, ...]
) -> tuple[IpConfig, ...]:
    """Choose and reserve in one go under the lock, so that a failure leaves the store as it was."""
    path = directory_of(request)
    with system_errors(f"reserve addresses in the directory {path} (ipam.dataDir)"):
        make_directories(path)
        with locked(path) as files:
            store = Store(files)
            last = [store.last_reserved(index) for index in range(len(settings.range_sets))]
            leases = choose(request.owner, settings.range_sets, requested, store.holders(), last)
            store.reserve([lease.address for lease in leases], request.owner)
    return tuple(
        IpConfig(ip_interface((lease.address, lease.range.subnet.prefixlen)), lease.range.gateway)
        for lease in leases
    )


@contextmanager
def existing_store(request: Request) -> Iterator[Store | None]:
    """The network's store under its lock; None if nothing was ever reserved: only ADD makes it."""
    path = directory_of(request)
    with system_errors(f"use the directory {path} (ipam.dataDir)"), ExitStack() as stack:
        try:
            store = Store(stack.enter_context(locked(path)))
        except (FileNotFoundError, NotADirectoryError):
            store = None
        yield store


def addresses_in_use(request: Request) -> list[Address]:
    """What the previous result says of the attachment's own interface."""
    previous = request.prev_result or Result()
    own = {
        index
        for index, link in enumerate(previous.interfaces)
        if link.name == request.ifname and link.sandbox
    }
    return [ip.address.ip for ip in previous.ips if ip.interface is None or ip.interface in own]


def require_held(request: Request, address: Address, holders: Holders) -> None:
    """Raise CniError if the address is somebody else's, or nobody's though in our ranges."""
    holder = holders.get(str(address))
    if holder and not holder.is_owner(request.owner):
        raise CniError(f"host-local: {address} is reserved by {holder}: attach the container again")
    if not holder and any(is_in(address, range_set) for range_set in known_range_sets(request)):
        raise CniError(
            f"host-local: Failed to find address {address} added by container"
            f" {request.container_id}: its file is gone; attach the container again"
        )


def known_range_sets(request: Request) -> tuple[RangeSet, ...]:
    try:
        return read_settings(request).range_sets
    except InvalidNetworkConfig:
        return ()  # what became of the ranges since the ADD says nothing about the attachment


def require_space(request: Request, settings: Settings) -> None:
    """Raise CniError unless every range set has a free address and the store can be written to."""
    path = directory_of(request)
    with system_errors(f"write to the directory {path} (ipam.dataDir)"):
        require_writable(path)
        holders = reserved_in(path)
    for range_set in settings.range_sets:
        require_free(request.network, range_set, holders, None)


def reserved_in(path: str) -> Holders:
    try:
        with unlocked(path) as files:
            return Store(files).holders()
    except FileNotFoundError:
        return {}
