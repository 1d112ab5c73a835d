"""What DEL, GC and a repeated ADD undo: whatever is still shaped for an attachment."""

from __future__ import annotations

from collections.abc import Iterable

from cni_meta.bandwidth import ifb
from cni_meta.bandwidth.host_end import other_end
from cni_meta.bandwidth.mark import is_of, is_of_another, tag_of
from cni_meta.bandwidth.rates import Limit
from cni_meta.bandwidth.reported import look_at
from cni_meta.bandwidth.shaping import has_bucket, redirects_to, remove
from cnicore.errors import CniError
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace, Namespaces, RemainingNamespaces
from cnicore.owner import Owner, stale
from cnicore.request import Request
from cnicore.result import Result


def remove_earlier(ns: Namespaces, link: Link, owner: Owner) -> None:
    """What an earlier ADD of the same attachment left. Raises what failed after all was tried."""
    devices = ifb.those_of(ns, owner)
    is_ours = link.peer or is_of(link, owner) or redirects_to(ns.host, link, devices)
    remove(ns.host, [link] if is_ours else [], devices)


def remove_remaining(ns: RemainingNamespaces, request: Request, ingress: Limit | None) -> None:
    """DEL: what is left of the attachment. Raises what failed after all was tried."""
    devices = ifb.those_of(ns, request.owner)
    remove(ns.host, remaining_ends(ns, request, devices, ingress), devices)


def remaining_ends(
    ns: RemainingNamespaces, request: Request, devices: list[Link], ingress: Limit | None
) -> list[Link]:
    """The host's ends of the attachment, by the surest sign of it that is left.

    A link that only the result names must bear the very bucket that the configuration asks for.
    """
    owner = request.owner
    container = ns.container.find_link(owner.ifname) if ns.container else None
    pair = other_end(container, ns.host) if container else None
    if pair:
        return [] if is_of_another(pair, owner) else [pair]
    links = [link for link in ns.host.links() if link.kind != ifb.KIND]
    marked = [link for link in links if is_of(link, owner)]
    redirecting = [link for link in links if not link.peer and redirects_to(ns.host, link, devices)]
    return (
        marked
        or redirecting
        or [
            link
            for link, flaw in look_at(ns.host, owner, container, promised(request))
            if ingress and not flaw and has_bucket(ns.host, link, ingress)
        ]
    )


def promised(request: Request) -> Result:
    """The result that the runtime remembers; a broken one must not keep DEL from cleaning."""
    try:
        return request.prev_result or Result()
    except CniError:
        return Result()


def remove_stale(host: Namespace, network: str, valid: Iterable[Owner]) -> None:
    """GC: what is tagged with the network and belongs to no valid attachment.

    The reference's devices stay: nothing tells which network they are of. Raises what failed after
    all was tried.
    """
    links = host.links()
    gone = stale((tag_of(link) for link in links), network, valid)
    devices = [link for link in links if link.kind == ifb.KIND and tag_of(link) in gone]
    ends = [
        link
        for link in links
        if link.kind != ifb.KIND and (tag_of(link) in gone or redirects_to(host, link, devices))
    ]
    remove(host, ends, devices)
