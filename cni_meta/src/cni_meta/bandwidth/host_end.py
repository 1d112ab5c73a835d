"""The host's end of a container's interface: where its traffic can be shaped from outside.

The kernel knows it if it is the other end of a pair. Of any other link only the plugin that made
it can tell, by reporting it.
"""

from __future__ import annotations

from collections.abc import Iterator

from cni_meta.bandwidth.reported import reported_end
from cnicore.errors import CniError
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace, Namespaces
from cnicore.request import Request
from cnicore.result import Result


def host_end(ns: Namespaces, request: Request, result: Result) -> Link:
    """The link to shape. Raises CniError if there is none, which tells why.

    A pair's end must be reported too, but another plugin's result may list several links of the
    host.
    """
    container = ns.container.find_link(request.ifname)
    if container is None and is_expected(result):
        raise CniError(
            f'container interface "{request.ifname}" not found in netns {request.netns}:'
            " the plugin before bandwidth must make it"
        )
    pair = other_end(container, ns.host) if container else None
    if pair is None:
        return reported_end(ns.host, request.owner, container, result)
    if not any(one.name == pair.name and not one.sandbox for one in result.interfaces):
        raise CniError(
            f"no interface of the host in prevResult is {pair.name}, the other end of"
            f" {request.ifname}: the plugin before bandwidth must report it, without a sandbox"
        )
    return pair


def is_expected(result: Result) -> bool:
    """Whether the container must have the interface: a virtual machine's is in no namespace."""
    return not result.interfaces or any(one.sandbox for one in result.interfaces)


def other_end(container: Link, host: Namespace) -> Link | None:
    """The container's link's other end, if it is a pair of whatever kind and that is on the host.

    What a macvlan stands on has an index too, and indexes are of their own namespace: the other
    end is of the same kind and names the container's in turn.
    """
    link = host.find_link_by_index(container.peer) if container.peer else None
    is_pair = (
        link is not None
        and link.kind == container.kind
        and link.peer == container.index
        and not link.peer_is_here
    )
    return link if is_pair else None


def ends_of_others(container: Namespace, host: Namespace, ifname: str) -> Iterator[Link]:
    """The host's ends of the container's other interfaces."""
    for link in container.links():
        end = other_end(link, host) if link.name != ifname else None
        if end:
            yield end
