"""Configurations of sbr, behind a plugin that makes an interface."""

from __future__ import annotations

from typing import Any

from conformance.cases_bridge import V4, V6, bridge, host_local
from conformance.cases_ptp import ptp
from conformance.scenario import LIFE, REFUSED, Case

BOTH = host_local(V4, V6, routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])
FOREIGN = "ip -n c1 rule add from 10.99.0.2 lookup 100; ip -n c1 rule add from 10.99.0.3 lookup 102"
SECOND = """
ip -n c1 link add net2 type veth peer name far2
ip -n c1 addr add 10.66.0.2/24 dev net2; ip -n c1 link set net2 up; ip -n c1 link set far2 up
ip -n c1 route add 10.67.0.0/16 via 10.66.0.1
"""


def sbr(**keys: Any) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": "n1", "type": "sbr", **keys}


def behind(
    conf: dict[str, Any], name: str, verbs: tuple[str, ...] = LIFE, before: Any = None, **case: Any
) -> Case:
    """A case whose configuration comes after that of a main plugin, bridge unless told."""
    before = {**(before or bridge(isGateway=True)), "cniVersion": conf["cniVersion"]}
    return Case(f"sbr {name}", conf, verbs, chain=(before,), **case)


def with_ips(*ips: dict[str, Any], name: str = "eth0") -> dict[str, Any]:
    """A result with these addresses of an interface of the container."""
    interfaces = [{"name": name, "sandbox": "/run/netns/c1"}]
    return {"cniVersion": "1.0.0", "interfaces": interfaces, "ips": list(ips)}


CASES = [
    behind(sbr(), "one address"),
    behind(sbr(), "with a default route", before=bridge(isDefaultGateway=True)),
    behind(sbr(), "dual stack", before=bridge(isGateway=True, ipam=BOTH)),
    behind(sbr(), "ptp", before=ptp(ipam=host_local(V4, routes=[{"dst": "0.0.0.0/0"}]))),
    behind(sbr(), "ptp dual stack", before=ptp(ipam=BOTH)),
    behind(sbr(), "ipv6 only", before=ptp(ipam=host_local(V6))),
    behind(
        sbr(),
        "no gateway",
        before=bridge(ipam={"type": "static", "addresses": [{"address": "10.7.0.9/24"}]}),
    ),
    behind(sbr(), "another interface", prepare=SECOND),
    behind(sbr(), "rules of others", prepare_chained=FOREIGN),
    behind(
        sbr(),
        "more routes",
        prepare_chained="ip -n c1 route add 10.50.0.0/16 via 10.7.0.1 dev eth0 mtu 1300;"
        "ip -n c1 route add 10.51.0.0/16 dev eth0",
    ),
    behind(
        sbr(),
        "two subnets",
        before=bridge(
            ipam={
                "type": "static",
                "addresses": [
                    {"address": "10.7.0.9/24", "gateway": "10.7.0.1"},
                    {"address": "10.8.0.9/24", "gateway": "10.8.0.1"},
                ],
            }
        ),
    ),
    behind({**sbr(), "cniVersion": "0.4.0"}, "0.4.0"),
    behind({**sbr(), "cniVersion": "0.2.0"}, "0.2.0", ("ADD", "DEL", "DEL")),
    Case("sbr alone", sbr(), REFUSED, says="chained plugin"),
    behind(sbr(prevResult=with_ips()), "no addresses", REFUSED, says="no address of eth0"),
    behind(
        sbr(prevResult=with_ips({"address": "10.7.0.2/24", "interface": 0}, name="net9")),
        "address of another",
        REFUSED,
        says="no address of eth0",
    ),
    behind(
        sbr(),
        "no such interface",
        REFUSED,
        prepare_chained="ip -n c1 link set eth0 down; ip -n c1 link set eth0 name eth7",
        says='no interface "eth0"',
    ),
    behind(
        sbr(prevResult=with_ips({"address": "10.7.0.2/24", "gateway": "10.99.0.1"})),
        "gateway out of reach",
        REFUSED,
        says="add route '0.0.0.0/0 via 10.99.0.1",
    ),
    Case(
        "sbr no netns",
        sbr(prevResult=with_ips({"address": "10.7.0.2/24"})),
        REFUSED,
        variables={"CNI_NETNS": "/run/netns/none"},
        says="/run/netns/none",
    ),
    behind(
        sbr(prevResult={"ips": [{"address": "10.7.0.2/24", "gateway": "10.7.0.1"}]}),
        "prevResult without a version",
        ("ADD", "DEL"),
    ),
    Case("sbr DEL only", sbr(), ("DEL",)),
    Case("sbr DEL without a netns", sbr(), ("DEL",), variables={"CNI_NETNS": ""}),
]
