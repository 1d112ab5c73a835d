"""Configurations of bridge."""

from __future__ import annotations

from typing import Any

from conformance.scenario import REFUSED, Case
from conformance.stage import DATA

V4 = {"subnet": "10.7.0.0/24"}
V6 = {"subnet": "fd07::/64"}
ADD_BRIDGE = "ip link add br0 type bridge && ip link set br0 up"


def host_local(*ranges: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """An IPAM section with one range set for each range."""
    sets = [[one] for one in ranges] or [[V4]]
    return {"type": "host-local", "dataDir": str(DATA), "ranges": sets, **keys}


def static(*addresses: dict[str, str], **keys: Any) -> dict[str, Any]:
    return {"type": "static", "addresses": list(addresses), **keys}


def bridge(**keys: Any) -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": "n1",
        "type": "bridge",
        "bridge": "br0",
        "ipam": host_local(),
        **keys,
    }


ADDRESSES = [
    Case("bridge l3", bridge()),
    Case("bridge l2", bridge(ipam={})),
    Case("bridge ipam null", bridge(ipam=None)),
    Case("bridge without a name of its own", {**bridge(), "bridge": None}),
    Case("bridge gateway", bridge(isGateway=True)),
    Case("bridge default gateway", bridge(isDefaultGateway=True)),
    Case("bridge ipv6", bridge(ipam=host_local(V6), isGateway=True)),
    Case("bridge dual stack", bridge(ipam=host_local(V4, V6), isDefaultGateway=True)),
    Case(
        "bridge two ranges of one family",
        bridge(ipam=host_local(V4, {"subnet": "10.8.0.0/24"})),
    ),
    Case(
        "bridge two gateways of one family",
        bridge(ipam=host_local(V4, {"subnet": "10.8.0.0/24"}), isGateway=True),
        REFUSED,
        says="br0",
    ),
    Case("bridge slash 30", bridge(ipam=host_local({"subnet": "10.7.0.4/30"}), isGateway=True)),
    Case(
        "bridge routes",
        bridge(
            ipam=host_local(
                routes=[{"dst": "10.99.0.0/16"}, {"dst": "10.98.0.0/16", "gw": "10.7.0.9"}]
            )
        ),
    ),
    Case(
        "bridge default gateway and a default route of the ipam",
        bridge(
            ipam=host_local(routes=[{"dst": "0.0.0.0/0", "gw": "10.7.0.9"}]), isDefaultGateway=True
        ),
    ),
    Case(
        "bridge ipv6 routes",
        bridge(ipam=host_local(V6, routes=[{"dst": "fd99::/64"}, {"dst": "::/0"}])),
    ),
    Case(
        "bridge static ipam",
        bridge(
            ipam=static(
                {"address": "10.7.0.5/24", "gateway": "10.7.0.1"},
                {"address": "fd07::5/64", "gateway": "fd07::1"},
                routes=[{"dst": "0.0.0.0/0"}],
            ),
            isGateway=True,
        ),
    ),
    Case("bridge static without a gateway", bridge(ipam=static({"address": "10.7.0.5/24"}))),
    Case(
        "bridge computes the gateway",
        bridge(ipam=static({"address": "10.7.0.5/24"}), isDefaultGateway=True),
    ),
    Case(
        "bridge duplicate address detection",
        bridge(ipam=host_local(V6), enabledad=True),
        ("ADD", "DEL"),
    ),
]

MASQUERADE = [
    Case("bridge masquerade", bridge(isGateway=True, ipMasq=True, ipMasqBackend="iptables")),
    Case(
        "bridge masquerade dual stack",
        bridge(
            ipam=host_local(V4, V6), isDefaultGateway=True, ipMasq=True, ipMasqBackend="iptables"
        ),
    ),
    Case(
        "bridge masquerade without a gateway",
        bridge(ipMasq=True, ipMasqBackend="iptables"),
        ("ADD", "DEL", "DEL"),
    ),
    Case(
        "bridge masquerade two ranges of one family",
        bridge(
            ipam=host_local(V4, {"subnet": "10.8.0.0/24"}), ipMasq=True, ipMasqBackend="iptables"
        ),
        ("ADD", "DEL"),
    ),
    Case("bridge spoof check", bridge(macspoofchk=True)),
]

