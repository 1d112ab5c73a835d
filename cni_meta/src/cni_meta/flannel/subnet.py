"""subnet.env: what flanneld says about this node's part of the network."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import NamedTuple

from cnicore.addresses import parse_cidr
from cnicore.errors import CniError, reason

Network = IPv4Network | IPv6Network

NETWORKS = ("FLANNEL_NETWORK", "FLANNEL_IPV6_NETWORK")
SUBNETS = ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET")
MTU, IP_MASQ = "FLANNEL_MTU", "FLANNEL_IPMASQ"
KNOWN = (*NETWORKS, *SUBNETS, MTU, IP_MASQ)
HIGHEST_MTU = 2**32 - 1


class Subnet(NamedTuple):
    """`networks` are the whole cluster's, `subnets` this node's, IPv4 before IPv6."""

    networks: tuple[Network, ...]
    subnets: tuple[Network, ...]
    mtu: int
    ip_masq: bool


def read_subnet(file: str, failure: type[CniError]) -> Subnet:
    """What the file says. Raises `failure`, which says who writes the file, if it is not usable."""
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
        return parse_subnet(file, text.splitlines())
    except OSError as error:
        raise failure(
            f"cannot read {file}: {reason(error)}: flanneld writes it as soon as it has a subnet"
            " for this node, check that it runs here and what its log says, and that"
            " subnetFile is the file that it writes"
        ) from error
    except ValueError as error:
        raise failure(
            f"{error}: flanneld writes the file, check that it is of a version that belongs to"
            " this network and what its log says"
        ) from error


def parse_subnet(file: str, lines: Iterable[str]) -> Subnet:
    """Raises ValueError that names the file and what is wrong in it."""
    values: dict[str, str] = {}
    for line in lines:
        key, separator, value = line.partition("=")
        if key in KNOWN and not separator:
            raise ValueError(f"{file} has {key} without a value")
        values[key] = value
    require_all(file, values)
    return Subnet(
        networks=parse_networks(file, values, NETWORKS),
        subnets=parse_networks(file, values, SUBNETS),
        mtu=parse_mtu(file, values[MTU]),
        ip_masq=values[IP_MASQ] == "true",
    )


def require_all(file: str, values: dict[str, str]) -> None:
    """Of networks and subnets one family is enough."""
    needed = (NETWORKS, SUBNETS, (MTU,), (IP_MASQ,))
    missing = [
        name for names in needed if not any(one in values for one in names) for name in names
    ]
    if missing:
        raise ValueError(f"{file} is missing {', '.join(missing)}")


def parse_networks(file: str, values: dict[str, str], names: Iterable[str]) -> tuple[Network, ...]:
    found = [
        parse_network(file, name, text)
        for name in names
        if name in values
        for text in values[name].split(",")
    ]
    return tuple(dict.fromkeys(found))


def parse_network(file: str, name: str, text: str) -> Network:
    try:
        return parse_cidr(text).network
    except ValueError as error:
        raise ValueError(f"{name} in {file}: {error}") from None


def parse_mtu(file: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= HIGHEST_MTU):
        raise ValueError(f'{MTU} in {file}: "{text}" is no number of bytes')
    return int(text)
