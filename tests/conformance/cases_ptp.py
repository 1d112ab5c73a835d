"""Configurations of ptp and loopback."""

from __future__ import annotations

from typing import Any

from conformance.cases_bridge import V4, V6, host_local, static
from conformance.scenario import REFUSED, Case


def ptp(**keys: Any) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": "n1", "type": "ptp", "ipam": host_local(), **keys}


def loopback(**keys: Any) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": "n1", "type": "loopback", **keys}


PTP = [
    Case("ptp", ptp()),
    Case("ptp mtu", ptp(mtu=1400)),
    Case("ptp ipv6", ptp(ipam=host_local(V6))),
    Case("ptp dual stack", ptp(ipam=host_local(V4, V6))),
    Case(
        "ptp default routes",
        ptp(ipam=host_local(V4, V6, routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])),
    ),
    Case(
        "ptp routes",
        ptp(
            ipam=host_local(
                routes=[{"dst": "10.99.0.0/16"}, {"dst": "192.0.2.1/32", "gw": "10.7.0.1"}]
            )
        ),
    ),
    Case("ptp masquerade", ptp(ipMasq=True, ipMasqBackend="iptables")),
    Case(
        "ptp masquerade dual stack",
        ptp(ipam=host_local(V4, V6), ipMasq=True, ipMasqBackend="iptables"),
    ),
    Case("ptp static", ptp(ipam=static({"address": "10.7.0.5/24", "gateway": "10.7.0.1"}))),
    Case("ptp dns", ptp(dns={"nameservers": ["10.0.0.53"], "domain": "example.org"})),
    Case("ptp empty dns", ptp(dns={})),
    Case("ptp 0.2.0", ptp(cniVersion="0.2.0")),
    Case("ptp 0.3.0", ptp(cniVersion="0.3.0")),
    Case("ptp 0.4.0 dual stack", ptp(cniVersion="0.4.0", ipam=host_local(V4, V6))),
    Case("ptp another interface", ptp(), variables={"CNI_IFNAME": "net-1.x"}),
    Case("ptp without ipam", ptp(ipam={}), REFUSED, says="ipam"),
    Case(
        "ptp without a gateway",
        ptp(ipam=static({"address": "10.7.0.5/24"})),
        REFUSED,
        says="gateway",
    ),
    Case("ptp mtu text", ptp(mtu="1400"), REFUSED, says="mtu"),
    Case("ptp ipam is a list", ptp(ipam=[]), REFUSED, says="ipam"),
    Case("ptp DEL only", ptp(), ("DEL",)),
    Case("ptp DEL without a netns", ptp(), ("DEL",), variables={"CNI_NETNS": ""}),
    Case("ptp CHECK without prevResult", ptp(), ("CHECK",)),
]

LOOPBACK = [
    Case("loopback", loopback()),
    Case("loopback 0.4.0", loopback(cniVersion="0.4.0")),
    Case("loopback without a version", {**loopback(), "cniVersion": None}, REFUSED),
    Case(
        "loopback with an earlier result",
        loopback(
            prevResult={
                "cniVersion": "1.0.0",
                "interfaces": [{"name": "eth0", "sandbox": "/run/netns/c1"}],
                "ips": [{"address": "10.1.2.3/24", "interface": 0}],
            }
        ),
        ("ADD", "DEL"),
    ),
    Case("loopback CNI_ARGS are ignored", loopback(), variables={"CNI_ARGS": "none"}),
    Case(
        "loopback foreign address",
        loopback(),
        REFUSED,
        prepare="ip -n c1 addr add 10.0.0.1/24 dev lo",
        says="10.0.0.1",
    ),
    Case("loopback is down", loopback(), ("CHECK",), says="down"),
    Case("loopback DEL without a netns", loopback(), ("DEL",), variables={"CNI_NETNS": None}),
    Case(
        "loopback DEL, netns gone", loopback(), ("DEL",), variables={"CNI_NETNS": "/run/netns/gone"}
    ),
]

CASES = [*PTP, *LOOPBACK]
