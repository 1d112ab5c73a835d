"""The VLANs of a bridge's ports: one of its own for untagged traffic, others tagged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cni_main.bridge.configuration import BridgeConf, TrunkConf
from cnicore.errors import InvalidNetworkConfig
from cnicore.net.namespace import Namespace

LAST_VLAN = 4094
DEFAULT_VLAN = 1


@dataclass(frozen=True, slots=True)
class PortVlans:
    """VLANs that a port is in; `native` 0 means that the bridge's default is left alone."""

    native: int = 0
    tagged: tuple[int, ...] = ()
    keeps_default: bool = False

    @property
    def ids(self) -> frozenset[int]:
        return frozenset([self.native, *self.tagged]) - {0}


def port_vlans(conf: BridgeConf) -> PortVlans:
    """What the configuration wants for the container's port.

    A VLAN of the trunk that is also the native one stays native. Raises InvalidNetworkConfig.
    """
    if not 0 <= conf.vlan <= LAST_VLAN:
        raise InvalidNetworkConfig(
            f"invalid VLAN ID {conf.vlan} (must be between 0 and {LAST_VLAN})",
            "correct the key vlan",
        )
    trunk = trunk_ids(conf.vlan_trunk or ())
    native = conf.vlan or (DEFAULT_VLAN if trunk else 0)
    tagged = tuple(sorted(trunk - {native}))
    return PortVlans(native, tagged, conf.preserve_default_vlan)


def gateway_vlans(conf: BridgeConf) -> PortVlans:
    """What the port of the VLAN's gateway device is in."""
    return PortVlans(conf.vlan, keeps_default=conf.preserve_default_vlan)


def trunk_ids(trunk: Sequence[TrunkConf]) -> set[int]:
    return {vid for index, item in enumerate(trunk) for vid in _ids(item, f"vlanTrunk[{index}]")}


def _ids(item: TrunkConf, path: str) -> Iterator[int]:
    if item.min_id is not None and item.max_id is not None:
        first = _vlan(item.min_id, path, "minID")
        last = _vlan(item.max_id, path, "maxID")
        if first > last:
            raise InvalidNetworkConfig(f"{path}: minID is greater than maxID in trunk parameter")
        yield from range(first, last + 1)
    elif item.min_id is not None or item.max_id is not None:
        missing = "minID" if item.min_id is None else "maxID"
        raise InvalidNetworkConfig(
            f"{path}: minID and maxID should be configured simultaneously, {missing} is missing"
        )
    if item.id is not None:
        yield _vlan(item.id, path, "id")


def _vlan(vid: int, path: str, key: str) -> int:
    if not 1 <= vid <= LAST_VLAN:
        raise InvalidNetworkConfig(
            f"{path}: incorrect trunk {key} parameter: {vid} is not between 1 and {LAST_VLAN}"
        )
    return vid


def admit(host: Namespace, port: str, vlans: PortVlans) -> None:
    """Let the port into its VLANs, and out of those that the bridge gave it. Raises KernelError."""
    if not vlans.ids:
        return
    if not vlans.keeps_default:
        for vid in host.port_vlans(port):
            host.delete_port_vlan(port, vid)
    host.add_port_vlan(port, vlans.native, untagged=True)
    for vid in vlans.tagged:
        host.add_port_vlan(port, vid)