DEVICES = [
    Case("bridge mtu", bridge(mtu=1400)),
    Case("bridge hairpin", bridge(hairpinMode=True)),
    Case("bridge promiscuous", bridge(promiscMode=True)),
    Case("bridge that exists", bridge(isGateway=True), prepare=ADD_BRIDGE),
    Case(
        "bridge that exists with the address",
        bridge(isGateway=True),
        prepare=f"{ADD_BRIDGE} && ip addr add 10.7.0.1/24 dev br0",
    ),
    Case(
        "bridge that exists with another mtu",
        bridge(mtu=1400),
        prepare="ip link add br0 mtu 1300 type bridge",
    ),
    Case(
        "bridge conflicting address",
        bridge(isGateway=True),
        REFUSED,
        prepare=f"{ADD_BRIDGE} && ip addr add 10.9.0.1/24 dev br0",
        says="10.7.0.1/24",
    ),
    Case(
        "bridge forced address",
        bridge(isGateway=True, forceAddress=True),
        prepare=f"{ADD_BRIDGE} && ip addr add 10.9.0.1/24 dev br0",
    ),
    Case(
        "bridge disjoint ipv6 address",
        bridge(ipam=host_local(V6), isGateway=True),
        prepare=f"{ADD_BRIDGE} && ip addr add fd09::1/64 dev br0 nodad",
    ),
    Case(
        "bridge overlapping ipv6 address",
        bridge(ipam=host_local(V6), isGateway=True),
        REFUSED,
        prepare=f"{ADD_BRIDGE} && ip addr add fd07::9/64 dev br0 nodad",
        says="fd07::1/64",
    ),
    Case(
        "bridge mac of runtimeConfig",
        bridge(runtimeConfig={"mac": "02:00:00:00:00:aa"}, capabilities={"mac": True}),
    ),
    Case("bridge mac of args", bridge(args={"cni": {"mac": "02:00:00:00:00:bb"}})),
    Case(
        "bridge mac of CNI_ARGS",
        bridge(),
        variables={"CNI_ARGS": "MAC=02:00:00:00:00:cc;IgnoreUnknown=1"},
    ),
    Case(
        "bridge mac of all three",
        bridge(
            runtimeConfig={"mac": "02:00:00:00:00:aa"}, args={"cni": {"mac": "02:00:00:00:00:bb"}}
        ),
        variables={"CNI_ARGS": "MAC=02:00:00:00:00:cc;IgnoreUnknown=1"},
    ),
    Case("bridge dns", bridge(dns={"nameservers": ["10.0.0.53"], "search": ["example.org"]})),
    Case("bridge empty dns list", bridge(dns={"nameservers": []})),
    Case(
        "bridge dns of resolvConf",
        bridge(ipam=host_local(resolvConf="/run/resolv.conf")),
        prepare="printf 'nameserver 10.0.0.53\\nsearch a b\\noptions ndots:5\\n' >/run/resolv.conf",
    ),
    Case("bridge keys in any case", {**bridge(), "ISGATEWAY": True, "MTU": 1300}),
    Case("bridge 0.1.0", bridge(cniVersion="0.1.0", isGateway=True)),
    Case("bridge 0.2.0 dual stack", bridge(cniVersion="0.2.0", ipam=host_local(V4, V6))),
    Case("bridge 0.3.1", bridge(cniVersion="0.3.1", isDefaultGateway=True)),
    Case("bridge 0.4.0", bridge(cniVersion="0.4.0", isDefaultGateway=True)),
]

BAD = [
    Case("bridge 0.2.0 l2", bridge(cniVersion="0.2.0", ipam={}), REFUSED, says="no valid IP"),
    Case("bridge isGateway text", bridge(isGateway="yes"), REFUSED, says="isGateway"),
    Case("bridge mtu fraction", bridge(mtu=1.5), REFUSED, says="mtu"),
    Case("bridge mtu too small", bridge(mtu=1), REFUSED, says="mtu"),
    Case("bridge name empty", bridge(bridge=""), REFUSED, says="bridge"),
    Case("bridge name too long", bridge(bridge="b" * 16), REFUSED, says="bridge"),
    Case(
        "bridge that is none",
        bridge(bridge="lo"),
        REFUSED,
        says='"lo" already exists but is not a bridge',
    ),
    Case(
        "bridge hairpin and promiscuous",
        bridge(hairpinMode=True, promiscMode=True),
        REFUSED,
        says="hairpin",
    ),
    Case("bridge vlan too large", bridge(vlan=5000), REFUSED, says="vlan"),
    Case("bridge vlan negative", bridge(vlan=-100), REFUSED, says="vlan"),
    Case("bridge bad mac", bridge(runtimeConfig={"mac": "zz"}), REFUSED, says="mac"),
    Case("bridge unknown ipam", bridge(ipam={"type": "none-such"}), REFUSED, says="none-such"),
    Case("bridge ipam outside", bridge(ipam={"type": "../bridge"}), REFUSED, says="../bridge"),
    Case(
        "bridge interface exists",
        bridge(),
        REFUSED,
        prepare="ip -n c1 link add eth0 type bridge",
        says="eth0",
    ),
    Case(
        "bridge no netns",
        bridge(),
        REFUSED,
        variables={"CNI_NETNS": "/run/netns/gone"},
        says="/run/netns/gone",
    ),
    Case(
        "bridge netns is a file",
        bridge(),
        REFUSED,
        variables={"CNI_NETNS": "/run/file"},
        prepare="touch /run/file",
        says="/run/file",
    ),
    Case("bridge no addresses", bridge(ipam=static()), REFUSED, says="missing IP"),
    Case(
        "bridge CNI_ARGS unknown",
        bridge(),
        REFUSED,
        variables={"CNI_ARGS": "K8S_POD_NAME=x"},
        says="K8S_POD_NAME",
    ),
]

CASES = [*ADDRESSES, *MASQUERADE, *DEVICES, *BAD]
