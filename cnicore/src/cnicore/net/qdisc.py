"""Queues of one namespace's links: how fast packets leave, and where those that arrive are sent."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Any

from cnicore.errors import system_errors
from cnicore.net.link import Link
from cnicore.net.netlink import NLM_F_CREATE, NLM_F_EXCL, KernelError, Netlink, tolerate

# linux/rtnetlink.h, linux/pkt_sched.h, linux/pkt_cls.h, linux/if_ether.h
RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46
ROOT, INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
BUCKET_HANDLE, INGRESS_HANDLE = 0x00010000, 0xFFFF0000
CLASS_ID = 0x00010001
U32_TERMINAL = 1
MIRRED_EGRESS_REDIRECT, ACT_STOLEN = 1, 4
FIRST_PRIORITY = 1 << 16
ETH_P_ALL = 0x0003
LOOPBACK = 1  # its index in every namespace
LARGEST_U32 = 0xFFFFFFFF
CLOCK = "/proc/net/psched"


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """Bytes per second, bytes that may wait, and in the clock's ticks how long a burst takes."""

    rate: int
    limit: int
    buffer: int


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A queue of the link with that index; `bucket` is told of token buckets."""

    link: int
    kind: str
    is_root: bool = False
    bucket: TokenBucket | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """What is done to packets that arrive; a redirection of all has the index of its target.

    That is 0 when the target is gone, and None for any other filter.
    """

    kind: str
    target: int | None = None


class Qdiscs:
    """The part of a namespace handle that is about queues. Every method raises KernelError."""

    netlink: Netlink

    def clock_ticks(self) -> float:
        """Ticks of the packet scheduler's clock in a microsecond. Raises CniError."""
        with system_errors(f"read {CLOCK}"), open(CLOCK, encoding="ascii") as file:
            ticks, microseconds, resolution = (int(word, 16) for word in file.read().split()[:3])
        if resolution == 1_000_000_000:  # noqa: PLR2004  (nanoseconds; as iproute2 reads the file)
            ticks = microseconds
        return ticks / microseconds * resolution / 1_000_000

    def qdiscs(self) -> list[Qdisc]:
        """The queues of every link; the kernel cannot list one link's alone."""
        found = self.netlink.dump("list qdiscs", RTM_GETQDISC, _message())
        return [_decode_qdisc(message) for message in found]

    def add_bucket(self, link: Link, bucket: TokenBucket) -> None:
        """Shape what leaves through the link. It must have no root qdisc but the kernel's own."""
        parameters = {
            "rate": bucket.rate & LARGEST_U32,
            "limit": bucket.limit,
            "buffer": bucket.buffer,
        }
        options: list[Any] = [("TCA_TBF_PARMS", parameters)]
        if bucket.rate > LARGEST_U32:
            options.append(("TCA_TBF_RATE64", bucket.rate))
        message = _message(link, ROOT, BUCKET_HANDLE, "tbf", options)
        self._make(f"limit the rate of {link.name}", RTM_NEWQDISC, message)

    def delete_bucket(self, link: Link) -> None:
        """Remove what `add_bucket` made; absent, or another qdisc in its place, is as wished."""
        message = _message(link, ROOT, BUCKET_HANDLE, "tbf")
        with tolerate(errno.ENOENT, errno.EINVAL, errno.ENODEV):
            self.netlink.change(f"stop limiting {link.name}", RTM_DELQDISC, message)

    def can_limit_rates(self) -> bool:
        """Whether the kernel has token buckets; one without parameters is refused for them."""
        message = _message(Link(LOOPBACK, "lo"), ROOT, BUCKET_HANDLE, "tbf")
        try:
            self._make("try a token bucket", RTM_NEWQDISC, message)
        except KernelError as error:
            return error.errno not in {errno.ENOENT, errno.EOPNOTSUPP}
        return True

    def add_ingress(self, link: Link) -> None:
        """Give what arrives at the link a place for filters. There must be none."""
        message = _message(link, INGRESS, INGRESS_HANDLE, "ingress")
        self._make(f"filter what arrives at {link.name}", RTM_NEWQDISC, message)

    def delete_ingress(self, link: Link) -> None:
        """Remove that place with all filters; absent, or one of another kind, is as wished."""
        message = _message(link, INGRESS, INGRESS_HANDLE, "ingress")
        with tolerate(errno.ENOENT, errno.EINVAL, errno.ENODEV):
            self.netlink.change(f"stop filtering at {link.name}", RTM_DELQDISC, message)

    def filters(self, link: Link) -> list[Filter]:
        """The filters of what arrives at the link."""
        request = _message(link, INGRESS_HANDLE)
        with tolerate(errno.ENODEV, errno.EINVAL):
            found = self.netlink.dump(f"list filters of {link.name}", RTM_GETTFILTER, request)
            return [_decode_filter(message) for message in found if _is_filter(message)]
        return []

    def add_redirect(self, link: Link, target: Link) -> None:
        """Let all that arrives at the link leave through the target first; needs `add_ingress`."""
        act = f"redirect what arrives at {link.name} to {target.name}"
        self._make(act, RTM_NEWTFILTER, _redirect(link, _match_all(target.index)))

    def delete_redirect(self, link: Link) -> None:
        """Remove what `add_redirect` made; absent is as wished."""
        with tolerate(errno.ENOENT, errno.EINVAL, errno.ENODEV):
            act = f"stop redirecting what arrives at {link.name}"
            self.netlink.change(act, RTM_DELTFILTER, _redirect(link))

    def _make(self, act: str, kind: int, message: Any) -> None:
        self.netlink.change(act, kind, message, NLM_F_CREATE | NLM_F_EXCL)


