"""The part of the kernel in memory that is about queues."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

from cnicore.net.link import Link
from cnicore.net.netlink import KernelError
from cnicore.net.qdisc import Filter, Qdisc, TokenBucket


class FakeQdiscs:
    """Queues of the links of a FakeNamespace, by the link's index, which no two links share.

    `foreign` has root qdiscs that somebody else made, by index; `parts` is what the kernel can do.
    """

    by_name: dict[str, Link]
    parts: frozenset[str] = frozenset({"ifb", "tbf"})

    def note(self, *call: Any) -> None:
        raise NotImplementedError

    def change(self, name: str, **changes: Any) -> None:
        raise NotImplementedError

    def _add_link(self, link: Link) -> None:
        raise NotImplementedError

    @property
    def buckets(self) -> dict[int, TokenBucket]:
        buckets: dict[int, TokenBucket] = vars(self).setdefault("_buckets", {})
        return buckets

    @property
    def foreign(self) -> dict[int, str]:
        foreign: dict[int, str] = vars(self).setdefault("_foreign", {})
        return foreign

    @property
    def arriving(self) -> dict[int, list[Filter]]:
        """The filters of each link that has a place for some."""
        arriving: dict[int, list[Filter]] = vars(self).setdefault("_arriving", {})
        return arriving

    def snapshot_qdiscs(self) -> dict[str, Any]:
        live = self._live()
        return {
            "buckets": {index: one for index, one in self.buckets.items() if index in live},
            "filters": {index: [*these] for index, these in self.arriving.items() if index in live},
        }

    def _live(self) -> set[int]:
        return {link.index for link in self.by_name.values()}

    # --- links that are there for their queues

    def add_ifb(self, name: str, *, mtu: int) -> None:
        self.note("add_ifb", name, mtu)
        if "ifb" not in self.parts:
            raise KernelError(f"create the ifb {name}", errno.EOPNOTSUPP)
        self._add_link(Link(0, name, "ifb", "02:00:00:00:00:1f", mtu, is_up=True))

    def can_make(self, kind: str) -> bool:
        self.note("can_make", kind)
        return kind in self.parts

    # --- queues

    def clock_ticks(self) -> float:
        self.note("clock_ticks")
        return 15.625

    def qdiscs(self) -> list[Qdisc]:
        self.note("qdiscs")
        buckets = [
            Qdisc(index, "tbf", is_root=True, bucket=one) for index, one in self.buckets.items()
        ]
        return buckets + [Qdisc(index, kind, is_root=True) for index, kind in self.foreign.items()]

    def add_bucket(self, link: Link, bucket: TokenBucket) -> None:
        self.note("add_bucket", link.name, bucket)
        if "tbf" not in self.parts:
            raise KernelError(f"limit the rate of {link.name}", errno.ENOENT)
        if link.index in self.buckets or link.index in self.foreign:
            raise KernelError(f"limit the rate of {link.name}", errno.EEXIST)
        self.buckets[link.index] = bucket

    def delete_bucket(self, link: Link) -> None:
        self.note("delete_bucket", link.name)
        self.buckets.pop(link.index, None)

    def can_limit_rates(self) -> bool:
        self.note("can_limit_rates")
        return "tbf" in self.parts

    def add_ingress(self, link: Link) -> None:
        self.note("add_ingress", link.name)
        if link.index in self.arriving:
            raise KernelError(f"filter what arrives at {link.name}", errno.EEXIST)
        self.arriving[link.index] = []

    def delete_ingress(self, link: Link) -> None:
        self.note("delete_ingress", link.name)
        self.arriving.pop(link.index, None)

    def filters(self, link: Link) -> list[Filter]:
        self.note("filters", link.name)
        live = self._live()
        return [
            replace(one, target=0) if one.target and one.target not in live else one
            for one in self.arriving.get(link.index, [])
        ]

    def add_redirect(self, link: Link, target: Link) -> None:
        self.note("add_redirect", link.name, target.name)
        self.arriving[link.index].append(Filter("u32", target.index))

    def delete_redirect(self, link: Link) -> None:
        self.note("delete_redirect", link.name)
        others = [one for one in self.arriving.get(link.index, []) if one.target is None]
        if link.index in self.arriving:
            self.arriving[link.index] = others
