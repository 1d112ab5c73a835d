"""The bridge itself and its ports."""

from __future__ import annotations

import os
import time

from cni_main.bridge.configuration import BridgeConf
from cni_main.bridge.sharing import delete_unused_bridge
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace
from cnicore.rollback import OnFailure

PORT_TIMEOUT = 2.55  # seconds, as the reference waits
PORT_PAUSE = 0.002


def ensure_bridge(host: Namespace, conf: BridgeConf, on_failure: OnFailure) -> None:
    """Create the bridge unless there is one, and set it up.

    It has a MAC address of its own from the start: one that follows the ports would change under
    the containers' feet when one of them leaves. Raises CniError.
    """
    is_new = host.add_bridge(
        conf.bridge, mac=random_mac(), mtu=conf.mtu, vlan_filtering=conf.wants_vlans
    )
    if is_new:
        on_failure(delete_unused_bridge, host, conf.bridge)
    obstacle = obstacle_to_use(host.link(conf.bridge), conf)
    if obstacle:
        raise InvalidNetworkConfig(obstacle)
    if conf.promisc_mode:
        host.set_promiscuous(conf.bridge)
    host.write_sysctl_if_there(f"net/ipv6/conf/{conf.bridge}/accept_ra", "0")
    host.set_up(conf.bridge)


def obstacle_to_use(link: Link, conf: BridgeConf) -> str:
    """Why the link cannot be the network's bridge, or empty."""
    if link.kind != "bridge":
        return (
            f'failed to create bridge "{link.name}": "{link.name}" already exists but is not'
            " a bridge: rename that interface or configure another bridge"
        )
    if (conf.vlan or conf.vlan_trunk) and not link.filters_vlans:
        return (
            f'bridge "{link.name}" does not filter VLANs, so that vlan and vlanTrunk would separate'
            f" nothing: run `ip link set {link.name} type bridge vlan_filtering 1`"
        )
    return ""


def random_mac() -> str:
    """A locally administered unicast address."""
    first, *others = os.urandom(6)
    return bytes([first & 0xFE | 0x02, *others]).hex(":")


def wait_for_port(host: Namespace, name: str) -> Link:
    """Wait until the bridge forwards what comes from the port, at most 2.55 s.

    Returns the port as it is then. Raises CniError when the time is over.
    """
    deadline = time.monotonic() + PORT_TIMEOUT
    while (port := host.link(name)).operstate != "up":
        if time.monotonic() > deadline:
            raise CniError(
                f"bridge port in error state: {port.operstate}: {name} has had no carrier"
                f" for {PORT_TIMEOUT:g} s"
            )
        time.sleep(PORT_PAUSE)
    return port
