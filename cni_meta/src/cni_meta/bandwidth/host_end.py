"""The host's end of a container's interface: where its traffic can be shaped from outside."""

from __future__ import annotations

from collections.abc import Iterator

from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace, Namespaces, RemainingNamespaces
from cnicore.owner import Owner
from cnicore.request import Request
from cnicore.result import Result

PAIR = "veth"


def host_end(ns: Namespaces, request: Request, result: Result) -> Link:
    """The link to shape. Raises CniError if there is none, which tells why.

    Another plugin's result may list several links of the host; the kernel knows the right one.
    """
    container = ns.container.find_link(request.ifname)
    if container is None:
        raise CniError(
            f'container interface "{request.ifname}" not found in netns {request.netns}:'
            " the plugin before bandwidth must make it"
        )
    if container.kind != PAIR:
        raise InvalidNetworkConfig(
            f"{request.ifname} is {_described(container)}, not a veth: it has no end on the host"
            " that could be shaped, remove bandwidth from this network or attach with bridge or ptp"
        )
    host = peer_of(container, ns.host)
    if host is None:
        raise CniError(
            f"the other end of {request.ifname} (index {container.peer}) is not on the host:"
            " bandwidth must run in the namespace that has it"
        )
    if not any(one.name == host.name and not one.sandbox for one in result.interfaces):
        raise CniError(
            f"no interface of the host in prevResult is {host.name}, the other end of"
            f" {request.ifname}: the plugin before bandwidth must report it, without a sandbox"
        )
    return host


def peer_of(container: Link, host: Namespace) -> Link | None:
    """The other end, if it is in the host's namespace.

    Indexes are of their own namespace, so that the peer must name the container's end in turn.
    """
    link = host.find_link_by_index(container.peer) if container.peer else None
    is_pair = link is not None and link.kind == PAIR and link.peer == container.index
    return link if is_pair else None


def remaining_ends(ns: Namespaces | RemainingNamespaces, owner: Owner) -> list[Link]:
    """For undoing: the host's end of the attachment, found by its tag where the other is gone."""
    if ns.container is None:
        return [link for link in ns.host.links() if link.kind == PAIR and link.alias == owner.tag]
    container = ns.container.find_link(owner.ifname)
    peer = peer_of(container, ns.host) if container else None
    return [peer] if peer else []


def ends_of_others(container: Namespace, host: Namespace, ifname: str) -> Iterator[Link]:
    """The host's ends of the container's other interfaces."""
    for link in container.links():
        peer = peer_of(link, host) if link.kind == PAIR and link.name != ifname else None
        if peer:
            yield peer


def _described(link: Link) -> str:
    return f"of kind {link.kind}" if link.kind else "a device of the host itself"
