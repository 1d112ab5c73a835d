"""Configurations of bridge with VLANs, for a kernel whose bridges filter them."""

from __future__ import annotations

from conformance.cases_bridge import ADD_BRIDGE, V4, V6, bridge, host_local
from conformance.scenario import REFUSED, Case

ONCE = ("ADD", "CHECK", "DEL")
FILTERING = "ip link add br0 type bridge vlan_filtering 1 && ip link set br0 up"
MASQUERADE = {"isDefaultGateway": True, "ipMasq": True, "ipMasqBackend": "iptables"}

CASES = [
    Case("bridge with vlan l2", bridge(vlan=100, ipam={}), ("ADD", "DEL")),
    Case(
        "bridge with vlan dual stack",
        bridge(vlan=100, isGateway=True, ipam=host_local(V4, V6)),
    ),
    Case("bridge with vlan masquerade", bridge(vlan=4094, **MASQUERADE), ONCE),
    Case("bridge with vlan prepared", bridge(vlan=100), ONCE, prepare=FILTERING),
    Case(
        "bridge with vlan not filtered",
        bridge(vlan=100),
        REFUSED,
        prepare=ADD_BRIDGE,
        says="does not filter VLANs",
    ),
    Case("bridge with vlan kept", bridge(vlan=100, preserveDefaultVlan=True, isGateway=True), ONCE),
    Case("bridge with trunk", bridge(vlanTrunk=[{"id": 101}, {"minID": 200, "maxID": 201}]), ONCE),
]
