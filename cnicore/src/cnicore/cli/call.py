"""What the arguments, options and variables of `cni add`, `del`, `check`, `gc`, `status` mean."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from hashlib import sha512
from pathlib import Path
from typing import Any

from cnicore.cli.launcher import is_launcher
from cnicore.documents import decode_object
from cnicore.errors import CniError, InvalidEnvironment, InvalidNetworkConfig
from cnicore.runtime import Attachment, Network, Runtime, load_network, load_network_file


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the command line gives it, everything still text."""

    network: str
    netns: str
    config: str | None
    config_dir: str
    plugin_path: str | None
    cache_dir: str
    container_id: str | None
    ifname: str
    args: str
    capability_args: str
    keep: tuple[str, ...] = ()

    def runtime(self) -> Runtime:
        """Make the runtime. Raises CniError if nothing says where the plugins are."""
        return Runtime(plugin_directories(self.plugin_path), self.cache_dir)

    def load(self) -> Network:
        """Load the network's configuration. Raises CniError."""
        if self.config is None:
            return load_network(self.config_dir, self.network)
        network = load_network_file(self.config)
        if network.name != self.network:
            raise InvalidNetworkConfig(
                f'{self.config} defines the network "{network.name}", not "{self.network}"'
            )
        return network

    def attachment(self) -> Attachment:
        """Describe the attachment. Raises CniError for malformed arguments."""
        netns = absolute(self.netns)
        return Attachment(
            container_id=self.container_id or default_container_id(netns),
            netns=netns,
            ifname=self.ifname,
            args=parse_args(self.args),
            capability_args=parse_capability_args(self.capability_args),
        )

    def kept(self, runtime: Runtime) -> list[Attachment]:
        """List the attachments that GC must not touch."""
        return [one for text in self.keep for one in self._kept(text, runtime)]

    def _kept(self, text: str, runtime: Runtime) -> list[Attachment]:
        container_id, _, ifname = text.partition("/")
        if ifname:
            return [Attachment(container_id, ifname=ifname)]
        known = [
            cached.attachment
            for cached in runtime.attachments(container_id)
            if cached.network == self.network
        ]
        return known or [Attachment(container_id, ifname=self.ifname)]


def plugin_directories(path: str | None) -> list[str]:
    """Split CNI_PATH; without it, take the directory that `cni install` put this program into.

    Raises CniError if it is not installed there.
    """
    if path:
        return path.split(":")
    program = Path(sys.argv[0]).resolve()
    if is_launcher(program):
        return [str(program.parent)]
    raise CniError(
        "no plugin directories: set CNI_PATH, or use the program that `cni install DIR` writes"
    )


def absolute(netns: str) -> str:
    # lexically, as the reference: the path need not exist, and "//" at the start means "/"
    return "/" + os.path.abspath(netns).lstrip("/") if netns else ""  # noqa: PTH100  (as above)


def default_container_id(netns: str) -> str:
    """Derive the id that the reference's cnitool uses, so that either can undo the other's ADD."""
    return "cnitool-" + sha512(netns.encode()).hexdigest()[:20]


def parse_args(text: str) -> tuple[tuple[str, str], ...]:
    """Split CNI_ARGS into pairs. Raises InvalidEnvironment that names the malformed one."""
    pairs = [tuple(piece.split("=")) for piece in text.split(";")] if text else []
    for pair in pairs:
        if len(pair) != len(("key", "value")) or not all(pair):
            raise InvalidEnvironment(f'invalid CNI_ARGS pair "{"=".join(pair)}": write KEY=VALUE')
    return tuple((key, value) for key, value in pairs)


def parse_capability_args(text: str) -> dict[str, Any]:
    """Read CAP_ARGS. Raises DecodingFailure unless it is a JSON object."""
    return decode_object(text, "CAP_ARGS") if text else {}
