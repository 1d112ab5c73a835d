"""What portmap may be configured with, and which configurations contradict themselves."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from cnicore.addresses import parse_address
from cnicore.config import ConfModel, ListOf, NetConf
from cnicore.errors import InvalidNetworkConfig
from cnicore.result import Address

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
HIGHEST_PORT, HIGHEST_BIT = 65535, 31
NFTABLES, IPTABLES = "nftables", "iptables"
DEFAULT_BIT = 13
PORTS: dict[str, Any] = {"minimum": 1, "maximum": HIGHEST_PORT}
AT = "runtimeConfig.portMappings"


class PortMappingConf(ConfModel):
    """A port of the host that leads to one of the container."""

    host_port: int = Field(
        default=0, description="Port of the host, 1 to 65535.", json_schema_extra=PORTS
    )
    container_port: int = Field(
        default=0, description="Port of the container, 1 to 65535.", json_schema_extra=PORTS
    )
    protocol: str = Field(
        default="",
        description="What is sent to the port: tcp, udp or sctp.",
        json_schema_extra={"enum": list(PROTOCOLS)},
    )
    host_ip: str = Field(
        default="",
        alias="hostIP",
        description="Address of the host that has the port; unset: all of its addresses.",
    )

    @property
    def address(self) -> Address | None:
        """The host's one address that is meant; None for all of them. Raises ValueError."""
        address = parse_address(self.host_ip) if self.host_ip else None
        return None if address is None or address.is_unspecified else address

    @property
    def version(self) -> int | None:
        """The IP version that is meant; None for both. Raises ValueError."""
        return parse_address(self.host_ip).version if self.host_ip else None


class RuntimeConf(ConfModel):
    """What the runtime adds for the capability portMappings."""

    port_mappings: ListOf[PortMappingConf] = Field(default=(), description="The ports to publish.")


class PortmapConf(NetConf):
    """The keys of portmap.

    Values are looked at where they are needed (`require_sound`), so that DEL and GC clean up under
    a configuration that no ADD would accept.
    """

    backend: str = Field(
        default="",
        description="Firewall to use; unset: iptables if an option needs it, else nftables.",
        json_schema_extra={"enum": ["", NFTABLES, IPTABLES]},
    )
    snat: bool = Field(
        default=True,
        description="Hide who connects where the answer would not find back: the container itself,"
        " its neighbours, the host's localhost.",
    )
    masq_all: bool = Field(default=False, description="Hide everybody who connects; needs snat.")
    mark_masq_bit: int | None = Field(
        default=None,
        description=f"Bit of the mark for what is to be hidden, 0 to 31, with iptables; unset:"
        f" {DEFAULT_BIT}.",
        json_schema_extra={"minimum": 0, "maximum": HIGHEST_BIT},
    )
    external_set_mark_chain: str | None = Field(
        default=None,
        description="Chain of iptables' table nat that marks what is to be hidden; it is there.",
    )
    conditions_v4: ListOf[str] = Field(
        default=(),
        alias="conditionsV4",
        description="What else an IPv4 packet must match, in the firewall's language.",
    )
    conditions_v6: ListOf[str] = Field(
        default=(),
        alias="conditionsV6",
        description="What else an IPv6 packet must match, in the firewall's language.",
    )
    runtime_config: RuntimeConf = Field(
        default=RuntimeConf(), description="What the runtime adds for the capability portMappings."
    )

    @property
    def mappings(self) -> tuple[PortMappingConf, ...]:
        return self.runtime_config.port_mappings

    @property
    def mark(self) -> int:
        return 1 << (DEFAULT_BIT if self.mark_masq_bit is None else self.mark_masq_bit)

    def conditions(self, version: int) -> tuple[str, ...]:
        return self.conditions_v4 if version == 4 else self.conditions_v6  # noqa: PLR2004  (the IP version)


def require_sound(conf: PortmapConf) -> None:
    """Raise InvalidNetworkConfig, naming the key, for what no attachment could be made with."""
    if conf.external_set_mark_chain is not None and conf.mark_masq_bit is not None:
        raise InvalidNetworkConfig(
            "cannot specify externalSetMarkChain and markMasqBit: remove one of the two"
        )
    if conf.mark_masq_bit is not None and not 0 <= conf.mark_masq_bit <= HIGHEST_BIT:
        raise InvalidNetworkConfig(
            f"markMasqBit: must be between 0 and {HIGHEST_BIT}, not {conf.mark_masq_bit}"
        )
    for number, mapping in enumerate(conf.mappings):
        try:
            _require_sound_mapping(mapping)
        except ValueError as error:
            raise InvalidNetworkConfig(f"{AT}[{number}].{error}") from None
    chosen_backend(conf)


def chosen_backend(conf: PortmapConf) -> str:
    """The backend that the configuration asks for, empty if either will do.

    Raises InvalidNetworkConfig for one that there is not, and for options of the other one.
    """
    if conf.backend not in {"", NFTABLES, IPTABLES}:
        raise InvalidNetworkConfig(
            f'backend: unrecognized backend "{conf.backend}": set it to {NFTABLES} or {IPTABLES}'
        )
    options = _options(conf)
    backend = conf.backend or next((name for name in options if options[name]), "")
    other = NFTABLES if backend == IPTABLES else IPTABLES
    if options[other]:
        own = f" and remove [{' '.join(options[backend])}]" if options[backend] else ""
        raise InvalidNetworkConfig(
            f"{backend} backend was requested but configuration contains {other}-specific options"
            f" [{' '.join(options[other])}]: remove them, or set backend to {other}{own}"
        )
    return backend


def _options(conf: PortmapConf) -> dict[str, list[str]]:
    """Keys that only one backend understands; conditions tell by how they begin.

    iptables comes first, as in the reference: with options of both it is what was asked for.
    """
    options: dict[str, list[str]] = {IPTABLES: [], NFTABLES: []}
    for key, value in (
        ("markMasqBit", conf.mark_masq_bit),
        ("externalSetMarkChain", conf.external_set_mark_chain),
    ):
        if value is not None:
            options[IPTABLES].append(key)
    for key, tokens in (
        ("conditionsV4", conf.conditions_v4),
        ("conditionsV6", conf.conditions_v6),
    ):
        if tokens and tokens[0]:
            options[IPTABLES if tokens[0][0] in "-!" else NFTABLES].append(key)
    return options


def _require_sound_mapping(mapping: PortMappingConf) -> None:
    """Raise ValueError, beginning with the key."""
    if not 0 < mapping.container_port <= HIGHEST_PORT:
        raise ValueError(
            f"containerPort: Invalid container port number: {mapping.container_port}:"
            f" must be 1 to {HIGHEST_PORT}"
        )
    if not 0 < mapping.host_port <= HIGHEST_PORT:
        raise ValueError(
            f"hostPort: Invalid host port number: {mapping.host_port}: must be 1 to {HIGHEST_PORT}"
        )
    if mapping.protocol.lower() not in PROTOCOLS:
        raise ValueError(
            f'protocol: unknown protocol "{mapping.protocol}": must be tcp, udp or sctp'
        )
    try:
        _ = mapping.address
    except ValueError as error:
        raise ValueError(f"hostIP: {error}: must be an address of the host") from None
