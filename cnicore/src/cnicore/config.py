"""The keys that every network configuration has, and how a configuration is parsed.

Strict in: scalars are not coerced. Lenient where live configurations rely on it: keys match without
regard to case, unknown keys are ignored, null means the default.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from cnicore.addresses import parse_address, parse_cidr
from cnicore.documents import Document, encode, fold_keys, kind_of
from cnicore.errors import InvalidNetworkConfig
from cnicore.result import Address, Cidr, Dns, Route

IpAddress = Annotated[
    Address, PlainValidator(parse_address), WithJsonSchema({"type": "string", "format": "ip"})
]
"""A configuration's IP address; an IPv4-mapped one becomes IPv4."""

IpCidr = Annotated[
    Cidr, PlainValidator(parse_cidr), WithJsonSchema({"type": "string", "format": "cidr"})
]
"""A configuration's address with prefix length, host bits kept."""

HIGHEST = 2**32 - 1  # what fits into the kernel's attributes

LONGEST_SHOWN = 60  # characters of a wrong value in a message


class ConfModel(BaseModel):
    """An object in a configuration: keys are camelCase, found in any case, null is the default."""

    model_config = ConfigDict(
        strict=True, extra="ignore", frozen=True, validate_by_name=True, alias_generator=to_camel
    )

    @model_validator(mode="before")
    @classmethod
    def _fold_keys(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        return fold_keys(document, (field.alias or "" for field in cls.model_fields.values()))


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def require_family(gateway: Address | None, cidr: Cidr | None) -> Address | None:
    """The gateway, if there is one. Raises ValueError unless it is of the prefix's family."""
    if gateway and cidr and gateway.version != cidr.version:
        raise ValueError(
            f"{gateway} cannot be the gateway of {cidr}: write an IPv{cidr.version} address"
        )
    return gateway


T = TypeVar("T")

ListOf = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
"""A JSON list, held as a tuple so that a configuration cannot change."""


class DnsConf(ConfModel):
    """What the container's resolver should use."""

    nameservers: ListOf[str] = Field(
        default=(), description="Addresses of name servers, best first."
    )
    domain: str = Field(default="", description="The local domain, for short names.")
    search: ListOf[str] = Field(default=(), description="Domains to search for short names.")
    options: ListOf[str] = Field(default=(), description="Options for the resolver.")

    def to_dns(self) -> Dns:
        return Dns(self.nameservers, self.domain, self.search, self.options)

    def or_leased(self, leased: Dns) -> Dns:
        """The configured one if it says anything; an empty list does, an empty object does not."""
        is_set = bool(self.domain or self.model_fields_set - {"domain"})
        return self.to_dns() if is_set else leased


class RouteConf(ConfModel):
    """A route that the container gets."""

    dst: IpCidr = Field(description="Destination prefix.")
    gw: IpAddress | None = Field(
        default=None, description="Next hop; unset: the address's gateway."
    )
    mtu: int = Field(
        default=0, ge=0, le=HIGHEST, description="Path MTU in bytes; 0 leaves it to the kernel."
    )
    advmss: int = Field(
        default=0, ge=0, le=HIGHEST, description="MSS to advertise, in bytes; 0: the kernel's."
    )
    priority: int = Field(default=0, ge=0, le=HIGHEST, description="Metric; lower is preferred.")
    table: int | None = Field(
        default=None, ge=0, le=HIGHEST, description="Routing table; unset: main."
    )
    scope: int | None = Field(
        default=None, ge=0, le=255, description="0 global, 253 link (no gateway), 254 host."
    )

    @field_validator("gw")
    @classmethod
    def _require_family(cls, gw: Address | None, info: ValidationInfo) -> Address | None:
        return require_family(gw, info.data.get("dst"))

    def to_route(self) -> Route:
        return Route(
            self.dst, self.gw, self.mtu, self.advmss, self.priority, self.table, self.scope
        )


class IpamConf(ConfModel):
    """Which plugin manages the addresses; its other keys are that plugin's own."""

    type: str = Field(default="", description="The IPAM plugin, a file in CNI_PATH.")


class NetConf(ConfModel):
    """What every network configuration may contain. A plugin's model is a subclass of this."""

    cni_version: str = Field(default="", description="Version of the specification; empty: 0.1.0.")
    name: str = Field(default="", description="The network's name, unique on the host.")
    type: str = Field(default="", description="The plugin, a file in CNI_PATH.")
    ipam: IpamConf = Field(default=IpamConf(), description="How addresses are managed.")
    dns: DnsConf = Field(default=DnsConf(), description="What the container's resolver should use.")


class MasqueradeConf(NetConf):
    """The keys of plugins that can hide a container behind the host."""

    ip_masq: bool = Field(
        default=False, description="Masquerade what leaves the subnet as the host's own traffic."
    )
    ip_masq_backend: Literal["", "nftables", "iptables"] = Field(
        default="", description="Firewall to masquerade with; unset: nftables where it works."
    )


ConfT = TypeVar("ConfT", bound=ConfModel)


def parse_config(model: type[ConfT], document: Document, at: str = "") -> ConfT:
    """The document as the model; `at` is the path of its key if it is only a part of the whole.

    Raises InvalidNetworkConfig: `msg` names the first wrong key with its path, `details` the rest.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first, *others = [_describe(problem, at) for problem in error.errors(include_url=False)]
        raise InvalidNetworkConfig(first, "; ".join(others)) from error


def _describe(problem: Any, path: str) -> str:
    """One wrong key as `ipam.ranges[0][1].subnet: ...`."""
    for part in problem["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"].endswith("_type"):
        wanted = JSON_KINDS.get(problem["type"]) or message.removeprefix("Input should be ")
        message = f"Input should be {wanted}, not {_shown(problem['input'])}"
    message = message[0].lower() + message[1:] if message.startswith("Input ") else message
    return f"{path.lstrip('.')}: {message}" if path else message


# pydantic names what Python makes of them
JSON_KINDS = {
    "tuple_type": "a list",
    "model_type": "an object",
    "dict_type": "an object",
    "model_attributes_type": "an object",
}


def _shown(value: object) -> str:
    """The value as its author wrote it, or its kind if that would be too long to read."""
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= LONGEST_SHOWN else f"'{value[:LONGEST_SHOWN]}...'"
    return kind_of(value) if isinstance(value, dict | list | tuple) else encode(value)
