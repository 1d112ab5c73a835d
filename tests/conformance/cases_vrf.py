"""Configurations of vrf, behind a plugin that makes an interface."""

from __future__ import annotations

from typing import Any

from conformance.cases_bridge import V4, V6, bridge, host_local
from conformance.cases_ptp import ptp
from conformance.scenario import REFUSED, Case

ONCE = ("ADD", "CHECK", "DEL", "DEL")
ROUTED = [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16"}, {"dst": "::/0"}]
DUAL = bridge(ipam=host_local(V4, V6, routes=ROUTED))
RESULT = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/c1"}]}


def vrf(**keys: Any) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": "n1", "type": "vrf", "vrfname": "blue", **keys}


def spelled(name: str) -> dict[str, Any]:
    """The configuration with another spelling of `vrfname`."""
    return {name if key == "vrfname" else key: value for key, value in vrf().items()}


def behind(
    conf: dict[str, Any], name: str, verbs: tuple[str, ...] = ONCE, before: Any = None, **case: Any
) -> Case:
    before = {**(before or bridge()), "cniVersion": conf["cniVersion"]}
    return Case(f"vrf {name}", conf, verbs, chain=(before,), **case)


CASES = [
    Case("vrf no name", vrf(vrfname="", prevResult=RESULT), REFUSED, says="vrfname is missing"),
    Case("vrf name number", vrf(vrfname=5, prevResult=RESULT), REFUSED, says="vrfname: "),
    Case("vrf table text", vrf(table="10", prevResult=RESULT), REFUSED, says="table: "),
    Case("vrf table negative", vrf(table=-1, prevResult=RESULT), REFUSED, says="table: "),
    Case("vrf table too large", vrf(table=2**32, prevResult=RESULT), REFUSED, says="table: "),
    Case("vrf alone", vrf(), ("ADD", "CHECK", "DEL"), says="chained plugin"),
    Case(
        "vrf no netns",
        vrf(prevResult=RESULT),
        REFUSED,
        variables={"CNI_NETNS": "/run/netns/none"},
        says="/run/netns/none",
    ),
    Case("vrf DEL only", vrf(), ("DEL",)),
    Case("vrf DEL without a netns", vrf(), ("DEL",), variables={"CNI_NETNS": ""}),
    Case("vrf DEL, netns gone", vrf(), ("DEL",), variables={"CNI_NETNS": "/run/netns/gone"}),
    behind(
        vrf(),
        "name of a bridge",
        REFUSED,
        prepare_chained="ip -n c1 link add blue type bridge",
        says="is no VRF but of kind bridge",
    ),
    behind(vrf(), "CHECK without an ADD", ("CHECK",), says="VRF blue not found"),
]
"""What needs no VRF of the kernel."""

FULL = [
    behind(vrf(), "joined"),
    behind(vrf(), "joined twice", ("ADD", "CHECK", "ADD", "DEL", "DEL")),
    behind(vrf(table=1001), "with a table"),
    behind(spelled("vrfName"), "other spelling"),
    behind({**vrf(), "cniVersion": "0.3.1"}, "0.3.1", ("ADD", "DEL")),
    behind(vrf(table=1001), "dual stack", before=DUAL),
    behind(
        vrf(table=1001),
        "dual stack, addresses not kept",
        before=DUAL,
        prepare_chained="nsenter --net=/run/netns/c1"
        " sh -c 'echo 0 >/proc/sys/net/ipv6/conf/eth0/keep_addr_on_down'",
    ),
    behind(vrf(table=1001), "ptp", before=ptp(ipam=host_local(V4, V6, routes=ROUTED))),
    behind(
        vrf(),
        "smallest free table",
        prepare_chained="for t in 1 2 3 5; do ip -n c1 link add v$t type vrf table $t; done",
    ),
    behind(
        vrf(table=10),
        "there already",
        prepare_chained="ip -n c1 link add blue up type vrf table 10",
    ),
    behind(
        vrf(),
        "has another member",
        prepare_chained="ip -n c1 link add blue up type vrf table 10;"
        " ip -n c1 link add br7 type bridge; ip -n c1 link set br7 master blue",
    ),
    behind(
        vrf(table=10),
        "other table",
        REFUSED,
        prepare_chained="ip -n c1 link add blue up type vrf table 11",
        says="already exist with different routing table",
    ),
    behind(
        vrf(),
        "has a master",
        REFUSED,
        prepare_chained="ip -n c1 link add br7 type bridge; ip -n c1 link set eth0 master br7",
        says="has already a master set: br7",
    ),
    behind(
        vrf(),
        "no interface",
        REFUSED,
        prepare_chained="ip -n c1 link delete eth0",
        says='no interface "eth0"',
    ),
    behind(
        vrf(),
        "DEL after the interface is gone",
        ("DEL",),
        prepare_chained="ip -n c1 link add blue up type vrf table 10; ip -n c1 link delete eth0",
    ),
]
"""What needs one."""
