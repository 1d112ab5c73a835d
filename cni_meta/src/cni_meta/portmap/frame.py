"""The part of the table `inet cni` that all attachments share: maps and chains that look them up.

It is written in nft's own language: the JSON of libnftables 1.0.6 knows no map whose values are
address and port. Protocols are numbers, because their names need /etc/protocols.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cni_meta.portmap.configuration import PROTOCOLS
from cni_meta.portmap.plan import VERSIONS, Plan
from cnicore.firewall.libnftables import Command

FAMILY, TABLE = "inet", "cni"
IN_TABLE = {"family": FAMILY, "table": TABLE}
OWNERS = "hostport-owners"
HOSTPORTS = "hostports"
CONDITIONAL = "hostports-conditional"
SOURCES = "hostport-sources"
OWN, NEIGHBOURS = "hostport-own", "hostport-neighbours"
GUARD = "hostport-guard"
PREROUTING, OUTPUT, POSTROUTING = "hostport-prerouting", "hostport-output", "hostport-postrouting"
FROM = "hostport-from-"
TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
IPS = {4: "ip", 6: "ip6"}
LOCALHOST = "127.0.0.0/8"

MAPS = tuple(f"{name}{version}" for version in VERSIONS for name in ("hostports", "hostip-ports"))
"""From a claimed port to the container."""

PORT_SETS = tuple(
    f"hostport-{sources}-{protocol}{version}"
    for version in VERSIONS
    for protocol in PROTOCOLS
    for sources in ("any", "own")
)
"""Ports of containers, by whose connections to them are masqueraded: everybody's or the own."""

SELVES = tuple(f"hostport-selves{version}" for version in VERSIONS)
"""Containers whose own subnet is nobody but themselves."""


def frame() -> str:
    """The table, its maps and the chains that look them up; as before where they exist.

    Priorities: -100 and 100 are where the kernel translates destinations and sources; ours for
    sources comes just before the other, so that ipMasq finds them decided. Only packets for this
    host itself are looked up, or a container could take what the host forwards (CVE-2025-67499).
    Localhost leads to containers, so nobody else may claim to be or want to reach it
    (CVE-2020-8558). An answer for ::1 would be dropped on its way in, so ::1 is not looked up.
    """
    return "\n".join(f"{line.strip()}" for line in _frame() if line.strip()) + "\n"


def reached_from() -> dict[str, set[str]]:
    """For each chain of the frame what its rules must name for packets to find their way."""
    return {
        PREROUTING: {"fib", HOSTPORTS},
        OUTPUT: {"fib", HOSTPORTS},
        HOSTPORTS: {"nat", CONDITIONAL, *MAPS},
        POSTROUTING: {"ct", SOURCES},
        SOURCES: {"masq", OWN, *PORT_SETS},
        OWN: {"masq", NEIGHBOURS, *SELVES},
        GUARD: {"drop"},
    }


def _frame() -> Iterator[str]:
    yield f"add table {FAMILY} {TABLE}"
    yield _add("map", OWNERS, "type ifname : mark ;")
    yield from _maps()
    yield from (f"add chain {FAMILY} {TABLE} {name}" for name in (CONDITIONAL, NEIGHBOURS))
    yield from _chain(HOSTPORTS, "", [f"jump {CONDITIONAL}", *_destinations()])
    yield from _chain(OWN, "", _own_sources())
    yield from _chain(SOURCES, "", _sources())
    to_this_host = f"fib daddr type local jump {HOSTPORTS}"
    yield from _chain(PREROUTING, "nat hook prerouting priority -100", [to_this_host])
    yield from _chain(
        OUTPUT, "nat hook output priority -100", ["ip6 daddr ::1 return", to_this_host]
    )
    yield from _chain(
        POSTROUTING, "nat hook postrouting priority 99", [f"ct status dnat jump {SOURCES}"]
    )
    martians = [f'iifname != "lo" ip {field} {LOCALHOST} drop' for field in ("daddr", "saddr")]
    yield from _chain(GUARD, "filter hook prerouting priority -300", martians)


