"""Configurations of portmap, behind bridge; with iptables, because the reference has nothing else."""

from __future__ import annotations

from typing import Any

from conformance.cases_bridge import V4, V6, bridge, host_local
from conformance.scenario import LIFE, REFUSED, Case

DUAL = bridge(ipam=host_local(V4, V6), isDefaultGateway=True)
ANY = "0.0.0.0"  # noqa: S104  (nothing is bound)
WEB = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
DNS = {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "198.51.100.7"}
DNS6 = {**DNS, "hostIP": "2001:db8::7"}
GUARD = """
iptables -t raw -N CNI-HOSTPORT-GUARD
iptables -t raw -A CNI-HOSTPORT-GUARD -s 127.0.0.0/8 ! -i lo -j DROP
iptables -t raw -A CNI-HOSTPORT-GUARD -d 127.0.0.0/8 ! -i lo -j DROP
iptables -t raw -A PREROUTING -m comment --comment "CNI portfwd: localhost is this host" \
    -j CNI-HOSTPORT-GUARD
"""
"""What ours adds to the table raw; there before in all cases but one, so that the rest is compared."""


def portmap(*mappings: Any, **keys: Any) -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": "n1",
        "type": "portmap",
        "backend": "iptables",
        "runtimeConfig": {"portMappings": list(mappings)},
        **keys,
    }


def behind(conf: dict[str, Any], name: str, verbs: tuple[str, ...] = LIFE, **case: Any) -> Case:
    """A case whose configuration comes after that of bridge, dual stack unless told."""
    before = {**case.pop("before", DUAL), "cniVersion": conf["cniVersion"], "name": conf["name"]}
    prepared = f"{GUARD}{case.pop('prepare', '')}"
    return Case(f"portmap {name}", conf, verbs, chain=(before,), prepare=prepared, **case)


def refused(conf: dict[str, Any], name: str, says: str, before: Any = DUAL) -> Case:
    """A case that leaves nothing, the guard neither."""
    return Case(f"portmap {name}", conf, REFUSED, chain=(before,), says=says)


ACCEPTED = [
    behind(portmap(WEB), "tcp"),
    behind(portmap(WEB, DNS, DNS6), "host addresses"),
    behind(portmap(WEB), "ipv4", before=bridge()),
    behind(portmap(WEB), "ipv6", before=bridge(ipam=host_local(V6))),
    behind(portmap({**WEB, "protocol": "sctp"}), "sctp"),
    behind(portmap({**WEB, "hostIP": ANY}), "any ipv4 address"),
    behind(portmap({**WEB, "hostIP": "::"}), "any ipv6 address"),
    behind(portmap(WEB, DNS, snat=False), "no snat"),
    behind(portmap(WEB, DNS, masqAll=True), "masqAll"),
    behind(portmap(WEB, markMasqBit=5), "mark bit"),
    behind(portmap(WEB, markMasqBit=31), "last mark bit"),
    behind(
        portmap(WEB, DNS, externalSetMarkChain="KUBE-MARK-MASQ"),
        "external chain",
        prepare="for p in iptables ip6tables; do $p -t nat -N KUBE-MARK-MASQ; done",
    ),
    behind(
        portmap(
            WEB, conditionsV4=["-s", "192.0.2.0/24"], conditionsV6=["!", "-s", "2001:db8::/32"]
        ),
        "conditions",
    ),
    behind(
        portmap(*({**WEB, "hostPort": port} for port in range(9017, 9000, -1)), DNS),
        "seventeen ports",
    ),
    behind(portmap(WEB, {**WEB, "hostPort": 8081}), "two ports to one"),
    behind({**portmap(WEB), "cniVersion": "0.4.0"}, "0.4.0"),
    behind({**portmap(WEB), "cniVersion": "0.3.1"}, "0.3.1", ("ADD", "ADD", "DEL", "DEL")),
    behind(
        {**portmap(WEB), "cniVersion": "0.2.0"},
        "0.2.0",
        ("ADD", "ADD", "DEL", "DEL"),
        before=bridge(),
    ),
    behind(portmap(), "no ports"),
    behind({**portmap(), "runtimeConfig": None}, "nothing of the runtime"),
    behind(portmap(WEB), "ports of others", prepare="iptables -t nat -A PREROUTING -j ACCEPT\n"),
    behind(
        {**portmap(WEB), "name": "n" * 120}, "long names", variables={"CNI_CONTAINERID": "f" * 64}
    ),
    behind(portmap(WEB), "DEL only", ("DEL",)),
]

GUARDED = [Case("portmap unguarded", portmap(WEB), ("ADD", "DEL"), chain=(DUAL,))]

REFUSALS = [
    refused(portmap({**WEB, "hostPort": 0}), "host port 0", "hostPort"),
    refused(portmap({**WEB, "hostPort": 65536}), "host port too large", "hostPort"),
    refused(portmap({**WEB, "containerPort": -1}), "container port negative", "containerPort"),
    refused(portmap({**WEB, "hostPort": "80"}), "host port text", "hostPort"),
    refused(portmap({**WEB, "protocol": "icmpx"}), "protocol unknown", "protocol"),
    refused(portmap({**WEB, "hostIP": "localhost"}), "hostIP a name", "hostIP"),
    refused(portmap(DNS6), "hostIP of no family", "hostIP", before=bridge()),
    refused(portmap(WEB, markMasqBit=32), "mark bit 32", "markMasqBit"),
    refused(portmap(WEB, markMasqBit=-1), "mark bit negative", "markMasqBit"),
    refused(
        portmap(WEB, markMasqBit=5, externalSetMarkChain="X"), "mark bit and chain", "markMasqBit"
    ),
    refused(
        portmap(WEB, markMasqBit=13, backend="nftables"),
        "bit of the other backend",
        "[markMasqBit]",
    ),
    refused(portmap(WEB, externalSetMarkChain="NO-SUCH"), "external chain missing", "NO-SUCH"),
    refused({**portmap(WEB), "runtimeConfig": []}, "runtimeConfig a list", "runtimeConfig"),
    Case("portmap alone", portmap(WEB), REFUSED, says="prevResult"),
    Case("portmap CHECK alone", portmap(WEB), ("CHECK",), says="prevResult"),
]

CASES = [*ACCEPTED, *GUARDED, *REFUSALS]
