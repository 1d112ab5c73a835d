"""Everything that plugins can leave behind, as one flat table: `c1/link/eth0/mtu` is 1400.

What is random (names, MACs) is replaced by what it belongs to, what depends on timing is left out.
"""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from cnicore.testing.sandbox import Sandbox
from conformance.stage import DATA

Table = dict[str, Any]

TIMING_FLAGS = {"LOWER_UP", "NO-CARRIER", "M-DOWN"}
LINK_KEYS = (
    "mtu",
    "master",
    "ifalias",
    "promiscuity",
    "allmulti",
    "txqlen",
    "qdisc",
    "group",
    "link_type",
)
QDISC = re.compile(r"qdisc (?:tbf|ingress|clsact|htb) ")
TUN_KEYS = ("type", "pi", "vnet_hdr", "multi_queue", "persist", "user", "group")
PORT_KEYS = ("hairpin", "isolated", "learning", "flood", "guard")
ADDRESS_KEYS = ("scope", "broadcast", "label", "nodad", "noprefixroute", "dadfailed", "protocol")
ROUTE_KEYS = ("type", "gateway", "via", "dev", "prefsrc", "protocol", "scope", "metric", "nexthops")
SYSCTLS = {
    "ipv4": ("arp_notify", "forwarding", "proxy_arp", "rp_filter"),
    "ipv6": (
        "accept_dad",
        "accept_ra",
        "addr_gen_mode",
        "autoconf",
        "disable_ipv6",
        "enhanced_dad",
        "forwarding",
        "keep_addr_on_down",
        "ndisc_notify",
        "proxy_ndp",
    ),
}
XTABLES = ("iptables", "ip6tables")
XTABLES_TABLE = re.compile(r"table ip6? (nat|filter|mangle|raw|security) ")
SYSCTL_FILES = " ".join(
    [
        "/proc/sys/net/ipv4/ip_forward",
        *(
            f"/proc/sys/net/{family}/conf/*/{key}"
            for family, keys in SYSCTLS.items()
            for key in keys
        ),
    ]
)
SHAPING = """
tc qdisc show
tc qdisc show | grep -o "ingress ffff: dev [^ ]*" | while read -r kind handle dev link; do
    tc filter show dev $link ingress | sed "s/^/$link /"
done
"""
MAC = re.compile(r"\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b")
VETH = re.compile(r"\bveth[0-9a-f]{8}\b")


class Symbols:
    """Names for what is random, learnt from the links that have been seen."""

    def __init__(self, literal: str) -> None:
        """`literal` is the input of the case: what it spells out is not random."""
        self.literal = literal.lower()
        self.names: dict[str, str] = {}
        self.macs: dict[str, str] = {}

    def learn(self, links: dict[str, list[Table]]) -> None:
        """Learn from the links of each namespace; the host's is called `host`."""
        containers = [(ns, link) for ns in links if ns != "host" for link in links[ns]]
        by_peer = {link.get("link_index"): (ns, link["ifname"]) for ns, link in containers}
        for link in links["host"]:
            if VETH.fullmatch(link["ifname"]):
                ns, name = by_peer.get(link["ifindex"], ("host", "?"))
                self.names[link["ifname"]] = f"<veth of {ns}/{name}>"
        for ns in sorted(links):
            for link in links[ns]:
                name = self.names.get(link["ifname"], f"{ns}/{link['ifname']}")
                self.macs.setdefault(link.get("address", ""), f"<mac of {name}>")

    def apply(self, value: Any) -> Any:
        """The value (text, or lists and objects of it) with symbols for what is random."""
        if isinstance(value, str):
            text = VETH.sub(lambda name: self.names.get(name[0], "<unknown veth>"), value)
            return MAC.sub(self._mac, text)
        if isinstance(value, list):
            return [self.apply(item) for item in value]
        if isinstance(value, dict):
            return {self.apply(key): self.apply(item) for key, item in value.items()}
        return value

    def _mac(self, match: re.Match[str]) -> str:
        mac = match[0]
        if mac in self.literal or mac == "00:00:00:00:00:00":
            return mac
        return self.macs.get(mac, "<unknown mac>")


def snapshot(sandbox: Sandbox, containers: Iterable[str], symbols: Symbols) -> Table:
    """What the host and the containers have now."""
    namespaces = ["host", *containers]
    texts = outputs(sandbox, namespaces)
    links = {ns: json.loads(texts[f"{ns} links"]) for ns in namespaces}
    symbols.learn(links)
    table: Table = {}
    for ns in namespaces:
        table |= dict(flatten(f"{ns}/link", link_table(links[ns])))
        routes = {version: texts[f"{ns} routes {version}"] for version in "46"}
        table |= dict(flatten(f"{ns}/route", route_table(routes)))
        names = {"all", *(link["ifname"] for link in links[ns] if link)}
        table |= dict(sysctls(ns, texts[f"{ns} sysctls"], names))
        table[f"{ns}/rules"] = policy_rules(texts[f"{ns} rules 4"] + texts[f"{ns} rules 6"])
        table |= dict(shaping(ns, texts[f"{ns} shaping"]))
    table |= dict(port_vlans(json.loads(texts["vlans"] or "[]")))
    table |= dict(firewall(texts)) | dict(files(DATA))
    return symbols.apply(table)


