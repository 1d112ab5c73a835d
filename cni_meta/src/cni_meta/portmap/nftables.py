"""Forwarding with nftables: an attachment is elements of maps, claimed in one transaction."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from cni_meta.portmap import conditional, frame, reference, table
from cni_meta.portmap.frame import FAMILY, GUARD, NEIGHBOURS, TABLE
from cni_meta.portmap.plan import Claim, Forward, Plan
from cni_meta.portmap.table import Entry
from cnicore.errors import CniError
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.libnftables import (
    ATTEMPTS,
    NO_SUPPORT,
    Command,
    Refused,
    chain_names,
    change,
    remove,
    run,
)
from cnicore.firewall.single import has_chain, has_table, words_in
from cnicore.owner import PREFIX, Owner, stale

CANNOT = (
    "the kernel cannot forward ports with nftables: load the modules nf_tables, nft_chain_nat,"
    " nft_nat, nft_masq, nft_ct and nft_fib_inet"
)


def add(owner: Owner, plans: Sequence[Plan]) -> None:
    """Create the elements, and what they need only where the kernel says that it is missing.

    Raises CniError, naming the container that has one of the ports; Unavailable.
    """
    conditional.require_conditions(plans)
    needed = [plan for plan in plans if plan.forwards]
    if any(_missing_words(frame.reached_from())):
        _ensure_frame(insist=True)  # the kernel refuses nothing where only rules are lost
    _create(owner, needed, [entry for plan in needed for entry in table.entries(owner, plan)])
    try:
        conditional.enter(owner, needed)
    except CniError:
        delete(owner, [forward.claim for plan in needed for forward in plan.forwards])
        raise


def require_unclaimed(owner: Owner, plans: Sequence[Plan]) -> None:
    """Raise CniError for a port that another container has, at all addresses or the wanted one."""
    for plan in plans:
        for forward in () if plan.conditions else plan.forwards:
            for claim in (forward.claim, replace(forward.claim, host_ip=None)):
                entry = table.find(table.claim_map(claim), table.claim_key(claim))
                if entry and entry.comment != owner.tag:
                    raise CniError(_taken(entry))


def delete(owner: Owner, claims: Sequence[Claim]) -> list[Forward]:
    """Remove the owner's elements and rules, found by the claims, or else by reading the maps."""
    removed: list[Entry] = []

    def removal() -> list[Command]:
        removed[:], commands = _removal(owner, claims)
        return [*commands, *reference.deletions(owner)]

    remove(f"stop forwarding to {owner.ifname}", removal)
    return [forward for entry in removed if (forward := table.forward_of(entry))]


def gc(network: str, valid: Iterable[Owner]) -> None:
    """Remove elements and rules of invalid attachments."""
    if not has_table(FAMILY, TABLE):
        return
    keep = tuple(valid)

    def removal() -> list[Command]:
        found, owners = list(table.list_entries()), table.list_owners()
        gone = stale({*(entry.comment for entry in found), *owners.values()}, network, keep)
        leaked = [table.deletion(entry) for entry in found if entry.comment in gone]
        stale_keys = [key for key, tag in owners.items() if tag in gone]
        return [*leaked, *map(table.deregistration, stale_keys), *_conditional(owners, stale_keys)]

    remove(f"collect the ports of {network}", removal)


def verify(owner: Owner, plans: Sequence[Plan]) -> None:
    """Raise CniError unless every element is there, and packets find the way to it."""
    needed = [plan for plan in plans if plan.forwards]
    if reference.forwards(owner, needed):
        return
    for plan in needed:
        for entry in table.entries(owner, plan):
            if table.find(entry.map, entry.key) != entry:
                raise CniError(f"nftables has no {_words(entry)} for {owner.tag}")
    conditional.verify(owner, needed)
    _require_chains(
        {
            **frame.reached_from(),
            NEIGHBOURS: {name for name, _ in frame.neighbours(needed)},
            **{name: {"masq"} for name, _ in frame.neighbours(needed)},
        }
    )


def require_usable() -> None:
    """Raise CniError without library, kernel support or permission."""
    has_table(FAMILY, TABLE)
    chain_names(FAMILY, TABLE)


def _create(owner: Owner, plans: Sequence[Plan], wanted: Sequence[Entry]) -> None:
    creations = [
        *map(table.creation, wanted),
        table.registration(owner, len(wanted)),
        *conditional.creation(owner, plans),
    ]
    removal: list[Command] = []
    for attempt in range(ATTEMPTS):
        chains = _missing_chains(plans)
        try:
            change(f"forward ports to {owner.ifname}", [*chains, *removal, *creations])
        except Refused as error:
            failure = error
            if error.errno == errno.ENOENT:
                _ensure_frame(insist=attempt > 0)
            removal = _make_room(error, owner, wanted)
        else:
            return
    raise Unavailable(CANNOT, failure.msg) from failure


