"""The firewalld backend: the addresses are sources of a zone, in the runtime configuration.

A source has no room for an owner, and firewalld keeps nothing else for us. So a set of ours in
nftables says whose the addresses are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cni_meta.firewall import foreign, isolation
from cni_meta.firewall.backend import OPEN, Attachment, Departure, Settings
from cni_meta.firewall.elements import Element, Place, elements_of, find
from cni_meta.firewall.iptables_rules import host_prefix
from cni_meta.firewall.transactions import Plan, remove
from cnicore.errors import CniError
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.libnftables import Command
from cnicore.owner import Owner, stale
from cnicore.result import Address

if TYPE_CHECKING:
    from cni_meta.firewall.bus import Firewalld

RECORDS = {
    version: Place("inet", "cni", f"firewalld-sources{version}", is_map=False) for version in (4, 6)
}


def add(attachment: Attachment, settings: Settings) -> None:
    """Accept the addresses in the zone; the record first, so that none is without an owner."""
    with connected(settings.bus) as firewalld:
        firewalld.require_zone(settings.zone)
        note_owner(attachment)
        for address in attachment.addresses:
            firewalld.add_source(settings.zone, host_prefix(address))


def delete(departure: Departure, settings: Settings) -> None:
    """Remove the owner's sources; those that are on record for nobody are taken for the owner's."""
    owner, addresses = departure.owner, departure.addresses
    recorded = list(recorded_for(addresses))
    mine = [element for element in recorded if element.comment == owner.tag]
    whose = {element.key for element in recorded}
    unknown = [address for address in addresses if str(address) not in whose]
    if settings.backend not in ("", "firewalld"):
        unknown = []  # nothing was put into a zone without a record
    sources = [host_cidr(element) for element in mine] + [host_prefix(one) for one in unknown]
    remove_sources(sources, settings)
    remove(f"forget the sources of {owner.ifname}", lambda: mine_still(owner, mine))


def gc(network: str, valid: Iterable[Owner], settings: Settings) -> None:
    """Remove the sources of attachments that are not valid. The reference's have no owner."""
    keep = tuple(valid)

    def leaked() -> list[Element]:
        recorded = list(recorded_for([]))
        gone = stale((element.comment for element in recorded), network, keep)
        return [element for element in recorded if element.comment in gone]

    remove_sources([host_cidr(element) for element in leaked()], settings)
    remove(f"forget the sources of {network}", leaked)


def verify(attachment: Attachment, settings: Settings) -> None:
    """Raise CniError unless each address is in the zone and the policy is enforced."""
    with connected(settings.bus) as firewalld:
        for source in map(host_prefix, attachment.addresses):
            if not firewalld.has_source(settings.zone, source):
                raise CniError(
                    f"firewalld has {source} of {attachment.owner.tag} no longer in zone"
                    f" {settings.zone}: it was reloaded, attach the container again"
                )
    isolation.verify(attachment)


def require_usable(settings: Settings) -> None:
    """Raise CniError if no firewalld runs, or none with that zone."""
    with connected(settings.bus) as firewalld:
        firewalld.require_zone(settings.zone)


def connected(address: str) -> AbstractContextManager[Firewalld]:
    """The firewalld on the bus of that address. Entering raises Unavailable if none runs."""
    from cni_meta.firewall import bus  # noqa: PLC0415  (lazy: the seam "firewall"; it imports jeepney)

    return bus.firewalld(address)


def runs(address: str) -> bool:
    """Whether a firewalld answers on the bus; no socket, and nothing is loaded to ask."""
    path = address.removeprefix("unix:path=").split(",")[0]
    if address.startswith("unix:path=") and not os.access(path, os.F_OK):
        return False
    try:
        with connected(address):
            return True
    except Unavailable:
        return False


def remove_sources(sources: Sequence[str], settings: Settings) -> None:
    """A firewalld that does not run has none: it forgets them when it ends."""
    if not sources or not runs(settings.bus):
        return
    with connected(settings.bus) as firewalld:
        for source in sources:
            firewalld.remove_source(settings.zone, source)


def note_owner(attachment: Attachment) -> None:
    """Record whose the addresses are, and enforce the policy."""
    act = f"note whose sources {attachment.owner.ifname} has"
    try:
        isolation.enforce(act, attachment, isolation.everywhere, lambda _: records(attachment))
    except Unavailable:
        if attachment.policy != OPEN:
            raise


def records(attachment: Attachment) -> Plan:
    frame: list[Command] = [{"add": {"table": {"family": "inet", "name": "cni"}}}]
    for version, place in RECORDS.items():
        frame.append({"add": {"set": {**place.keys, "type": foreign.TYPES[version]}}})
    tag = attachment.owner.tag
    elements = [
        Element(RECORDS[address.version], str(address), tag) for address in attachment.addresses
    ]
    return Plan(frame, elements)


def recorded_for(addresses: Sequence[Address]) -> Iterator[Element]:
    """The records of the addresses, or all if none is given; none where nftables is missing."""
    try:
        for address in addresses:
            found = find(RECORDS[address.version], address)
            yield from [found] if found else []
        if not addresses:
            for place in RECORDS.values():
                yield from elements_of(place)
    except Unavailable:
        return


def mine_still(owner: Owner, elements: Iterable[Element]) -> Iterator[Element]:
    """Those of the records that are there, and the owner's."""
    for element in elements:
        found = find(element.place, ip_address(element.key))
        if found and found.comment == owner.tag:
            yield found


def host_cidr(element: Element) -> str:
    """The source of a record: the address as a prefix of its own."""
    return f"{element.key}/{128 if element.place == RECORDS[6] else 32}"
