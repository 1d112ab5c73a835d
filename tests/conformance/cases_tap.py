"""Configurations of tap."""

from __future__ import annotations

from typing import Any

from conformance.cases_bridge import V4, V6, host_local, static
from conformance.scenario import REFUSED, Case

ONCE = ("ADD", "CHECK", "DEL", "DEL")
MAC = "02:00:5e:10:00:01"
BOTH = {"owner": 0, "group": 0}
MAKE_BRIDGE = "ip -n c1 link add br7 type bridge"
DUAL = host_local(V4, V6, routes=[{"dst": "0.0.0.0/0"}, {"dst": "10.99.0.0/16"}])


def tap(**keys: Any) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": "n1", "type": "tap", "ipam": host_local(), **keys}


CASES = [
    Case("tap", tap(), ONCE),
    Case("tap dual stack", tap(ipam=DUAL), ONCE),
    Case("tap l2", tap(ipam={}), ONCE),
    Case("tap owner and group", tap(**BOTH), ONCE),
    Case("tap owner", tap(owner=5), ONCE),
    Case("tap group", tap(group=0), ONCE),
    Case("tap multi-queue", tap(multiQueue=True), ONCE),
    Case("tap multi-queue owner and group", tap(multiQueue=True, owner=5, group=6), ONCE),
    Case("tap mtu and mac", tap(mtu=1400, mac=MAC), ONCE),
    Case("tap mtu and mac owner and group", tap(mtu=1400, mac=MAC, **BOTH), ONCE),
    Case("tap runtime mac", tap(mac="02:00:5e:10:00:02", runtimeConfig={"mac": MAC}), ONCE),
    Case(
        "tap mac in CNI_ARGS",
        tap(mac="02:00:5e:10:00:02"),
        ONCE,
        variables={"CNI_ARGS": f"IgnoreUnknown=1;MAC={MAC}"},
    ),
    Case("tap bridge", tap(bridge="br7", ipam={}), ONCE, prepare=MAKE_BRIDGE),
    Case("tap bridge addresses", tap(bridge="br7", **BOTH), ONCE, prepare=MAKE_BRIDGE),
    Case("tap dns", tap(dns={"nameservers": ["10.0.0.53"], "domain": "example.org"}), ONCE),
    Case("tap static", tap(ipam=static({"address": "10.7.0.5/24"})), ONCE),
    Case("tap 0.2.0", tap(cniVersion="0.2.0"), ("ADD", "DEL")),
    Case("tap 0.4.0", tap(cniVersion="0.4.0"), ONCE),
    Case("tap 0.2.0 l2", tap(cniVersion="0.2.0", ipam={}), REFUSED, says="no valid IP"),
    Case("tap twice", tap(), ("ADD", "ADD", "DEL")),
    Case("tap twice l2", tap(ipam={}), ("ADD", "ADD", "DEL")),
    Case(
        "tap name taken",
        tap(ipam={}, **BOTH),
        ("ADD",),
        prepare="ip -n c1 link add eth0 type veth peer name other",
        says='"eth0" already exists',
    ),
    Case("tap bad mac", tap(mac="zz"), REFUSED, says="mac: "),
    Case("tap bad mac owner and group", tap(mac="zz", **BOTH), REFUSED, says="mac: "),
    Case("tap mtu too large", tap(mtu=70000), REFUSED, says="mtu: 70000"),
    Case("tap mtu too small", tap(mtu=50), REFUSED, says="mtu: 50"),
    Case("tap mtu negative", tap(mtu=-1), REFUSED, says="mtu: -1"),
    Case("tap mtu text", tap(mtu="1400"), REFUSED, says="mtu: "),
    Case("tap owner negative", tap(owner=-1), REFUSED, says="owner: "),
    Case("tap owner too large", tap(owner=2**32), REFUSED, says="owner: "),
    Case("tap owner nobody", tap(owner=2**32 - 1), REFUSED, says="owner: "),
    Case("tap owner text", tap(owner="root"), REFUSED, says="owner: "),
    Case("tap group fraction", tap(group=1.5), REFUSED, says="group: "),
    Case("tap no bridge", tap(bridge="br7"), REFUSED, says="bridge: failed to get bridge br7"),
    Case(
        "tap bridge that is none",
        tap(bridge="d7"),
        REFUSED,
        prepare="ip -n c1 link add d7 type veth peer name d8",
        says='bridge: "d7"',
    ),
    Case("tap context", tap(selinuxContext="u:r:t:s0"), REFUSED, says="selinuxContext: "),
    Case("tap no addresses", tap(ipam=static()), REFUSED, says="missing IP config"),
    Case("tap unknown ipam", tap(ipam={"type": "nope"}), REFUSED, says="nope"),
    Case("tap ipam is a list", tap(ipam=[]), REFUSED, says="ipam: "),
    Case("tap bad CNI_ARGS", tap(ipam={}), REFUSED, variables={"CNI_ARGS": "A"}, says="ARGS: "),
    Case(
        "tap no netns",
        tap(),
        REFUSED,
        variables={"CNI_NETNS": "/run/netns/none"},
        says="/run/netns/none",
    ),
    Case("tap DEL only", tap(), ("DEL",)),
    Case("tap DEL without a netns", tap(), ("DEL",), variables={"CNI_NETNS": ""}),
    Case("tap DEL, netns gone", tap(), ("DEL",), variables={"CNI_NETNS": "/run/netns/gone"}),
    Case("tap CHECK without prevResult", tap(ipam={}), ("CHECK",), says="prevResult"),
]
