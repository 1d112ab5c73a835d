"""The MAC address that a runtime, a person or a configuration asks for."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from cnicore.addresses import parse_mac
from cnicore.arguments import parse_arguments
from cnicore.config import ConfModel
from cnicore.errors import InvalidNetworkConfig


class MacConf(ConfModel):
    """A MAC address that was asked for."""

    mac: str = Field(default="", description="MAC address of the container's interface.")


def requested_mac(from_runtime: MacConf, arguments: str, mac: str) -> str:
    """The first of runtimeConfig.mac, MAC in CNI_ARGS and the key mac; empty if there is none.

    Raises InvalidEnvironment for malformed CNI_ARGS, InvalidNetworkConfig for an address that no
    interface can have.
    """
    in_arguments = parse_arguments(arguments, ["MAC"]).get("MAC", "")
    return first_mac(
        {"runtimeConfig.mac": from_runtime.mac, "MAC in CNI_ARGS": in_arguments, "mac": mac}
    )


def first_mac(candidates: Mapping[str, str]) -> str:
    """The first that is not empty, of those by the place that they come from.

    Raises InvalidNetworkConfig naming the place.
    """
    for place, text in candidates.items():
        if text:
            return _parsed(place, text)
    return ""


def _parsed(place: str, text: str) -> str:
    try:
        mac = parse_mac(text)
    except ValueError as error:
        raise InvalidNetworkConfig(f"{place}: invalid args {text} for MAC addr: {error}") from None
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise InvalidNetworkConfig(
            f"{place}: invalid args {text} for MAC addr: no interface can have this address,"
            " choose a unicast one such as 02:00:5e:10:00:01"
        )
    return mac
