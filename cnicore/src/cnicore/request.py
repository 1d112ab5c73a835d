"""One call of a plugin: the CNI_* variables and stdin, checked in the reference's order.

Nothing else reads the environment or stdin of a plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cnicore.documents import Document, decode_object, encode, fold_keys, kind_of
from cnicore.errors import (
    CniError,
    DecodingFailure,
    InvalidNetworkConfig,
    IoFailure,
    reason,
)
from cnicore.owner import Owner
from cnicore.result import Result
from cnicore.spec import is_identifier
from cnicore.variables import require_variables
from cnicore.versions import decode_result

VALID_ATTACHMENTS = ("cni.dev/valid-attachments", "cni.dev/attachments")


@dataclass(frozen=True, slots=True)
class Request:
    """What the runtime asks, without the plugin's own configuration.

    `args` is CNI_ARGS and `path` CNI_PATH, both as given. `stdin` and `document` are the
    configuration as bytes and decoded. `environ` is the whole environment, for plugins that this
    one runs. `program` is the real path of this multicall binary, empty where there is none.
    """

    verb: str
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    args: str = ""
    path: str = ""
    netns_override: bool = False
    stdin: bytes = b""
    document: Document = None  # type: ignore[assignment]
    environ: Mapping[str, str] = None  # type: ignore[assignment]
    program: str = ""

    @property
    def network(self) -> str:
        """The network's name."""
        return str(self.document.get("name", ""))

    @property
    def cni_version(self) -> str:
        """The configuration's version of the specification; absent is 0.1.0."""
        return str(self.document.get("cniVersion") or "0.1.0")

    @property
    def owner(self) -> Owner:
        """The attachment that this call is about."""
        return Owner(self.network, self.container_id, self.ifname)

    @property
    def prev_result(self) -> Result | None:
        """What the chain has made so far, or None. Raises CniError when it cannot be read."""
        document = fold_keys(self.document, ["prevResult"]).get("prevResult")
        if document is None:
            return None
        if not isinstance(document, dict):
            raise DecodingFailure(f"prevResult: expected an object, not {kind_of(document)}")
        if not fold_keys(document, ["cniVersion"]):
            document = {**document, "cniVersion": self.cni_version}
        try:
            return decode_result(document, self.cni_version)
        except CniError as error:
            raise DecodingFailure(f"could not parse prevResult: {error.msg}") from error

    @property
    def valid_attachments(self) -> tuple[Owner, ...] | None:
        """For GC: the attachments of this network to keep, None if the runtime did not say.

        The list may be null, which is empty (specification, section 4, "GC"). Raises
        InvalidNetworkConfig for anything else that is no list of {containerID, ifname}: what is
        not in the list is removed.
        """
        key = next((key for key in VALID_ATTACHMENTS if key in self.document), None)
        if key is None:
            return None
        items = [] if self.document[key] is None else self.document[key]
        if not isinstance(items, list):
            raise InvalidNetworkConfig(f"{key}: must be a list of objects, not {kind_of(items)}")
        return tuple(self._owner(f"{key}[{index}]", item) for index, item in enumerate(items))

    def _owner(self, key: str, item: object) -> Owner:
        members = fold_keys(item, ["containerID", "ifname"]) if isinstance(item, dict) else {}
        container_id, ifname = members.get("containerID"), members.get("ifname")
        for text in (container_id, ifname):
            if not isinstance(text, str) or not text:
                raise InvalidNetworkConfig(
                    f"{key}: must be a list of objects with two texts, containerID and ifname"
                )
        return Owner(self.network, str(container_id), str(ifname))

    def with_verb(self, verb: str) -> Request:
        """The same call with another verb, for a delegate or to undo."""
        return replace(self, verb=verb, environ={**self.environ, "CNI_COMMAND": verb})

    def with_document(self, document: Document) -> Request:
        """The same call with another configuration, for a delegate."""
        stdin = encode(document, indent=None).encode(errors="backslashreplace")
        return replace(self, stdin=stdin, document=document)


def read_request(
    environ: Mapping[str, str], read_stdin: Callable[[], bytes], program: str = ""
) -> Request:
    """The call that the environment and stdin describe, for every verb but VERSION.

    Raises InvalidEnvironment, IoFailure, DecodingFailure or InvalidNetworkConfig, whichever comes
    first in the reference's order: variables, stdin, JSON, the network's name.
    """
    require_variables(environ)
    try:
        stdin = read_stdin()
    except OSError as error:
        raise IoFailure(f"error reading from stdin: {reason(error)}") from error
    return Request(
        verb=environ["CNI_COMMAND"],
        container_id=environ.get("CNI_CONTAINERID", ""),
        netns=environ.get("CNI_NETNS", ""),
        ifname=environ.get("CNI_IFNAME", ""),
        args=environ.get("CNI_ARGS", ""),
        path=environ.get("CNI_PATH", ""),
        netns_override=environ.get("CNI_NETNS_OVERRIDE", "").upper() in {"TRUE", "1"},
        stdin=stdin,
        document=read_document(stdin),
        environ=environ,
        program=program,
    )


def read_document(stdin: bytes) -> Document:
    """The configuration, with `name` and `cniVersion` under exactly these keys and checked."""
    document = decode_object(stdin, "error unmarshall network config")
    for key in ("name", "cniVersion"):
        spelled = _last_spelling(document, key)
        document[key] = "" if spelled is None else spelled
        if not isinstance(document[key], str):
            kind = kind_of(document[key])
            raise DecodingFailure(
                f"error unmarshall network config: {key} must be a string, not {kind}"
            )
    if not document["name"]:
        raise InvalidNetworkConfig("missing network name")
    if not is_identifier(document["name"]):
        raise InvalidNetworkConfig("invalid characters found in network name", document["name"])
    return document


def _last_spelling(document: Document, key: str) -> Any:
    if key in document:
        return document[key]
    return next(
        (document[name] for name in reversed(document) if name.lower() == key.lower()), None
    )
