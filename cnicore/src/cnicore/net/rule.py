"""Policy rules of one namespace: which routing table a packet is looked up in."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import NamedTuple

from cnicore.net.netlink import NLM_F_CREATE, NLM_F_EXCL, KernelError, Netlink, is_absent, tolerate
from cnicore.net.raw import RawMessage, attribute, attributes_of
from cnicore.result import Address

RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34

# linux/fib_rules.h
HEADER = struct.Struct(
    "=BBBBBBBBI"
)  # family, dst_len, src_len, tos, table, 2 reserved, action, flags
NUMBER = struct.Struct("=I")
FRA_SRC, FRA_PRIORITY, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_PAD, FRA_PROTOCOL = (
    2,
    6,
    14,
    15,
    18,
    21,
)
FR_ACT_TO_TBL = 1
NO_SUPPRESSION = NUMBER.pack(0xFFFFFFFF)
PLAIN = frozenset({FRA_SRC, FRA_PRIORITY, FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_PAD, FRA_PROTOCOL})
"""What a rule says that goes by the source alone; anything else narrows or suppresses."""

NO_RULES = (errno.EAFNOSUPPORT, errno.EOPNOTSUPP)
"""What a kernel without policy routing says, or one without IPv6."""


class Rule(NamedTuple):
    """`source` is the one address that the rule is for; None if it is for more, or goes by more."""

    version: int
    table: int
    priority: int = 0
    source: Address | None = None


class Rules:
    """The part of a namespace handle that is about rules. Every method raises KernelError."""

    netlink: Netlink
    fd: int | None

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Keep others from choosing a table meanwhile; the reference takes this lock too."""
        if self.fd is None:
            yield
            return
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.fd, fcntl.LOCK_UN)

    def rules(self) -> list[Rule]:
        """The rules of both families, of each in the order in which the kernel asks them."""
        return [rule for version in (4, 6) for rule in self.rules_of(version) or ()]

    def rules_of(self, version: int) -> list[Rule] | None:
        """The rules of one family, None where the kernel has no rules of it."""
        request = RawMessage(payload=HEADER.pack(_family(version), *[0] * 8))
        with tolerate(*NO_RULES):
            found = self.netlink.dump("list policy rules", RTM_GETRULE, request)
            return [_decode(message.payload) for message in found]
        return None

    def add_rule(self, source: Address, table: int) -> None:
        """Look up in the table what the address sends.

        The kernel puts the rule before those that are there, an equal one included.
        """
        act = f"add the rule 'from {source} lookup {table}'"
        message = _message(Rule(source.version, table, source=source))
        self.netlink.change(act, RTM_NEWRULE, message, NLM_F_CREATE | NLM_F_EXCL)

    def delete_rule(self, rule: Rule) -> None:
        """Delete a rule for one address, without a priority the first; absent is as wished."""
        act = f"delete the rule 'from {rule.source} lookup {rule.table}'"
        try:
            self.netlink.change(act, RTM_DELRULE, _message(rule))
        except KernelError as error:
            if not is_absent(error):
                raise


def _family(version: int) -> int:
    return socket.AF_INET if version == 4 else socket.AF_INET6  # noqa: PLR2004  (the IP version)


def _message(rule: Rule) -> RawMessage:
    source = rule.source.packed if rule.source else b""
    header = HEADER.pack(_family(rule.version), 0, len(source) * 8, 0, 0, 0, 0, FR_ACT_TO_TBL, 0)
    attributes = [attribute(FRA_SRC, source), attribute(FRA_TABLE, NUMBER.pack(rule.table))]
    if rule.priority:
        attributes.append(attribute(FRA_PRIORITY, NUMBER.pack(rule.priority)))
    return RawMessage(payload=header + b"".join(attributes))


def _decode(payload: bytes) -> Rule:
    family, dst_len, src_len, tos, table, _, _, action, flags = HEADER.unpack_from(payload)
    attributes = attributes_of(payload[HEADER.size :])
    source = attributes.get(FRA_SRC, b"")
    is_plain = (
        attributes.keys() <= PLAIN
        and attributes.get(FRA_SUPPRESS_PREFIXLEN, NO_SUPPRESSION) == NO_SUPPRESSION
        and (dst_len, src_len, tos, action, flags) == (0, len(source) * 8, 0, FR_ACT_TO_TBL, 0)
    )
    return Rule(
        version=4 if family == socket.AF_INET else 6,
        table=_number(attributes.get(FRA_TABLE), table),
        priority=_number(attributes.get(FRA_PRIORITY), 0),
        source=ip_address(source) if source and is_plain else None,
    )


def _number(data: bytes | None, otherwise: int) -> int:
    number: int = NUMBER.unpack(data)[0] if data else otherwise
    return number
