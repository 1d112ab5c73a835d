"""Which addresses a container gets: one of each range set, asked for or the next free one.

Nothing here touches the disk, so a refusal has nothing to take back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cni_ipam.host_local.ranges import Range, RangeSet, describe, is_in
from cni_ipam.host_local.store import Holder
from cnicore.addresses import parse_address
from cnicore.errors import CniError
from cnicore.owner import Owner
from cnicore.result import Address

Holders = Mapping[str, Holder]
"""Who holds each address that is taken, by its text."""


@dataclass(frozen=True, slots=True)
class Lease:
    """An address and the range it is from."""

    address: Address
    range: Range


def choose(
    owner: Owner,
    range_sets: Sequence[RangeSet],
    requested: Iterable[Address],
    holders: Holders,
    last_reserved: Sequence[Address | None],
) -> tuple[Lease, ...]:
    """An address of each range set, in order.

    A requested address that fits a set is preferred; a set without one gives the next free address
    after the last that it gave. Raises CniError if a set has none, or if a request fits nowhere.
    """
    pending = list(dict.fromkeys(requested))
    leases = []
    for index, range_set in enumerate(range_sets):
        wanted = next((address for address in pending if is_in(address, range_set)), None)
        try:
            if wanted:
                pending.remove(wanted)
                require_available(wanted, range_set, holders)
            else:
                require_none_held(owner, range_set, holders)
                wanted = require_free(owner.network, range_set, holders, last_reserved[index])
        except CniError as error:
            raise CniError(f"failed to allocate for range {index}: {error.msg}") from error
        leases.append(Lease(wanted, next(one for one in range_set if wanted in one)))
    if pending:
        rest = " ".join(map(str, pending))
        raise CniError(
            f"failed to allocate all requested IPs: {rest}: request one address of each range set"
        )
    return tuple(leases)


def require_available(address: Address, range_set: RangeSet, holders: Holders) -> None:
    if address in gateways(range_set):
        raise CniError(f"requested ip {address} is subnet's gateway: request another address")
    if str(address) in holders:
        raise CniError(
            f"requested IP address {address} is not available in range set {describe(range_set)}:"
            f" {holders[str(address)]} holds it"
        )


def require_none_held(owner: Owner, range_set: RangeSet, holders: Holders) -> None:
    for address, holder in holders.items():
        if holder.is_owner(owner) and is_in(parse_address(address), range_set):
            raise CniError(
                f"{address} has been allocated to {owner.container_id}, duplicate allocation is not"
                f" allowed: delete its attachment {owner.ifname} first"
            )


def require_free(
    network: str, range_set: RangeSet, holders: Holders, last: Address | None
) -> Address:
    """The next free address. Raises CniError if there is none."""
    address = next_free(range_set, holders, last)
    if address is None:
        raise CniError(
            f"no IP addresses available in range set: {describe(range_set)} of network {network}:"
            " delete containers or add a range"
        )
    return address


def next_free(range_set: RangeSet, holders: Holders, last: Address | None) -> Address | None:
    """The first address after `last`, going round, that nobody holds and that is no gateway."""
    family: Callable[[int], Address] = type(range_set[0].start)
    reserved = gateways(range_set)
    for first, final in stretches(range_set, last):
        # takes at most a step for each address that is taken, however large the range is
        for address in map(family, range(first, final + 1)):
            if str(address) not in holders and address not in reserved:
                return address
    return None


def stretches(range_set: RangeSet, last: Address | None) -> list[tuple[int, int]]:
    """First and final address of each stretch to search, so that `last` is tried last."""
    bounds = [(int(one.start), int(one.end)) for one in range_set]
    for index, one in enumerate(range_set):
        if last is not None and last in one:
            (first, final), number = bounds[index], int(last)
            return [(number + 1, final), *bounds[index + 1 :], *bounds[:index], (first, number)]
    return bounds


def gateways(range_set: RangeSet) -> set[Address]:
    return {one.gateway for one in range_set}
