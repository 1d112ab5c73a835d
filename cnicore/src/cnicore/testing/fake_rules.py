"""The part of the kernel in memory that is about policy rules and about routes in other tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cnicore.net.exact_route import (
    NUMBER,
    RTA_DST,
    RTA_GATEWAY,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_PRIORITY,
    ExactRoute,
    Header,
)
from cnicore.net.route import FAMILIES, RTN_UNICAST, RTPROT_BOOT, KernelRoute
from cnicore.net.rule import Rule
from cnicore.result import Address

FIRST_PRIORITY = 32765  # of the first rule that names none; the next ones come before it


class FakeRules:
    """Rules of a FakeNamespace, and its routes as `exact_routes` has them.

    `rule_families` has the IP versions that the kernel has rules for.
    """

    table: list[KernelRoute]
    rule_families: frozenset[int] = frozenset({4, 6})

    def note(self, *call: Any) -> None:
        raise NotImplementedError

    @property
    def policy(self) -> list[Rule]:
        """The rules that somebody added, in the kernel's order."""
        policy: list[Rule] = vars(self).setdefault("_policy", [])
        return policy

    @property
    def _forms(self) -> dict[ExactRoute, KernelRoute]:
        """What each exact route was when it was listed."""
        forms: dict[ExactRoute, KernelRoute] = vars(self).setdefault("_known_forms", {})
        return forms

    def snapshot_rules(self) -> dict[str, Any]:
        return {"rules": list(self.policy)}

    # --- rules

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        self.note("one_at_a_time")
        yield

    def rules_of(self, version: int) -> list[Rule] | None:
        self.note("rules_of", version)
        if version not in self.rule_families:
            return None
        return [rule for rule in self.policy if rule.version == version]

    def add_rule(self, source: Address, table: int) -> None:
        self.note("add_rule", str(source), table)
        priority = min((rule.priority for rule in self.policy), default=FIRST_PRIORITY + 1) - 1
        self.policy.insert(0, Rule(source.version, table, priority, source))

    def delete_rule(self, rule: Rule) -> None:
        self.note("delete_rule", str(rule.source), rule.table)
        for one in self.policy:
            if one[:2] == rule[:2] and one.source == rule.source:
                self.policy.remove(one)
                return

    # --- routes

    def exact_routes(self) -> list[ExactRoute]:
        self.note("exact_routes")
        routes = [(exact(route), route) for route in self.table]
        self._forms.update({one.in_table(0): route for one, route in routes})
        return [one for one, _ in routes]

    def put_route(self, route: ExactRoute) -> None:
        self.note("put_route", str(route.dst), str(route.gateway or ""), route.table)
        if any(exact(one) == route for one in self.table):
            return
        known = self._forms.get(route.in_table(0)) or kernel_route(route)
        self.table.append(replace(known, table=route.table))

    def remove_route(self, route: ExactRoute) -> None:
        self.note("remove_route", str(route.dst), str(route.gateway or ""), route.table)
        self.table = [one for one in self.table if exact(one) != route]


def exact(route: KernelRoute) -> ExactRoute:
    header = Header(
        family=FAMILIES[route.dst.version],
        dst_len=route.dst.network.prefixlen,
        src_len=0,
        tos=0,
        table=0,
        protocol=RTPROT_BOOT,
        scope=route.scope,
        kind=RTN_UNICAST,
        flags=0,
    )
    attributes = {
        RTA_DST: route.dst.network.network_address.packed if header.dst_len else b"",
        RTA_OIF: NUMBER.pack(route.link),
        RTA_GATEWAY: route.gateways[0].packed if route.gateways else b"",
        RTA_PREFSRC: route.src.packed if route.src else b"",
        RTA_PRIORITY: NUMBER.pack(route.priority) if route.priority else b"",
    }
    present = tuple((kind, data) for kind, data in attributes.items() if data)
    return ExactRoute(header, route.table, present)


def kernel_route(route: ExactRoute) -> KernelRoute:
    return KernelRoute(
        dst=route.dst,
        table=route.table,
        link=route.link,
        gateways=(route.gateway,) if route.gateway else (),
        priority=route.priority,
        scope=route.header.scope,
        src=route.source,
    )