def outputs(sandbox: Sandbox, namespaces: Iterable[str]) -> dict[str, str]:
    """What each command prints; one shell runs them all, because processes are what costs time."""
    commands = {name: f"{name}-save" for name in XTABLES} | {"nft": "nft list ruleset"}
    commands["vlans"] = "bridge -json vlan show"
    for ns in namespaces:
        option, enter = ("", "") if ns == "host" else (f"-n {ns}", f"nsenter --net=/run/netns/{ns}")
        commands[f"{ns} links"] = f"ip {option} -d -json addr"
        for version in "46":
            command = f"ip {option} -{version} -d -json route show table all"
            commands[f"{ns} routes {version}"] = command
            commands[f"{ns} rules {version}"] = f"ip {option} -{version} rule"
        # the shell that expands the pattern must be the one inside
        commands[f"{ns} sysctls"] = f"{enter} sh -c 'grep -s . {SYSCTL_FILES} || true'"
        commands[f"{ns} shaping"] = f"{enter} sh -c '{SHAPING}'"
    script = " && printf '\\0' && ".join(f"{{ {command}; }}" for command in commands.values())
    return dict(zip(commands, sandbox.shell(script).split("\0"), strict=True))


def flatten(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield path, value
        return
    for key, item in value.items():
        yield from flatten(f"{path}/{key}", item)


def link_table(links: list[Table]) -> Table:
    return {link["ifname"]: describe_link(link) for link in links if link}


def describe_link(link: Table) -> Table:
    info = link.get("linkinfo", {})
    return {
        **chosen(link, LINK_KEYS),
        "flags": " ".join(sorted(set(link["flags"]) - TIMING_FLAGS)),
        "mac": link.get("address"),
        "kind": info.get("info_kind"),
        "mode": info.get("info_data", {}).get("mode"),
        "vlan_filtering": info.get("info_data", {}).get("vlan_filtering"),
        "tun": chosen(info.get("info_data", {}), TUN_KEYS)
        if info.get("info_kind") == "tun"
        else {},
        "port": chosen(info.get("info_slave_data", {}), PORT_KEYS),
        "address": {
            f"{address['local']}/{address['prefixlen']}": chosen(address, ADDRESS_KEYS)
            for address in link["addr_info"]
            if not address["local"].startswith("fe80:")
        },
    }


def chosen(document: Table, keys: Iterable[str]) -> Table:
    return {key: document[key] for key in keys if key in document}


def route_table(routes: dict[str, str]) -> Table:
    """Routes by table and destination; those that the kernel keeps by itself are left out."""
    table: Table = {}
    numbers: Counter[str] = Counter()
    for version, text in routes.items():
        for route in json.loads(text or "[]"):
            if route.get("table") == "local" or route["dst"].startswith(("fe80:", "ff00:")):
                continue
            key = f"{version} {route.get('table', 'main')} {route['dst']}"
            numbers[key] += 1
            table[f"{key} #{numbers[key]}"] = {
                **chosen(route, ROUTE_KEYS),
                **flattened_metrics(route),
            }
    return table


def flattened_metrics(route: Table) -> Table:
    return {key: value for metrics in route.get("metrics", []) for key, value in metrics.items()}


def sysctls(ns: str, text: str, names: set[str]) -> Iterator[tuple[str, Any]]:
    """The kernel parameters that plugins write, and some that they should not."""
    for line in text.splitlines():
        key, _, value = line.removeprefix("/proc/sys/net/").partition(":")
        if key == "ipv4/ip_forward" or key.split("/")[2] in names:
            yield f"{ns}/sysctl/{key}", value


def policy_rules(text: str) -> list[str]:
    """Rules in their order, without those that every namespace has and without priorities."""
    rules = [" ".join(line.partition(":")[2].split()) for line in text.splitlines()]
    return [
        rule for rule in rules if not re.fullmatch(r"from all lookup (local|main|default)", rule)
    ]


def shaping(ns: str, text: str) -> Iterator[tuple[str, Any]]:
    """What tc prints about queues that shape and about filters; default queues are the kernel's."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    yield f"{ns}/qdiscs", sorted(line for line in lines if QDISC.match(line))
    yield f"{ns}/filters", [line for line in lines if line and not line.startswith("qdisc ")]


def port_vlans(ports: list[Table]) -> Iterator[tuple[str, Any]]:
    """What the ports of the host's bridges are in; nothing where the kernel's bridges know no VLANs."""
    for port in ports:
        for vlan in port["vlans"]:
            numbers = "-".join(str(vlan[key]) for key in ("vlan", "vlanEnd") if key in vlan)
            yield f"host/vlan/{port['ifname']}/{numbers}", " ".join(vlan.get("flags", []))


def firewall(texts: dict[str, str]) -> Iterator[tuple[str, Any]]:
    for command in XTABLES:
        yield f"host/{command}", list(xtables_rules(texts[command]))
    lines = [line.strip() for line in texts["nft"].splitlines() if line.strip() and line[0] != "#"]
    for title, text in tables(lines):
        if not XTABLES_TABLE.match(title):
            yield f"host/nft/{title.split(' {')[0]}", text


def xtables_rules(saved: str) -> Iterator[str]:
    """Rules and own chains; built-in chains say nothing."""
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A") or (line.startswith(":") and line.split()[1] == "-"):
            yield f"{table} {line.split(' [')[0]}"


def tables(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    numbers = iter(range(len(lines)))
    title = ""

    def title_of(line: str) -> str:
        nonlocal title
        if line.startswith("table "):
            title = line
        return title or str(next(numbers))

    for name, group in groupby(lines, title_of):
        yield name, list(group)[1:]


def files(directory: Path) -> Iterator[tuple[str, Any]]:
    for file in sorted(directory.rglob("*")):
        name = f"files/{file.relative_to(directory)}"
        yield f"{name}/mode", stat.filemode(file.lstat().st_mode)
        if file.is_file():
            yield f"{name}/content", file.read_bytes().decode()
