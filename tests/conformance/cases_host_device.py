"""Configurations of host-device."""

from __future__ import annotations

from typing import Any

from conformance.cases_bridge import V4, V6, host_local, static
from conformance.scenario import REFUSED, Case

MAC = "02:00:5e:10:00:01"
DEVICE = f"ip link add hd0 address {MAC} type veth peer name far0; ip link set far0 up"
OTHER = "ip link add hd1 address 02:00:5e:10:00:02 type veth peer name far1"
TWICE = ("ADD", "CHECK", "DEL", "ADD", "DEL")
ONCE = ("ADD", "CHECK", "DEL")
DEVICE_UP = f"{DEVICE}; ip link set hd0 up; ip addr add 192.0.2.2/24 dev hd0"
ROUTED = f"{DEVICE_UP}; ip route add default via 192.0.2.1"


def host_device(**keys: Any) -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": "n1",
        "type": "host-device",
        "device": "hd0",
        "ipam": host_local(),
        **keys,
    }


def case(name: str, conf: dict[str, Any], *args: Any, **keys: Any) -> Case:
    return Case(f"host-device {name}", conf, *args, **{"prepare": DEVICE, **keys})


ATTACHED = [
    case("l3", host_device(), TWICE),
    case("l2", host_device(ipam={}), TWICE),
    case("life", host_device()),
    case("ipv6", host_device(ipam=host_local(V6)), ONCE),
    case("dual stack", host_device(ipam=host_local(V4, V6)), TWICE),
    case(
        "routes",
        host_device(ipam=host_local(V4, V6, routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])),
        ONCE,
    ),
    case("device up", host_device(), ONCE, prepare=DEVICE_UP),
    case("default route", host_device(), ONCE, prepare=ROUTED),
    case("alias", host_device(), ONCE, prepare=f"{DEVICE}; ip link set hd0 alias rack3"),
    case("macvlan", host_device(), ONCE, prepare=f"{DEVICE}; ip link set hd0 name up0; "
         f"ip link add hd0 link up0 address 02:00:5e:10:00:07 type macvlan mode bridge"),
    case("hwaddr", host_device(device="", hwaddr=MAC), ONCE),
    case("hwaddr in capitals", host_device(device=None, hwaddr=MAC.upper()), ONCE),
    case("static", host_device(ipam=static({"address": "10.7.0.5/24"})), ONCE),
    case("dns", host_device(dns={"nameservers": ["10.0.0.53"], "domain": "example.org"}), ONCE),
    case("dns without ipam", host_device(ipam={}, dns={"domain": "example.org"}), ONCE),
    case(
        "dns of ipam",
        host_device(ipam=static({"address": "10.7.0.5/24"}, dns={"nameservers": ["10.0.0.53"]})),
        ONCE,
    ),
    case("0.2.0", host_device(cniVersion="0.2.0"), ("ADD", "DEL")),
    case("0.4.0", host_device(cniVersion="0.4.0"), ONCE),
    case("its own name", host_device(), ONCE, variables={"CNI_IFNAME": "hd0"}),
    case(
        "interface of the host's name",
        host_device(),
        ONCE,
        prepare=f"{DEVICE}; ip link add eth0 type veth peer name e1",
    ),
    case(
        "name in the container",
        host_device(),
        ("ADD", "CHECK"),
        prepare=f"{DEVICE}; ip -n c1 link add hd0 type veth peer name e1",
    ),
    case(
        "both keys",
        host_device(hwaddr=MAC),
        ONCE,
    ),
]  # fmt: skip

FAILING = [
    case("nothing selected", host_device(device=""), REFUSED, says='specify either "device"'),
    case("device gone", host_device(device="gone"), REFUSED, says='no interface "gone" on the host'),
    case("device number", host_device(device=1), REFUSED, says="device: "),
    case("bad hwaddr", host_device(device="", hwaddr="zz"), REFUSED, says="hwaddr: "),
    case("hwaddr gone", host_device(device="", hwaddr="02:00:5e:10:00:09"), REFUSED, says="hwaddr: "),
    case("kernelpath", host_device(device="", kernelpath="/dev/x"), REFUSED, says="kernelpath: "),
    case("pciBusID gone", host_device(device="", pciBusID="0000:ff:ff.7"), REFUSED, says="pciBusID: "),
    case(
        "two devices",
        host_device(hwaddr="02:00:5e:10:00:02"),
        REFUSED,
        prepare=f"{DEVICE}; {OTHER}",
        says='device, hwaddr: they name different devices: "hd0" and "hd1"',
    ),
    case(
        "a port",
        host_device(),
        REFUSED,
        prepare=f"{DEVICE}; ip link add br0 type bridge; ip link set hd0 master br0",
        says='it is a port of "br0"',
    ),
    case("loopback", host_device(device="lo"), REFUSED, says="could not move lo"),
    case(
        "interface exists",
        host_device(),
        REFUSED,
        prepare=f"{DEVICE}; ip -n c1 link add eth0 type veth peer name e1",
        says='interface "eth0" already exists',
    ),
    case("no addresses", host_device(ipam=static()), REFUSED, says="missing IP config"),
    case("unknown ipam", host_device(ipam={"type": "nope"}), REFUSED, says='plugin "nope"'),
    case("unknown ipam, device up", host_device(ipam={"type": "nope"}), ("ADD",), prepare=DEVICE_UP, says='plugin "nope"'),
    case(
        "no netns",
        host_device(),
        REFUSED,
        variables={"CNI_NETNS": "/run/netns/none"},
        says="/run/netns/none",
    ),
    case("DEL only", host_device(), ("DEL",)),
    case("DEL without a netns", host_device(), ("DEL",), variables={"CNI_NETNS": ""}),
    case("DEL, netns gone", host_device(), ("DEL",), variables={"CNI_NETNS": "/run/netns/gone"}),
    case("DEL, bad configuration", host_device(hwaddr="zz", kernelpath="/"), ("DEL",)),
    case("CHECK without prevResult", host_device(), ("CHECK",), says="prevResult"),
]  # fmt: skip

CASES = [*ATTACHED, *FAILING]
