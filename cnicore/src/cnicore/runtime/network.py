"""What a runtime works with: network configurations, their plugins, attachments and results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cnicore.documents import Document, decode_object, encode, fold_keys, kind_of
from cnicore.errors import InvalidNetworkConfig
from cnicore.result import Result
from cnicore.runtime.failures import reported_as
from cnicore.spec import CURRENT, Version, parse_version
from cnicore.versions import decode_dns, decode_result

LIST = "error parsing configuration list"
SINGLE = "error parsing configuration"


@dataclass(frozen=True, slots=True)
class Attachment:
    """One interface of one container.

    `netns` is the path of a network namespace, `args` becomes CNI_ARGS in this order, and
    `capability_args` reaches those plugins as `runtimeConfig` that enable the capability.
    """

    container_id: str
    netns: str = ""
    ifname: str = "eth0"
    args: tuple[tuple[str, str], ...] = ()
    capability_args: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class AddResult:
    """What an ADD reported: the last plugin's document, in the version that it chose."""

    document: Document = field(hash=False)

    @property
    def result(self) -> Result:
        """The same in the newest version's types."""
        return decode_result(self.document, str(self.document["cniVersion"]))


@dataclass(frozen=True, slots=True)
class PluginConf:
    """One plugin of a network; `document` is its object as configured, unknown keys included."""

    type: str
    document: Document = field(hash=False)
    name: str = ""
    cni_version: str = ""
    capabilities: tuple[str, ...] = ()

    @classmethod
    def parse(cls, document: object) -> PluginConf:
        """Check the members that a runtime reads; names match in any case, values are strict.

        Raises InvalidNetworkConfig, DecodingFailure for a wrong `dns`.
        """
        if not isinstance(document, dict):
            raise InvalidNetworkConfig(f"{SINGLE}: expected an object, not {kind_of(document)}")
        known = fold_keys(document, WELL_KNOWN)
        for key, value in known.items():
            require_kind(key, value, WELL_KNOWN[key])
        ipam = fold_keys(known.get("ipam", {}), ["type"])
        require_kind("ipam.type", ipam.get("type", ""), str)
        decode_dns(known.get("dns", {}))
        if not known.get("type"):
            raise InvalidNetworkConfig(f"{SINGLE}: missing 'type': name the plugin's file")
        return cls(
            type=known["type"],
            document=document,
            name=known.get("name", ""),
            cni_version=known.get("cniVersion", ""),
            capabilities=enabled_capabilities(known.get("capabilities", {})),
        )


@dataclass(frozen=True, slots=True)
class Network:
    """A network's plugins in the order of ADD; `raw` is what the result cache keeps.

    `cni_version` is the version chosen for all plugins, empty for 0.1.0. `is_list` is false for a
    configuration of one plugin that is not in a list; its errors do not say which plugin failed.
    """

    name: str
    plugins: tuple[PluginConf, ...]
    cni_version: str = ""
    disable_check: bool = False
    disable_gc: bool = False
    load_only_inlined_plugins: bool = False
    raw: bytes = b""
    is_list: bool = True

    @classmethod
    def from_bytes(cls, data: bytes) -> Network:
        """Read a list (the content of a .conflist file); without `plugins` it has none yet.

        Raises DecodingFailure if it is no JSON object, InvalidNetworkConfig for a wrong member.
        """
        document = decode_object(data, LIST)
        if "name" not in document:
            raise InvalidNetworkConfig(f'{LIST}: no name: add "name"')
        for key in ("name", "cniVersion"):
            require_kind(key, document.get(key, ""), str, LIST)
        only_inlined = read_flag(document, "loadOnlyInlinedPlugins")
        return cls(
            name=document["name"],
            plugins=read_plugins(document, required=only_inlined),
            cni_version=choose_version(document),
            disable_check=read_flag(document, "disableCheck"),
            disable_gc=read_flag(document, "disableGC"),
            load_only_inlined_plugins=only_inlined,
            raw=data,
        )

    @classmethod
    def from_plugin(cls, data: bytes) -> Network:
        """Read the configuration of a single plugin and keep it single.

        Raises DecodingFailure, InvalidNetworkConfig.
        """
        plugin = PluginConf.parse(decode_object(data, SINGLE))
        return cls(plugin.name, (plugin,), plugin.cni_version, raw=data, is_list=False)

    def as_list(self) -> Network:
        """Make a single plugin's configuration a list of one, as loading by name does."""
        plugins = [plugin.document for plugin in self.plugins]
        document = {"cniVersion": self.cni_version, "name": self.name, "plugins": plugins}
        return Network.from_bytes(encode(document, indent=None).encode(errors="replace"))


