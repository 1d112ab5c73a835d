"""Run another plugin for this one: ours in this process, anybody else's along CNI_PATH.

CNI_PATH decides. If the file that it leads to is this very binary, the plugin runs here; an
operator who puts another `host-local` first gets that one.
"""

from __future__ import annotations

import os

from cnicore import registry
from cnicore.dispatch import dispatch
from cnicore.documents import decode_object
from cnicore.lookup import find_plugin_file
from cnicore.request import Request
from cnicore.result import Result
from cnicore.versions import decode_result, encode_result, with_version


def delegate_add(plugin_type: str, request: Request) -> Result:
    """ADD by the plugin of that type, with this call's own configuration.

    Raises CniError; a delegate's own error keeps its code.
    """
    return _run(plugin_type, request.with_verb("ADD")) or Result()


def delegate_verb(plugin_type: str, request: Request) -> None:
    """DEL, CHECK, GC or STATUS, whichever the request asks for, by the plugin of that type."""
    _run(plugin_type, request)


def is_ours(plugin_type: str, request: Request) -> bool:
    """Whether the plugin of that type is one of this binary: its failed ADD leaves nothing.

    Raises CniError if CNI_PATH leads to none.
    """
    return _is_this_program(find_plugin_file(plugin_type, request.path.split(":")), request)


def _run(plugin_type: str, request: Request) -> Result | None:
    file = find_plugin_file(plugin_type, request.path.split(":"))
    if _is_this_program(file, request):
        return _run_here(plugin_type, request)
    return _run_program(file, request)


def _is_this_program(file: str, request: Request) -> bool:
    return bool(request.program) and os.path.realpath(file) == request.program


def _run_here(plugin_type: str, request: Request) -> Result | None:
    result = dispatch(request, registry.find(plugin_type))
    if result is None:
        return None
    version = (
        request.cni_version
    )  # what the version cannot say is lost here as it is between processes
    return decode_result(encode_result(result, version), version)


def _run_program(file: str, request: Request) -> Result | None:
    from cnicore.execute import execute  # noqa: PLC0415  (lazy: only a foreign plugin needs subprocess)

    output = execute(file, request.environ, request.stdin)
    if request.verb != "ADD":
        return None
    document = with_version(
        decode_object(output, "failed to unmarshal raw result"), request.cni_version
    )
    return decode_result(document, document["cniVersion"])
