"""Run another plugin for this one: ours in this process, anybody else's along CNI_PATH.

CNI_PATH decides. If the file that it leads to is this very binary, the plugin runs here; an
operator who puts another `host-local` first gets that one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from cnicore import registry
from cnicore.dispatch import dispatch
from cnicore.documents import decode_object
from cnicore.lookup import find_plugin_file
from cnicore.request import Request
from cnicore.result import Result
from cnicore.rollback import rollback
from cnicore.versions import decode_result, encode_result, with_version


def delegate_add(plugin_type: str, request: Request) -> Result:
    """ADD by the plugin of that type, with this call's own configuration.

    If it succeeds with a result that nobody can read, it is taken back. Raises CniError; a
    delegate's own error keeps its code.
    """
    request = request.with_verb("ADD")
    file = find_plugin_file(plugin_type, request.path.split(":"))
    add = (
        partial(_add_here, plugin_type)
        if _is_this_program(file, request)
        else partial(_add_there, file)
    )
    with rollback() as on_failure:
        delete = partial(_run, file, plugin_type, request.with_verb("DEL"))
        return add(request, lambda: on_failure(delete))


def delegate_verb(plugin_type: str, request: Request) -> None:
    """DEL, CHECK, GC or STATUS, whichever the request asks for, by the plugin of that type."""
    _run(find_plugin_file(plugin_type, request.path.split(":")), plugin_type, request)


def is_ours(plugin_type: str, request: Request) -> bool:
    """Whether the plugin of that type is one of this binary: its failed ADD leaves nothing.

    Raises CniError if CNI_PATH leads to none.
    """
    return _is_this_program(find_plugin_file(plugin_type, request.path.split(":")), request)


def _is_this_program(file: str, request: Request) -> bool:
    return bool(request.program) and os.path.realpath(file) == request.program


def _run(file: str, plugin_type: str, request: Request) -> None:
    if _is_this_program(file, request):
        dispatch(request, registry.find(plugin_type))
    else:
        _execute(file, request)


def _add_here(plugin_type: str, request: Request, on_success: Callable[[], object]) -> Result:
    result = dispatch(request, registry.find(plugin_type))
    on_success()
    # what the version cannot say is lost here as it is between processes
    version = request.cni_version
    return decode_result(encode_result(result or Result(), version), version)


def _add_there(file: str, request: Request, on_success: Callable[[], object]) -> Result:
    output = _execute(file, request, on_success)
    document = with_version(
        decode_object(output, "failed to unmarshal raw result"), request.cni_version
    )
    return decode_result(document, document["cniVersion"])


def _execute(file: str, request: Request, on_success: Callable[[], object] = lambda: None) -> bytes:
    from cnicore.execute import execute  # noqa: PLC0415  (lazy: only a foreign plugin needs subprocess)

    return execute(file, request.environ, request.stdin, on_success=on_success)
