"""Attach containers to networks from Python: the runtime's side of the CNI specification.

The names of the public interface, gathered here so that programs need not know our files.
"""

from __future__ import annotations

from cnicore.runtime.cache import CachedAttachment
from cnicore.runtime.configuration import load_network, load_network_file, network_files
from cnicore.runtime.network import AddResult, Attachment, Network, PluginConf
from cnicore.runtime.runtime import Runtime

__all__ = [
    "AddResult",
    "Attachment",
    "CachedAttachment",
    "Network",
    "PluginConf",
    "Runtime",
    "load_network",
    "load_network_file",
    "network_files",
]
