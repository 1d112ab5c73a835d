"""Masquerading with nftables: an attachment is one element per address, in one transaction."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

from cnicore.attempts import attempt_all
from cnicore.errors import CniError
from cnicore.firewall import masquerade_table as table
from cnicore.firewall import reference_rules
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.libnftables import (
    ATTEMPTS,
    NO_SUPPORT,
    Command,
    Refused,
    chain_names,
    change,
    remove,
)
from cnicore.firewall.masquerade_table import Element
from cnicore.firewall.single import words_in
from cnicore.net.namespace import host_namespace
from cnicore.owner import Owner, stale
from cnicore.result import Address, Cidr, IpConfig

CANNOT = (
    "the kernel cannot masquerade with nftables:"
    " load the modules nf_tables, nft_chain_nat and nft_masq"
)


def add(owner: Owner, ips: Sequence[IpConfig]) -> None:
    """Create the elements, and what they need only where the kernel says that it is missing.

    An element that somebody left for the same address is replaced. Raises CniError, also where it
    belongs to another attachment that is still there; Unavailable.
    """
    own = table.own_subnets(ips)
    elements = [table.creation(owner, ip.address, own) for ip in ips]
    frame: list[Command] = []
    occupied: list[Element] = []
    for _ in range(ATTEMPTS):
        try:
            change(f"masquerade {owner.ifname}", [*frame, *table.deletions(occupied), *elements])
        except Refused as error:
            failure = error
            _require_curable(error)
            if error.errno == errno.ENOENT:
                frame = [*table.frame(), *table.subnet_chains(own)]
            occupied = table.find_elements(ip.address.ip for ip in ips)
            _require_left_over(occupied, owner)
        else:
            return
    raise Unavailable(CANNOT, failure.msg) from failure


def delete(owner: Owner, addresses: Iterable[Address]) -> None:
    """Remove the owner's elements: those of the addresses, or of the whole maps if none is given.

    The comment is compared, because the address may be another container's by now.
    """
    known = tuple(addresses)

    def removal() -> list[Command]:
        found = table.find_elements(known) if known else table.list_elements()
        mine = [element for element in found if element.comment == owner.tag]
        return [*table.deletions(mine), *reference_rules.deletions_of(owner)]

    remove(f"stop masquerading {owner.ifname}", removal)


def gc(network: str, valid: Iterable[Owner]) -> None:
    """Remove elements and reference rules of invalid attachments, then chains nothing uses."""
    keep = tuple(valid)

    def removal() -> list[Command]:
        found = table.list_elements()
        gone = stale((element.comment for element in found), network, keep)
        leaked = [element for element in found if element.comment in gone]
        return [*table.deletions(leaked), *reference_rules.stale_deletions(network, keep)]

    with attempt_all() as attempt:
        attempt(remove, f"collect the masquerading of {network}", removal)
        attempt(_delete_unused_chains)


def require() -> None:
    """Raise Unavailable unless the kernel takes masquerading rules, as far as a trial can tell."""
    if table.BASE_CHAIN in chain_names(table.FAMILY, table.TABLE):
        return
    try:
        change("try to masquerade", list(table.trial()))
    except Refused as error:
        raise Unavailable(CANNOT, error.msg) from error


def verify(owner: Owner, ips: Sequence[IpConfig]) -> None:
    """Raise CniError unless an element of the owner or a reference rule is there for each."""
    for ip in ips:
        if not (_has_element(owner, ip.address) or reference_rules.has_rule(owner, ip.address)):
            raise CniError(
                f"nftables does not masquerade {ip.address.ip} for {owner.tag}"
                f"{_taken_over(owner, ip.address)}"
            )


def _require_curable(refused: Refused) -> None:
    """Raise the refusal unless something is only missing or in the way, as Unavailable if it is."""
    if refused.errno in NO_SUPPORT:
        raise Unavailable(CANNOT, refused.msg) from refused
    if refused.errno not in {errno.ENOENT, errno.EEXIST, errno.EBUSY}:
        raise refused


def _require_left_over(occupied: Sequence[Element], owner: Owner) -> None:
    """Raise CniError if one of the elements is of another attachment whose link is still there."""
    others = [element for element in occupied if element.comment != owner.tag]
    if not others:
        return
    with host_namespace() as host:
        attached = {link.alias for link in host.links() if link.alias}
    for element in others:
        if element.comment in attached:
            raise CniError(
                f"{element.key} is masqueraded for {element.comment}, which is still attached:"
                " give one of the two another address",
                'or set "ipMasqBackend": "iptables" for one of the networks',
            )


def _delete_unused_chains() -> None:
    used = {element.chain for element in table.list_elements()}
    for name in chain_names(table.FAMILY, table.TABLE):
        if name.startswith(table.SUBNET_CHAIN) and name not in used:
            _delete_chain(name)


def _delete_chain(name: str) -> None:
    """The kernel keeps a chain that an ADD has begun to use meanwhile, and the flush with it."""
    at = {"chain": {**table.IN_TABLE, "name": name}}
    try:
        change(f"delete the chain {name}", [{"flush": at}, {"delete": at}])
    except Refused as error:
        if error.errno not in {errno.EBUSY, errno.ENOENT}:
            raise


def _has_element(owner: Owner, address: Cidr) -> bool:
    """Whether the owner's element is there and packets find the way over it to masquerading."""
    return any(
        element.comment == owner.tag
        and element.map in words_in(table.FAMILY, table.TABLE, table.BASE_CHAIN)
        and "masq" in words_in(table.FAMILY, table.TABLE, element.chain)
        for element in table.find_elements([address.ip])
    )


def _taken_over(owner: Owner, address: Cidr) -> str:
    """For whom the address is masqueraded instead, as the end of a sentence."""
    comments = {element.comment for element in table.find_elements([address.ip])}
    others = comments - {owner.tag, ""}
    return f" but for {others.pop()}" if others else ""
