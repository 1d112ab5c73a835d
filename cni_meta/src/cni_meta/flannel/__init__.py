"""flannel: attach containers to this node's part of a flannel network, through another plugin.

flanneld writes subnet.env; from that and the configuration comes the one of the delegate, usually
bridge with host-local. DEL gets the one that ADD had, whatever subnet.env says by then.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from cni_meta.flannel import states
from cni_meta.flannel.delegation import FlannelConf, compose, require_paths
from cni_meta.flannel.subnet import read_subnet
from cnicore.attempts import attempt_all
from cnicore.config import NetConf
from cnicore.delegate import delegate_add, delegate_verb, is_ours
from cnicore.documents import Document, fold_keys
from cnicore.errors import CniError, PluginNotAvailable, TryAgainLater
from cnicore.hookspecs import hookimpl
from cnicore.lookup import find_plugin_file
from cnicore.owner import Owner
from cnicore.request import VALID_ATTACHMENTS, Request
from cnicore.result import Result
from cnicore.rollback import rollback


@hookimpl
def cni_config() -> type[NetConf]:
    return FlannelConf


@hookimpl
def cni_add(request: Request, conf: FlannelConf) -> Result:
    document = current_configuration(request, conf, TryAgainLater)
    plugin_type = document["type"]
    leaves_nothing = is_ours(plugin_type, request)
    with rollback() as on_failure:
        # what another's plugin leaves of a failed ADD, only DEL with the saved file removes
        undo = on_failure if leaves_nothing else None
        states.save(Path(conf.data_dir), request.owner, document, undo)
        return delegate_add(plugin_type, request.with_document(document))


@hookimpl
def cni_del(request: Request, conf: FlannelConf) -> None:
    if not conf.data_dir:
        return  # an ADD refuses it
    state = states.find(Path(conf.data_dir), request.owner)
    if state is None:
        states.remove_leftovers(Path(conf.data_dir), request.owner)
        return
    document = saved_configuration(state) or configuration_now(request, conf, state)
    if document:
        delegate_verb(document["type"], request.with_document(document))
        states.remove(state.file)


@hookimpl
def cni_check(request: Request, conf: FlannelConf) -> None:
    require_paths(conf)
    state = states.find(Path(conf.data_dir), request.owner)
    document = saved_configuration(state) if state else None
    if document is None:
        raise CniError(
            f"the delegate's configuration of {request.ifname} is gone from {conf.data_dir}, or"
            " torn: delete the attachment and add it again"
        )
    earlier = fold_keys(request.document, ["prevResult"])
    delegate_verb(document["type"], request.with_document({**document, **earlier}))


@hookimpl
def cni_gc(request: Request, conf: FlannelConf) -> None:
    valid = request.valid_attachments
    if valid is None:
        return
    document = current_configuration(request, conf, TryAgainLater)
    listed = {key: request.document[key] for key in VALID_ATTACHMENTS if key in request.document}
    delegate_verb(document["type"], request.with_document({**document, **listed}))
    with attempt_all() as attempt:
        attempt(states.remove_leftovers, Path(conf.data_dir))
        for state, owner in states.stale(Path(conf.data_dir), request.network, set(valid)):
            attempt(discard, request, state, owner)


def discard(request: Request, state: states.State, owner: Owner) -> None:
    """Let the delegate delete an attachment that is not valid: its GC may not know it, or not all.

    Of a file of the reference nobody knows the interface.
    """
    document = saved_configuration(state)
    if document and owner.ifname:
        delegate_verb(document["type"], deletion(request, owner).with_document(document))
    states.remove(state.file)


def deletion(request: Request, owner: Owner) -> Request:
    """The call that a runtime makes for a container whose namespace is gone."""
    variables = {
        "CNI_CONTAINERID": owner.container_id,
        "CNI_IFNAME": owner.ifname,
        "CNI_NETNS": "",
    }
    return replace(
        request.with_verb("DEL"),
        container_id=owner.container_id,
        ifname=owner.ifname,
        netns="",
        environ={**request.environ, **variables, "CNI_COMMAND": "DEL"},
    )


@hookimpl
def cni_status(request: Request, conf: FlannelConf) -> None:
    document = current_configuration(request, conf, PluginNotAvailable)
    require_delegate(document["type"], request)
    delegate_verb(document["type"], request.with_document(document))


def require_delegate(plugin_type: str, request: Request) -> None:
    try:
        find_plugin_file(plugin_type, request.path.split(":"))
    except CniError as error:
        raise PluginNotAvailable(
            f"{error.msg}: install it into one of these, or correct delegate.type"
        ) from error


def current_configuration(request: Request, conf: FlannelConf, failure: type[CniError]) -> Document:
    """The delegate's configuration by what flanneld says now, or `failure` if it says nothing."""
    require_paths(conf)
    return compose(request, conf, read_subnet(conf.subnet_file, failure))


def saved_configuration(state: states.State) -> Document | None:
    return states.configuration(state.document) if state.document else None


def configuration_now(request: Request, conf: FlannelConf, state: states.State) -> Document | None:
    """For DEL with a torn file: most likely what ADD had; None if flanneld says nothing."""
    try:
        return current_configuration(request, conf, TryAgainLater)
    except CniError as error:
        print(f"{state.file} is torn and left as it is: {error}", file=sys.stderr)  # noqa: T201  (stdout is the answer's alone)
        return None