WELL_KNOWN: dict[str, type] = {
    "cniVersion": str,
    "name": str,
    "type": str,
    "capabilities": dict,
    "ipam": dict,
    "dns": dict,
}
KINDS = {str: "a string", dict: "an object", list: "a list", bool: "a boolean"}


def require_kind(key: str, value: object, kind: type, what: str = SINGLE) -> None:
    """Raise InvalidNetworkConfig that names the key unless the value is of the kind."""
    if not isinstance(value, kind):
        raise InvalidNetworkConfig(
            f"{what}: invalid {key} type {kind_of(value)}: write {KINDS[kind]}"
        )


def enabled_capabilities(capabilities: Document) -> tuple[str, ...]:
    """List the capabilities that are true. Raises InvalidNetworkConfig for a value not boolean."""
    for name, value in capabilities.items():
        require_kind(f"capabilities.{name}", value, bool)
    return tuple(name for name, value in capabilities.items() if value)


def read_flag(document: Document, key: str) -> bool:
    """Read a boolean of a list, which may also be the text "true" or "false" in any case."""
    value = document.get(key, False)
    if isinstance(value, str):
        if value.lower() not in {"true", "false"}:
            raise InvalidNetworkConfig(
                f'{LIST}: invalid value "{value}" for {key}: write a boolean'
            )
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise InvalidNetworkConfig(
            f"{LIST}: invalid type {kind_of(value)} for {key}: write a boolean"
        )
    return value


def read_plugins(document: Document, *, required: bool) -> tuple[PluginConf, ...]:
    """Parse the plugins in the list. Raises InvalidNetworkConfig that names the wrong one."""
    if "plugins" not in document and not required:
        return ()
    if "plugins" not in document:
        raise InvalidNetworkConfig(
            f"{LIST}: no 'plugins' key: add it or set loadOnlyInlinedPlugins to false"
        )
    items = document["plugins"]
    require_kind("plugins", items, list, LIST)
    if not items:
        raise InvalidNetworkConfig(f"{LIST}: no plugins in list: add one or leave out 'plugins'")
    return tuple(parse_item(index, item) for index, item in enumerate(items))


def parse_item(index: int, item: object) -> PluginConf:
    with reported_as(f"{LIST}: failed to parse plugin config {index}"):
        return PluginConf.parse(item)


def choose_version(document: Document) -> str:
    """Choose the highest of `cniVersions` and `cniVersion` that this library knows.

    Without `cniVersions` it is `cniVersion` as written, even if nobody knows that version. Raises
    InvalidNetworkConfig unless `cniVersions` is a list of versions.
    """
    own = str(document.get("cniVersion", ""))
    if "cniVersions" not in document:
        return own
    offered = document["cniVersions"]
    require_kind("cniVersions", offered, list, LIST)
    numbers = {text: version_number(text) for text in [*offered, own] if text or text != own}
    known = [text for text, number in numbers.items() if number <= parse_version(CURRENT)]
    return max(known, key=numbers.__getitem__, default=own)


def version_number(text: object) -> Version:
    require_kind("cniVersions", text, str, LIST)
    try:
        return parse_version(str(text))
    except ValueError as error:
        raise InvalidNetworkConfig(f"{LIST}: invalid cniVersions entry: {error}") from error
