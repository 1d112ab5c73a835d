"""Parts of a configuration, parsed when a verb needs them: DEL works whatever they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BeforeValidator, Field

from cnicore.addresses import parse_address, parse_cidr
from cnicore.config import ConfModel, ConfT, IpAddress, ListOf, parse_config
from cnicore.documents import fold_keys
from cnicore.errors import InvalidNetworkConfig
from cnicore.request import Request
from cnicore.result import Address
from cnicore.versions import IP_OBJECTS


def _empty_as_none(value: object) -> object:
    return None if value == "" else value


OptionalIp = Annotated[IpAddress | None, BeforeValidator(_empty_as_none)]
"""An address that may be left out; an empty text leaves it out too, as in the reference."""


class RequestedIps(ConfModel):
    """Addresses that the caller asks for, for this container."""

    ips: ListOf[str] = Field(
        default=(),
        description="Addresses for this container, with prefix length (host-local ignores it).",
    )


class ArgsConf(ConfModel):
    """What the caller adds to the configuration for this container."""

    cni: RequestedIps = Field(default=RequestedIps(), description="The conventional arguments.")


def section(request: Request, key: str, model: type[ConfT]) -> ConfT:
    """The part of the configuration under `key` as its model; absent, all its defaults.

    Raises InvalidNetworkConfig that names the wrong key with its path.
    """
    return parse_config(model, fold_keys(request.document, [key]).get(key, {}), at=key)


def ipam_section(request: Request, model: type[ConfT]) -> ConfT:
    """The section `ipam`, which must be there. Raises InvalidNetworkConfig."""
    if "ipam" not in fold_keys(request.document, ["ipam"]):
        raise InvalidNetworkConfig(
            "IPAM config missing 'ipam' key: add \"ipam\" with the addresses to the network"
        )
    return section(request, "ipam", model)


def address_of(text: str) -> Address:
    """The address in an address with or without a prefix length. Raises ValueError."""
    if "/" in text:
        parse_cidr(text)
    try:
        return parse_address(text.partition("/")[0])
    except ValueError:
        raise ValueError(f"invalid IP address {text}") from None


def require_expressible(addresses: Sequence[Address], version: str) -> None:
    """Raise InvalidNetworkConfig if a result of the version cannot hold so many addresses."""
    families = [address.version for address in addresses]
    if version in IP_OBJECTS and len(families) > len(set(families)):
        raise InvalidNetworkConfig(
            f"CNI version {version} does not support more than 1 address per family:"
            " set cniVersion to 0.3.0 or newer, or ask for fewer addresses"
        )