def _missing_chains(plans: Sequence[Plan]) -> list[Command]:
    """What creates the chains of neighbours that no attachment before has needed."""
    wanted = dict(frame.neighbours(plans))
    entered = words_in(FAMILY, TABLE, NEIGHBOURS) if wanted else set()
    return [
        command
        for name, content in wanted.items()
        if name not in entered
        for command in frame.neighbour_chain(
            name, content, is_new=not has_chain(FAMILY, TABLE, name)
        )
    ]


def _ensure_frame(*, insist: bool) -> None:
    """Create what all attachments share. Raises Unavailable where the kernel cannot do it."""
    if has_chain(FAMILY, TABLE, GUARD) and not insist:
        return
    try:
        run(f"create the table {TABLE}", frame.frame())
    except Refused as error:
        if error.errno in {errno.ENOENT, *NO_SUPPORT}:
            raise Unavailable(CANNOT, error.msg) from error
        raise


def _make_room(refused: Refused, owner: Owner, wanted: Iterable[Entry]) -> list[Command]:
    """What must be deleted first, judging by why the kernel refused to create.

    That is what the owner has left itself, and what others left for the container's address, which
    is ours now. Raises CniError for a port that another container has, Unavailable where the kernel
    cannot do it at all.
    """
    if refused.errno in NO_SUPPORT:
        raise Unavailable(CANNOT, refused.msg) from refused
    if refused.errno not in {errno.ENOENT, errno.EEXIST, errno.EBUSY}:
        raise refused
    mine, commands = _removal(owner, [])
    occupied = [found for one in wanted if (found := table.find(one.map, one.key))]
    for entry in occupied:
        if entry.comment != owner.tag and table.forward_of(entry):
            raise CniError(_taken(entry))
    return [*commands, *(table.deletion(entry) for entry in occupied if entry not in mine)]


def _taken(entry: Entry) -> str:
    forward = table.forward_of(entry)
    tag = entry.comment.removeprefix(PREFIX).split("/", 2)
    if forward is None or not entry.comment.startswith(PREFIX):
        return f"the {_words(entry)} is there already, made by another program: remove it"
    network, container, ifname = tag
    return (
        f'hostPort {forward.claim} is already mapped to container "{container}" (network'
        f' "{network}", interface {ifname}): delete that container or choose another port'
    )


def _removal(owner: Owner, claims: Iterable[Claim]) -> tuple[list[Entry], list[Command]]:
    """The owner's elements, and what deletes them and all else that it has."""
    count = table.registered(owner)
    mine = list(_known(owner, claims))
    if count is not None and count != len(mine):
        everybodys = table.list_entries()
        mine = list(islice((one for one in everybodys if one.comment == owner.tag), count))
    registration = [] if count is None else [table.deregistration(table.owner_key(owner))]
    deletions = map(table.deletion, mine)
    return mine, [*deletions, *registration, *conditional.removal(owner)]


def _known(owner: Owner, claims: Iterable[Claim]) -> Iterator[Entry]:
    """The owner's elements for the claims.

    The comment is compared, because the port may be another container's by now.
    """
    sources: dict[tuple[str, tuple[str | int, ...]], None] = {}
    for claim in claims:
        entry = table.find(table.claim_map(claim), table.claim_key(claim))
        forward = table.forward_of(entry) if entry else None
        if entry and forward and entry.comment == owner.tag:
            yield entry
            sources.update(dict.fromkeys(table.source_entries(forward)))
    for name, key in sources:
        entry = table.find(name, key)
        if entry and entry.comment == owner.tag:
            yield entry


def _conditional(owners: Iterable[str], stale_keys: Iterable[str]) -> Iterator[Command]:
    """Deletes the chains of owners that are stale or not registered at all."""
    live = {*owners} - {*stale_keys}
    for name in conditional.chains():
        if name.removeprefix(conditional.PREFIX) not in live:
            yield from conditional.removal_of(name)


def _require_chains(wanted: Mapping[str, set[str]]) -> None:
    """Raise CniError unless the rules of each chain name all that packets must come to."""
    for chain, missing in _missing_words(wanted):
        raise CniError(f"the chain {chain} has lost its rules for {', '.join(sorted(missing))}")


def _missing_words(wanted: Mapping[str, set[str]]) -> Iterator[tuple[str, set[str]]]:
    for chain, words in wanted.items():
        missing = words - words_in(FAMILY, TABLE, chain)
        if missing:
            yield chain, missing


def _words(entry: Entry) -> str:
    key = " . ".join(map(str, entry.key))
    return f"element {key} in {entry.map} of the table {FAMILY} {TABLE}"
