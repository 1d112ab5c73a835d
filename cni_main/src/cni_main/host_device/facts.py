"""What is known of a device, by which it is told from all others wherever it is now."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cni_main.host_device import sysfs
from cni_main.host_device.configuration import HostDeviceConf, Selection, parse_hwaddr
from cni_main.host_device.marks import given_name, home_if_true, home_of
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.net.device import Device
from cnicore.request import Request
from cnicore.spec import interface_name_problem


@dataclass(frozen=True, slots=True)
class Facts:
    """The configured name, MAC addresses, and names of what the device is a function of."""

    name: str = ""
    macs: frozenset[str] = frozenset()
    parents: frozenset[str] = frozenset()

    def fit(self, device: Device) -> bool:
        """Whether one of them says that it is this device."""
        return (
            self.name_fits(device)
            or not self.macs.isdisjoint({device.link.mac, device.permanent_mac})
            or device.parent in self.parents
        )

    def name_fits(self, device: Device) -> bool:
        """Whether it was given away under the configured name, or has it as another one."""
        names = {device.link.alias, given_name(device), *device.altnames}
        return bool(self.name) and self.name in names

    def exclude(self, device: Device) -> bool:
        """Whether one of them, which nobody can change, says that it is another device."""
        return bool(self.parents and device.parent) and device.parent not in self.parents


def selected_facts(selection: Selection) -> Facts:
    """Those of a configuration that was checked."""
    macs = {selection.mac} - {""}
    parents = {selection.auxiliary, *path_names(selection.path), *pci_names(selection.pci)} - {""}
    return Facts(selection.device, frozenset(macs), frozenset(parents))


def facts_of(request: Request, conf: HostDeviceConf) -> Facts:
    """Those of a configuration that may be wrong, and of the result of the ADD if it is given."""
    try:
        mac = parse_hwaddr(conf.hwaddr)
    except InvalidNetworkConfig:
        mac = ""
    device_id = conf.runtime_config.device_id
    parents = {device_id, *path_names(conf.kernelpath), *pci_names(device_id or conf.pci_bus_id)}
    macs = {mac, promised_mac(request)}
    return Facts(conf.device, frozenset(macs - {""}), frozenset(parents - {""}))


def promised_mac(request: Request) -> str:
    """That of the interface in prevResult; empty if there is none that can be read."""
    try:
        result = request.prev_result
    except CniError:
        return ""  # a broken prevResult must not keep DEL from bringing the device home
    interfaces = result.interfaces if result else ()
    return next((one.mac.lower() for one in interfaces if one.name == request.ifname), "")


def name_at_home(device: Device, place: str, configured: str = "") -> str:
    """What a device that is in that place is called on the host.

    The configuration comes first: the rest whoever is root in the container may have changed.
    Raises CniError if nothing tells.
    """
    home = home_if_true(device, place)
    names = (own_name(device, configured), home.name if home else "", device.link.alias)
    name = first_possible(names)
    if not name:
        raise CniError(
            f'failed to find original ifname for "{device.link.name}" (alias is not set):'
            f" set it in the container: ip link set {device.link.name} alias NAME"
        )
    return name


def name_on_host(device: Device, ifname: str, configured: str = "") -> str:
    """What a device that is on the host shall be called: as it is, unless the kernel brought it.

    The reference brings devices home under their name, without the alias but with the marks, and
    somebody may have renamed one since.
    """
    link, home = device.link, home_of(device)
    has_foreign_name = link.name in {ifname, home and home.ifname} or is_fallen_back(link.name)
    is_unused = not link.is_up
    names: tuple[str, ...] = ()
    if home:
        if has_foreign_name or link.alias == home.name or (is_unused and not link.alias):
            names = (own_name(device, configured), home.name)
    elif link.alias == configured:
        names = (configured,) if has_foreign_name or is_unused else ()
    elif has_foreign_name and is_of_hardware(link.alias):
        names = (link.alias,)
    return first_possible((*names, link.name))


def own_name(device: Device, configured: str) -> str:
    """The configured one, unless it is another name of the device's: so it is not to be called."""
    return "" if configured in device.altnames else configured


def first_possible(names: Iterable[str]) -> str:
    """The first that an interface can have, empty if there is none."""
    return next((name for name in names if not interface_name_problem(name)), "")


def is_fallen_back(name: str) -> bool:
    """Whether it looks like the kernel's choice for a device whose name was taken on the host."""
    return re.fullmatch("dev[0-9]+", name) is not None


def is_of_hardware(name: str) -> bool:
    """Whether kernel or udev call hardware so; an alias may be anything that somebody likes."""
    return re.fullmatch("(?:en|eth|hsn|ib|sl|usb|wl|ww)[a-z0-9]*[0-9][a-z0-9]*", name) is not None


def path_names(path: str) -> set[str]:
    """What an interface of the device in that directory may name as its parent."""
    return {path.rstrip("/").rpartition("/")[2]}


def pci_names(pci: str) -> set[str]:
    return sysfs.pci_names(pci) if pci and "/" not in pci else set()
