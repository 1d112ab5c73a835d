"""Masquerading with nftables: an attachment is one element per address, in one transaction."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from cnicore.attempts import attempt_all
from cnicore.errors import CniError
from cnicore.firewall import masquerade_table as table
from cnicore.firewall import reference_rules
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.libnftables import NO_SUPPORT, Command, Refused, change, read, read_if_there
from cnicore.firewall.masquerade_table import Element
from cnicore.net.namespace import host_namespace
from cnicore.owner import Owner, stale
from cnicore.result import Address, Cidr, IpConfig

CANNOT = (
    "the kernel cannot masquerade with nftables:"
    " load the modules nf_tables, nft_chain_nat and nft_masq"
)
ATTEMPTS = 10  # each is lost only to another process that changed the very same objects


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

    _remove(f"stop masquerading {owner.ifname}", removal)


def gc(network: str, valid: Iterable[Owner]) -> None:
    """Remove elements and reference rules of invalid attachments, then chains nothing uses."""
    keep = tuple(valid)

    def removal() -> list[Command]:
        found = table.list_elements()
        gone = stale((element.comment for element in found), network, keep)
        leaked = [element for element in found if element.comment in gone]
        return [*table.deletions(leaked), *reference_rules.stale_deletions(network, keep)]

    with attempt_all() as attempt:
        attempt(_remove, f"collect the masquerading of {network}", removal)
        attempt(_delete_unused_chains)


def require() -> None:
    """Raise Unavailable unless the kernel takes masquerading rules, as far as a trial can tell."""
    if read_if_there("look for masquerading", chain={**table.IN_TABLE, "name": table.BASE_CHAIN}):
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


def _remove(act: str, removal: Callable[[], list[Command]]) -> None:
    """Run what `removal` finds to delete; find again if some of it vanished meanwhile."""
    for _ in range(ATTEMPTS):
        commands = removal()
        try:
            if commands:
                change(act, commands)
        except Refused as error:
            if error.errno != errno.ENOENT:
                raise
            failure = error
        else:
            return
    raise failure


def _delete_unused_chains() -> None:
    used = {element.chain for element in table.list_elements()}
    for name in _subnet_chains():
        if name not in used:
            _delete_chain(name)


def _subnet_chains() -> Iterator[str]:
    for entry in read_if_there("list chains", chains={"family": table.FAMILY}):
        chain = entry.get("chain", {})
        if chain.get("table") == table.TABLE and chain["name"].startswith(table.SUBNET_CHAIN):
            yield chain["name"]


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
        element.comment == owner.tag and _is_looked_up(element) and _masquerades(element.chain)
        for element in table.find_elements([address.ip])
    )


def _taken_over(owner: Owner, address: Cidr) -> str:
    """For whom the address is masqueraded instead, as the end of a sentence."""
    comments = {element.comment for element in table.find_elements([address.ip])}
    others = comments - {owner.tag, ""}
    return f" but for {others.pop()}" if others else ""


def _is_looked_up(element: Element) -> bool:
    lookups = _statements(table.BASE_CHAIN, "vmap")
    return any(lookup["data"] == f"@{element.map}" for lookup in lookups)


def _masquerades(chain: str) -> bool:
    return bool(_statements(chain, "masquerade"))


def _statements(chain: str, kind: str) -> list[Any]:
    """The statements of a kind in the rules of a chain."""
    rules = read(f"list the chain {chain}", chain={**table.IN_TABLE, "name": chain})
    statements = [one for rule in rules for one in rule.get("rule", {}).get("expr", [])]
    return [one[kind] for one in statements if kind in one]
