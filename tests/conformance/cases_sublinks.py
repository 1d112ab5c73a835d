"""Configurations of ipvlan, vlan and dummy."""

from __future__ import annotations

from typing import Any

from conformance.cases_bridge import V4, V6, host_local, static
from conformance.scenario import REFUSED, Case

HOST = "ip link add ens1 type veth peer name far && ip link set ens1 up && ip link set far up"
INSIDE = f"{HOST} && ip link set ens1 netns c1 && ip -n c1 link set ens1 up"
KEYS = {"ipvlan": {"master": "ens1"}, "vlan": {"master": "ens1", "vlanId": 100}, "dummy": {}}
ROUTES = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}, {"dst": "10.9.0.0/16", "gw": "10.7.0.9"}]


def conf(plugin: str, **keys: Any) -> dict[str, Any]:
    document = {"cniVersion": "1.0.0", "name": "n1", "type": plugin, "ipam": host_local()}
    return {**document, **KEYS[plugin], **keys}


def case(plugin: str, name: str, *verbs: str, prepare: str = HOST, **keys: Any) -> Case:
    """One whose verbs are those of `LIFE` unless it says which."""
    whole = {"verbs": verbs} if verbs else {}
    return Case(f"{plugin} {name}".strip(), conf(plugin, **keys), prepare=prepare, **whole)


def refused(plugin: str, name: str, says: str, **keys: Any) -> Case:
    return Case(f"{plugin} {name}", conf(plugin, **keys), REFUSED, prepare=HOST, says=says)


BOTH = ("ipvlan", "vlan")
CASES = [
    *[case(plugin, "") for plugin in BOTH],
    *[
        case(plugin, "dual stack", ipam=host_local(V4, V6, routes=ROUTES), cniVersion="0.4.0")
        for plugin in BOTH
    ],
    *[case(plugin, "dns", dns={"nameservers": ["10.0.0.53"]}) for plugin in BOTH],
    *[case(plugin, "mtu", mtu=1400) for plugin in BOTH],
    case("ipvlan", "l3", mode="l3"),
    case("ipvlan", "l3s", mode="l3s"),
    case("vlan", "0", vlanId=0),
    case("vlan", "4094", vlanId=4094),
    case("vlan", "host has the name", prepare=f"{HOST} && ip link add eth0 type bridge"),
    case("ipvlan", "DEL without a parent", "DEL", prepare="true"),
    case("vlan", "DEL without a parent", "DEL", prepare="true"),
    refused("ipvlan", "no parent", "master", master="gone"),
    refused("vlan", "no parent", "master", master="gone"),
    refused("vlan", "no master", "master", master=""),
    refused("vlan", "id too high", "vlanId", vlanId=4095),
    refused("vlan", "mtu too high", "mtu", mtu=1600),
    refused("vlan", "mtu negative", "mtu", mtu=-100),
    refused("ipvlan", "mtu too high", "mtu", mtu=1600),
    refused("ipvlan", "unknown mode", "mode", mode="l4"),
    refused("vlan", "without ipam", "ipam", ipam={}),
    refused("ipvlan", "without ipam", "ipam", ipam={}),
]
NEWER = [
    *[case(plugin, "parent inside", prepare=INSIDE, linkInContainer=True) for plugin in BOTH],
    case("dummy", ""),
    case("dummy", "dual stack", ipam=host_local(V4, V6, routes=ROUTES), cniVersion="0.4.0"),
    case("dummy", "dns", dns={"nameservers": ["10.0.0.53"]}),
    case("dummy", "host has the name", prepare="ip link add eth0 type bridge"),
    case("dummy", "DEL only", "DEL"),
    refused("dummy", "without ipam", "ipam", ipam={}),
    refused("dummy", "without an address", "IPAM", ipam=static()),
    Case("dummy unknown ipam", conf("dummy", ipam={"type": "nonesuch"}), ("ADD",), says="nonesuch"),
]
"""What the reference has only in later releases."""
