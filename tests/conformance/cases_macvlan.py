"""Configurations of macvlan."""

from __future__ import annotations

from typing import Any

from conformance.cases_bridge import V4, V6, host_local, static
from conformance.scenario import REFUSED, Case

PARENT = "ip link add up0 type veth peer name far0; ip link set up0 up; ip link set far0 up"
IN_CONTAINER = "ip link add net1 netns c1 type veth peer name far1; ip -n c1 link set net1 up"
MAC = "02:00:5e:10:00:01"
ARGUMENT = {"CNI_ARGS": "IgnoreUnknown=1;MAC=02:00:5e:10:00:02"}
DEFAULT = f"{PARENT}; ip addr add 192.0.2.2/24 dev up0; ip route add default via 192.0.2.1"
DEFAULT6 = f"{PARENT}; ip addr add fd99::2/64 dev up0 nodad; ip route add default via fd99::1"


def macvlan(**keys: Any) -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": "n1",
        "type": "macvlan",
        "master": "up0",
        "ipam": host_local(),
        **keys,
    }


IN_CONTAINER_CONF = macvlan(master="net1", linkInContainer=True)


def case(name: str, conf: dict[str, Any], *args: Any, **keys: Any) -> Case:
    return Case(f"macvlan {name}", conf, *args, **{"prepare": PARENT, **keys})


ATTACHED = [
    case("l3", macvlan()),
    case("l2", macvlan(ipam={})),
    case("ipv6", macvlan(ipam=host_local(V6))),
    case("dual stack", macvlan(ipam=host_local(V4, V6))),
    case(
        "routes",
        macvlan(ipam=host_local(V4, V6, routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])),
    ),
    *[
        case(f"mode {mode or 'empty'}", macvlan(mode=mode))
        for mode in ("", "private", "vepa", "passthru")
    ],
    case("mtu", macvlan(mtu=1400)),
    case("mac", macvlan(mac=MAC.upper())),
    case("mac argument", macvlan(mac=MAC), variables=ARGUMENT),
    case(
        "mac of the runtime",
        macvlan(mac=MAC, RuntimeConfig={"mac": "02:00:5e:10:00:03"}),
        variables=ARGUMENT,
    ),
    case("static", macvlan(ipam=static({"address": "10.7.0.5/24"}))),
    case("dns", macvlan(dns={"nameservers": ["10.0.0.53"], "domain": "example.org"})),
    case(
        "dns of ipam",
        macvlan(ipam=static({"address": "10.7.0.5/24"}, dns={"nameservers": ["10.0.0.53"]})),
    ),
    case("0.2.0", macvlan(cniVersion="0.2.0")),
    case("another interface", macvlan(), variables={"CNI_IFNAME": "net-1.x"}),
    case(
        "interface of the host's name", macvlan(), prepare=f"{PARENT}; ip link add eth0 type veth"
    ),
    case("parent down", macvlan(), prepare="ip link add up0 type veth peer name far0"),
    case("parent a bridge", macvlan(), prepare="ip link add up0 type bridge; ip link set up0 up"),
    case(
        "parent a macvlan",
        macvlan(master="m0"),
        prepare=f"{PARENT}; ip link add m0 link up0 type macvlan mode bridge",
    ),
    case("default route", macvlan(master=""), prepare=DEFAULT),
    case("default route of ipv6", macvlan(master=None), prepare=DEFAULT6),
    case(
        "prevResult",
        macvlan(
            prevResult={
                "cniVersion": "1.0.0",
                "interfaces": [{"name": "eth7", "sandbox": "/run/netns/c1"}],
                "ips": [{"address": "10.1.2.3/24", "interface": 0}],
            }
        ),
        ("ADD", "DEL"),
    ),
]

