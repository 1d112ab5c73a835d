"""What one attachment publishes, family by family: the same for every firewall."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cni_meta.portmap.configuration import (
    AT,
    HIGHEST_PORT,
    PROTOCOLS,
    PortmapConf,
    PortMappingConf,
    require_sound,
)
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.request import Request
from cnicore.result import Address, Cidr, Result

VERSIONS = (4, 6)


@dataclass(frozen=True, slots=True)
class Claim:
    """A port of the host: at one of its addresses, or at all of one IP version (None)."""

    version: int
    protocol: str
    host_ip: Address | None
    host_port: int

    def __str__(self) -> str:
        address = f"{self.host_ip} " if self.host_ip else ""
        return f"{address}{self.host_port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Forward:
    """Where a claimed port leads to."""

    claim: Claim
    address: Address
    port: int

    def __str__(self) -> str:
        return f"{self.claim} to port {self.port} of {self.address}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What an attachment publishes in one IP version.

    `own` are the container's subnets. `ports` are the protocols and ports of all mappings, those of
    the other IP version too. `sources` says whose connections are masqueraded: "" nobody's, "own"
    those from `own` and localhost, "any" everybody's. `mark` and `mark_chain` are iptables' way to
    say so: a bit, and the chain that sets it instead of ours.
    """

    version: int
    container: Cidr
    own: tuple[str, ...]
    ports: tuple[tuple[str, int], ...]
    forwards: tuple[Forward, ...]
    sources: str
    conditions: tuple[str, ...]
    mark: int = 0
    mark_chain: str | None = None


def plans(conf: PortmapConf, request: Request, result: Result) -> list[Plan]:
    """A plan for each IP version that the container has an address of; none for nothing to publish.

    One of them may have nothing to forward, because every mapping names an address of the other
    version. Raises InvalidNetworkConfig for a mapping that no address of the container can serve.
    """
    own = list(_addresses(request, result))
    found = [
        _plan(conf, [cidr for cidr in own if cidr.version == version])
        for version in VERSIONS
        if any(cidr.version == version for cidr in own)
    ]
    served = {plan.version for plan in found}
    for number, mapping in enumerate(conf.mappings):
        if found and mapping.version not in {None, *served}:
            raise InvalidNetworkConfig(
                f"{AT}[{number}].hostIP: {mapping.host_ip} is of IPv{mapping.version}, but"
                f" {request.ifname} has no such address: remove hostIP or choose another"
            )
    return found if any(plan.forwards for plan in found) else []


def promised(conf: PortmapConf, request: Request) -> list[Forward]:
    """What an ADD with this configuration has forwarded, as far as DEL can still know it."""
    try:
        require_sound(conf)
        result = request.prev_result
        found = plans(conf, request, result) if result else []
    except CniError:
        return []  # a broken prevResult or configuration must not keep DEL from cleaning
    return [forward for plan in found for forward in plan.forwards]


def claims(mappings: Iterable[PortMappingConf]) -> list[Claim]:
    """Every port that the mappings can have claimed; those that no ADD accepts are left out."""
    return [
        claim for version in VERSIONS for mapping in mappings if (claim := _claim(mapping, version))
    ]


def _addresses(request: Request, result: Result) -> Iterator[Cidr]:
    """The addresses of the interface that this is about, as far as the result says which."""
    for ip in result.ips:
        if ip.interface is None or not 0 <= ip.interface < len(result.interfaces):
            yield ip.address
            continue
        interface = result.interfaces[ip.interface]
        if interface.name == request.ifname and interface.sandbox:
            yield ip.address


def _plan(conf: PortmapConf, cidrs: list[Cidr]) -> Plan:
    container = cidrs[0]
    masquerade = "any" if conf.masq_all else "own"
    return Plan(
        version=container.version,
        container=container,
        own=tuple(sorted({str(cidr.network) for cidr in cidrs})),
        ports=tuple((one.protocol.lower(), one.host_port) for one in conf.mappings),
        forwards=_forwards(conf.mappings, container),
        sources=masquerade if conf.snat else "",
        conditions=tuple(token for token in conf.conditions(container.version) if token),
        mark=conf.mark,
        mark_chain=conf.external_set_mark_chain,
    )


def _forwards(mappings: Iterable[PortMappingConf], container: Cidr) -> tuple[Forward, ...]:
    """In the configuration's order, each once. Raises InvalidNetworkConfig for two targets."""
    found: dict[Claim, Forward] = {}
    for number, mapping in enumerate(mappings):
        claim = _claim(mapping, container.version)
        if claim is None:
            continue
        forward = Forward(claim, container.ip, mapping.container_port)
        if found.setdefault(claim, forward) != forward:
            raise InvalidNetworkConfig(
                f"{AT}[{number}].hostPort: {claim} is already mapped to port"
                f" {found[claim].port} of the same container: choose another"
            )
    return tuple(found.values())


def _claim(mapping: PortMappingConf, version: int) -> Claim | None:
    """None for another IP version, and for what `require_sound` refuses."""
    try:
        if mapping.version not in {None, version}:
            return None
        address = mapping.address
    except ValueError:
        return None
    protocol = mapping.protocol.lower()
    if protocol not in PROTOCOLS or not 0 < mapping.host_port <= HIGHEST_PORT:
        return None
    return Claim(version, protocol, address, mapping.host_port)
