"""Configurations of bandwidth, behind a plugin that makes a veth pair."""

from __future__ import annotations

from typing import Any

from conformance.cases_bridge import bridge
from conformance.cases_ptp import ptp
from conformance.scenario import LIFE, REFUSED, Case

INGRESS = {"ingressRate": 1_000_000, "ingressBurst": 2_000_000}
EGRESS = {"egressRate": 100_000_000, "egressBurst": 10_000_000}
BOTH = {**INGRESS, **EGRESS}
FROM_CONTAINERD = {"ingressRate": 1_000_000, "ingressBurst": 4_294_967_295}
"""A burst that takes more of the kernel's ticks than 32 bits hold."""


def bandwidth(**keys: Any) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": "n1", "type": "bandwidth", **keys}


def behind(
    conf: dict[str, Any], name: str, verbs: tuple[str, ...] = LIFE, before: Any = None, **case: Any
) -> Case:
    """A case whose configuration comes after that of a main plugin, bridge unless told."""
    before = {**(before or bridge()), "cniVersion": conf["cniVersion"]}
    return Case(f"bandwidth {name}", conf, verbs, chain=(before,), **case)


def refused(keys: dict[str, Any], name: str, says: str) -> Case:
    return behind(bandwidth(**keys), name, REFUSED, says=says)


SHAPED = [
    behind(bandwidth(**BOTH), "both"),
    behind(bandwidth(**INGRESS), "ingress"),
    behind(bandwidth(**EGRESS), "egress"),
    behind(bandwidth(**BOTH), "jumbo frames", before=ptp(mtu=9000)),
    behind(bandwidth(**BOTH), "ptp", before=ptp()),
    behind({**bandwidth(**BOTH), "cniVersion": "0.3.0"}, "0.3.0"),
    behind({**bandwidth(**BOTH), "cniVersion": "0.4.0"}, "0.4.0"),
    behind(bandwidth(ingressRate=8, ingressBurst=8), "smallest"),
    behind(bandwidth(ingressRate=12_345_679, ingressBurst=1_234_567), "odd numbers"),
    behind(bandwidth(ingressRate=40_000_000_000, ingressBurst=100_000_000), "64-bit rate"),
    behind(bandwidth(egressRate=10**9, egressBurst=2**32 * 8 - 16), "largest burst"),
    behind(bandwidth(**FROM_CONTAINERD), "more ticks than 32 bits"),
    behind(bandwidth(runtimeConfig={"bandwidth": BOTH}), "of the runtime"),
    behind(bandwidth(runtimeConfig={"bandWidth": BOTH}), "of the runtime, other case"),
    behind(bandwidth(**INGRESS, runtimeConfig={"bandwidth": EGRESS}), "static wins"),
    behind(
        {**bandwidth(**BOTH), "name": "a-network-with-a-long-name"},
        "long names",
        before={**bridge(), "name": "a-network-with-a-long-name"},
        variables={"CNI_CONTAINERID": "f" * 64},
    ),
    behind(bandwidth(**BOTH, unshapedSubnets=["10.0.0.0/8"]), "subnets of 1.5"),
]

UNSHAPED = [
    behind(bandwidth(), "nothing", ("ADD", "DEL")),
    behind(bandwidth(ingressRate=0, egressRate=0), "zeros", ("ADD", "DEL")),
    behind(
        bandwidth(ingressRate=0, runtimeConfig={"bandwidth": BOTH}),
        "zero wins",
        ("ADD", "DEL"),
    ),
]

WRONG = [
    refused({"ingressRate": 1000}, "rate without burst", "ingressBurst"),
    refused({"egressBurst": 1000}, "burst without rate", "egressRate"),
    refused({"egressRate": 8000, "egressBurst": 2**32 * 8 - 8}, "burst too large", "egressBurst"),
    refused({"ingressRate": 7, "ingressBurst": 8000}, "rate below a byte", "ingressRate"),
    refused({"ingressRate": 8000, "ingressBurst": 7}, "burst below a byte", "ingressBurst"),
    refused({"egressRate": -1, "egressBurst": 8000}, "negative", "egressRate"),
    refused({"egressRate": 8000, "egressBurst": 2**64}, "too large a number", "egressBurst"),
    refused({"ingressRate": "1M", "ingressBurst": 8000}, "text", "ingressRate"),
    refused({"egressRate": 1.5, "egressBurst": 8000}, "fraction", "egressRate"),
    refused({"runtimeConfig": {"bandwidth": [1]}}, "list", "runtimeConfig.bandwidth"),
    Case("bandwidth alone", bandwidth(**BOTH), ("ADD", "CHECK", "DEL"), says="chained plugin"),
    behind(
        bandwidth(**BOTH),
        "no such interface",
        REFUSED,
        prepare_chained="ip -n c1 link set eth0 down; ip -n c1 link set eth0 name eth7",
        says='"eth0" not found',
    ),
    behind(
        bandwidth(**BOTH, prevResult={"cniVersion": "1.0.0", "interfaces": [{"name": "other"}]}),
        "not in the result",
        REFUSED,
        says="no interface of the host in prevResult",
    ),
    Case(
        "bandwidth no netns",
        bandwidth(**BOTH, prevResult={"cniVersion": "1.0.0", "interfaces": [{"name": "veth0"}]}),
        REFUSED,
        variables={"CNI_NETNS": "/run/netns/none"},
        says="/run/netns/none",
    ),
    Case(
        "bandwidth behind a tap",
        bandwidth(
            **BOTH,
            prevResult={
                "cniVersion": "1.0.0",
                "interfaces": [{"name": "eth0", "sandbox": "/run/netns/c1"}],
            },
        ),
        REFUSED,
        prepare="ip tuntap add tap0 mode tap; ip link set tap0 netns c1;"
        " ip -n c1 link set tap0 name eth0",
        says="of kind tun",
    ),
]

ALONE = [
    Case("bandwidth DEL only", bandwidth(**BOTH), ("DEL",)),
    Case("bandwidth DEL without a netns", bandwidth(), ("DEL",), variables={"CNI_NETNS": ""}),
    Case(
        "bandwidth DEL, netns gone",
        bandwidth(),
        ("DEL",),
        variables={"CNI_NETNS": "/run/netns/gone"},
    ),
]

REPORTED = [
    Case(
        "bandwidth at a reported tap",
        bandwidth(
            **BOTH,
            prevResult={
                "cniVersion": "1.0.0",
                "interfaces": [
                    {"name": "br0"},
                    {"name": "tap1"},
                    {"name": "eth0", "sandbox": "/run/netns/c1"},
                ],
            },
        ),
        prepare="ip link add br0 type bridge; ip tuntap add tap1 mode tap;"
        " ip link set tap1 master br0; ip link set br0 up; ip link set tap1 up;"
        " ip tuntap add tap0 mode tap; ip link set tap0 netns c1;"
        " ip -n c1 link set tap0 name eth0",
    ),
]

CASES = [*SHAPED, *UNSHAPED, *WRONG, *ALONE, *REPORTED]
