"""static: gives a container the addresses that are configured or asked for; keeps no state.

So DEL and GC have nothing to do, whatever the configuration says, and nobody notices when two
containers are given the same address.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import (
    Field,
    PlainValidator,
    SkipValidation,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from cni_ipam.sections import (
    ArgsConf,
    OptionalIp,
    RequestedIps,
    ipam_section,
    require_expressible,
    section,
)
from cnicore.addresses import parse_address, parse_cidr
from cnicore.arguments import parse_arguments
from cnicore.config import (
    ConfModel,
    DnsConf,
    IpamConf,
    ListOf,
    NetConf,
    RouteConf,
    require_family,
)
from cnicore.errors import CniError, InvalidEnvironment, InvalidNetworkConfig, PluginNotAvailable
from cnicore.hookspecs import hookimpl
from cnicore.request import Request
from cnicore.result import Address, Cidr, IpConfig, Result


def _parse_address_field(text: object) -> Cidr:
    try:
        return parse_cidr(text)
    except ValueError:
        raise ValueError(
            f"the 'address' field is expected to be in CIDR notation, got: '{text}':"
            " add the prefix length, for example 10.1.0.5/24"
        ) from None


class AddressConf(ConfModel):
    """An address that every container of the network gets."""

    address: Annotated[
        Cidr,
        PlainValidator(_parse_address_field),
        WithJsonSchema({"type": "string", "format": "cidr"}),
    ] = Field(description="The address with its prefix length.")
    gateway: OptionalIp = Field(default=None, description="The gateway of the address's subnet.")

    @field_validator("gateway")
    @classmethod
    def _require_family(cls, gateway: Address | None, info: ValidationInfo) -> Address | None:
        return require_family(gateway, info.data.get("address"))


class StaticIpam(IpamConf):
    """The section `ipam`."""

    addresses: ListOf[AddressConf] = Field(
        default=(), description="The addresses, unless the caller names others."
    )
    routes: ListOf[RouteConf] = Field(default=(), description="Routes that the container gets.")
    dns: DnsConf = Field(default=DnsConf(), description="What the container's resolver should use.")


class StaticConf(NetConf):
    """A network whose containers have addresses that somebody else chose."""

    ipam: SkipValidation[StaticIpam] = Field(
        default=StaticIpam(), description="The addresses, routes and name servers."
    )
    runtime_config: SkipValidation[RequestedIps] = Field(
        default=RequestedIps(), description="What the runtime passes for the capability `ips`."
    )
    args: SkipValidation[ArgsConf] = Field(
        default=ArgsConf(), description="What the caller adds for this container."
    )


@hookimpl
def cni_config() -> type[NetConf]:
    return StaticConf


@hookimpl
def cni_add(request: Request) -> Result:
    ipam = ipam_section(request, StaticIpam)
    routes = tuple(route.to_route() for route in ipam.routes)
    return Result(ips=assigned(request, ipam), routes=routes, dns=ipam.dns.to_dns())


@hookimpl
def cni_check(request: Request) -> None:
    previous = request.prev_result
    if previous is None:
        raise CniError("Required prevResult missing: CHECK needs the result of the ADD")
    actual = {ip.address.ip: ip.gateway for ip in previous.ips}
    for ip in assigned(request, ipam_section(request, StaticIpam)):
        require_in_use(ip, actual, request.ifname)


@hookimpl
def cni_status(request: Request) -> None:
    ipam = ipam_section(request, StaticIpam)
    # without the key the addresses come with each container, which STATUS does not know
    if not assigned(request, ipam) and "addresses" in ipam.model_fields_set:
        raise PluginNotAvailable("ipam.addresses: is empty: give it an address or remove the key")


def assigned(request: Request, ipam: StaticIpam) -> tuple[IpConfig, ...]:
    """The container's addresses: of the runtime, else of args.cni, else of ipam and CNI_ARGS.

    Raises InvalidNetworkConfig or InvalidEnvironment that names the source of what is wrong.
    """
    own = with_gateways(request.args, [*configured(ipam), *in_arguments(request.args)])
    by_args = requested("args.cni.ips", section(request, "args", ArgsConf).cni.ips)
    runtime = section(request, "runtimeConfig", RequestedIps)
    by_runtime = requested("runtimeConfig.ips", runtime.ips)
    chosen = by_runtime or by_args or own
    require_expressible([ip.address.ip for ip in chosen], request.cni_version)
    return chosen


def configured(ipam: StaticIpam) -> Iterator[IpConfig]:
    return (IpConfig(conf.address, conf.gateway) for conf in ipam.addresses)


def in_arguments(text: str) -> Iterator[IpConfig]:
    for item in arguments(text, "IP"):
        try:
            yield IpConfig(parse_cidr(item))
        except ValueError as error:
            raise InvalidEnvironment(
                f"the 'ip' field is expected to be in CIDR notation, got: '{item}':"
                " add the prefix length in CNI_ARGS, for example IP=10.1.0.5/24"
            ) from error


def requested(key: str, texts: Sequence[str]) -> tuple[IpConfig, ...]:
    try:
        return tuple(IpConfig(parse_cidr(text)) for text in texts)
    except ValueError as error:
        wrong = str(error).removeprefix("invalid CIDR address: ")
        raise InvalidNetworkConfig(
            f"an entry in the 'ips' field is NOT in CIDR notation, got: '{wrong}':"
            f" add the prefix length in {key}"
        ) from error


def with_gateways(text: str, ips: Sequence[IpConfig]) -> tuple[IpConfig, ...]:
    """The addresses; those without a gateway get the one of CNI_ARGS that is in their subnet."""
    gateways = [parse_gateway(item) for item in arguments(text, "GATEWAY")]
    return tuple(ip if ip.gateway else replace(ip, gateway=find_in(ip, gateways)) for ip in ips)


def parse_gateway(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError:
        raise InvalidEnvironment(
            f"invalid gateway address: {text}: write GATEWAY=ADDRESS in CNI_ARGS"
        ) from None


def find_in(ip: IpConfig, gateways: Sequence[Address]) -> Address | None:
    """The last of the gateways that is in the address's subnet, as in the reference."""
    return next((one for one in reversed(gateways) if one in ip.address.network), None)


def arguments(text: str, key: str) -> list[str]:
    """The items of the comma-separated value in CNI_ARGS."""
    value = parse_arguments(text, ["IP", "GATEWAY"]).get(key)
    return [item.strip() for item in value.split(",")] if value else []


def require_in_use(ip: IpConfig, actual: dict[Address, Address | None], ifname: str) -> None:
    """Raise CniError unless the result of the ADD has the address, with its gateway if any."""
    address = ip.address.ip
    if address not in actual:
        raise CniError(
            f"static: Failed to find addr {ip.address} on interface {ifname}:"
            " prevResult does not have it; attach the container again"
        )
    if ip.gateway and actual[address] != ip.gateway:
        raise CniError(
            f"static: Failed to match addr {ip.address} on interface {ifname}:"
            f" its gateway is {actual[address]}, not {ip.gateway}"
        )
