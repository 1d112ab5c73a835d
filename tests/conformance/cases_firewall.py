"""Configurations of firewall, behind bridge; with iptables, because the reference has no nftables."""

from __future__ import annotations

from typing import Any

from conformance.cases_bridge import V4, V6, bridge, host_local, static
from conformance.scenario import LIFE, REFUSED, Case

DUAL = bridge(ipam=host_local(V4, V6), isGateway=True)
TWO = bridge(
    ipam=static({"address": "10.7.0.5/24"}, {"address": "10.8.0.5/24"}, {"address": "fd07::5/64"})
)
DROPS = "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP"
BUSY = """
for p in iptables ip6tables; do
    $p -A FORWARD -i eth9 -j ACCEPT
    $p -N CNI-ADMIN
    $p -A CNI-ADMIN -o eth9 -j DROP
done
"""


def firewall(**keys: Any) -> dict[str, Any]:
    keys = {"backend": "iptables", **keys}
    return {"cniVersion": "1.0.0", "name": "n1", "type": "firewall", **keys}


def behind(conf: dict[str, Any], name: str, verbs: tuple[str, ...] = LIFE, **case: Any) -> Case:
    """A case whose configuration comes after that of bridge, dual stack unless told."""
    before = {**case.pop("before", DUAL), "cniVersion": conf["cniVersion"]}
    return Case(f"firewall {name}", conf, verbs, chain=(before,), **case)


ADMISSION = [
    behind(firewall(), "dual stack"),
    behind(firewall(), "ipv4", before=bridge()),
    behind(firewall(), "ipv6", before=bridge(ipam=host_local(V6))),
    behind(firewall(), "two addresses of one family", before=TWO),
    behind(firewall(), "no address", before=bridge(ipam={})),
    behind(firewall(cniVersion="0.4.0"), "0.4.0"),
    behind(firewall(iptablesAdminChainName="MY-ADMIN"), "admin chain"),
    behind(firewall(ingressPolicy="open"), "open"),
    behind(firewall(backend=None), "default, the host drops", prepare=DROPS),
    behind(firewall(backend=""), "default, the host has rules", prepare=BUSY),
    behind(firewall(), "rules before", prepare=BUSY),
    behind(firewall(), "CHECK without an ADD", ("CHECK",)),
    behind(firewall(), "DEL without an ADD", ("DEL", "DEL")),
    Case(
        "firewall no netns",
        firewall(prevResult={"cniVersion": "1.0.0", "ips": [{"address": "10.7.0.2/24"}]}),
        variables={"CNI_NETNS": "/run/netns/gone"},
    ),
]

# isolated is unknown to the reference that is compared; the newest one's rules are literals elsewhere
POLICIES = [
    behind(firewall(ingressPolicy="same-bridge"), "same-bridge"),
    behind(firewall(ingressPolicy="same-bridge"), "same-bridge ipv4", before=bridge()),
    behind(firewall(ingressPolicy="same-bridge"), "same-bridge, rules before", prepare=BUSY),
    behind(
        firewall(ingressPolicy="same-bridge"), "same-bridge, no address", before=bridge(ipam={})
    ),
]

REFUSALS = [
    behind(firewall(backend="pf"), "unknown backend", REFUSED, says='unknown backend "pf"'),
    behind(firewall(ingressPolicy="closed"), "unknown policy", REFUSED, says="ingressPolicy"),
    behind(firewall(backend=5), "backend number", REFUSED, says="backend"),
    Case("firewall alone", firewall(), REFUSED, says="prevResult"),
    Case("firewall alone, CHECK", firewall(), ("CHECK",), says="prevResult"),
    Case("firewall alone, DEL", firewall(), ("DEL",)),
    Case(
        "firewall policy without an interface",
        firewall(
            ingressPolicy="same-bridge",
            prevResult={"cniVersion": "1.0.0", "ips": [{"address": "10.7.0.2/24"}]},
        ),
        REFUSED,
        says="ingressPolicy",
    ),
    behind(firewall(cniVersion="0.3.1"), "0.3.1", REFUSED, says="incompatible"),
]

CASES = [*ADMISSION, *POLICIES, *REFUSALS]
