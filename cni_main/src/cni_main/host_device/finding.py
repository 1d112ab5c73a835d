"""Where a device is: on the host, in its container, or come back from one that has ended."""

from __future__ import annotations

from collections.abc import Iterator

from cni_main.host_device import sysfs
from cni_main.host_device.configuration import HostDeviceConf, Selection, selection_of
from cni_main.host_device.elsewhere import find_elsewhere
from cni_main.host_device.facts import Facts, name_on_host, selected_facts
from cni_main.host_device.marks import given_name, home_if_true, owner_mark, tags_of
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.net.device import Device
from cnicore.net.link import LinkNotFound
from cnicore.net.namespace import Namespace, Namespaces
from cnicore.owner import Owner
from cnicore.spec import LONGEST_IFNAME


class DeviceInContainer(LinkNotFound):
    """The device is in use."""


def find_selected(host: Namespace, selection: Selection) -> Device:
    """The one device that every given key selects.

    Raises LinkNotFound if there is none on the host, InvalidNetworkConfig if there are several.
    """
    found: dict[str, Device] = {}
    for key in given(selection):
        device = look_up(host, key, selection)
        if device is None:
            raise absent(key, selection)
        found[key] = device
    (key, device), *others = found.items()
    for other_key, other in others:
        if other.link.index != device.link.index:
            raise InvalidNetworkConfig(
                f'{key}, {other_key}: they name different devices: "{device.link.name}" and'
                f' "{other.link.name}": keep one of the two keys'
            )
    return device


def selected_on_host(host: Namespace, conf: HostDeviceConf) -> list[Device]:
    """What the keys select that is there; the configuration may be wrong."""
    try:
        selection = selection_of(conf)
    except CniError:
        return []
    return [device for key in given(selection) if (device := look_up(host, key, selection))]


def given(selection: Selection) -> Iterator[str]:
    """The keys that select, in the reference's order."""
    values = {
        "device": selection.device,
        "hwaddr": selection.mac,
        "kernelpath": selection.path,
        selection.address_key: selection.pci or selection.auxiliary,
    }
    return (key for key, value in values.items() if value)


def look_up(host: Namespace, key: str, selection: Selection) -> Device | None:
    """What one key selects."""
    if key == "device":
        return by_name(host, selection.device)
    if key == "hwaddr":
        return next((one for one in host.devices() if one.link.mac == selection.mac), None)
    if key == "kernelpath":
        return first_of(host, sysfs.path_interfaces(selection.path))
    return first_of(host, interfaces_on_bus(selection))


def by_name(host: Namespace, name: str) -> Device | None:
    """By its name or another name, or one that was called so before it was given away."""
    if len(name.encode()) > LONGEST_IFNAME:
        return host.find_device(name)
    link = host.find_link(name)
    if link:
        return host.find_device_by_index(link.index)
    return next((one for one in host.devices() if given_name(one) == name), None)


def interfaces_on_bus(selection: Selection) -> list[str]:
    if selection.pci:
        return sysfs.pci_interfaces(selection.pci)
    return sysfs.auxiliary_interfaces(selection.auxiliary)


def first_of(host: Namespace, names: list[str]) -> Device | None:
    links = (host.find_link(name) for name in names)
    link = next(filter(None, links), None)
    return host.find_device_by_index(link.index) if link else None


def missing(key: str, selection: Selection) -> str:
    """What is not on the host, with the words of the reference."""
    if key == "device":
        return (
            "failed to find host device: Link not found:"
            f' there is no interface "{selection.device}" on the host'
        )
    if key == "hwaddr":
        return (
            "failed to find physical interface:"
            f" no interface of the host has the MAC address {selection.mac}"
        )
    if key == "kernelpath":
        return f"failed to find host device: {selection.path} has no interface on the host"
    device = f"pci device {selection.pci}" if selection.pci else selection.auxiliary
    return f"failed to find host device: no net directory under {device}, no interface on the host"


def absent(key: str, selection: Selection) -> LinkNotFound:
    """Says where the device is instead, if that is known, and what to do about it."""
    words = f"{key}: {missing(key, selection)}"
    found = find_elsewhere(selected_facts(selection).fit)
    if found is None:
        return LinkNotFound(f"{words}: it is not there, or in a container")
    device, path, place = found
    tags = tags_of(device) if home_if_true(device, place) else []
    where = f'it is "{device.link.name}" in {path}{"".join(f" for {tag}" for tag in tags)}'
    return DeviceInContainer(f"{words}: {where}: delete that attachment first")


def find_inside(ns: Namespaces, owner: Owner, facts: Facts, conf: HostDeviceConf) -> Device | None:
    """The attachment's device in its container, also if it was renamed there."""
    marked = ns.container.find_device(owner_mark(owner))
    if marked and not facts.exclude(marked):
        return marked
    place = ns.container.cookie()
    strangers = (one for one in ns.container.devices() if not is_another_attachments(one, place))
    candidates = [one for one in strangers if not facts.exclude(one)]
    named = [one for one in candidates if one.link.name == owner.ifname]
    fitting = [one for one in (*named, *candidates) if facts.fit(one)]
    given_by_reference = [one for one in named if one.link.alias and not facts.name]
    found = next(iter(fitting + given_by_reference), None)
    if found and not facts.name_fits(found) and selected_on_host(ns.host, conf):
        return None  # the device never left, or is home again: this is another plugin's interface
    return found


def is_another_attachments(device: Device, place: str) -> bool:
    """Whether a mark says so that is true in that place."""
    return bool(tags_of(device) and home_if_true(device, place))


def find_returned(
    host: Namespace, owner: Owner, facts: Facts, conf: HostDeviceConf
) -> Device | None:
    """The attachment's device on the host, if it still has what it was given away with."""
    marked = host.find_device(owner_mark(owner))
    if marked:
        return marked
    candidates = selected_on_host(host, conf) or host.devices()
    return next((one for one in candidates if is_returned(one, owner, facts)), None)


def is_returned(device: Device, owner: Owner, facts: Facts) -> bool:
    """Whether it is one that the reference has given, and that the kernel brought back."""
    return (
        not tags_of(device)
        and name_on_host(device, owner.ifname, facts.name) != device.link.name
        and not facts.exclude(device)
        and facts.fit(device)
    )
