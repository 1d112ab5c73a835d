"""What plugin and daemon say to each other: lines of JSON, version 1 of the protocol.

docs/reference/plugins/dhcp.md describes it. Imports little: each call of the plugin loads this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cnicore.documents import Document, decode_object, encode
from cnicore.errors import (
    CniError,
    DecodingFailure,
    ForeignError,
    IncompatibleCniVersion,
    InvalidEnvironment,
)
from cnicore.request import Request, read_document
from cnicore.result import Result
from cnicore.spec import CURRENT, require_container_id, require_ifname
from cnicore.versions import decode_result, encode_result

MARK = "cni.dhcp"
"""The member that every line has; its value is the protocol's version."""

VERSION = 1
SOCKET = "/run/cni/dhcp.sock"
LEASE_DIR = "/var/lib/cni/dhcp"
LONGEST_LINE = 1 << 20  # bytes, with the newline
LONGEST_WORK = 1_000_000  # seconds that a daemon may ask a client to wait
VERBS = frozenset({"ADD", "DEL", "CHECK", "GC", "STATUS"})
OF_AN_ATTACHMENT = frozenset({"ADD", "DEL", "CHECK"})
TEXTS = ("verb", "containerID", "netns", "ifname", "args")

GO_CLIENT = b"CONNECT "
"""How the plugin of the Go suite begins: HTTP, which turns into its language's own encoding."""

GO_DAEMON = b"HTTP/"
REFUSAL = (
    b"HTTP/1.0 426 this daemon speaks JSON and not Go RPC: use the dhcp plugin of its own suite"
    b"\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A line of the daemon: it has begun and may take so many seconds, or the end."""

    seconds: float | None = None
    result: Result | None = None
    error: CniError | None = None


def question(request: Request) -> bytes:
    """The line for what the runtime asks. Raises CniError if it is too long."""
    members = {
        "verb": request.verb,
        "containerID": request.container_id,
        "netns": request.netns,
        "ifname": request.ifname,
        "args": request.args,
        "config": request.document,
    }
    line = _line(members)
    if len(line) > LONGEST_LINE:
        raise CniError(
            f"the configuration is too long for the DHCP daemon: {len(line)} bytes with what"
            f" belongs to it, more than {LONGEST_LINE}: shorten it"
        )
    return line


def read_question(line: bytes) -> Request:
    """What a client asks. Raises CniError that says what is wrong with its line."""
    document = _members(line, "the DHCP daemon's request")
    for key in TEXTS:
        if not isinstance(document.setdefault(key, ""), str):
            raise DecodingFailure(f"the DHCP daemon's request: {key} must be a string")
    config = read_document(encode(document.get("config")).encode(errors="backslashreplace"))
    request = Request(
        verb=document["verb"],
        container_id=document["containerID"],
        netns=document["netns"],
        ifname=document["ifname"],
        args=document["args"],
        document=config,
        environ={},
    )
    if request.verb not in VERBS:
        raise InvalidEnvironment(f'unknown verb "{request.verb}": use {", ".join(sorted(VERBS))}')
    if request.verb in OF_AN_ATTACHMENT:
        require_container_id(request.container_id)
        require_ifname(request.ifname)
    return request


def accepted(seconds: float) -> bytes:
    """The daemon has understood, and will have ended after so many seconds."""
    return _line({"accepted": True, "seconds": seconds})


def success(result: Result | None) -> bytes:
    return _line({"result": None if result is None else encode_result(result, CURRENT)})


def failure(error: CniError) -> bytes:
    document = {"code": error.code, "msg": error.msg, "details": error.details}
    return _line({"error": document})


def read_answer(line: bytes) -> Answer:
    """What the daemon says. Raises CniError if that is nothing of this protocol."""
    document = _members(line, "the DHCP daemon's answer")
    if "error" in document:
        return Answer(error=_error(document["error"]))
    if "result" in document:
        return Answer(result=_result(document["result"]))
    seconds: Any = document.get("seconds")
    is_number = type(seconds) in {int, float} and 0 <= seconds <= LONGEST_WORK
    if document.get("accepted") is not True or not is_number:
        raise DecodingFailure("the DHCP daemon's answer: it has neither result nor error")
    return Answer(seconds=float(document["seconds"]))


def _result(document: Any) -> Result | None:
    if document is None:
        return None
    if not isinstance(document, dict):
        raise DecodingFailure("the DHCP daemon's answer: its result is no object")
    return decode_result(document, CURRENT)


def _error(document: Any) -> CniError:
    members = document if isinstance(document, dict) else {}
    code, msg, details = (members.get(key) for key in ("code", "msg", "details"))
    if type(code) is not int or not isinstance(msg, str) or not isinstance(details or "", str):
        raise DecodingFailure("the DHCP daemon's answer: its error has no code or no msg")
    return ForeignError(code, msg, details or "")


def _members(line: bytes, what: str) -> Document:
    document = decode_object(line, what)
    version = document.get(MARK)
    if type(version) is not int:
        raise DecodingFailure(f'{what}: it has no number "{MARK}", the version of the protocol')
    if version != VERSION:
        raise IncompatibleCniVersion(
            f"{what} is of version {version} of the protocol, and this program speaks {VERSION}:"
            " plugin and daemon must be of the same release: restart the daemon"
        )
    return document


def _line(members: Document) -> bytes:
    text = encode({MARK: VERSION, **members}, indent=None)
    return text.encode(errors="backslashreplace") + b"\n"  # lone surrogates become escapes
