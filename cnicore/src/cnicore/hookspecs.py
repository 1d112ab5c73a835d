"""The contract with plugins: the verbs of the CNI specification as hooks.

A plugin is a module of `@hookimpl` functions, named by an entry point in the group `cni.plugins`.
It implements `cni_config` and `cni_add` and whichever of the other verbs it has work for; a hook
may leave out the arguments it does not need. VERSION is no hook: the host answers it.
"""

from __future__ import annotations

import pluggy

from cnicore.config import NetConf
from cnicore.request import Request
from cnicore.result import Result

hookspec = pluggy.HookspecMarker("cni")
hookimpl = pluggy.HookimplMarker("cni")


class CniVerbs:
    """What the runtime may ask of a plugin. One plugin answers; wrappers may surround it."""

    @hookspec(firstresult=True)
    def cni_config(self) -> type[NetConf]:  # type: ignore[empty-body]
        """The model that the plugin's configuration is parsed into."""

    @hookspec(firstresult=True)
    def cni_add(self, request: Request, conf: NetConf) -> Result:  # type: ignore[empty-body]
        """Attach the container and say how. On any exception, leave nothing behind."""

    @hookspec(firstresult=True)
    def cni_del(self, request: Request, conf: NetConf) -> None:
        """Detach the container. Called again, or for what never was, it succeeds."""

    @hookspec(firstresult=True)
    def cni_check(self, request: Request, conf: NetConf) -> None:
        """Raise unless the attachment is still as `request.prev_result` says."""

    @hookspec(firstresult=True)
    def cni_gc(self, request: Request, conf: NetConf) -> None:
        """Remove what belongs to the network but not to one of `request.valid_attachments`."""

    @hookspec(firstresult=True)
    def cni_status(self, request: Request, conf: NetConf) -> None:
        """Raise PluginNotAvailable if an ADD could not succeed now."""
