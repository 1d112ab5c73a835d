"""ingressPolicy in nftables: bridges kept apart, and the ports of a bridge from each other.

Packets between bridges pass the base chain of `inet cni`. A bridge with a policy has a chain there,
that every attachment of the bridge refers to: the kernel lets it go with the last of them.
Packets within a bridge may never come there (br_netfilter), so `isolated` also drops them where the
bridge forwards them, by port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from ipaddress import IPv6Address
from typing import Any

from cni_meta.firewall.backend import ISOLATED, OPEN, SAME_BRIDGE, Attachment
from cni_meta.firewall.elements import (
    Element,
    Place,
    deletions,
    elements_of,
    find,
    looks_up,
    matches,
    rule,
)
from cni_meta.firewall.foreign import Chain, chains
from cni_meta.firewall.transactions import Plan, delete_unused, establish
from cnicore.errors import CniError
from cnicore.firewall.libnftables import Command, read_if_there
from cnicore.owner import Owner, stale

TABLE = {"family": "inet", "table": "cni"}
BASE_CHAIN = "ingress-policy"
BEFORE_FILTERS = -10  # a drop is final wherever it stands; here it saves others the work
ENFORCED = (ISOLATED, SAME_BRIDGE)  # in this order: of both on one bridge, the stricter
HOLDERS = Place("inet", "cni", "ingress-policies")
BRIDGE_TABLE, BRIDGE_CHAIN = {"family": "bridge", "table": "cni"}, "forward"
BRIDGE_FILTER = -200  # linux/netfilter_bridge.h: NF_BR_PRI_FILTER_BRIDGED
PORTS = Place("bridge", "cni", "isolated-ports", is_map=False)


def enforce(
    act: str,
    attachment: Attachment,
    policy: Callable[[Attachment], Plan],
    others: Callable[[Sequence[Chain]], Plan],
) -> None:
    """Enforce the policy, in one transaction with what `others` plans; an earlier one is replaced.

    `act` completes "could not ...". Raises CniError, Unavailable.
    """
    outdated: list[Element] = []

    def plan() -> Plan:
        present = chains()
        wanted = policy(attachment)
        outdated[:] = [one for one in held(present, attachment.owner) if one not in wanted.elements]
        return Plan(deletions(outdated), []) + others(present) + wanted

    establish(act, plan)
    delete_unused_policies(element.chain for element in outdated)


def everywhere(attachment: Attachment) -> Plan:
    """The policy between bridges and within the attachment's own."""
    return between_bridges(attachment) + within_bridge(attachment)


def between_bridges(attachment: Attachment) -> Plan:
    policy, bridge = attachment.policy, attachment.bridge
    if policy == OPEN:
        return Plan([], [])
    chain = chain_of(policy, bridge)
    jump = [bridge, {"jump": {"target": chain}}]
    frame: list[Command] = [
        # written anew each time, because somebody may have emptied them
        *base_objects(),
        *bridge_chain(policy, bridge),
        {"add": {"element": {**arrivals(policy).keys, "elem": [jump]}}},
        {"add": {"element": {**departures(policy).keys, "elem": [bridge]}}},
    ]
    return Plan(
        frame, [Element(HOLDERS, str(key_of(attachment.owner)), attachment.owner.tag, chain)]
    )


def within_bridge(attachment: Attachment) -> Plan:
    """Nothing but for `isolated`."""
    if attachment.policy != ISOLATED or not attachment.ports:
        return Plan([], [])
    elements = [Element(PORTS, port, attachment.owner.tag) for port in attachment.ports]
    return Plan(port_objects(), elements)


def held(present: Sequence[Chain], owner: Owner) -> Iterator[Element]:
    """What the owner has of any policy."""
    if has_chain(present, TABLE, BASE_CHAIN):
        holder = find(HOLDERS, key_of(owner))
        yield from [holder] if holder else []
    if has_chain(present, BRIDGE_TABLE, BRIDGE_CHAIN):
        yield from (one for one in elements_of(PORTS) if one.comment == owner.tag)


def leaked(network: str, valid: Iterable[Owner]) -> Iterator[Element]:
    """What the network has for attachments that are not valid."""
    found = [*elements_of(HOLDERS), *elements_of(PORTS)]
    gone = stale((element.comment for element in found), network, valid)
    yield from (element for element in found if element.comment in gone)


def delete_unused_policies(names: Iterable[str]) -> None:
    """Of these chains, delete those that no attachment holds, with what leads packets to them."""
    policies = {name for name in names if policy_of(name)}
    in_use = {holder.chain for holder in elements_of(HOLDERS)} if policies else set()
    for chain in policies - in_use:
        policy, bridge = policy_of(chain), chain.removeprefix(f"{policy_of(chain)}-")
        at = {"chain": {**TABLE, "name": chain}}
        commands: list[Command] = [
            {"delete": {"element": {**place.keys, "elem": [bridge]}}}
            for place in (arrivals(policy), departures(policy))
        ]
        delete_unused(f"delete the policy {chain}", [*commands, {"flush": at}, {"delete": at}])


def chains_of(present: Sequence[Chain]) -> list[str]:
    """The chains of bridges that have a policy."""
    return [one.name for one in present if one.table_keys == TABLE and policy_of(one.name)]


