"""Thousands of port mappings of other containers, as each side's ADDs would have left them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Interface
from multiprocessing import get_context
from typing import NamedTuple

from benchmarks.cases import NETWORK
from benchmarks.places import CONTAINER_PORT, HOST_PORTS, NEIGHBOUR, Place
from benchmarks.process import CallFailed
from cni_meta.portmap import table
from cni_meta.portmap.plan import Claim, Forward, Plan
from cnicore.firewall.libnftables import Command, change
from cnicore.owner import Owner

SUBNET = "10.7.0.0/16"
FIRST_ADDRESS, FIRST_PORT = IPv4Interface("10.7.1.0/16"), 10_000
MOST = 50_000  # as many ports are left
AT_ONCE = 1_000  # mappings of one transaction
TIMEOUT = 120  # seconds
CHAIN = "CNI-DN-"


class Mapping(NamedTuple):
    """The one mapping of a container of its own."""

    owner: Owner
    address: IPv4Interface
    port: int


def mappings(count: int) -> Iterator[list[Mapping]]:
    """That many, as many together as one transaction takes."""
    for start in range(0, count, AT_ONCE):
        yield [mapping(number) for number in range(start, min(count, start + AT_ONCE))]


def mapping(number: int) -> Mapping:
    address = IPv4Interface(((FIRST_ADDRESS + number).ip, FIRST_ADDRESS.network.prefixlen))
    return Mapping(Owner(NETWORK, f"f{number}", "eth0"), address, FIRST_PORT + number)


def put_ours(place: Place, count: int) -> None:
    """Elements, created by our portmap's own commands, many to a transaction."""
    place.namespaces.enter()
    # a process of its own: libnftables stays in the namespace where it was loaded
    process = get_context("fork").Process(target=create_elements, args=(count,))
    process.start()
    process.join(TIMEOUT)
    if process.exitcode is None:
        process.kill()
        process.join()
    if process.exitcode:
        raise CallFailed(f"creating the elements of {count} mappings failed")


def create_elements(count: int) -> None:
    for some in mappings(count):
        change("create elements", [command for one in some for command in creation(one)])


def creation(mapping: Mapping) -> Iterator[Command]:
    """What an ADD sends to the kernel for this mapping."""
    owner, address, port = mapping
    forward = Forward(Claim(4, "tcp", None, port), address.ip, CONTAINER_PORT)
    plan = Plan(4, address, (str(address.network),), (("tcp", port),), (forward,), "own", ())
    entries = list(table.entries(owner, plan))
    yield from map(table.creation, entries)
    yield table.registration(owner, len(entries))


def put_reference(place: Place, count: int) -> None:
    """Chains and rules like those of the neighbour, which an ADD made, through iptables-restore."""
    place.namespaces.enter()
    (cidr,) = place.addresses(NEIGHBOUR)
    model = Mapping(Owner(NETWORK, NEIGHBOUR, "eth0"), IPv4Interface(cidr), HOST_PORTS[NEIGHBOUR])
    saved = place.sandbox.shell("iptables-save -t nat").splitlines()
    lines = [line for line in saved if model.owner.chain(CHAIN) in line]
    if not lines:
        raise CallFailed(f"the reference's ADD made no chain {model.owner.chain(CHAIN)}")
    for some in mappings(count):
        # line by line of the model: a chain has to be there before a rule leads to it
        restore([rewritten(line, model, other) for line in lines for other in some])


def restore(lines: Iterable[str]) -> None:
    done = subprocess.run(
        ["iptables-restore", "--noflush"],
        input="\n".join(["*nat", *lines, "COMMIT", ""]),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    if done.returncode:
        raise CallFailed(f"iptables-restore: {done.stderr}")


def rewritten(line: str, model: Mapping, other: Mapping) -> str:
    """A line of iptables-save that is about the model's mapping, for the other one."""
    for old, new in (
        (model.owner.chain(CHAIN), other.owner.chain(CHAIN)),
        (f'id: \\"{model.owner.container_id}\\"', f'id: \\"{other.owner.container_id}\\"'),
        (f"--dport {model.port} ", f"--dport {other.port} "),
        (f"--dports {model.port} ", f"--dports {other.port} "),
        (f"--to-destination {model.address.ip}:", f"--to-destination {other.address.ip}:"),
    ):
        line = line.replace(old, new)
    return line
