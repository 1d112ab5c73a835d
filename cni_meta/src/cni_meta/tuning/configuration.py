"""What an interface shall be like: the keys, where they may stand, and which of them wins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import Field

from cni_meta.tuning.attributes import LARGEST, Value, interface_mac
from cni_meta.tuning.sysctls import INTERFACE, Sysctl, sysctls_of
from cnicore.arguments import parse_arguments
from cnicore.config import ConfModel, NetConf
from cnicore.documents import fold_keys
from cnicore.errors import InvalidNetworkConfig
from cnicore.request import Request

LARGEST_WISHES = {**LARGEST, "mtu": 65535}  # no IP packet is longer


class TuningKeys(ConfModel):
    """The keys that say what to change. Values are looked at by `wishes`, not on DEL and GC."""

    sysctl: dict[str, str] = Field(
        default={},
        description="Kernel parameters below `net` and their values; IFNAME in a name is the"
        " interface.",
    )
    mac: str = Field(default="", description="MAC address of the interface.")
    promisc: bool = Field(default=False, description="Take packets for other hosts too.")
    mtu: int = Field(default=0, description="MTU in bytes; 0 leaves it.")
    allmulti: bool | None = Field(
        default=None, description="Take every multicast packet, or not; unset leaves it."
    )
    tx_q_len: int | None = Field(
        default=None, description="Length of the transmit queue in packets; unset leaves it."
    )


class ArgsConf(ConfModel):
    """Arguments in the configuration."""

    cni: TuningKeys = Field(
        default=TuningKeys(), description="The same keys; they win over those of the network."
    )


class RuntimeConf(ConfModel):
    """What the runtime adds."""

    mac: str = Field(default="", description="For the capability mac: the MAC address.")


class TuningConf(NetConf, TuningKeys):
    """For the MAC address: `args.cni`, `runtimeConfig`, `MAC` in CNI_ARGS, `mac`, the first set."""

    data_dir: str = Field(
        default="/run/cni/tuning", description="Where to remember what was there before."
    )
    args: ArgsConf = Field(default=ArgsConf(), description="Arguments in the configuration.")
    runtime_config: RuntimeConf = Field(
        default=RuntimeConf(), description="What the runtime adds for capabilities."
    )


@dataclass(frozen=True, slots=True)
class Wishes:
    """Sysctls in order, and attributes of the interface by key, in the order to be set."""

    sysctls: tuple[Sysctl, ...]
    attributes: Mapping[str, Value]


def wishes(request: Request, conf: TuningConf) -> Wishes:
    """What the configuration and the runtime ask for together.

    Raises InvalidNetworkConfig, InvalidEnvironment for a wrong CNI_ARGS.
    """
    refuse_repeated_sysctls(request.stdin)
    ifname = request.ifname or INTERFACE  # STATUS is about no interface
    sysctls = sysctls_of({"sysctl": conf.sysctl, "args.cni.sysctl": conf.args.cni.sysctl}, ifname)
    promisc, mtu, allmulti, length = (
        _winner(conf, key) for key in ("promisc", "mtu", "allmulti", "tx_q_len")
    )
    attributes = {
        "mac": _mac(request, conf) or None,
        "promisc": promisc or None,
        "mtu": _within("mtu", mtu, smallest=1) if mtu else None,
        "allmulti": allmulti,
        "txQLen": None if length is None else _within("txQLen", length, smallest=0),
    }
    return Wishes(sysctls, {key: one for key, one in attributes.items() if one is not None})


def _winner(conf: TuningConf, key: str) -> Any:
    over = conf.args.cni
    return getattr(over if key in over.model_fields_set else conf, key)


def _mac(request: Request, conf: TuningConf) -> str:
    """The first that is given, as the kernel writes it; an empty one in `args` means none."""
    sources = {
        "runtimeConfig.mac": conf.runtime_config.mac,
        "MAC in CNI_ARGS": parse_arguments(request.args, ["MAC"]).get("MAC", ""),
        "mac": conf.mac,
    }
    if "mac" in conf.args.cni.model_fields_set:
        sources = {"args.cni.mac": conf.args.cni.mac}
    key, text = next(((key, text) for key, text in sources.items() if text), ("", ""))
    try:
        return interface_mac(text) if text else ""
    except ValueError as error:
        raise InvalidNetworkConfig(f"{key}: {error}") from error


def _within(key: str, value: int, *, smallest: int) -> int:
    if not smallest <= value <= LARGEST_WISHES[key]:
        raise InvalidNetworkConfig(
            f"{key}: {value} is not possible: it must be from {smallest} to {LARGEST_WISHES[key]}"
        )
    return value


class Members(dict[str, Any]):
    """A JSON object that knows which of its keys stand more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = sorted(key for key, _ in pairs) if len(pairs) > len(self) else []
        self.repeated = [key for key, after in pairwise(keys) if key == after]


def refuse_repeated_sysctls(stdin: bytes) -> None:
    """Raise InvalidNetworkConfig for a sysctl that stands twice: only one can be meant.

    Parsed, the configuration has the last one only.
    """
    document = json.loads(stdin, object_pairs_hook=Members)
    arguments = _member(_member(document, "args"), "cni")
    for path, members in (("sysctl", document), ("args.cni.sysctl", arguments)):
        twice = [key for key in members.repeated if key.lower() == "sysctl"]
        for key in _member(members, "sysctl").repeated or twice:
            raise InvalidNetworkConfig(f'{path}: the key "{key}" is duplicated: write it once')


def _member(document: Members, key: str) -> Members:
    value = fold_keys(document, [key]).get(key)
    return value if isinstance(value, Members) else Members([])
