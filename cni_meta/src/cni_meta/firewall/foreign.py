"""The administrator's nftables chains that drop forwarded packets, and the way through them.

An accept ends only the chain that it is in, so one in a table of ours would save nobody from a drop
in another. The addresses therefore stand in the very table whose chain drops, and two rules at the
chain's head look them up. A rule of ours is in each such chain, an element for each address.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cni_meta.firewall import programs
from cni_meta.firewall.backend import Attachment
from cni_meta.firewall.elements import Element, Place, elements_of, find, looks_up, rule
from cni_meta.firewall.transactions import Plan, delete_unused
from cnicore.errors import CniError
from cnicore.firewall.libnftables import Command, read
from cnicore.firewall.single import Rule, rules_of
from cnicore.owner import Owner, stale
from cnicore.result import Address

CHAIN = "cni-forward"  # accepts; the maps are called the same with the IP version
VERSIONS = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
PROTOCOLS = {4: "ip", 6: "ip6"}
COMMENT = "CNI firewall plugin"
NEVER = {("inet", "cni"), ("inet", "firewalld"), ("ip", "firewalld"), ("ip6", "firewalld")}
"""Our own table, and those that firewalld writes anew as it likes."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; `hook` and `policy` are empty for one that packets are only sent to by rules."""

    family: str
    table: str
    name: str
    hook: str
    policy: str

    @property
    def place(self) -> tuple[str, str]:
        return self.family, self.table

    @property
    def table_keys(self) -> dict[str, str]:
        return {"family": self.family, "table": self.table}

    @property
    def drops(self) -> bool:
        return self.hook == "forward" and self.policy == "drop" and self.family in VERSIONS

    @property
    def version_of_iptables(self) -> int:
        """The IP version whose iptables writes this chain; 0 if it is nobody's but nft's."""
        if (self.table, self.name) != ("filter", "FORWARD") or self.family not in ("ip", "ip6"):
            return 0
        (version,) = VERSIONS[self.family]
        return version if programs.installed(version) else 0

    @property
    def maps(self) -> dict[int, Place]:
        """By IP version, the map in the chain's table."""
        return {
            version: Place(self.family, self.table, f"{CHAIN}{version}")
            for version in VERSIONS[self.family]
        }


def chains() -> list[Chain]:
    """Every chain of the host; costs the same however many elements there are."""
    return [
        Chain(*(str(one.get(key, "")) for key in ("family", "table", "name", "hook", "policy")))
        for one in (entry["chain"] for entry in read("list chains", chains=None))
    ]


def obstacles(present: Sequence[Chain], versions: Sequence[int]) -> list[Chain]:
    """The chains that would drop packets of those IP versions, and that may be changed."""
    return [
        chain
        for chain in present
        if chain.drops
        and set(VERSIONS[chain.family]) & set(versions)
        and not chain.version_of_iptables
        and chain.place not in NEVER
    ]


def plan(present: Sequence[Chain], attachment: Attachment) -> Plan:
    """What lets the attachment through all obstacles."""
    dropping = obstacles(present, attachment.versions)
    tables = {chain.place: chain for chain in dropping}
    prepared = {chain.place for chain in present if chain.name == CHAIN}
    frame: list[Command] = []
    for place, table in tables.items():
        hooks = [chain for chain in dropping if chain.place == place]
        frame += opening(table, hooks, is_prepared=place in prepared)
    elements = [
        Element(chain.maps[address.version], str(address), attachment.owner.tag, CHAIN)
        for chain in tables.values()
        for address in attachment.addresses
        if address.version in chain.maps
    ]
    return Plan(frame, elements)


def opening(table: Chain, hooks: Sequence[Chain], *, is_prepared: bool) -> list[Command]:
    """The objects and rules that a table lacks."""
    absent = [
        insertion(chain, look)
        for chain in hooks
        for look in (absent_rules(chain) if is_prepared else every_rule(chain))
    ]
    # if somebody else prepares it at the same time, one of the two has to look again
    return [*objects(table, "add" if is_prepared else "create"), *absent] if absent else []


def held(present: Sequence[Chain], owner: Owner, known: Sequence[Address]) -> Iterator[Element]:
    """The owner's elements: those of the addresses, or of the whole maps if none is given."""
    for place in places(present):
        version = int(place.name[-1])
        mine = [address for address in known if address.version == version]
        found = map(find, [place] * len(mine), mine) if known else elements_of(place)
        yield from (one for one in found if one and one.comment == owner.tag)


