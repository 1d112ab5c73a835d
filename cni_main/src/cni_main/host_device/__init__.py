"""host-device: a device of the host moves into the container, and home again.

The container has it alone, with all that its hardware can do. Wherever it is, it carries what it
was called at home and whose it is (see `marks`), so that it is never lost: not when it is renamed,
when the container's namespace ends, or when a call is killed.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from cni_main.host_device.configuration import HostDeviceConf, Selection, selection_of
from cni_main.host_device.facts import facts_of, name_on_host, selected_facts
from cni_main.host_device.finding import DeviceInContainer, find_selected, is_returned
from cni_main.host_device.marks import home_if_true, owner_mark, tags_of
from cni_main.host_device.moving import give, settle
from cni_main.host_device.returning import collect, put_in_order, recover, take_out
from cnicore import ipam, verify
from cnicore.attempts import attempt_all
from cnicore.config import NetConf
from cnicore.errors import CniError, PluginNotAvailable
from cnicore.hookspecs import hookimpl
from cnicore.net.device import Belongings, Device
from cnicore.net.interface import configure_interface
from cnicore.net.link import Link, LinkNotFound
from cnicore.net.namespace import (
    Namespace,
    Namespaces,
    host_namespace,
    namespaces,
    remaining_namespaces,
)
from cnicore.net.route import RT_TABLE_MAIN
from cnicore.net.veth import require_free_name
from cnicore.owner import Owner
from cnicore.request import Request
from cnicore.result import Interface, Result
from cnicore.rollback import OnFailure, rollback
from cnicore.spec import SINCE_0_3_0

REMEDY = "delete the attachment and add it again"


class DeviceTaken(CniError):
    """Something on the host uses the device."""


@hookimpl
def cni_config() -> type[NetConf]:
    return HostDeviceConf


@hookimpl
def cni_add(request: Request, conf: HostDeviceConf) -> Result:
    selection = selection_of(conf)
    require_sayable_result(request, conf)
    with namespaces(request.netns) as ns, rollback() as on_failure:
        interface = Interface(request.ifname, sandbox=request.netns)
        if not selection.is_dpdk:
            require_free_name(ns.container, request.ifname)
            give_selected(ns, request.owner, selection, on_failure)
            # before the lease: dhcp asks for it through the device
            ns.container.set_up(request.ifname)
            interface = replace(interface, mac=ns.container.link(request.ifname).mac)
        if not conf.ipam.type:
            return Result((interface,))
        leased = ipam.lease(request, conf, on_failure)
        ips = tuple(replace(ip, interface=0) for ip in leased.ips)
        if not selection.is_dpdk:
            configure_interface(ns.container, request.ifname, ips, leased.routes)
    return Result((interface,), ips, leased.routes, conf.dns.to_dns())


@hookimpl
def cni_del(request: Request, conf: HostDeviceConf) -> None:
    owner, facts = request.owner, facts_of(request, conf)
    has_interface = not is_without_interface(conf)
    with remaining_namespaces(request.netns) as ns, attempt_all() as attempt:
        with ipam.releasing(request, conf, attempt):
            if ns.container and has_interface:
                # if it stays in the container, its address is in use and must not be leased again
                both = Namespaces(ns.host, ns.container)
                if not take_out(both, owner, facts, conf):
                    attempt(put_in_order, ns.host, owner, facts, conf)
        if not ns.container and has_interface:
            attempt(recover, ns.host, owner, facts, conf)


@hookimpl
def cni_check(request: Request, conf: HostDeviceConf) -> None:
    selection = selection_of(conf)
    result = verify.required_prev_result(request)
    ipam.forward(request, conf)
    expected = verify.container_interface(result, request)
    if selection.is_dpdk:
        require_no_interface(expected)
        return
    with namespaces(request.netns) as ns:
        link = verify.verify_link(ns.container, expected, kind="")
        verify_marks(ns.container, link, selection, request.owner)
        verify.verify_addresses(ns.container, request.ifname, result.ips)
        verify.verify_routes(ns.container, link, result.ips, result.routes)


@hookimpl
def cni_gc(request: Request, conf: HostDeviceConf) -> None:
    valid = request.valid_attachments
    if valid is None:
        return
    with host_namespace() as host, attempt_all() as attempt:
        attempt(collect, host, request.network, valid)
        attempt(ipam.forward, request, conf)


@hookimpl
def cni_status(request: Request, conf: HostDeviceConf) -> None:
    require_device(conf)
    ipam.status(request, conf)


def require_sayable_result(request: Request, conf: HostDeviceConf) -> None:
    """Raise CniError before anything moves: undoing later costs the device its addresses."""
    if not conf.ipam.type and request.cni_version not in SINCE_0_3_0:
        raise CniError(
            "cannot convert: no valid IP addresses:"
            f" add ipam, or set cniVersion to {SINCE_0_3_0[0]} or above"
        )


def give_selected(
    ns: Namespaces, owner: Owner, selection: Selection, on_failure: OnFailure
) -> None:
    """Move the device into the container, all that is unfinished about it being put in order."""
    facts = selected_facts(selection)
    with ns.host.moving_devices():
        leftover = ns.host.find_device(owner_mark(owner))
        if leftover:
            settle(ns.host, leftover, name_on_host(leftover, owner.ifname, facts.name))
        device = find_selected(ns.host, selection)
        # of another attachment, which ended without a DEL
        if tags_of(device) or is_returned(device, owner, facts):
            settle(ns.host, device, name_on_host(device, owner.ifname, facts.name))
            device = find_selected(ns.host, selection)
        require_spare(ns.host, device)
        belongings = ns.host.belongings(device.link)
        say_what_is_lost(device, belongings)
        give(ns, device, owner, belongings, on_failure)


def require_spare(host: Namespace, device: Device) -> None:
    """Raise DeviceTaken for a port: what it is a port of would lose it for good."""
    master = host.find_link_by_index(device.link.master) if device.link.master else None
    if master:
        raise DeviceTaken(
            f'host device "{device.link.name}" is taken: it is a port of "{master.name}":'
            f" release it first: ip link set {device.link.name} nomaster"
        )


def say_what_is_lost(device: Device, belongings: Belongings) -> None:
    if any(route.is_default and route.table == RT_TABLE_MAIN for route in belongings.routes):
        name = device.link.name
        print(f"{name} takes a default route of the host with it", file=sys.stderr)  # noqa: T201  (stdout is the answer's alone)


def is_without_interface(conf: HostDeviceConf) -> bool:
    """Whether it is a device for DPDK, as far as a configuration that may be wrong tells."""
    try:
        return selection_of(conf).is_dpdk
    except CniError:
        return False


def require_no_interface(expected: Interface) -> None:
    """For CHECK: raise CniError if the device has changed to a driver for DPDK since the ADD."""
    if expected.mac:
        raise CniError(f"the device of {expected.name} is driven from user space by now: {REMEDY}")


def verify_marks(container: Namespace, link: Link, selection: Selection, owner: Owner) -> None:
    """Raise CniError if it is another device, or no longer knows what it is called at home."""
    device = container.find_device_by_index(link.index)
    facts = selected_facts(selection)
    home = home_if_true(device, container.cookie()) if device else None
    if device is None or facts.exclude(device) or (home and owner.tag not in tags_of(device)):
        raise CniError(f"{link.name} is not the device that the ADD has given: {REMEDY}")
    is_wrong = home.name != link.alias if home else facts.name and not facts.name_fits(device)
    if not link.alias or is_wrong:
        raise CniError(
            f'{link.name} has lost its alias, which is its name on the host: it is "{link.alias}":'
            f" {REMEDY}"
        )


def require_device(conf: HostDeviceConf) -> None:
    """For STATUS: raise PluginNotAvailable if there is no such device, be it in use or not."""
    try:
        selection = selection_of(conf)
        if not selection.is_dpdk:
            with host_namespace() as host:
                require_spare(host, find_selected(host, selection))
    except DeviceInContainer:
        return  # so it should be
    except (LinkNotFound, DeviceTaken) as error:
        raise PluginNotAvailable(error.msg) from error
