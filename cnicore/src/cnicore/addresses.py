"""Addresses and prefixes as configurations and results write them."""

from __future__ import annotations

import re
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface

from cnicore.result import Address, Cidr

MAC = re.compile(
    r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}|[0-9a-f]{2}(?:-[0-9a-f]{2}){5}|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2}"
)
CIDR = re.compile(r"[^%/]+/[0-9]+")
MAPPED_BITS = 96  # of an IPv6 address that holds an IPv4 one, before that one


def parse_mac(text: str) -> str:
    """An Ethernet address of six bytes as `02:00:5e:10:00:01`; "-" and "." separate as well.

    Raises ValueError.
    """
    if not MAC.fullmatch(text.lower()):
        raise ValueError(f"address {text}: invalid MAC address: write it as 02:00:5e:10:00:01")
    return bytes.fromhex(re.sub("[:.-]", "", text)).hex(":")


def parse_address(text: object) -> Address:
    """An IP address without a zone; an IPv4-mapped IPv6 address becomes the IPv4 one.

    Raises ValueError.
    """
    if not isinstance(text, str) or "%" in text:
        raise ValueError(f"invalid IP address: {text}")
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"invalid IP address: {text}") from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def parse_cidr(text: object) -> Cidr:
    """An address with its prefix length, host bits kept; IPv4-mapped it becomes the IPv4 one.

    Raises ValueError.
    """
    if not isinstance(text, str) or not CIDR.fullmatch(text):
        raise ValueError(f"invalid CIDR address: {text}")
    try:
        cidr = ip_interface(text)
        if isinstance(cidr, IPv6Interface) and cidr.ipv4_mapped:
            return IPv4Interface((cidr.ipv4_mapped, cidr.network.prefixlen - MAPPED_BITS))
    except ValueError:
        raise ValueError(f"invalid CIDR address: {text}") from None
    return cidr


def host_cidr(address: Address) -> Cidr:
    """The address as a prefix of its own, /32 or /128."""
    return ip_interface(address)


def any_cidr(version: int) -> Cidr:
    """The destination of a default route."""
    return IPv4Interface("0.0.0.0/0") if version == 4 else IPv6Interface("::/0")  # noqa: PLR2004  (the IP version)


def is_default(destination: Cidr) -> bool:
    """Whether the prefix is that of a default route."""
    return destination.network.prefixlen == 0
