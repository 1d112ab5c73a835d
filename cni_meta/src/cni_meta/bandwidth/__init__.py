"""bandwidth: limit how fast a container receives and sends, at the host's end of its link.

Ingress is towards the container and waits in a token bucket at that end. Egress has to come in
there before it can wait anywhere, so it is redirected to an ifb that has the bucket.
"""

from __future__ import annotations

from dataclasses import replace

from cni_meta.bandwidth import ifb, mark
from cni_meta.bandwidth.host_end import host_end
from cni_meta.bandwidth.leftovers import remove_earlier, remove_remaining, remove_stale
from cni_meta.bandwidth.rates import BandwidthConf, limits, limits_if_possible
from cni_meta.bandwidth.shaping import MISSING_PARTS, limit_arrivals, limit_rate, verify
from cnicore.chained import result_so_far
from cnicore.config import NetConf
from cnicore.errors import PluginNotAvailable
from cnicore.hookspecs import hookimpl
from cnicore.net.namespace import host_namespace, namespaces, remaining_namespaces
from cnicore.request import Request
from cnicore.result import Interface, Result
from cnicore.rollback import rollback
from cnicore.verify import required_prev_result


@hookimpl
def cni_config() -> type[NetConf]:
    return BandwidthConf


@hookimpl
def cni_add(request: Request, conf: BandwidthConf) -> Result:
    wanted, result = limits(conf), result_so_far(request)
    if not wanted.are_set:
        return result
    with namespaces(request.netns) as ns, rollback() as on_failure:
        link = host_end(ns, request, result)
        remove_earlier(ns, link, request.owner)
        mark.put(ns.host, link, request.owner, on_failure)
        if wanted.ingress:
            limit_rate(ns.host, link, wanted.ingress, on_failure)
        if wanted.egress:
            device = limit_arrivals(ns.host, link, wanted.egress, request.owner, on_failure)
            own = Interface(device.name, device.mac)
            result = replace(result, interfaces=(*result.interfaces, own))
    return result


@hookimpl
def cni_del(request: Request, conf: BandwidthConf) -> None:
    with remaining_namespaces(request.netns) as ns:
        remove_remaining(ns, request, limits_if_possible(conf).ingress)


@hookimpl
def cni_check(request: Request, conf: BandwidthConf) -> None:
    wanted, result = limits(conf), required_prev_result(request)
    if not wanted.are_set:
        return
    with namespaces(request.netns) as ns:
        verify(ns, host_end(ns, request, result), wanted, request.owner)


@hookimpl
def cni_gc(request: Request) -> None:
    valid = request.valid_attachments
    if valid is None:
        return
    with host_namespace() as host:
        remove_stale(host, request.network, valid)


@hookimpl
def cni_status(conf: BandwidthConf) -> None:
    limits(conf)
    with host_namespace() as host:
        if not (host.can_limit_rates() and host.can_make(ifb.KIND)):
            raise PluginNotAvailable(MISSING_PARTS)
