"""What /sys tells about devices and their network interfaces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar

PCI, AUXILIARY = "pci", "auxiliary"
USER_SPACE_DRIVERS = {"vfio-pci", "uio_pci_generic", "igb_uio"}

root: ContextVar[str] = ContextVar("root", default="/sys")
"""Where sysfs is mounted. Tests put a directory in its place."""


def bus_of(device_id: str) -> str:
    """The bus that has a device of that name, empty if none has."""
    buses = (bus for bus in (PCI, AUXILIARY) if os.path.isdir(_device(bus, device_id)))
    return next(buses, "")


def is_there(pci: str) -> bool:
    return os.path.isdir(_device(PCI, pci))


def driver_of(pci: str) -> str:
    """The name of the PCI device's driver, empty if it has none."""
    with suppress(OSError):
        return os.path.basename(os.readlink(f"{_device(PCI, pci)}/driver"))
    return ""


def pci_interfaces(pci: str) -> list[str]:
    """Interfaces of a PCI device, best first; those of a virtio device are one level deeper."""
    device = _device(PCI, pci)
    return _names(device) or [name for path in _virtio(device) for name in _names(path)]


def auxiliary_interfaces(name: str) -> list[str]:
    return _names(_device(AUXILIARY, name))


def path_interfaces(path: str) -> list[str]:
    """Interfaces of the device whose directory below /sys/devices that is."""
    return _names(_mounted(path))


def pci_names(pci: str) -> set[str]:
    """What an interface of the PCI device may name as its parent."""
    return {pci, *(os.path.basename(path) for path in _virtio(_device(PCI, pci)))}


def _device(bus: str, name: str) -> str:
    return f"{root.get()}/bus/{bus}/devices/{name}"


def _mounted(path: str) -> str:
    return root.get() + path.removeprefix("/sys")


def _virtio(device: str) -> Iterator[str]:
    for name in _listed(device):
        if name.startswith("virtio"):
            yield f"{device}/{name}"


def _names(device: str) -> list[str]:
    return _listed(f"{device}/net")


def _listed(directory: str) -> list[str]:
    with suppress(OSError):
        return sorted(os.listdir(directory))
    return []
