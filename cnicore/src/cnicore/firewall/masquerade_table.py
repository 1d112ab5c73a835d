"""The table `inet cni` as masquerading uses it: maps of addresses, and chains of own subnets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cnicore.firewall.libnftables import Command, read_if_there
from cnicore.firewall.single import find_element
from cnicore.owner import Owner
from cnicore.result import Address, Cidr, IpConfig

FAMILY, TABLE = "inet", "cni"
IN_TABLE = {"family": FAMILY, "table": TABLE}
BASE_CHAIN = "postrouting"
SUBNET_CHAIN = "subnet-"
TRIAL = {"family": FAMILY, "table": "cni-trial"}
MAPS = {4: "masquerade4", 6: "masquerade6"}
TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
PROTOCOLS = {4: "ip", 6: "ip6"}
MULTICAST = {4: ("224.0.0.0", 4), 6: ("ff00::", 8)}
SRCNAT = 100  # linux/netfilter_ipv4.h: NF_IP_PRI_NAT_SRC
HOOKED = {"type": "nat", "hook": "postrouting", "prio": SRCNAT, "policy": "accept"}
LONGEST_SUBNETS = 100  # characters in a chain's name; nft prints it with every element

OwnSubnets = Mapping[int, Sequence[str]]
"""By IP version, where the attachment's packets keep their source address."""


@dataclass(frozen=True, slots=True)
class Element:
    """An address in a map; comment and chain are empty if it is not ours."""

    map: str
    key: str
    comment: str
    chain: str


def own_subnets(ips: Sequence[IpConfig]) -> OwnSubnets:
    """The subnets of the addresses; one that is its own subnet has nobody to talk to in it."""
    own: dict[int, set[str]] = {ip.address.version: set() for ip in ips}
    for network in (ip.address.network for ip in ips):
        if network.num_addresses > 1:
            own[network.version].add(str(network))
    return {version: sorted(subnets) for version, subnets in own.items()}


def chain_of(version: int, subnets: Sequence[str]) -> str:
    """The chain's name, shared by all attachments with the same own subnets."""
    text = "-and-".join(subnets).replace("/", "-").replace(":", "_") or f"none-ipv{version}"
    if len(text) > LONGEST_SUBNETS:
        text = sha256(text.encode()).hexdigest()
    return f"{SUBNET_CHAIN}{text}"


def frame() -> Iterator[Command]:
    """The table, its maps and the base chain that looks them up; as before where they exist."""
    yield {"add": {"table": {"family": FAMILY, "name": TABLE}}}
    yield {"add": {"chain": {**IN_TABLE, "name": BASE_CHAIN, **HOOKED}}}
    yield {"flush": {"chain": {**IN_TABLE, "name": BASE_CHAIN}}}
    for version, name in MAPS.items():
        kind = {"type": TYPES[version], "map": "verdict"}
        source = {"payload": {"protocol": PROTOCOLS[version], "field": "saddr"}}
        yield {"add": {"map": {**IN_TABLE, "name": name, **kind}}}
        yield _rule(BASE_CHAIN, [{"vmap": {"key": source, "data": f"@{name}"}}])


def trial() -> Iterator[Command]:
    """What a kernel that can masquerade accepts, taken back in the same transaction."""
    table = {"table": {"family": FAMILY, "name": TRIAL["table"]}}
    rule = {**TRIAL, "chain": BASE_CHAIN, "expr": [{"masquerade": None}]}
    yield {"add": table}
    yield {"add": {"chain": {**TRIAL, "name": BASE_CHAIN, **HOOKED}}}
    yield {"add": {"rule": rule}}
    yield {"delete": table}


def subnet_chains(own: OwnSubnets) -> Iterator[Command]:
    """For each family a chain: return for the own subnets and multicast, masquerade the rest."""
    for version, subnets in own.items():
        name = chain_of(version, subnets)
        prefixes = [(subnet.split("/")[0], int(subnet.split("/")[1])) for subnet in subnets]
        yield {"add": {"chain": {**IN_TABLE, "name": name}}}
        yield {"flush": {"chain": {**IN_TABLE, "name": name}}}
        for address, length in [*prefixes, MULTICAST[version]]:
            yield _rule(name, [_goes_to(version, address, length), {"return": None}])
        yield _rule(name, [{"masquerade": None}])


def creation(owner: Owner, address: Cidr, own: OwnSubnets) -> Command:
    """Creates the element of an address; the kernel refuses if there is one already."""
    key = {"elem": {"val": str(address.ip), "comment": owner.tag}}
    verdict = {"goto": {"target": chain_of(address.version, own[address.version])}}
    at = {**IN_TABLE, "name": MAPS[address.version]}
    return {"create": {"element": {**at, "elem": [[key, verdict]]}}}


def deletions(elements: Iterable[Element]) -> list[Command]:
    """Delete the elements; the kernel refuses if one is gone."""
    return [
        {"delete": {"element": {**IN_TABLE, "name": one.map, "elem": [one.key]}}}
        for one in elements
    ]


def find_elements(addresses: Iterable[Address]) -> list[Element]:
    """The elements of those addresses that have one."""
    found = [_find(address) for address in addresses]
    return [element for element in found if element]


def list_elements() -> list[Element]:
    """Every element of both maps."""
    return [element for name in MAPS.values() for element in _elements_of(name)]


def _find(address: Address) -> Element | None:
    name = MAPS[address.version]
    found = find_element(FAMILY, TABLE, name, address.packed)
    return Element(name, str(address), found.comment, found.chain) if found else None


def _elements_of(name: str) -> Iterator[Element]:
    for entry in read_if_there(f"list the map {name}", map={**IN_TABLE, "name": name}):
        for key, verdict in entry.get("map", {}).get("elem", []):
            # libnftables writes a key without a comment, which is not ours, as a plain string
            described = key["elem"] if isinstance(key, dict) else {"val": key}
            chain = (verdict.get("goto") or {}).get("target", "")
            yield Element(name, described["val"], described.get("comment", ""), chain)


def _rule(chain: str, expression: list[Any]) -> Command:
    return {"add": {"rule": {**IN_TABLE, "chain": chain, "expr": expression}}}


def _goes_to(version: int, address: str, length: int) -> Any:
    destination = {"payload": {"protocol": PROTOCOLS[version], "field": "daddr"}}
    prefix = {"prefix": {"addr": address, "len": length}}
    return {"match": {"op": "==", "left": destination, "right": prefix}}
