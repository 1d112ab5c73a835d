"""One verb of one plugin: the specification's gates, then the plugin's own code."""

from __future__ import annotations

import os

from cnicore import spec
from cnicore.config import parse_config
from cnicore.errors import DecodingFailure, IncompatibleCniVersion, InvalidEnvironment, InvalidNetns
from cnicore.registry import Plugin
from cnicore.request import Request
from cnicore.result import Result

SINCE = {"CHECK": (0, 4, 0), "GC": (1, 1, 0), "STATUS": (1, 1, 0)}
VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS")
OWN_NETNS = "/proc/thread-self/ns/net"


def dispatch(request: Request, plugin: Plugin) -> Result | None:
    """Do what is asked: the result of an ADD, None for every other verb.

    A verb that the plugin does not implement succeeds. Raises CniError.
    """
    require_allowed(request, plugin)
    require_other_netns(request)
    hooks = plugin.load()
    conf = parse_config(hooks.cni_config(), request.document)
    result: Result | None = getattr(hooks, f"cni_{request.verb.lower()}")(
        request=request, conf=conf
    )
    return result


def require_allowed(request: Request, plugin: Plugin) -> None:
    """Raise unless the verb is known and both versions, configuration's and plugin's, have it."""
    if request.verb not in VERBS:
        raise InvalidEnvironment(f"unknown CNI_COMMAND: {request.verb}")
    if request.verb in SINCE:
        require_verb_in_versions(request, plugin.supported_versions)
    if request.cni_version not in plugin.supported_versions:
        supported = " ".join(f'"{version}"' for version in plugin.supported_versions)
        raise IncompatibleCniVersion(
            "incompatible CNI versions",
            f'config is "{request.cni_version}", plugin supports [{supported}]',
        )


def require_verb_in_versions(request: Request, supported: tuple[str, ...]) -> None:
    try:
        wanted = spec.parse_version(request.cni_version)
    except ValueError as error:
        raise DecodingFailure(f"cniVersion: {error}") from error
    if wanted < SINCE[request.verb]:
        raise IncompatibleCniVersion(f"config version does not allow {request.verb}")
    if not any(spec.parse_version(version) >= wanted for version in supported):
        raise IncompatibleCniVersion(f"plugin version does not allow {request.verb}")


def require_other_netns(request: Request) -> None:
    """Raise InvalidNetns if ADD or DEL would work on the namespace that this process is in."""
    if request.verb not in {"ADD", "DEL"} or request.netns_override or not request.netns:
        return
    try:
        same = os.path.samestat(os.stat(request.netns), os.stat(OWN_NETNS))
    except OSError:
        return  # the plugin itself says what is wrong with the path
    if same:
        raise InvalidNetns("plugin's netns and netns from CNI_NETNS should not be the same")
