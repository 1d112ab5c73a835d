"""The nftables rules of the reference's portmap, found by comment: they are only ever removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cni_meta.portmap.plan import Plan
from cnicore.firewall.libnftables import Command, read_if_there
from cnicore.firewall.single import has_table
from cnicore.owner import Owner

TABLE = "cni_hostport"
FAMILIES = {4: "ip", 6: "ip6"}
TRANSLATING, MASQUERADING = ("hostports", "hostip_hostports"), "masquerading"


def deletions(owner: Owner) -> list[Command]:
    """What deletes the container's rules; the network is no part of the comment."""
    return [
        {"delete": {"rule": {key: rule[key] for key in ("family", "table", "chain", "handle")}}}
        for version, family in FAMILIES.items()
        if has_table(family, TABLE)
        for chain in (*TRANSLATING, MASQUERADING)
        for rule in _rules(version, chain, owner)
    ]


def forwards(owner: Owner, plans: Sequence[Plan]) -> bool:
    """Whether its rules forward every port of the plans."""
    return all(_forwards(owner, plan) for plan in plans) if plans else False


def _forwards(owner: Owner, plan: Plan) -> bool:
    if not has_table(FAMILIES[plan.version], TABLE):
        return False
    present = {
        (one["dnat"].get("addr"), one["dnat"].get("port"))
        for chain in TRANSLATING
        for rule in _rules(plan.version, chain, owner)
        for one in rule["expr"]
        if "dnat" in one
    }
    wanted = {(str(forward.address), forward.port) for forward in plan.forwards}
    masquerades = not plan.sources or bool(_rules(plan.version, MASQUERADING, owner))
    return wanted <= present and masquerades


def _rules(version: int, chain: str, owner: Owner) -> list[Any]:
    at = {"family": FAMILIES[version], "table": TABLE, "name": chain}
    listed = read_if_there(f"list {TABLE}", chain=at)
    rules = [entry["rule"] for entry in listed if "rule" in entry]
    return [rule for rule in rules if rule.get("comment") == owner.container_id]
