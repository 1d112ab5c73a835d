"""What a bridge network may be configured with, and which configurations contradict themselves."""

from __future__ import annotations

from pydantic import Field

from cnicore.addresses import parse_mac
from cnicore.arguments import parse_arguments
from cnicore.config import ConfModel, ListOf, MasqueradeConf
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.net.veth import require_possible_mtu
from cnicore.spec import SINCE_0_3_0, interface_name_problem


class TrunkConf(ConfModel):
    """VLANs that a port carries tagged: a range, a single one, or both."""

    min_id: int | None = Field(
        default=None, alias="minID", description="First VLAN of a range, 1 to 4094."
    )
    max_id: int | None = Field(
        default=None, alias="maxID", description="Last VLAN of the range, 1 to 4094."
    )
    id: int | None = Field(default=None, description="A single VLAN, 1 to 4094.")


class MacConf(ConfModel):
    """A MAC address that was asked for."""

    mac: str = Field(default="", description="MAC address of the container's interface.")


class ArgsConf(ConfModel):
    """Arguments by the convention of `args`."""

    cni: MacConf = Field(default=MacConf(), description="Arguments that concern CNI plugins.")


class BridgeConf(MasqueradeConf):
    """The keys of bridge.

    VLANs and combinations of keys are looked at where they are needed (`port_vlans`,
    `require_sound`), so that DEL and GC clean up under a configuration that no ADD would accept.
    """

    bridge: str = Field(default="cni0", description="The bridge; created when it does not exist.")
    is_gateway: bool = Field(
        default=False, description="Give the bridge the gateways' addresses and forward packets."
    )
    is_default_gateway: bool = Field(
        default=False, description="As isGateway, and the container's default routes lead there."
    )
    force_address: bool = Field(
        default=False, description="Replace a conflicting address of the bridge instead of failing."
    )
    mtu: int = Field(
        default=0, description="MTU of a new bridge and of the veth in bytes; 0: the kernel's."
    )
    hairpin_mode: bool = Field(
        default=False, description="Let the container reach itself through its own service."
    )
    promisc_mode: bool = Field(default=False, description="Make the bridge promiscuous.")
    vlan: int = Field(
        default=0,
        description="VLAN of the container's untagged traffic, 1 to 4094; 0: none.",
        json_schema_extra={"minimum": 0, "maximum": 4094},
    )
    vlan_trunk: ListOf[TrunkConf] | None = Field(
        default=None, description="VLANs that the container tags itself."
    )
    preserve_default_vlan: bool = Field(
        default=False, description="Keep the VLAN that the bridge gives to every new port."
    )
    macspoofchk: bool = Field(
        default=False, description="Drop what the container sends from another MAC address."
    )
    enabledad: bool = Field(
        default=False,
        description="Look for other hosts with the IPv6 addresses; with a gateway, wait for it.",
    )
    disable_container_interface: bool = Field(
        default=False,
        description="Leave the container's interface down; needs a network without ipam.",
    )
    port_isolation: bool = Field(
        default=False, description="Keep isolated containers of the bridge from each other."
    )
    runtime_config: MacConf = Field(
        default=MacConf(), description="What the runtime adds for the capability mac."
    )
    args: ArgsConf = Field(default=ArgsConf(), description="Arguments of the configuration.")

    @property
    def has_gateway(self) -> bool:
        """Whether the host answers as the container's gateway."""
        return self.is_gateway or self.is_default_gateway

    @property
    def wants_vlans(self) -> bool:
        """Whether a new bridge filters VLANs; an empty trunk is a wish, too."""
        return self.vlan != 0 or self.vlan_trunk is not None

    @property
    def gateway_device(self) -> str:
        """The host's interface that has the gateways' addresses."""
        return f"{self.bridge}.{self.vlan}" if self.vlan else self.bridge


def require_sound(conf: BridgeConf) -> None:
    """Raise InvalidNetworkConfig for keys that contradict each other and for impossible names."""
    if conf.ipam.type and conf.disable_container_interface:
        raise InvalidNetworkConfig(
            "cannot use IPAM when DisableContainerInterface flag is set: remove one of the two"
        )
    if conf.hairpin_mode and conf.promisc_mode:
        raise InvalidNetworkConfig(
            "cannot set hairpin mode and promiscuous mode at the same time:"
            " remove hairpinMode or promiscMode"
        )
    require_possible_mtu(conf.mtu)
    if not conf.bridge:
        raise InvalidNetworkConfig('failed to create bridge "": bridge must not be empty')
    device = conf.gateway_device if conf.has_gateway else conf.bridge
    problem = interface_name_problem(device)
    if problem:
        raise InvalidNetworkConfig(f'bridge: an interface cannot be named "{device}": {problem}')


def require_answerable(conf: BridgeConf, version: str) -> None:
    """Raise CniError, before there is a bridge, if the version has no result without addresses."""
    if not conf.ipam.type and version not in SINCE_0_3_0:
        raise CniError(
            "cannot convert: no valid IP addresses: a bridge without ipam needs cniVersion 0.3.0"
            f" or newer, not {version}"
        )


def requested_mac(conf: BridgeConf, arguments: str) -> str:
    """The container's MAC address: from the runtime, the configuration, CNI_ARGS, or empty.

    Raises InvalidEnvironment for malformed CNI_ARGS, InvalidNetworkConfig for a malformed address.
    """
    in_arguments = parse_arguments(arguments, ["MAC"]).get("MAC", "")
    mac = conf.runtime_config.mac or conf.args.cni.mac or in_arguments
    if not mac:
        return ""
    try:
        return parse_mac(mac)
    except ValueError as error:
        raise InvalidNetworkConfig(
            f"failed to make veth pair: {error}",
            "it is the first of runtimeConfig.mac, args.cni.mac and MAC in CNI_ARGS",
        ) from None
