"""What a plugin reads on stdin: its configuration with what the runtime adds to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cnicore.documents import Document, encode
from cnicore.request import VALID_ATTACHMENTS
from cnicore.runtime.network import Attachment, Network, PluginConf


def attachment_stdin(
    network: Network,
    plugin: PluginConf,
    capability_args: Mapping[str, Any],
    prev_result: Document | None,
) -> bytes:
    """Derive the configuration for ADD, CHECK or DEL.

    A static `runtimeConfig` is replaced if an enabled capability of the plugin has an argument.
    """
    document = network_document(network, plugin)
    if prev_result is not None:
        document["prevResult"] = prev_result
    wanted = {
        name: capability_args[name] for name in plugin.capabilities if name in capability_args
    }
    if wanted:
        document["runtimeConfig"] = wanted
    return encode(document, indent=None).encode(errors="replace")


def gc_stdin(network: Network, plugin: PluginConf, valid: Iterable[Attachment] | None) -> bytes:
    """Derive the configuration for GC; with None the plugin learns of no valid attachments."""
    document = network_document(network, plugin)
    if valid is not None:
        attachments = [{"containerID": one.container_id, "ifname": one.ifname} for one in valid]
        document |= dict.fromkeys(VALID_ATTACHMENTS, attachments)
    return encode(document, indent=None).encode(errors="replace")


def status_stdin(network: Network, plugin: PluginConf) -> bytes:
    """Derive the configuration for STATUS."""
    return encode(network_document(network, plugin), indent=None).encode(errors="replace")


def network_document(network: Network, plugin: PluginConf) -> Document:
    return {**plugin.document, "name": network.name, "cniVersion": network.cni_version}
