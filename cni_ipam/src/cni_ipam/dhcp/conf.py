"""The configuration of dhcp, and what it asks of the servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, SkipValidation, field_validator

from cni_ipam.dhcp.protocol import LEASE_DIR, SOCKET
from cni_ipam.dhcp.terms import Wish
from cni_ipam.sections import ipam_section, section
from cnicore.config import HIGHEST, ConfModel, IpamConf, ListOf, NetConf
from cnicore.errors import InvalidNetworkConfig
from cnicore.request import Request

NO_NUL = r"^[^\x00]*$"
OPTIONS = {
    "subnet-mask": 1,
    "routers": 3,
    "host-name": 12,
    "vendor-class-identifier": 60,
    "dhcp-client-identifier": 61,
    "user-class": 77,
}
HIGHEST_OPTION = 255
LONGEST_VALUE = 255  # bytes
ALWAYS_ASKED = (3, 1)  # routers, subnet mask
WITHOUT_ANY = (1, 3, 15, 6)  # what the reference's library asks for then
OWN_OPTIONS = {
    0: "pads the packet",
    50: "is the address that is asked for",
    52: "says where options are",
    53: "is the kind of the message",
    54: "names the server",
    55: "is made of ipam.request",
    255: "ends the options",
}
"""What no `provide` can set."""


class RequestConf(ConfModel):
    """An option that the servers are asked for."""

    skip_default: bool = Field(
        default=False, description="Do not ask for routers and subnet-mask by itself."
    )
    option: str = Field(default="", description="The option's number or name.")


class ProvideConf(ConfModel):
    """An option that the servers are told."""

    option: str = Field(default="", description="The option's number or name.")
    value: str = Field(default="", description="Its value.")
    from_arg: str = Field(
        default="", description="The key in CNI_ARGS whose value it has instead, if it is there."
    )


class PlaceConf(IpamConf):
    """Where the daemon is; DEL and GC need no more."""

    daemon_socket_path: str = Field(
        default="", pattern=NO_NUL, description=f"The daemon's socket; unset: {SOCKET}."
    )
    lease_dir: str = Field(
        default="",
        pattern=NO_NUL,
        description=f"Where the daemon keeps its records; unset: {LEASE_DIR}.",
    )

    @property
    def socket(self) -> str:
        return self.daemon_socket_path or SOCKET

    @property
    def directory(self) -> str:
        return self.lease_dir or LEASE_DIR


class DhcpIpam(PlaceConf):
    """The section `ipam`."""

    request: ListOf[RequestConf] = Field(
        default=(), description="Options to ask for, before routers and subnet-mask."
    )
    provide: ListOf[ProvideConf] = Field(default=(), description="Options to send.")
    priority: int = Field(
        default=0, ge=0, le=HIGHEST, description="Metric of the leased routes; 0: the kernel's."
    )
    protocols: ListOf[Literal["dhcpv4", "dhcpv6"]] = Field(
        default=("dhcpv4",),
        description="What to lease; of both the container gets an address each.",
    )

    @field_validator("protocols")
    @classmethod
    def _require_protocol(cls, protocols: tuple[str, ...]) -> tuple[str, ...]:
        if not protocols:
            raise ValueError("the list is empty: name dhcpv4, dhcpv6 or both, or remove the key")
        return protocols


class DhcpConf(NetConf):
    """A network whose addresses are leased from DHCP servers, by a daemon on this host."""

    ipam: SkipValidation[DhcpIpam] = Field(
        default=DhcpIpam(), description="What to ask for, and where the daemon is."
    )


def place_of(request: Request) -> PlaceConf:
    """Where the daemon is. Raises InvalidNetworkConfig that names the wrong key."""
    return section(request, "ipam", PlaceConf)


def likely_place_of(request: Request) -> PlaceConf:
    """The same for DEL, which works whatever the configuration says: what is wrong is unset."""
    try:
        return place_of(request)
    except InvalidNetworkConfig:
        return PlaceConf()


def wish_of(request: Request) -> Wish:
    """What the configuration and CNI_ARGS ask for. Raises InvalidNetworkConfig."""
    ipam = ipam_section(request, DhcpIpam)
    return Wish(
        protocols=tuple(dict.fromkeys(ipam.protocols)),
        request=tuple(dict.fromkeys(asked_for(ipam.request))),
        send=tuple(provided(ipam.provide, lenient_arguments(request.args))),
        priority=ipam.priority,
    )


def asked_for(options: tuple[RequestConf, ...]) -> list[int]:
    """The codes in the order of option 55."""
    codes = [
        code_of(f"ipam.request[{index}].option", one.option)
        for index, one in enumerate(options)
        if one.option
    ]
    if not any(one.skip_default for one in options):
        return [*codes, *ALWAYS_ASKED]
    return codes or [*WITHOUT_ANY]


def provided(
    options: tuple[ProvideConf, ...], arguments: dict[str, str]
) -> Iterator[tuple[int, bytes]]:
    """The options to send; one that has neither a value nor an argument is left out."""
    for index, one in enumerate(options):
        key = f"ipam.provide[{index}]"
        code = code_of(f"{key}.option", one.option)
        if code in OWN_OPTIONS:
            raise InvalidNetworkConfig(
                f'{key}.option: "{one.option}" {OWN_OPTIONS[code]}, which is not to be set:'
                " remove the entry"
            )
        value = arguments.get(one.from_arg, "") if one.from_arg else ""
        if value or one.value:
            yield code, bytes_of(key, one.option, value or one.value)


def bytes_of(key: str, option: str, value: str) -> bytes:
    try:
        data = value.encode(errors="surrogateescape")  # what is no UTF-8 came like that
    except UnicodeEncodeError:
        raise InvalidNetworkConfig(
            f'{key}: the value for option "{option}" is no text: correct it'
        ) from None
    if len(data) > LONGEST_VALUE:
        raise InvalidNetworkConfig(
            f'{key}: value too long for option "{option}": {len(data)} bytes,'
            f" more than {LONGEST_VALUE}: shorten it"
        )
    return data


def code_of(key: str, option: str) -> int:
    """The number of an option. Raises InvalidNetworkConfig for what names none."""
    if option in OPTIONS:
        return OPTIONS[option]
    if option.isascii() and option.isdecimal() and len(option) <= len("000255"):
        code = int(option)
        if code <= HIGHEST_OPTION:
            return code
    raise InvalidNetworkConfig(
        f'{key}: Can not parse option "{option}":'
        f" write a number from 0 to {HIGHEST_OPTION} or one of {', '.join(OPTIONS)}"
    )


def lenient_arguments(text: str) -> dict[str, str]:
    """CNI_ARGS as the reference's dhcp reads them: whatever has a "=" counts."""
    pairs = (piece.partition("=") for piece in text.split(";"))
    return {key: value for key, equals, value in pairs if equals}