def _maps() -> Iterator[str]:
    for version, kind in TYPES.items():
        target = f"{kind} . inet_service ;"
        yield _add("map", f"hostports{version}", f"type inet_proto . inet_service : {target}")
        yield _add(
            "map", f"hostip-ports{version}", f"type {kind} . inet_proto . inet_service : {target}"
        )
        yield _add("set", f"hostport-selves{version}", f"type {kind} . {kind} ;")
    for name in PORT_SETS:
        yield _add("set", name, f"type {TYPES[int(name[-1])]} . inet_service ;")


def _destinations() -> Iterator[str]:
    """The one address before all of them."""
    for version, ip in IPS.items():
        port = "meta l4proto . th dport map"
        yield f"dnat {ip} to {ip} daddr . {port} @hostip-ports{version}"
        yield f"meta nfproto ipv{version} dnat {ip} to {port} @hostports{version}"


def _sources() -> Iterator[str]:
    """By protocol, which nft must know to find the original port."""
    for version, ip in IPS.items():
        for name, number in PROTOCOLS.items():
            port = f"meta l4proto {number} {ip} daddr . ct original proto-dst"
            yield f"{port} @hostport-any-{name}{version} masquerade"
            yield f"{port} @hostport-own-{name}{version} jump {OWN}"


def _own_sources() -> Iterator[str]:
    yield f"ip saddr {LOCALHOST} masquerade"
    for version, ip in IPS.items():
        yield f"{ip} saddr . {ip} daddr @hostport-selves{version} masquerade"
    yield f"jump {NEIGHBOURS}"


def _add(kind: str, name: str, body: str) -> str:
    return f"add {kind} {FAMILY} {TABLE} {name} {{ {body} }}"


def _chain(name: str, hook: str, rules: Iterable[str]) -> Iterator[str]:
    if hook:
        yield _add("chain", name, f"type {hook} ; policy accept ;")
    else:
        yield f"add chain {FAMILY} {TABLE} {name}"
    yield f"flush chain {FAMILY} {TABLE} {name}"
    for rule in rules:
        yield f"add rule {FAMILY} {TABLE} {name} {rule}"


def neighbours(plans: Iterable[Plan]) -> Iterator[tuple[str, Command]]:
    """By the name of their chain, the rule for each subnet whose members are a container's own.

    Attachments with the same subnets share it.
    """
    for plan in plans:
        container = plan.container.network
        for subnet in plan.own if plan.sources == "own" else ():
            if subnet != str(container) or container.num_addresses > 1:
                name = f"{FROM}{_name(subnet)}-to-{_name(str(container))}"
                yield name, rule(name, [*_from_to(plan.version, subnet, str(container))])


def neighbour_chain(name: str, content: Command, *, is_new: bool) -> list[Command]:
    """Creates the chain of neighbours and the jump to it; the kernel refuses a second new one."""
    at = {"chain": {**IN_TABLE, "name": name}}
    jump = rule(NEIGHBOURS, [{"jump": {"target": name}}])
    return [{"create": at} if is_new else {"flush": at}, content, jump]


def _from_to(version: int, source: str, destination: str) -> Iterator[Any]:
    yield equals(payload(version, "saddr"), _prefix(source))
    yield equals(payload(version, "daddr"), _prefix(destination))
    yield {"masquerade": None}


def _name(subnet: str) -> str:
    return subnet.replace("/", "-").replace(":", "_")


def rule(chain: str, expression: list[Any], comment: str = "") -> Command:
    extra = {"comment": comment} if comment else {}
    return {"add": {"rule": {**IN_TABLE, "chain": chain, "expr": expression, **extra}}}


def equals(left: Any, right: Any) -> Any:
    return {"match": {"op": "==", "left": left, "right": right}}


def payload(version: int, field: str) -> Any:
    return {"payload": {"protocol": IPS[version], "field": field}}


def _prefix(subnet: str) -> Any:
    address, _, length = subnet.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}}
