"""Run plugins as programs: find the file, set the six CNI variables, ask for the versions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cnicore.documents import decode_object, fold_keys
from cnicore.errors import CniError, DecodingFailure
from cnicore.execute import execute
from cnicore.lookup import find_plugin_file
from cnicore.runtime.network import Attachment
from cnicore.spec import CURRENT

NOBODY = Attachment(container_id="", ifname="")
"""What GC and STATUS are about: the network, no attachment."""

PROBE = {"CNI_NETNS": "dummy", "CNI_IFNAME": "dummy", "CNI_PATH": "dummy"}
VERSION_INFO = "decoding version info"


@dataclass(frozen=True, slots=True)
class Programs:
    """The plugins in some directories.

    `timeout` is in seconds for each program, None for no limit; `environ` is what they inherit,
    None for the environment of this process at the time of the call.
    """

    directories: tuple[str, ...]
    timeout: float | None = None
    environ: Mapping[str, str] | None = None

    def find(self, plugin_type: str) -> str:
        """Find the plugin's file. Raises CniError."""
        return find_plugin_file(plugin_type, self.directories)

    def run(
        self,
        file: str,
        verb: str,
        stdin: bytes,
        attachment: Attachment = NOBODY,
        on_success: Callable[[], object] = lambda: None,
    ) -> bytes:
        """Run the file and return its stdout; `on_success` is as in `execute`.

        Raises CniError with what the program reported.
        """
        variables = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": attachment.container_id,
            "CNI_NETNS": attachment.netns,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in attachment.args),
            "CNI_IFNAME": attachment.ifname,
            "CNI_PATH": ":".join(self.directories),
        }
        return self._execute(file, variables, stdin, on_success)

    def versions(self, plugin_type: str) -> tuple[str, ...]:
        """Ask the plugin which versions of the specification it supports. Raises CniError."""
        variables = {"CNI_COMMAND": "VERSION", "CNI_CONTAINERID": "", "CNI_ARGS": "", **PROBE}
        stdin = f'{{"cniVersion":"{CURRENT}"}}'.encode()
        try:
            return decode_versions(self._execute(self.find(plugin_type), variables, stdin))
        except CniError as error:
            if str(error) == "unknown CNI_COMMAND: VERSION":  # older than the verb itself
                return ("0.1.0",)
            raise

    def _execute(
        self,
        file: str,
        variables: Mapping[str, str],
        stdin: bytes,
        on_success: Callable[[], object] = lambda: None,
    ) -> bytes:
        inherited = os.environ if self.environ is None else self.environ  # noqa: TID251  (plugins inherit it)
        return execute(file, {**inherited, **variables}, stdin, self.timeout, on_success)


def decode_versions(output: bytes) -> tuple[str, ...]:
    """Read the answer to VERSION. Raises DecodingFailure."""
    document = decode_object(output, VERSION_INFO)
    members = fold_keys(document, ["cniVersion", "supportedVersions"])
    supported = members.get("supportedVersions", [])
    if not isinstance(supported, list) or not all(isinstance(text, str) for text in supported):
        raise DecodingFailure(f"{VERSION_INFO}: supportedVersions must be a list of strings")
    if not isinstance(members.get("cniVersion"), str):
        raise DecodingFailure(f"{VERSION_INFO}: missing field cniVersion")
    if supported:
        return tuple(supported)
    if members["cniVersion"] == "0.2.0":  # the one version whose answer may leave the list out
        return ("0.1.0", "0.2.0")
    raise DecodingFailure(f"{VERSION_INFO}: missing field supportedVersions")
