"""The reference plugins' nftables rules, found by comment: they are only ever removed."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha512
from typing import Any

from cnicore.firewall.libnftables import Command, read_if_there
from cnicore.owner import Owner
from cnicore.result import Cidr

FAMILY, TABLE, CHAIN = "inet", "cni_plugins_masquerade", "masq_checks"
HASH_DIGITS = 16
LONGEST_COMMENT = 128  # where the reference cuts

Rule = dict[str, Any]


def deletions_of(owner: Owner) -> list[Command]:
    """What deletes the owner's rules."""
    return [_deletion(rule) for rule in rules() if _is_of(rule, owner)]


def stale_deletions(network: str, valid: Iterable[Owner]) -> list[Command]:
    """What deletes the network's rules that belong to no valid attachment."""
    keep = {comment(owner) for owner in valid}
    prefix = f"{_hash(network)}-"
    return [
        _deletion(rule)
        for rule in rules()
        if _comment_of(rule).startswith(prefix) and _comment_of(rule) not in keep
    ]


def has_rule(owner: Owner, address: Cidr) -> bool:
    """Whether a rule of the owner is about the address."""
    return any(_is_of(rule, owner) and _source(rule) == str(address.ip) for rule in rules())


def rules() -> list[Rule]:
    """All rules of the reference's chain; none if the reference never ran here."""
    objects = read_if_there(
        f"list {TABLE}", chain={"family": FAMILY, "table": TABLE, "name": CHAIN}
    )
    return [entry["rule"] for entry in objects if "rule" in entry]


def identity(owner: Owner) -> str:
    """How the comments of the attachment start."""
    return f"{_hash(owner.network)}-{_hash(f'{owner.ifname}:{owner.container_id}')}"


def comment(owner: Owner) -> str:
    """The whole comment, as the reference writes and cuts it."""
    text = f"{identity(owner)}, net: {owner.network}, if: {owner.ifname}, id: {owner.container_id}"
    return text.replace('"', "")[:LONGEST_COMMENT]


def _hash(text: str) -> str:
    return sha512(text.encode()).hexdigest()[:HASH_DIGITS]


def _is_of(rule: Rule, owner: Owner) -> bool:
    return _comment_of(rule).startswith(identity(owner))


def _comment_of(rule: Rule) -> str:
    return str(rule.get("comment", ""))


def _source(rule: Rule) -> str:
    matches = [one["match"] for one in rule["expr"] if "match" in one]
    found = [
        one["right"] for one in matches if one["left"].get("payload", {}).get("field") == "saddr"
    ]
    return str(found[0]) if found else ""


def _deletion(rule: Rule) -> Command:
    at = {"family": FAMILY, "table": TABLE, "chain": CHAIN, "handle": rule["handle"]}
    return {"delete": {"rule": at}}
