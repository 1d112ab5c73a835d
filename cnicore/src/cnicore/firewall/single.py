"""One nftables object, asked from the kernel by name or key, however many others there are.

libnftables reads the elements of all maps of a table to answer for one element or chain of it: 240
ms and 60 MB with 20,000 of them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from cnicore.firewall.backend import Unavailable
from cnicore.firewall.libnftables import NO_SUPPORT, no_access
from cnicore.net.netlink import KernelError
from cnicore.net.nfnetlink import nfnetlink
from cnicore.net.raw import (
    NFGENMSG,
    RawMessage,
    attribute_list,
    attributes_of,
    nested,
    netfilter_message,
    text,
)

# linux/netfilter/nf_tables.h
NFPROTO = {"inet": 1, "ip": 2, "ip6": 10}
GET_TABLE, GET_CHAIN, GET_RULE, GET_ELEMENT, GET_GENERATION = 1, 4, 7, 13, 16
TABLE_NAME, CHAIN_TABLE, CHAIN_NAME = 1, 1, 3
RULE_TABLE, RULE_CHAIN, RULE_HANDLE, RULE_EXPRESSIONS, RULE_USERDATA = 1, 2, 3, 4, 7
EXPRESSION_NAME, EXPRESSION_DATA = 1, 2
LOOKUP_SET, IMMEDIATE_DATA = 1, 2
LIST_TABLE, LIST_SET, LIST_ELEMENTS = 1, 2, 3
ITEM, KEY, DATA, USERDATA = 1, 1, 2, 6
VALUE, VERDICT, VERDICT_CODE, VERDICT_CHAIN = 1, 2, 1, 2
DROP = b"\0\0\0\0"  # linux/netfilter.h
COMMENT = 0  # libnftnl/udata.h
SUBSYSTEM = 10  # linux/netfilter/nfnetlink.h


class Element(NamedTuple):
    """An element as it is in the kernel: its comment, and its value or the chain it leads to."""

    comment: str
    value: bytes
    chain: str


class Rule(NamedTuple):
    """A rule as it is in the kernel.

    `words` are the kinds of its expressions ("fib", "nat", "masq"), the sets and chains that they
    name, and "drop"; `values` are the constants that they load.
    """

    handle: int
    comment: str
    words: frozenset[str]
    values: tuple[bytes, ...]


def has_table(family: str, table: str) -> bool:
    """Raises KernelError, Unavailable."""
    message = netfilter_message(NFPROTO[family], text(TABLE_NAME, table))
    return _ask(f"look for the table {table}", GET_TABLE, message) is not None


def has_chain(family: str, table: str, chain: str) -> bool:
    """Raises KernelError, Unavailable."""
    names = text(CHAIN_TABLE, table), text(CHAIN_NAME, chain)
    message = netfilter_message(NFPROTO[family], *names)
    return _ask(f"look for the chain {chain}", GET_CHAIN, message) is not None


def find_element(family: str, table: str, name: str, key: bytes) -> Element | None:
    """The element of a map, None also if there is no such map.

    `key` is as the kernel has it, each part of it padded to four bytes. Raises KernelError,
    Unavailable.
    """
    item = nested(ITEM, nested(KEY, nested(VALUE, key)))
    message = netfilter_message(
        NFPROTO[family], text(LIST_TABLE, table), text(LIST_SET, name), nested(LIST_ELEMENTS, item)
    )
    reply = _ask(f"look into the map {name}", GET_ELEMENT, message)
    if reply is None:
        return None
    found = attributes_of(reply[NFGENMSG.size :])
    element = attributes_of(attributes_of(found[LIST_ELEMENTS])[ITEM])
    data = attributes_of(element.get(DATA, b""))
    verdict = attributes_of(data.get(VERDICT, b""))
    return Element(
        comment=_comment_in(element.get(USERDATA, b"")),
        value=data.get(VALUE, b""),
        chain=_text_in(verdict.get(VERDICT_CHAIN, b"")),
    )


def rules_of(family: str, table: str, chain: str) -> list[Rule]:
    """The rules of a chain, none if there is no such chain. Raises KernelError, Unavailable."""
    names = text(RULE_TABLE, table), text(RULE_CHAIN, chain)
    message = netfilter_message(NFPROTO[family], *names)
    with _available():
        replies = nfnetlink().dump(f"list the chain {chain}", _kind(GET_RULE), message)
    return [_rule(attributes_of(reply.payload[NFGENMSG.size :])) for reply in replies]


def words_in(family: str, table: str, chain: str) -> set[str]:
    """The words of all rules of a chain, none if there is no such chain. Raises as `rules_of`."""
    return {word for rule in rules_of(family, table, chain) for word in rule.words}


def _rule(found: dict[int, bytes]) -> Rule:
    words: set[str] = set()
    values: list[bytes] = []
    for item in attribute_list(found.get(RULE_EXPRESSIONS, b"")):
        expression = attributes_of(item)
        kind = _text_in(expression[EXPRESSION_NAME])
        data = attributes_of(expression.get(EXPRESSION_DATA, b""))
        words.add(kind)
        if kind == "lookup":
            words.add(_text_in(data[LOOKUP_SET]))
        elif kind == "immediate":
            loaded = attributes_of(data[IMMEDIATE_DATA])
            words |= _verdict_words(attributes_of(loaded.get(VERDICT, b"")))
            values += [loaded[VALUE]] if VALUE in loaded else []
    handle = int.from_bytes(found[RULE_HANDLE], "big")
    comment = _comment_in(found.get(RULE_USERDATA, b""))
    return Rule(handle, comment, frozenset(words), tuple(values))


def _verdict_words(verdict: dict[int, bytes]) -> set[str]:
    if VERDICT_CHAIN in verdict:
        return {_text_in(verdict[VERDICT_CHAIN])}
    return {"drop"} if verdict.get(VERDICT_CODE) == DROP else set()


def _text_in(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode()


def _ask(act: str, kind: int, message: RawMessage) -> bytes | None:
    try:
        with _available():
            reply: RawMessage = nfnetlink().get(act, _kind(kind), message)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return reply.payload


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            "the kernel does not speak nfnetlink: load the module nf_tables", str(error)
        ) from error
    except KernelError as error:
        if error.errno in NO_SUPPORT or (error.errno == errno.EINVAL and not _has_nftables()):
            raise no_access(error) from error
        raise


def _has_nftables() -> bool:
    """A kernel without nftables answers EINVAL to everything, one with it only to what is wrong."""
    try:
        nfnetlink().get("ask for nftables", _kind(GET_GENERATION), netfilter_message(0))
    except KernelError:
        return False
    return True


def _kind(number: int) -> int:
    return SUBSYSTEM << 8 | number


def _comment_in(userdata: bytes) -> str:
    """The comment among what nft lets the kernel keep: kind, length and bytes, again and again."""
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == COMMENT:
            return _text_in(userdata[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""
