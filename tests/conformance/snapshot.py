"""Everything that plugins can leave behind, as one flat table: `c1/link/eth0/mtu` is 1400.

What is random (names, MACs) is replaced by what it belongs to, what depends on timing is left out.
"""

from __future__ import annotations

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
LINK_KEYS = ("mtu", "master", "ifalias", "promiscuity", "txqlen", "qdisc", "group", "link_type")
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
XTABLES = re.compile(r"table ip6? (nat|filter|mangle|raw|security) ")
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
    netns = {"host": "", **{name: f"-n {name}" for name in containers}}
    links = {ns: sandbox.json(f"ip {option} -d -json addr") for ns, option in netns.items()}
    symbols.learn(links)
    table: Table = {}
    for ns, option in netns.items():
        table |= dict(flatten(f"{ns}/link", link_table(links[ns])))
        table |= dict(flatten(f"{ns}/route", route_table(sandbox, option)))
        table |= dict(sysctls(sandbox, ns, [link["ifname"] for link in links[ns]]))
    table |= dict(firewall(sandbox)) | dict(files(DATA))
    return {key: symbols.apply(value) for key, value in symbols.apply(table).items()}


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
        "vlan_filtering": info.get("info_data", {}).get("vlan_filtering"),
        "port": chosen(info.get("info_slave_data", {}), PORT_KEYS),
        "address": {
            f"{address['local']}/{address['prefixlen']}": chosen(address, ADDRESS_KEYS)
            for address in link["addr_info"]
            if not address["local"].startswith("fe80:")
        },
    }


def chosen(document: Table, keys: Iterable[str]) -> Table:
    return {key: document[key] for key in keys if key in document}


def route_table(sandbox: Sandbox, option: str) -> Table:
    """Routes by table and destination; those that the kernel keeps by itself are left out."""
    table: Table = {}
    numbers: Counter[str] = Counter()
    for family in ("-4", "-6"):
        for route in sandbox.json(f"ip {option} {family} -d -json route show table all"):
            if route.get("table") == "local" or route["dst"].startswith(("fe80:", "ff00:")):
                continue
            key = f"{family[1]} {route.get('table', 'main')} {route['dst']}"
            numbers[key] += 1
            table[f"{key} #{numbers[key]}"] = {
                **chosen(route, ROUTE_KEYS),
                **flattened_metrics(route),
            }
    return table


def flattened_metrics(route: Table) -> Table:
    return {key: value for metrics in route.get("metrics", []) for key, value in metrics.items()}


def sysctls(sandbox: Sandbox, ns: str, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The kernel parameters that plugins write, and some that they should not."""
    files_ = [
        f"{family}/conf/{name}/{key}"
        for family, keys in SYSCTLS.items()
        for name in ("all", *names)
        for key in keys
    ]
    command = f"cd /proc/sys/net && grep -H . ipv4/ip_forward {' '.join(files_)} || true"
    for line in sandbox.shell(command, "" if ns == "host" else ns).splitlines():
        key, _, value = line.partition(":")
        yield f"{ns}/sysctl/{key}", value


def firewall(sandbox: Sandbox) -> Iterator[tuple[str, Any]]:
    for command in ("iptables", "ip6tables"):
        yield f"host/{command}", list(xtables_rules(sandbox.shell(f"{command}-save")))
    ruleset = sandbox.shell("nft list ruleset")
    lines = [line.strip() for line in ruleset.splitlines() if line.strip() and line[0] != "#"]
    for title, text in tables(lines):
        if not XTABLES.match(title):
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
