"""Configurations of tuning, behind a plugin that makes an interface."""

from __future__ import annotations

from typing import Any

from conformance.cases_bridge import bridge
from conformance.cases_ptp import ptp
from conformance.scenario import LIFE, REFUSED, Case

MAC = "0a:00:00:00:00:07"
DIRECTORY = "/run/cni-data/tuning"
LINK = {"mac": MAC, "promisc": True, "mtu": 1400, "allmulti": True}
SYSCTLS = {"net.ipv4.conf.IFNAME.proxy_arp": "1", "net/ipv6/conf/all/proxy_ndp": "1"}
ONCE = ("ADD", "CHECK", "DEL", "DEL")
ALLOWLIST = (
    "mkdir /run/upper /run/work"
    " && mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc"
    " && mkdir -p /etc/cni/tuning && echo '{}' >/etc/cni/tuning/allowlist.conf"
)


def tuning(**keys: Any) -> dict[str, Any]:
    conf = {"cniVersion": "1.0.0", "name": "n1", "type": "tuning", "dataDir": DIRECTORY}
    return {**conf, **keys}


def behind(
    conf: dict[str, Any], name: str, verbs: tuple[str, ...] = LIFE, before: Any = None, **case: Any
) -> Case:
    """A case whose configuration comes after that of a main plugin, bridge unless told."""
    before = {**(before or bridge()), "cniVersion": conf["cniVersion"]}
    return Case(f"tuning {name}", conf, verbs, chain=(before,), **case)


def refused(keys: dict[str, Any], name: str, says: str, **case: Any) -> Case:
    return behind(tuning(**keys), name, REFUSED, says=says, **case)


def args(**keys: Any) -> dict[str, Any]:
    return {"args": {"cni": keys}}


TUNED = [
    behind(tuning(), "nothing"),
    behind(tuning(**LINK), "link"),
    behind(tuning(**LINK), "link once", ONCE),
    behind(tuning(**LINK, sysctl=SYSCTLS), "all once", ONCE, before=ptp()),
    behind(tuning(sysctl=SYSCTLS), "sysctls"),
    behind(tuning(mac=MAC), "mac", ONCE),
    behind(tuning(mac=MAC.upper()), "mac in capitals", ONCE),
    behind(tuning(mtu=1400), "mtu", ONCE),
    behind(tuning(promisc=True), "promisc", ONCE),
    behind(tuning(allmulti=True), "allmulti", ONCE),
    behind(tuning(allmulti=False), "allmulti off", ONCE),
    behind(tuning(txQLen=500), "txQLen", ONCE),
    behind(tuning(mac="", promisc=False, mtu=0, allmulti=None), "defaults", ONCE),
    behind(
        tuning(promisc=True, allmulti=False, mtu=1400),
        "set before",
        ONCE,
        prepare_chained="ip -n c1 link set eth0 promisc on allmulticast on mtu 1450",
    ),
    behind({**tuning(**LINK), "cniVersion": "0.4.0"}, "0.4.0", ONCE),
    behind({**tuning(**LINK), "cniVersion": "0.2.0"}, "0.2.0", ("ADD", "DEL")),
    behind({**tuning(**LINK), "dataDir": "/run/cni-data"}, "in a directory that is there", ONCE),
]

SOURCES = [
    behind(
        tuning(mtu=1400),
        "CNI_ARGS",
        ONCE,
        variables={"CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAME=a;MAC={MAC}"},
    ),
    behind(tuning(runtimeConfig={"mac": MAC}), "runtimeConfig", ONCE),
    behind(
        tuning(mac="0a:00:00:00:00:01", runtimeConfig={"mac": "0a:00:00:00:00:02"}),
        "runtimeConfig and args",
        ONCE,
        variables={"CNI_ARGS": "IgnoreUnknown=1;MAC=0a:00:00:00:00:03"},
    ),
    behind(
        tuning(runtimeConfig={"mac": "0a:00:00:00:00:02"}, **args(mac=MAC)),
        "args and runtime",
        ONCE,
    ),
    behind(
        tuning(**LINK, **args(mac=MAC, promisc=False, mtu=1300, allmulti=False)), "args win", ONCE
    ),
    behind(tuning(mtu=1400, **args(mtu=0, mac=None)), "args empty", ONCE),
    behind(
        tuning(sysctl=SYSCTLS, **args(sysctl={"net.ipv4.conf.IFNAME.proxy_arp": "0"})),
        "args sysctl",
        ONCE,
    ),
    behind(tuning(**args(sysctl=SYSCTLS)), "args sysctl alone", ONCE),
]

