"""The elements in the maps of `inet cni` that are one attachment, and how they are found again."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address

from cni_meta.portmap.configuration import PROTOCOLS
from cni_meta.portmap.frame import FAMILY, IN_TABLE, MAPS, OWNERS, PORT_SETS, SELVES, TABLE
from cni_meta.portmap.plan import Claim, Forward, Plan
from cnicore.firewall.libnftables import Command, read_if_there
from cnicore.firewall.single import find_element
from cnicore.owner import Owner
from cnicore.result import Address

PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
OWNER_DIGITS = 15  # what an interface's name holds, the only text that can be a key


@dataclass(frozen=True, slots=True)
class Entry:
    """An element: of which map or set, under which key, whose; and where it leads to.

    `target` is the container's address and port; what is masqueraded is in sets, without one.
    """

    map: str
    key: tuple[str | int, ...]
    comment: str
    target: tuple[str, int] | None = None


def claim_map(claim: Claim) -> str:
    return f"hostip-ports{claim.version}" if claim.host_ip else f"hostports{claim.version}"


def owner_key(owner: Owner) -> str:
    """The owner as a key, and the end of its own chain's name."""
    return sha256(owner.tag.encode()).hexdigest()[:OWNER_DIGITS]


def entries(owner: Owner, plan: Plan) -> Iterator[Entry]:
    """What the attachment has in the maps; with conditions its ports are in rules instead."""
    if not plan.conditions:
        for forward in plan.forwards:
            target = str(forward.address), forward.port
            yield Entry(claim_map(forward.claim), claim_key(forward.claim), owner.tag, target)
    if plan.sources:
        # one for each port, whatever addresses of the host it is claimed at
        ports = {(one.claim.protocol, one.claim.host_port) for one in plan.forwards}
        for protocol, host_port in sorted(ports):
            name = f"hostport-{plan.sources}-{protocol}{plan.version}"
            yield Entry(name, (str(plan.container.ip), host_port), owner.tag)
    if plan.sources == "own" and plan.container.network.num_addresses == 1:
        yield Entry(f"hostport-selves{plan.version}", (str(plan.container.ip),) * 2, owner.tag)


def source_entries(forward: Forward) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """The set and the key of each element that an ADD may have made for masquerading."""
    claim, address = forward.claim, str(forward.address)
    for sources in ("any", "own"):
        name = f"hostport-{sources}-{claim.protocol}{claim.version}"
        yield name, (address, claim.host_port)
    yield f"hostport-selves{claim.version}", (address, address)


def claim_key(claim: Claim) -> tuple[str | int, ...]:
    port = PROTOCOLS[claim.protocol], claim.host_port
    return (str(claim.host_ip), *port) if claim.host_ip else port


def creation(entry: Entry) -> Command:
    """Creates the element; the kernel refuses if there is one already."""
    key = {"elem": {"val": {"concat": list(entry.key)}, "comment": entry.comment}}
    element = [key, {"concat": list(entry.target)}] if entry.target else key
    return {"create": {"element": {**IN_TABLE, "name": entry.map, "elem": [element]}}}


def deletion(entry: Entry) -> Command:
    """Deletes the element; the kernel refuses if it is gone."""
    elements = [{"concat": list(entry.key)}]
    return {"delete": {"element": {**IN_TABLE, "name": entry.map, "elem": elements}}}


def registration(owner: Owner, count: int) -> Command:
    """Creates what says that the owner has something, and how many elements it is."""
    key = {"elem": {"val": owner_key(owner), "comment": owner.tag}}
    return {"create": {"element": {**IN_TABLE, "name": OWNERS, "elem": [[key, count]]}}}


def deregistration(key: str) -> Command:
    return {"delete": {"element": {**IN_TABLE, "name": OWNERS, "elem": [key]}}}


def registered(owner: Owner) -> int | None:
    """How many elements the owner has, None if it has nothing."""
    found = find_element(FAMILY, TABLE, OWNERS, owner_key(owner).encode() + b"\0")
    return int.from_bytes(found.value, sys.byteorder) if found else None


def find(name: str, key: Sequence[str | int]) -> Entry | None:
    """The element of the map or set with that key."""
    found = find_element(FAMILY, TABLE, name, b"".join(map(_packed, _parts(name, key))))
    if found is None:
        return None
    target = _address_and_port(found.value) if found.value else None
    return Entry(name, tuple(key), found.comment, target)


def list_entries() -> Iterator[Entry]:
    """Every element of every map and set; each is read when it is come to."""
    yield from (entry for name in MAPS for entry in _entries_of("map", name))
    yield from (entry for name in (*PORT_SETS, *SELVES) for entry in _entries_of("set", name))


def list_owners() -> dict[str, str]:
    """The tags of all owners by their keys."""
    found = {}
    for listed in read_if_there(f"list the map {OWNERS}", map={**IN_TABLE, "name": OWNERS}):
        for key, _ in listed.get("map", {}).get("elem", []):
            if isinstance(key, dict):  # otherwise without a comment, and not ours
                found[key["elem"]["val"]] = key["elem"].get("comment", "")
    return found


def forward_of(entry: Entry) -> Forward | None:
    """What the element of a claimed port forwards."""
    if entry.target is None:
        return None
    *host_ip, protocol, port = entry.key
    address: Address = ip_address(entry.target[0])
    claim = Claim(
        version=address.version,
        protocol=PROTOCOL_NAMES.get(int(protocol), str(protocol)),
        host_ip=ip_address(host_ip[0]) if host_ip else None,
        host_port=int(port),
    )
    return Forward(claim, address, entry.target[1])


def _entries_of(kind: str, name: str) -> Iterator[Entry]:
    for listed in read_if_there(f"list the {kind} {name}", **{kind: {**IN_TABLE, "name": name}}):
        for element in listed.get(kind, {}).get("elem", []):
            key, data = element if kind == "map" else (element, None)
            described = key.get("elem", {"val": key})
            numbered = tuple(PROTOCOLS.get(part, part) for part in described["val"]["concat"])
            target = tuple(data["concat"]) if data else None
            yield Entry(name, numbered, described.get("comment", ""), target)


def _parts(name: str, key: Sequence[str | int]) -> Iterator[bytes]:
    """The key as bytes: addresses, a protocol where the map has one, a port."""
    has_protocol = not name.startswith("hostport-")
    for number, part in enumerate(key):
        if isinstance(part, str):
            yield ip_address(part).packed
        elif has_protocol and number == len(key) - 2:
            yield bytes([part])
        else:
            yield part.to_bytes(2, "big")


def _packed(part: bytes) -> bytes:
    return part + b"\0" * (-len(part) % 4)


def _address_and_port(value: bytes) -> tuple[str, int]:
    return str(ip_address(value[:-4])), int.from_bytes(value[-4:-2], "big")