def verify(attachment: Attachment) -> None:
    """Raise CniError unless the policy is enforced, between bridges and within its own."""
    if attachment.policy == OPEN:
        return
    holder = find(HOLDERS, key_of(attachment.owner))
    chain = chain_of(attachment.policy, attachment.bridge)
    is_held = holder is not None and (holder.comment, holder.chain) == (attachment.owner.tag, chain)
    if not (is_held and keeps_apart(attachment.policy, attachment.bridge)):
        raise CniError(
            f"the ingressPolicy {attachment.policy} of {attachment.bridge} is not enforced"
            f" for {attachment.owner.tag}: attach the container again"
        )
    verify_within_bridge(attachment)


def verify_within_bridge(attachment: Attachment) -> None:
    """Raise CniError unless an isolated attachment's ports are cut off from the others."""
    if attachment.policy != ISOLATED or not attachment.ports:
        return
    cut_off = {one.key for one in elements_of(PORTS) if one.comment == attachment.owner.tag}
    wanted = [matches(key, f"@{PORTS.name}") for key in ("iifname", "oifname")]
    is_enforced = all(dropping(one) in rules_of(BRIDGE_TABLE, BRIDGE_CHAIN) for one in wanted)
    if not is_enforced or not cut_off.issuperset(attachment.ports):
        raise CniError(
            f"{', '.join(attachment.ports)} of {attachment.owner.tag} is not isolated within"
            f" {attachment.bridge}: attach the container again"
        )


def keeps_apart(policy: str, bridge: str) -> bool:
    """Whether packets find the way to the bridge's chain, and that says what it should."""
    chain = chain_of(policy, bridge)
    lookup = [looks_up({"meta": {"key": "iifname"}}, arrivals(policy).name)]
    return (
        lookup in rules_of(TABLE, BASE_CHAIN)
        and rules_of(TABLE, chain) == bridge_rules(policy, bridge)
        and bridge in {one.key for one in elements_of(arrivals(policy))}
        and bridge in {one.key for one in elements_of(departures(policy))}
    )


def base_objects() -> list[Command]:
    base = {"type": "filter", "hook": "forward", "prio": BEFORE_FILTERS, "policy": "accept"}
    commands: list[Command] = [
        {"add": {"table": {"family": "inet", "name": "cni"}}},
        {"add": {"chain": {**TABLE, "name": BASE_CHAIN, **base}}},
        {"flush": {"chain": {**TABLE, "name": BASE_CHAIN}}},
        # no type holds a text: the key is a digest of the owner's tag, as long as an address
        {"add": {"map": {**HOLDERS.keys, "type": "ipv6_addr", "map": "verdict"}}},
    ]
    for policy in ENFORCED:
        lookup = looks_up({"meta": {"key": "iifname"}}, arrivals(policy).name)
        commands += [
            {"add": {"map": {**arrivals(policy).keys, "type": "ifname", "map": "verdict"}}},
            {"add": {"set": {**departures(policy).keys, "type": "ifname"}}},
            rule(TABLE, BASE_CHAIN, lookup),
        ]
    return commands


def bridge_chain(policy: str, bridge: str) -> list[Command]:
    chain = chain_of(policy, bridge)
    at = {"chain": {**TABLE, "name": chain}}
    rules = [rule(TABLE, chain, *expression) for expression in bridge_rules(policy, bridge)]
    return [{"add": at}, {"flush": at}, *rules]


def bridge_rules(policy: str, bridge: str) -> list[list[Any]]:
    """What comes from the bridge may not go to one with a policy, its own included if isolated."""
    own = [[matches("oifname", bridge), {"return": None}]] if policy == SAME_BRIDGE else []
    return own + [dropping(matches("oifname", f"@{departures(one).name}")) for one in ENFORCED]


def port_objects() -> list[Command]:
    base = {"type": "filter", "hook": "forward", "prio": BRIDGE_FILTER, "policy": "accept"}
    rules = [
        rule(BRIDGE_TABLE, BRIDGE_CHAIN, *dropping(matches(key, f"@{PORTS.name}")))
        for key in ("iifname", "oifname")
    ]
    return [
        {"add": {"table": {"family": "bridge", "name": "cni"}}},
        {"add": {"chain": {**BRIDGE_TABLE, "name": BRIDGE_CHAIN, **base}}},
        {"flush": {"chain": {**BRIDGE_TABLE, "name": BRIDGE_CHAIN}}},
        {"add": {"set": {**PORTS.keys, "type": "ifname"}}},
        *rules,
    ]


def dropping(match: Any) -> list[Any]:
    return [match, {"drop": None}]


def rules_of(table: dict[str, str], chain: str) -> list[list[Any]]:
    listing = read_if_there(f"list the chain {chain}", chain={**table, "name": chain})
    return [entry["rule"]["expr"] for entry in listing if "rule" in entry]


def has_chain(present: Sequence[Chain], table: dict[str, str], name: str) -> bool:
    return any(one.name == name and one.table_keys == table for one in present)


def arrivals(policy: str) -> Place:
    """The map of the bridges with the policy, for what comes from them."""
    return Place("inet", "cni", f"{policy}-from")


def departures(policy: str) -> Place:
    """The set of the same bridges, for what goes to them."""
    return Place("inet", "cni", f"{policy}-to", is_map=False)


def chain_of(policy: str, bridge: str) -> str:
    return f"{policy}-{bridge}"


def policy_of(chain: str) -> str:
    """The policy that a bridge's chain is for, empty if it is another chain."""
    return next((policy for policy in ENFORCED if chain.startswith(f"{policy}-")), "")


def key_of(owner: Owner) -> IPv6Address:
    return IPv6Address(sha256(owner.tag.encode()).digest()[:16])