def leaked(present: Sequence[Chain], network: str, valid: Sequence[Owner]) -> Iterator[Element]:
    """The elements of the network that belong to no valid attachment."""
    for place in places(present):
        found = list(elements_of(place))
        gone = stale((element.comment for element in found), network, valid)
        yield from (element for element in found if element.comment in gone)


def verify(present: Sequence[Chain], attachment: Attachment) -> None:
    """Raise CniError unless the attachment passes every obstacle."""
    for chain in obstacles(present, attachment.versions):
        where = f"the chain {chain.name} of the table {chain.family} {chain.table}"
        if absent_rules(chain) or not accepts(chain):
            raise CniError(
                f"{where} drops forwarded packets and lacks our rules:"
                " it was loaded anew, attach the container again"
            )
        for address in attachment.addresses:
            place = chain.maps.get(address.version)
            element = find(place, address) if place else None
            if place and (element is None or element.comment != attachment.owner.tag):
                raise CniError(
                    f"{where} does not let {address} of {attachment.owner.tag} pass:"
                    " attach the container again"
                )


def delete_unused_frames(present: Sequence[Chain]) -> None:
    """Take our rules out of the tables in which no element is left.

    The kernel refuses to delete the chain that an element goes to, and the rest with it.
    """
    for ours in [chain for chain in present if chain.name == CHAIN and chain.family in VERSIONS]:
        if any(True for place in ours.maps.values() for _ in elements_of(place)):
            continue
        hooks = [
            chain for chain in present if chain.hook == "forward" and chain.place == ours.place
        ]
        at = {"chain": {**ours.table_keys, "name": CHAIN}}
        commands: list[Command] = [{"flush": at}, {"delete": at}]
        commands += [
            {"delete": {"rule": {**chain.table_keys, "chain": chain.name, "handle": one.handle}}}
            for chain in hooks
            for one in our_rules(chain)
        ]
        commands += [{"delete": {"map": place.keys}} for place in ours.maps.values()]
        delete_unused(f"remove {CHAIN} from {ours.family} {ours.table}", commands)


def places(present: Sequence[Chain]) -> list[Place]:
    """The maps that hold elements of ours."""
    ours = [chain for chain in present if chain.name == CHAIN and chain.family in VERSIONS]
    return [place for chain in ours for place in chain.maps.values()]


def objects(chain: Chain, verb: str) -> list[Command]:
    """The accepting chain and the maps in the table."""
    at = {"chain": {**chain.table_keys, "name": CHAIN}}
    maps = [
        {"add": {"map": {**place.keys, "type": TYPES[version], "map": "verdict"}}}
        for version, place in chain.maps.items()
    ]
    return [{verb: at}, {"flush": at}, rule(chain.table_keys, CHAIN, {"accept": None}), *maps]


Look = tuple[int, str]
"""A rule of ours: the IP version, and which address of the packet it looks up."""


def every_rule(chain: Chain) -> list[Look]:
    """In the order in which they are put at the head, the later before the earlier."""
    return [(version, field) for version in chain.maps for field in ("daddr", "saddr")]


def absent_rules(chain: Chain) -> list[Look]:
    there = {look_of(one) for one in our_rules(chain)}
    return [look for look in every_rule(chain) if look not in there]


def our_rules(chain: Chain) -> list[Rule]:
    rules = rules_of(chain.family, chain.table, chain.name)
    return [one for one in rules if look_of(one)]


def look_of(one: Rule) -> Look | None:
    """What a rule of ours looks up, None for another's; only the one for answers asks conntrack."""
    for version in TYPES:
        if f"{CHAIN}{version}" in one.words:
            return version, "daddr" if "ct" in one.words else "saddr"
    return None


def insertion(chain: Chain, look: Look) -> Command:
    """What leaves the address passes, and what answers it: as the reference's rules say."""
    version, field = look
    key = {"payload": {"protocol": PROTOCOLS[version], "field": field}}
    expression = [looks_up(key, f"{CHAIN}{version}")]
    if field == "daddr":
        state = {"ct": {"key": "state"}}
        answers = {"op": "in", "left": state, "right": ["established", "related"]}
        expression.insert(0, {"match": answers})
    at = {**chain.table_keys, "chain": chain.name}
    return {"insert": {"rule": {**at, "expr": expression, "comment": COMMENT}}}


def accepts(chain: Chain) -> bool:
    """Whether our chain beside it still says so."""
    rules = rules_of(chain.family, chain.table, CHAIN)
    return any("immediate" in one.words and "drop" not in one.words for one in rules)
