"""The configuration of host-local, and what an ADD reads from it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field, SkipValidation

from cni_ipam.host_local.ranges import RangeConf, RangeSet, parse_range_sets
from cni_ipam.sections import (
    ArgsConf,
    RequestedIps,
    address_of,
    ipam_section,
    require_expressible,
    section,
)
from cnicore.arguments import parse_arguments
from cnicore.config import IpamConf, ListOf, NetConf, RouteConf
from cnicore.errors import InvalidEnvironment, InvalidNetworkConfig
from cnicore.request import Request
from cnicore.result import Address, Route

DATA_DIR = "/var/lib/cni/networks"
NO_NUL = r"^[^\x00]*$"


class DirectoryConf(IpamConf):
    """Where the reservations are; DEL and GC need no more."""

    data_dir: str = Field(
        default="",
        pattern=NO_NUL,
        description=f"Holds a directory for each network; unset: {DATA_DIR}.",
    )


class HostLocalIpam(DirectoryConf, RangeConf):
    """The section `ipam`; its own subnet is the older way to give one range."""

    ranges: ListOf[ListOf[RangeConf]] = Field(
        default=(), description="Range sets; the container gets one address of each."
    )
    routes: ListOf[RouteConf] = Field(default=(), description="Routes that the container gets.")
    resolv_conf: str = Field(
        default="", pattern=NO_NUL, description="File whose name servers the result reports."
    )


class RuntimeConf(RequestedIps):
    """What the runtime passes for the capabilities `ips` and `ipRanges`."""

    ip_ranges: ListOf[ListOf[RangeConf]] = Field(
        default=(), description="Range sets of this call, before those of the configuration."
    )


class HostLocalConf(NetConf):
    """A network whose addresses are leased from ranges, with all state on this host."""

    ipam: SkipValidation[HostLocalIpam] = Field(
        default=HostLocalIpam(), description="The ranges, and where the reservations are kept."
    )
    runtime_config: SkipValidation[RuntimeConf] = Field(
        default=RuntimeConf(), description="What the runtime passes for this container."
    )
    args: SkipValidation[ArgsConf] = Field(
        default=ArgsConf(), description="What the caller adds for this container."
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """What an ADD needs to know. `range_sets` is empty if only the runtime knows the ranges."""

    range_sets: tuple[RangeSet, ...]
    routes: tuple[Route, ...]
    resolv_conf: str


def read_settings(request: Request) -> Settings:
    """What the configuration says. Raises InvalidNetworkConfig that names the wrong key."""
    ipam = ipam_section(request, HostLocalIpam)
    runtime = section(request, "runtimeConfig", RuntimeConf)
    range_sets = parse_range_sets(configured_ranges(ipam, runtime))
    require_expressible([one[0].start for one in range_sets], request.cni_version)
    return Settings(range_sets, tuple(route.to_route() for route in ipam.routes), ipam.resolv_conf)


def configured_ranges(
    ipam: HostLocalIpam, runtime: RuntimeConf
) -> Iterator[tuple[str, Mapping[str, RangeConf]]]:
    """The range sets with their keys; the order decides which `last_reserved_ip.<i>` is whose."""
    yield from with_keys("runtimeConfig.ipRanges", runtime.ip_ranges)
    if ipam.subnet:
        yield "ipam", {"ipam": ipam}
    yield from with_keys("ipam.ranges", ipam.ranges)


def with_keys(
    key: str, range_sets: Sequence[Sequence[RangeConf]]
) -> Iterator[tuple[str, Mapping[str, RangeConf]]]:
    for i, ranges in enumerate(range_sets):
        yield f"{key}[{i}]", {f"{key}[{i}][{j}]": conf for j, conf in enumerate(ranges)}


def requested_addresses(request: Request) -> tuple[Address, ...]:
    """The addresses asked for in CNI_ARGS, args.cni.ips and runtimeConfig.ips, each once.

    Raises InvalidEnvironment or InvalidNetworkConfig for what is no address.
    """
    args = section(request, "args", ArgsConf).cni.ips
    runtime = section(request, "runtimeConfig", RuntimeConf).ips
    addresses = [
        *address_in_arguments(request.args),
        *addresses_in("args.cni.ips", args),
        *addresses_in("runtimeConfig.ips", runtime),
    ]
    return tuple(dict.fromkeys(addresses))


def address_in_arguments(text: str) -> Iterator[Address]:
    value = parse_arguments(text, ["IP"]).get("IP")
    if value:
        try:
            yield address_of(value)
        except ValueError as error:
            raise InvalidEnvironment(
                f'ARGS: error parsing value of pair "IP={value}": {error}'
            ) from error


def addresses_in(key: str, texts: Sequence[str]) -> Iterator[Address]:
    for index, text in enumerate(texts):
        try:
            yield address_of(text)
        except ValueError as error:
            raise InvalidNetworkConfig(f"{key}[{index}]: cannot understand ip: {error}") from error


def directory_of(request: Request) -> str:
    """The network's directory; the request's reader made sure that the name cannot lead elsewhere.

    Raises InvalidNetworkConfig if ipam.dataDir is no path.
    """
    data_dir = section(request, "ipam", DirectoryConf).data_dir
    return os.path.join(data_dir or DATA_DIR, request.network)
