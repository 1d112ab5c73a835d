"""Bring devices home whose attachment ends, or has ended without a DEL."""

from __future__ import annotations

import time
from collections.abc import Iterable

from cni_main.host_device.configuration import HostDeviceConf
from cni_main.host_device.elsewhere import named_namespaces
from cni_main.host_device.facts import Facts, name_at_home, name_on_host
from cni_main.host_device.finding import find_inside, find_returned, selected_on_host
from cni_main.host_device.marks import home_if_true, owner_mark, tags_of
from cni_main.host_device.moving import bring_home, settle
from cnicore.attempts import attempt_all
from cnicore.net.device import Device
from cnicore.net.namespace import Namespace, Namespaces
from cnicore.owner import Owner, stale

RETURN_TIMEOUT = 1.0  # seconds; the kernel ends a namespace behind everybody's back
RETURN_PAUSE = 0.02


def take_out(ns: Namespaces, owner: Owner, facts: Facts, conf: HostDeviceConf) -> bool:
    """Bring the attachment's device home from its container; whether it was there."""
    with ns.host.moving_devices():
        device = find_inside(ns, owner, facts, conf)
        if device is None:
            return False
        return_device(ns, device, facts.name)
        return True


def recover(host: Namespace, owner: Owner, facts: Facts, conf: HostDeviceConf) -> None:
    """Restore a device whose container has ended: the kernel brings it back, if it is hardware."""
    if put_in_order(host, owner, facts, conf) or selected_on_host(host, conf):
        return
    if facts == Facts() or is_in_container(host, owner, facts):
        return
    deadline = time.monotonic() + RETURN_TIMEOUT
    while time.monotonic() < deadline:
        time.sleep(RETURN_PAUSE)
        if put_in_order(host, owner, facts, conf):
            return


def put_in_order(host: Namespace, owner: Owner, facts: Facts, conf: HostDeviceConf) -> bool:
    """Restore the attachment's device if it is on the host; whether there was anything to do."""
    with host.moving_devices():
        device = find_returned(host, owner, facts, conf)
        if device:
            settle(host, device, name_on_host(device, owner.ifname, facts.name))
        return device is not None


def is_in_container(host: Namespace, owner: Owner, facts: Facts) -> bool:
    """Whether a container has the device; if it is the attachment's it comes home, then."""
    for container in named_namespaces():
        device = container.find_device(owner_mark(owner))
        if device and home_if_true(device, container.cookie()):
            with host.moving_devices():
                return_device(Namespaces(host, container), device, facts.name)
            return True
        if any(facts.fit(one) for one in container.devices()):
            return True
    return False


def collect(host: Namespace, network: str, valid: Iterable[Owner]) -> None:
    """GC: bring home what carries the mark of an attachment of the network that is not valid."""
    keep = tuple(valid)
    with host.moving_devices(), attempt_all() as attempt:
        for device in host.devices():
            if stale(tags_of(device), network, keep):
                attempt(settle, host, device, name_on_host(device, ""))
        for container in named_namespaces():
            place = container.cookie()
            for device in container.devices():
                if home_if_true(device, place) and stale(tags_of(device), network, keep):
                    attempt(return_device, Namespaces(host, container), device, "")


def return_device(ns: Namespaces, device: Device, configured: str) -> None:
    """Bring a device home, with all that it had there but its addresses. Raises CniError."""
    name = name_at_home(device, ns.container.cookie(), configured)
    bring_home(ns, device, name)
    present = ns.host.link(name)
    marked = ns.host.find_device_by_index(present.index)
    if marked:
        settle(ns.host, marked, name)