def _message(
    link: Link | None = None,
    parent: int = 0,
    handle: int = 0,
    kind: str = "",
    options: list[Any] | None = None,
) -> Any:
    from cnicore.net.messages_tc import tcmsg  # noqa: PLC0415  (lazy: only bandwidth needs it)

    message = tcmsg()
    message["index"] = link.index if link else 0
    message["parent"], message["handle"] = parent, handle
    message["attrs"] = [("TCA_KIND", kind)] if kind else []
    if options:
        message["attrs"].append(("TCA_OPTIONS", {"attrs": options}))
    return message


def _redirect(link: Link, options: list[Any] | None = None) -> Any:
    message = _message(link, INGRESS_HANDLE, 0, "u32", options)
    message["info"] = FIRST_PRIORITY | socket.htons(ETH_P_ALL)
    return message


def _match_all(target: int) -> list[Any]:
    """A selector whose one key any packet has, and the action."""
    parameters = {
        "action": ACT_STOLEN,
        "eaction": MIRRED_EGRESS_REDIRECT,
        "ifindex": target,
    }
    action = [
        ("TCA_ACT_KIND", "mirred"),
        ("TCA_ACT_OPTIONS", {"attrs": [("TCA_MIRRED_PARMS", parameters)]}),
    ]
    return [
        ("TCA_U32_CLASSID", CLASS_ID),
        ("TCA_U32_SEL", {"flags": U32_TERMINAL, "nkeys": 1}),
        ("TCA_U32_ACT", {"attrs": [("TCA_ACT_PRIO_1", {"attrs": action})]}),
    ]


def _decode_qdisc(message: Any) -> Qdisc:
    kind = message.get_attr("TCA_KIND")
    is_root = message["parent"] == ROOT
    if kind != "tbf":
        return Qdisc(message["index"], kind, is_root)
    options = message.get_attr("TCA_OPTIONS")
    parameters = options.get_attr("TCA_TBF_PARMS")
    rate = options.get_attr("TCA_TBF_RATE64") or parameters["rate"]
    bucket = TokenBucket(rate, parameters["limit"], parameters["buffer"])
    return Qdisc(message["index"], kind, is_root, bucket)


def _is_filter(message: Any) -> bool:
    """u32 also lists its hash tables, and every kind one message for the priority as a whole."""
    if message.get_attr("TCA_KIND") != "u32":
        return bool(message["handle"])
    options = message.get_attr("TCA_OPTIONS")
    return options is not None and options.get_attr("TCA_U32_SEL") is not None


def _decode_filter(message: Any) -> Filter:
    kind = message.get_attr("TCA_KIND")
    return Filter(kind, _target(message.get_attr("TCA_OPTIONS")) if kind == "u32" else None)


def _target(options: Any) -> int | None:
    """The link that all packets are redirected to, None if the filter does anything else."""
    selector, actions = options.get_attr("TCA_U32_SEL"), options.get_attr("TCA_U32_ACT")
    action = actions.get_attr("TCA_ACT_PRIO_1") if actions else None
    if selector["nkeys"] != 1 or selector["key_mask"] or action is None:
        return None
    if action.get_attr("TCA_ACT_KIND") != "mirred":
        return None
    parameters = action.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")
    return parameters["ifindex"] if parameters["eaction"] == MIRRED_EGRESS_REDIRECT else None
