"""What an ADD made, as the newest version of the specification has it (1.1.0, section 5).

versions.py knows the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

Address = IPv4Address | IPv6Address
"""An IP address alone."""

Cidr = IPv4Interface | IPv6Interface
"""An IP address with its prefix length; host bits are kept."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface; `sandbox` is CNI_NETNS as given, or empty for one of the host."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int = 0
    socket_path: str = ""
    pci_id: str = ""


@dataclass(frozen=True, slots=True)
class IpConfig:
    """An address of an interface; `interface` is the index in the result's interfaces."""

    address: Cidr
    gateway: Address | None = None
    interface: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A route in the container; mtu and advmss in bytes, 0 for the kernel's choice.

    `table` and `scope` are the kernel's numbers (scope 0 global, 253 link, 254 host) or None.
    """

    dst: Cidr
    gw: Address | None = None
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


@dataclass(frozen=True, slots=True)
class Dns:
    """What the container's resolver should use."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """Everything an ADD reports."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IpConfig, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()