FAILING = [
    case("master gone", macvlan(master="gone"), REFUSED, says='no interface "gone" on the host'),
    case("no default route", macvlan(master=""), REFUSED, says="no default route interface found"),
    case("mode unknown", macvlan(mode="source"), REFUSED, says='unknown macvlan mode: "source"'),
    case("mode number", macvlan(mode=4), REFUSED, says="mode: "),
    case("mtu negative", macvlan(mtu=-1), REFUSED, says="mtu: invalid MTU -1"),
    case("mtu above", macvlan(mtu=1501), REFUSED, says="must be [0, master MTU(1500)]"),
    case("mtu text", macvlan(mtu="1400"), REFUSED, says="mtu: "),
    case("mtu tiny", macvlan(mtu=20), REFUSED, says="macvlan eth0 on up0"),
    case("bad mac", macvlan(mac="zz"), REFUSED, says="mac: invalid args zz for MAC addr"),
    case("multicast mac", macvlan(mac="01:00:5e:10:00:01"), REFUSED, says="mac: "),
    case("runtime mac", macvlan(runtimeConfig={"mac": "z"}), REFUSED, says="runtimeConfig.mac: "),
    case(
        "argument mac",
        macvlan(),
        REFUSED,
        variables={"CNI_ARGS": "IgnoreUnknown=1;MAC=z"},
        says="MAC in CNI_ARGS: ",
    ),
    case(
        "argument unknown",
        macvlan(),
        REFUSED,
        variables={"CNI_ARGS": "K8S_POD_NAME=x"},
        says="K8S_POD_NAME=x",
    ),
    case(
        "mac of the parent",
        macvlan(mac=MAC),
        REFUSED,
        prepare=f"{PARENT}; ip link set up0 address {MAC}",
        says=f"{MAC} is the address of up0",
    ),
    case(
        "parent a port",
        macvlan(),
        REFUSED,
        prepare=f"{PARENT}; ip link add br0 type bridge; ip link set up0 master br0",
        says="up0 is a port of a bridge",
    ),
    case("parent loopback", macvlan(master="lo"), REFUSED, says="lo takes no macvlan"),
    case(
        "passthru beside another",
        macvlan(mode="passthru"),
        REFUSED,
        prepare=f"{PARENT}; ip link add m0 link up0 type macvlan mode bridge",
        says="up0 takes no macvlan of mode passthru: it has macvlans",
    ),
    case(
        "interface exists",
        macvlan(),
        ("ADD",),
        prepare=f"{PARENT}; ip -n c1 link add eth0 type veth peer name e1",
        says='interface "eth0" already exists',
    ),
    case("no addresses", macvlan(ipam=static()), REFUSED, says="missing IP config"),
    case("unknown ipam", macvlan(ipam={"type": "nope"}), REFUSED, says='plugin "nope"'),
    case("0.2.0 l2", macvlan(cniVersion="0.2.0", ipam={}), REFUSED, says="no valid IP addresses"),
    case(
        "no netns",
        macvlan(),
        REFUSED,
        variables={"CNI_NETNS": "/run/netns/none"},
        says="/run/netns/none",
    ),
    case("DEL only", macvlan(), ("DEL",)),
    case("DEL without a netns", macvlan(), ("DEL",), variables={"CNI_NETNS": ""}),
    case("DEL, netns gone", macvlan(), ("DEL",), variables={"CNI_NETNS": "/run/netns/gone"}),
    case("DEL, master gone", macvlan(master="gone"), ("DEL",)),
    case("DEL, bad configuration", macvlan(mode="source", mtu=-1, mac="zz"), ("DEL",)),
    case("CHECK without prevResult", macvlan(), ("CHECK",), says="prevResult"),
]

CASES = [*ATTACHED, *FAILING]

NEWER = [
    case("newer", macvlan(ipam=host_local(V4, V6))),
    case("newer l2", macvlan(ipam={}, bcqueuelen=50)),
    case("newer master gone", macvlan(master="gone"), REFUSED, says='no interface "gone" on the'),
    case("newer in the container", IN_CONTAINER_CONF, prepare=IN_CONTAINER),
    case(
        "newer default route of the container",
        {**IN_CONTAINER_CONF, "master": ""},
        prepare=f"{IN_CONTAINER}; ip -n c1 route add default dev net1",
    ),
    case(
        "newer not in the container",
        IN_CONTAINER_CONF,
        REFUSED,
        says='no interface "net1" in the container',
    ),
    case(
        "newer no default route in the container",
        {**IN_CONTAINER_CONF, "master": ""},
        REFUSED,
        says="no default route interface found in the container",
    ),
    case("newer bcqueuelen negative", macvlan(bcqueuelen=-1), REFUSED, says="bcqueuelen: -1"),
    case("newer bcqueuelen text", macvlan(bcqueuelen="50"), REFUSED, says="bcqueuelen: "),
]
"""For a reference that knows the keys linkInContainer and bcqueuelen."""
