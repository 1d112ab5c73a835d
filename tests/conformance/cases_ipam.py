"""Configurations of host-local and static, called on their own."""

from __future__ import annotations

from typing import Any

from conformance.cases_bridge import V4, V6, host_local, static
from conformance.scenario import REFUSED, Case


def conf(ipam: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": "n1", "type": ipam["type"], "ipam": ipam, **keys}


def legacy(**keys: Any) -> dict[str, Any]:
    return conf({key: value for key, value in {**host_local(), **keys}.items() if key != "ranges"})


def lease(address: str, content: str) -> str:
    """Shell text that makes a lease of somebody else."""
    return f"mkdir -p /run/cni-data/n1 && printf '{content}' >/run/cni-data/n1/{address}"


HOST_LOCAL = [
    Case("host-local", conf(host_local())),
    Case("host-local legacy range", legacy(subnet="10.7.0.0/24", rangeStart="10.7.0.20")),
    Case("host-local legacy gateway", legacy(subnet="10.7.0.0/24", gateway="10.7.0.254")),
    Case("host-local legacy and ranges", conf(host_local(V6, subnet="10.7.0.0/24"))),
    Case("host-local two families", conf(host_local(V4, V6))),
    Case(
        "host-local range in a subnet",
        conf(host_local({**V4, "rangeStart": "10.7.0.10", "rangeEnd": "10.7.0.11"})),
    ),
    Case(
        "host-local gateway outside",
        conf(host_local({**V4, "gateway": "10.9.9.9"})),
    ),
    Case(
        "host-local two ranges in a set",
        conf({**host_local(), "ranges": [[V4, {"subnet": "10.8.0.0/30"}]]}),
    ),
    Case(
        "host-local continues after the last",
        conf(host_local()),
        prepare="mkdir -p /run/cni-data/n1; printf 10.7.0.77 >/run/cni-data/n1/last_reserved_ip.0",
    ),
    Case(
        "host-local skips what is taken",
        conf(host_local()),
        prepare=lease("10.7.0.2", "other\\r\\neth0"),
    ),
    Case(
        "host-local legacy lease file",
        conf(host_local()),
        ("CHECK", "DEL"),
        prepare=lease("10.7.0.2", "c1"),
    ),
    Case(
        "host-local requested by CNI_ARGS",
        conf(host_local()),
        variables={"CNI_ARGS": "IP=10.7.0.50"},
    ),
    Case("host-local requested by args", conf(host_local(), args={"cni": {"ips": ["10.7.0.51"]}})),
    Case(
        "host-local requested by runtimeConfig",
        conf(host_local(V4, V6), runtimeConfig={"ips": ["10.7.0.52/24", "fd07::52"]}),
    ),
    Case(
        "host-local ranges of runtimeConfig",
        conf(host_local(V6), runtimeConfig={"ipRanges": [[{"subnet": "10.8.0.0/24"}]]}),
    ),
    Case(
        "host-local routes",
        conf(host_local(routes=[{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.7.0.9"}])),
    ),
    Case(
        "host-local resolvConf",
        conf(host_local(resolvConf="/run/resolv.conf")),
        prepare=(
            "printf '# x\\n; y\\nnameserver 10.0.0.53\\nnameserver\\n"
            "domain a\\ndomain b\\nsearch c d\\nsearch e\\noptions ndots:5 # z\\n' >/run/resolv.conf"
        ),
    ),
    Case("host-local 0.2.0", conf(host_local(V4, V6), cniVersion="0.2.0")),
    Case("host-local 0.3.1", conf(host_local(V4, V6), cniVersion="0.3.1")),
    Case(
        "host-local container id with dots",
        conf(host_local()),
        variables={"CNI_CONTAINERID": "a.b-c_d"},
    ),
]

HOST_LOCAL_BAD = [
    Case(
        "host-local exhausted",
        conf(host_local({"subnet": "10.7.0.0/30"})),
        REFUSED,
        prepare=lease("10.7.0.2", "other\\r\\neth0"),
        says="10.7.0.2",
    ),
    Case(
        "host-local second set exhausted",
        conf(host_local(V4, {"subnet": "10.8.0.0/30"})),
        REFUSED,
        prepare=lease("10.8.0.2", "other\\r\\neth0"),
        says="10.8.0.2",
    ),
    Case(
        "host-local requested the gateway",
        conf(host_local()),
        REFUSED,
        variables={"CNI_ARGS": "IP=10.7.0.1"},
        says="10.7.0.1",
    ),
    Case(
        "host-local requested outside",
        conf(host_local(), args={"cni": {"ips": ["10.99.0.1"]}}),
        REFUSED,
        says="10.99.0.1",
    ),
    Case(
        "host-local requested is taken",
        conf(host_local(), args={"cni": {"ips": ["10.7.0.9"]}}),
        REFUSED,
        prepare=lease("10.7.0.9", "other\\r\\neth0"),
        says="10.7.0.9",
    ),
    Case("host-local no ranges", legacy(), REFUSED, says="range"),
    Case("host-local no subnet", conf(host_local({})), REFUSED, says="subnet"),
    Case("host-local bad subnet", conf(host_local({"subnet": "10.7.0"})), REFUSED, says="10.7.0"),
    Case(
        "host-local subnet too small",
        conf(host_local({"subnet": "10.7.0.0/31"})),
        REFUSED,
        says="10.7.0.0/31",
    ),
    Case(
        "host-local host bits",
        conf(host_local({"subnet": "10.7.0.9/24"})),
        REFUSED,
        says="10.7.0.0",
    ),
    Case(
        "host-local range outside",
        conf(host_local({**V4, "rangeStart": "10.8.0.5"})),
        REFUSED,
        says="10.8.0.5",
    ),
    Case("host-local sets overlap", conf(host_local(V4, V4)), REFUSED, says="overlap"),
    Case(
        "host-local families mixed",
        conf({**host_local(), "ranges": [[V4, V6]]}),
        REFUSED,
        says="famil",
    ),
    Case(
        "host-local 0.2.0 two of one family",
        conf(host_local(V4, {"subnet": "10.8.0.0/24"}), cniVersion="0.2.0"),
        REFUSED,
        says="0.2.0",
    ),
    Case(
        "host-local resolvConf missing",
        conf(host_local(resolvConf="/run/none")),
        REFUSED,
        says="/run/none",
    ),
    Case(
        "host-local data directory is a file",
        conf(host_local(dataDir="/run/file")),
        REFUSED,
        prepare="touch /run/file",
        says="/run/file",
    ),
    Case("host-local ranges is no list", conf(host_local(ranges={})), REFUSED, says="ranges"),
    Case("host-local CHECK without a lease", conf(host_local()), ("CHECK",), says="c1"),
]

STATIC = [
    Case("static", conf(static({"address": "10.7.0.5/24", "gateway": "10.7.0.1"}))),
    Case(
        "static dns and routes",
        conf(
            static(
                {"address": "10.7.0.5/24"},
                {"address": "fd07::5/64"},
                routes=[{"dst": "0.0.0.0/0", "gw": "10.7.0.1"}, {"dst": "::/0"}],
                dns={"nameservers": ["10.0.0.53"], "domain": "a", "options": ["ndots:1"]},
            )
        ),
    ),
    Case(
        "static CNI_ARGS",
        conf(static()),
        variables={"CNI_ARGS": "IP=10.7.0.6/24, fd07::6/64;GATEWAY=10.7.0.1"},
    ),
    Case(
        "static args",
        conf(static({"address": "10.7.0.5/24"}), args={"cni": {"ips": ["10.7.0.7/24"]}}),
    ),
    Case(
        "static runtimeConfig",
        conf(
            static({"address": "10.7.0.5/24"}),
            args={"cni": {"ips": ["10.7.0.7/24"]}},
            runtimeConfig={"ips": ["10.7.0.8/24"]},
        ),
    ),
    Case("static no addresses", conf(static())),
    Case("static no mask", conf(static({"address": "10.7.0.5"})), REFUSED, says="10.7.0.5"),
    Case(
        "static two of one family in 0.2.0",
        conf(static({"address": "10.7.0.5/24"}, {"address": "10.8.0.5/24"}), cniVersion="0.2.0"),
        REFUSED,
        says="0.2.0",
    ),
    Case("static CHECK without prevResult", conf(static()), ("CHECK",)),
    Case(
        "static CHECK of another gateway",
        conf(
            static({"address": "10.7.0.5/24", "gateway": "10.7.0.1"}),
            prevResult={
                "cniVersion": "1.0.0",
                "ips": [{"address": "10.7.0.5/24", "gateway": "10.7.0.9"}],
            },
        ),
        ("CHECK",),
        says="10.7.0.5",
    ),
]

CASES = [*HOST_LOCAL, *HOST_LOCAL_BAD, *STATIC]