WRONG = [
    refused({"mac": "none"}, "bad mac", "mac: address none"),
    refused({"mac": MAC, "mtu": -1}, "negative mtu", "mtu: -1"),
    refused({"mtu": "1400"}, "mtu text", "mtu: "),
    refused({"mtu": 14.5}, "mtu fraction", "mtu: "),
    refused({"mac": MAC, "mtu": 67}, "mtu below the kernel's", "MTU of eth0 to 67"),
    refused({"sysctl": {"kernel.shmmax": "1"}}, "sysctl of the host", "kernel.shmmax"),
    refused({"sysctl": {"net.ipv4.no_such": "1"}}, "sysctl unknown", "net/ipv4/no_such"),
    refused(
        {"sysctl": {"net.ipv4.tcp_congestion_control": "none"}},
        "sysctl value",
        "net/ipv4/tcp_congestion_control",
    ),
    refused({"sysctl": {"net.core.somaxconn": 5}}, "sysctl number", "sysctl.net.core.somaxconn"),
    refused({"sysctl": [1]}, "sysctl list", "sysctl: "),
    refused({"promisc": "on"}, "promisc text", "promisc: "),
    refused({"allmulti": 1}, "allmulti number", "allmulti: "),
    refused({"runtimeConfig": {"mac": "x"}}, "runtime mac", "runtimeConfig.mac"),
    Case(
        "tuning CNI_ARGS unknown",
        tuning(prevResult={"cniVersion": "1.0.0"}),
        REFUSED,
        variables={"CNI_ARGS": "A=b"},
        says='ARGS: unknown args ["A=b"]',
    ),
    Case(
        "tuning CNI_ARGS without a value",
        tuning(prevResult={"cniVersion": "1.0.0"}),
        REFUSED,
        variables={"CNI_ARGS": "MAC"},
        says="ARGS: invalid pair",
    ),
    Case("tuning alone", tuning(**LINK), ("ADD", "CHECK", "DEL"), says="chained plugin"),
    Case(
        "tuning no netns",
        tuning(**LINK, prevResult={"cniVersion": "1.0.0"}),
        REFUSED,
        variables={"CNI_NETNS": "/run/netns/none"},
        says="/run/netns/none",
    ),
    Case(
        "tuning no interface",
        tuning(**LINK, sysctl={"net.ipv4.ip_forward": "1"}, prevResult={"cniVersion": "1.0.0"}),
        REFUSED,
        says='no interface "eth0"',
    ),
    Case(
        "tuning duplicate sysctl",
        {},
        ("ADD",),
        plugin="tuning",
        stdin='{"cniVersion":"1.0.0","name":"n1","type":"tuning","dataDir":"/run/cni-data/tuning",'
        '"sysctl":{"net.ipv4.conf.all.proxy_arp":"0","net.ipv4.conf.all.proxy_arp":"1"},'
        '"prevResult":{"cniVersion":"1.0.0"}}',
        says='"net.ipv4.conf.all.proxy_arp" is duplicated',
    ),
    refused(
        {"sysctl": SYSCTLS},
        "not on the list",
        "is not allowed",
        prepare=ALLOWLIST.format("proxy_arp"),
    ),
]

ALLOWED = [
    behind(
        tuning(sysctl={"net.ipv4.conf.IFNAME.proxy_arp": "1"}),
        "on the list",
        ONCE,
        prepare=ALLOWLIST.format("^net.ipv4.conf.IFNAME.proxy_arp$"),
    )
]

STALE = [
    behind(
        tuning(**LINK),
        "behind an empty backup",
        ("ADD", "CHECK", "DEL"),
        before=bridge(),
        prepare_chained=f"umask 077; mkdir {DIRECTORY} && echo '{{}}' >{DIRECTORY}/c1_eth0.json",
    ),
    behind(
        tuning(mac=MAC, prevResult={"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}]}),
        "of a host's interface of the same name",
        ("ADD",),
    ),
    Case("tuning DEL only", tuning(**LINK), ("DEL",)),
    Case("tuning DEL without a netns", tuning(), ("DEL",), variables={"CNI_NETNS": ""}),
    Case("tuning DEL, netns gone", tuning(), ("DEL",), variables={"CNI_NETNS": "/run/netns/gone"}),
    Case(
        "tuning DEL with a backup, netns gone",
        tuning(),
        ("DEL",),
        prepare=f"mkdir {DIRECTORY} && echo '{{\"mtu\": 1500}}' >{DIRECTORY}/c1_eth0.json",
        variables={"CNI_NETNS": "/run/netns/gone"},
    ),
    Case(
        "tuning DEL with a torn backup",
        tuning(),
        ("DEL",),
        prepare=f"mkdir {DIRECTORY} && echo '{{\"mtu\": 15' >{DIRECTORY}/c1_eth0.json",
    ),
    Case(
        "tuning DEL with a backup, interface gone",
        tuning(),
        ("DEL",),
        prepare=f"mkdir {DIRECTORY} && echo '{{\"mtu\": 1500}}' >{DIRECTORY}/c1_eth0.json",
    ),
]

CASES = [*TUNED, *SOURCES, *WRONG, *ALLOWED, *STALE]
