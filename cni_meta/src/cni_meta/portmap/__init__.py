"""portmap: publish ports of containers as ports of the host.

What is sent to a port of the host goes to the container's first IPv4 and first IPv6 address. The
kernel keeps whose a port is; a port belongs to one container at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cni_meta.portmap import firewalls, flows, occupants
from cni_meta.portmap.configuration import PortmapConf, chosen_backend, require_sound
from cni_meta.portmap.plan import Forward, Plan, claims, plans, promised
from cnicore import verify
from cnicore.attempts import attempt_all
from cnicore.chained import result_so_far
from cnicore.config import NetConf
from cnicore.errors import CniError
from cnicore.hookspecs import hookimpl
from cnicore.net.namespace import Namespace, host_namespace
from cnicore.request import Request
from cnicore.result import Result
from cnicore.rollback import rollback


@hookimpl
def cni_config() -> type[NetConf]:
    return PortmapConf


@hookimpl
def cni_add(request: Request, conf: PortmapConf) -> Result:
    result = result_so_far(request)
    require_sound(conf)
    wanted = plans(conf, request, result)
    if not wanted:
        return result
    with host_namespace() as host, rollback() as on_failure:
        used = firewalls.add(request.owner, wanted, chosen_backend(conf))
        on_failure(firewalls.delete, request.owner, claims(conf.mappings))
        firewalls.delete(request.owner, claims(conf.mappings), apart_from=used)
        flows.forget_others(host, forwards_of(wanted))
        occupants.warn(host, [forward.claim for forward in forwards_of(wanted)])
        let_localhost_through(host, wanted)
    return result


@hookimpl
def cni_del(request: Request, conf: PortmapConf) -> None:
    with host_namespace() as host, attempt_all() as attempt:
        removed: list[Forward] = []
        attempt(firewalls.delete, request.owner, claims(conf.mappings), removed)
        attempt(flows.forget_answered, host, [*removed, *promised(conf, request)])


@hookimpl
def cni_check(request: Request, conf: PortmapConf) -> None:
    result = verify.required_prev_result(request)
    require_sound(conf)
    wanted = plans(conf, request, result)
    if not wanted:
        return
    firewalls.verify(request.owner, wanted)
    with host_namespace() as host:
        for key in localhost_switches(host, wanted):
            if host.read_sysctl(key) != "1":
                raise CniError(
                    f"/proc/sys/{key} is not 1, so localhost does not reach the container:"
                    " write 1 to it or attach the container again"
                )


@hookimpl
def cni_gc(request: Request, conf: PortmapConf) -> None:  # noqa: ARG001  (the network's name is enough)
    valid = request.valid_attachments
    if valid is not None:
        firewalls.gc(request.network, valid)


@hookimpl
def cni_status(conf: PortmapConf) -> None:
    require_sound(conf)
    firewalls.require_usable(chosen_backend(conf))


def forwards_of(wanted: Iterable[Plan]) -> list[Forward]:
    return [forward for plan in wanted for forward in plan.forwards]


def let_localhost_through(host: Namespace, wanted: Sequence[Plan]) -> None:
    """Let what came from 127.0.0.1 leave by the link to the container; last, as it stays."""
    for key in localhost_switches(host, wanted):
        if host.read_sysctl(key) != "1":
            host.write_sysctl(key, "1")


def localhost_switches(host: Namespace, wanted: Sequence[Plan]) -> list[str]:
    """The kernel's parameter of each link to a container whose ports work from localhost."""
    keys = []
    for plan in wanted:
        if plan.version == 4 and plan.sources and plan.forwards:  # noqa: PLR2004  (the IP version)
            path = host.path_to(plan.container.ip)
            link = host.find_link_by_index(path.link) if path else None
            keys += [f"net/ipv4/conf/{link.name}/route_localnet"] if link else []
    return keys
