"""The keys of host-device, and which device they select: one, however many of them are given."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import Field

from cni_main.host_device import sysfs
from cnicore.config import ConfModel, NetConf
from cnicore.errors import InvalidNetworkConfig
from cnicore.net.link import LinkNotFound

HWADDR = re.compile(
    r"[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2})*|[0-9a-f]{4}(?:\.[0-9a-f]{4})+"
)
HWADDR_SIZES = {6, 8, 20}  # bytes: Ethernet, IEEE EUI-64, InfiniBand
DEVICES = "/sys/devices/"
DEVICE_ID = "runtimeConfig.deviceID"


class DeviceIdConf(ConfModel):
    """The device that a device plugin of the node has allocated."""

    device_id: str = Field(
        default="", alias="deviceID", description="PCI address or name on the auxiliary bus."
    )


class HostDeviceConf(NetConf):
    """The keys of host-device; values are looked at where they are needed: DEL refuses none."""

    device: str = Field(default="", description="The device by its name on the host.")
    hwaddr: str = Field(default="", description="The device by its MAC address.")
    kernelpath: str = Field(
        default="", description="The device by its directory below /sys/devices/."
    )
    pci_bus_id: str = Field(
        default="",
        alias="pciBusID",
        description="The device by its PCI address; the capability deviceID comes before it.",
    )
    dpdk_mode: bool = Field(
        default=False,
        description="The device has no interface; unset: found out for one with a PCI address.",
    )
    runtime_config: DeviceIdConf = Field(
        default=DeviceIdConf(), description="What the runtime adds for the capability deviceID."
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """What the keys say, checked; empty for what is not given.

    `address_key` is the key of `pci` or `auxiliary`, of which there is one at most.
    """

    device: str = ""
    mac: str = ""
    path: str = ""
    pci: str = ""
    auxiliary: str = ""
    address_key: str = "pciBusID"
    is_dpdk: bool = False


def selection_of(conf: HostDeviceConf) -> Selection:
    """What the configuration selects. Raises InvalidNetworkConfig, LinkNotFound naming the key."""
    require_one(conf)
    mac = parse_hwaddr(conf.hwaddr)
    require_device_path(conf.kernelpath)
    pci, auxiliary, address_key = addresses_of(conf)
    is_dpdk = is_driven_from_user_space(pci, address_key) if pci else conf.dpdk_mode
    named = [name for name in ("device", "hwaddr", "kernelpath") if getattr(conf, name)]
    if pci and is_dpdk and named:
        raise InvalidNetworkConfig(
            f"{named[0]}, {address_key}: they name different devices:"
            f" {pci} is driven from user space and has no interface: keep one of the two keys"
        )
    return Selection(conf.device, mac, conf.kernelpath, pci, auxiliary, address_key, is_dpdk)


def require_one(conf: HostDeviceConf) -> None:
    keys = (conf.device, conf.hwaddr, conf.kernelpath, conf.pci_bus_id)
    if not any((*keys, conf.runtime_config.device_id)):
        raise InvalidNetworkConfig(
            'specify either "device", "hwaddr", "kernelpath" or "pciBusID":'
            " nothing says which device the container gets"
        )


def parse_hwaddr(text: str) -> str:
    """The address as the kernel spells it, empty for an empty text."""
    if not text:
        return ""
    digits = re.sub("[:.-]", "", text.lower())
    if not HWADDR.fullmatch(text.lower()) or len(digits) // 2 not in HWADDR_SIZES:
        raise InvalidNetworkConfig(
            f'hwaddr: failed to parse MAC address "{text}": write it as 02:00:5e:10:00:01'
        )
    return bytes.fromhex(digits).hex(":")


def require_device_path(path: str) -> None:
    if path and (not path.startswith(DEVICES) or ".." in path.split("/")):
        raise InvalidNetworkConfig(
            f'kernelpath: kernel device path "{path}" must be absolute and begin with {DEVICES}'
        )


def addresses_of(conf: HostDeviceConf) -> tuple[str, str, str]:
    """PCI address and name on the auxiliary bus, one of them or none, and the key of the former."""
    device_id = conf.runtime_config.device_id
    for key, text in (("pciBusID", conf.pci_bus_id), (DEVICE_ID, device_id)):
        if "/" in text or "\0" in text or text in {".", ".."}:
            raise InvalidNetworkConfig(
                f'{key}: "{text}" is no address of a device: write it as 0000:03:00.1'
            )
    if not device_id:
        return conf.pci_bus_id, "", "pciBusID"
    bus = sysfs.bus_of(device_id)
    if not bus:
        raise LinkNotFound(
            f"{DEVICE_ID}: runtime config DeviceID {device_id} not found or unsupported:"
            " it is no device of the buses pci and auxiliary"
        )
    return (device_id, "", DEVICE_ID) if bus == sysfs.PCI else ("", device_id, DEVICE_ID)


def is_driven_from_user_space(pci: str, key: str) -> bool:
    """Whether the PCI device is one for DPDK. Raises LinkNotFound if it is not there."""
    if not sysfs.is_there(pci):
        raise LinkNotFound(
            f"{key}: error with host device: there is no PCI device {pci}:"
            " set it to one that lspci -D lists"
        )
    return sysfs.driver_of(pci) in sysfs.USER_SPACE_DRIVERS
