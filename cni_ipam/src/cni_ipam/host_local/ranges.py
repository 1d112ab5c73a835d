"""Ranges of addresses: what is left out of their configuration filled in, and checked.

A range set is the ranges that one address is taken from; no address is in two ranges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from itertools import combinations
from typing import Annotated

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema, field_validator

from cni_ipam.sections import OptionalIp
from cnicore.addresses import parse_cidr
from cnicore.config import ConfModel, require_family
from cnicore.errors import InvalidNetworkConfig
from cnicore.result import Address, Cidr

Network = IPv4Network | IPv6Network

SPARE_BITS = 2  # a subnet has at least four addresses: network, gateway, container, broadcast


def _parse_subnet_field(text: object) -> Cidr:
    cidr = parse_cidr(text)
    if cidr.version == 4 and ":" in str(text):  # noqa: PLR2004  (the IP version)
        raise ValueError("IPNet IP and Mask version mismatch: write the subnet as IPv4")
    return cidr


Subnet = Annotated[
    Cidr, PlainValidator(_parse_subnet_field), WithJsonSchema({"type": "string", "format": "cidr"})
]


class RangeConf(ConfModel):
    """Addresses of one subnet, from `rangeStart` to `rangeEnd`."""

    subnet: Subnet | None = Field(default=None, description="The subnet, without host bits.")
    range_start: OptionalIp = Field(
        default=None, description="First address to lease; unset: the subnet's first."
    )
    range_end: OptionalIp = Field(
        default=None, description="Last address to lease; unset: the last one before the broadcast."
    )
    gateway: OptionalIp = Field(
        default=None,
        description="The containers' gateway, never leased; unset: the subnet's first address.",
    )

    @field_validator("gateway")
    @classmethod
    def _require_family(cls, gateway: Address | None, info: ValidationInfo) -> Address | None:
        return require_family(gateway, info.data.get("subnet"))


@dataclass(frozen=True, slots=True)
class Range:
    """The addresses from `start` to `end`, both included, of one subnet."""

    subnet: Network
    start: Address
    end: Address
    gateway: Address

    def __contains__(self, address: Address) -> bool:
        same_family = address.version == self.start.version
        return same_family and int(self.start) <= int(address) <= int(self.end)

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"

    def overlaps(self, other: Range) -> bool:
        """Whether some address is in both; only the bounds count, not the subnets."""
        return other.start in self or self.start in other


RangeSet = tuple[Range, ...]


def is_in(address: Address, range_set: RangeSet) -> bool:
    """Whether one of the ranges has the address."""
    return any(address in one for one in range_set)


def describe(range_set: RangeSet) -> str:
    """The set as `10.1.2.2-10.1.2.9,10.1.3.1-10.1.3.254`."""
    return ",".join(map(str, range_set))


def parse_range_sets(
    configured: Iterable[tuple[str, Mapping[str, RangeConf]]],
) -> tuple[RangeSet, ...]:
    """The range sets; they and their ranges come with the keys of the configuration, for messages.

    Raises InvalidNetworkConfig that names the set, the key and the rule that is broken.
    """
    sets: list[RangeSet] = []
    for index, (key, ranges) in enumerate(configured):
        try:
            sets.append(_parse_range_set(key, ranges))
        except ValueError as error:
            raise InvalidNetworkConfig(f"invalid range set {index}: {error}") from error
    for (i, one), (j, other) in combinations(enumerate(sets), 2):
        if any(a.overlaps(b) for a in one for b in other):
            raise InvalidNetworkConfig(
                f"range set {i} overlaps with {j}: separate {describe(one)} from {describe(other)}"
            )
    return tuple(sets)


def _parse_range_set(key: str, ranges: Mapping[str, RangeConf]) -> RangeSet:
    if not ranges:
        raise ValueError(f"empty range set: give {key} a range or remove it")
    range_set = tuple(_parse_in(place, conf) for place, conf in ranges.items())
    if len({one.start.version for one in range_set}) > 1:
        raise ValueError(f"mixed address families: give IPv4 and IPv6 a range set each in {key}")
    for one, other in combinations(range_set, 2):
        if one.overlaps(other):
            raise ValueError(f"subnets {one} and {other} overlap: separate the ranges in {key}")
    return range_set


def _parse_in(place: str, conf: RangeConf) -> Range:
    try:
        return parse_range(conf)
    except ValueError as error:
        raise ValueError(f"{error} (in {place})") from error


def parse_range(conf: RangeConf) -> Range:
    """The range with its defaults filled in. Raises ValueError with the rule that is broken."""
    subnet = parse_subnet(conf.subnet)
    first = subnet[1]
    last = subnet[-2] if subnet.version == 4 else subnet[-1]  # noqa: PLR2004  (IPv6 has no broadcast)
    start, end = conf.range_start or first, conf.range_end or last
    for name, bound in (("RangeStart", start), ("RangeEnd", end)):
        if bound not in subnet:
            raise ValueError(
                f"{name} {bound} not in network {subnet}: choose an address of the subnet"
            )
    if int(start) > int(end):
        name, bound = ("RangeStart", start) if conf.range_start else ("RangeEnd", end)
        raise ValueError(
            f"{name} {bound} not in network {subnet}: the range {start}-{end} is empty"
        )
    return Range(subnet, start, end, conf.gateway or first)


def parse_subnet(cidr: Cidr | None) -> Network:
    """The network of an address with prefix length. Raises ValueError if none can be leased."""
    if cidr is None:
        raise ValueError("IP <nil> not v4 nor v6: add the subnet")
    longest = cidr.max_prefixlen - SPARE_BITS
    if cidr.network.prefixlen > longest:
        raise ValueError(
            f"Network {cidr} too small to allocate from: use /{longest} or a larger one"
        )
    if cidr.ip != cidr.network.network_address:
        raise ValueError(
            "Network has host bits set. For a subnet mask of length"
            f" {cidr.network.prefixlen} the network address is {cidr.network.network_address}"
        )
    return cidr.network
