"""What macvlan, ipvlan and vlan have in common: they stand on another link, their parent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import Field

from cnicore import ipam
from cnicore.addresses import is_default
from cnicore.attempts import attempt_all
from cnicore.config import NetConf
from cnicore.errors import CniError, InvalidNetworkConfig, PluginNotAvailable
from cnicore.net.link import Link, LinkNotFound
from cnicore.net.namespace import Namespace, Namespaces, host_namespace, remaining_namespaces
from cnicore.net.route import RT_TABLE_MAIN
from cnicore.net.sublink import missing_driver
from cnicore.request import Request
from cnicore.rollback import OnFailure

# on these the kernel makes a link of the kind not on top but beside, on their own parent
SIBLINGS = {"macvlan": ("macvlan", "macvtap"), "ipvlan": ("ipvlan",)}


class ParentedConf(NetConf):
    """The keys of all plugins whose link stands on another one."""

    master: str = Field(
        default="", description="The parent; unset: the interface of the default route."
    )
    mtu: int = Field(default=0, description="MTU in bytes, at most the parent's; 0: the parent's.")
    link_in_container: bool = Field(
        default=False, description="Look for the parent in the container, not on the host."
    )

    @property
    def place(self) -> str:
        """Where the parent is, in words."""
        return "in the container" if self.link_in_container else "on the host"


def namespace_of_parent(ns: Namespaces, conf: ParentedConf) -> Namespace:
    return ns.container if conf.link_in_container else ns.host


def find_parent(where: Namespace, conf: ParentedConf) -> Link:
    """The parent, in its namespace. Raises LinkNotFound if there is none."""
    if not conf.master:
        return _link_of_default_route(where, conf)
    parent = where.find_link(conf.master)
    if parent is None:
        raise LinkNotFound(
            f'master: Link not found: there is no interface "{conf.master}" {conf.place}:'
            " set master to one that is there"
        )
    return parent


def require_possible_mtu(conf: ParentedConf, parent: Link) -> None:
    """Raise InvalidNetworkConfig for an MTU that the parent cannot carry."""
    if not 0 <= conf.mtu <= parent.mtu:
        raise InvalidNetworkConfig(
            f"mtu: invalid MTU {conf.mtu}, must be [0, master MTU({parent.mtu})]:"
            f" lower mtu or raise that of {parent.name}"
        )


@contextmanager
def making_child(
    on_failure: OnFailure, container: Namespace, name: str, parent: Link
) -> Iterator[None]:
    """The block makes the link, which is deleted on failure. One that somebody else made stays.

    The undo is there before the link, or a signal in between would leave it.
    """
    is_refused = False

    def undo() -> None:
        if not is_refused:
            delete_child(container, name, parent)

    on_failure(undo)
    try:
        yield
    except CniError:
        is_refused = True  # making a link is atomic, so what has the name is not this one
        raise


def delete_child(container: Namespace, name: str, parent: Link) -> None:
    """For undoing: delete the link if it stands on that parent."""
    link = container.find_link(name)
    if link and stands_on(link, parent):
        container.delete_link(name)


def stands_on(link: Link, parent: Link) -> bool:
    """Whether the link is what the kernel makes when it is told to make one on that parent."""
    is_beside = link.peer == parent.peer and parent.kind in SIBLINGS.get(link.kind, ())
    return link.peer == parent.index or is_beside


def delete(request: Request, conf: NetConf) -> None:
    """DEL: the link, if its namespace is still there, and the lease. The parent is not needed."""
    with (
        remaining_namespaces(request.netns) as ns,
        attempt_all() as attempt,
        ipam.releasing(request, conf, attempt),
    ):
        if ns.container:
            attempt(ns.container.delete_link, request.ifname)


def collect(request: Request, conf: NetConf) -> None:
    """GC: the leases; links of attachments that are gone went with their namespaces."""
    if request.valid_attachments is not None:
        ipam.forward(request, conf)


def require_kind(kind: str, conf: ParentedConf) -> None:
    """For STATUS: raise PluginNotAvailable if no such link could be made here."""
    with host_namespace() as host:
        if not host.can_make(kind):
            raise PluginNotAvailable(missing_driver(kind))
        if conf.link_in_container:
            return  # which container it will be is not known
        try:
            require_possible_mtu(conf, find_parent(host, conf))
        except LinkNotFound as error:
            raise PluginNotAvailable(error.msg) from error


def verify_parent(where: Namespace, conf: ParentedConf, link: Link) -> None:
    """Raise CniError unless the link stands on the configured parent, or on any if none is."""
    if conf.link_in_container and not conf.master:
        return  # no link outlives its parent, and which it was is not known
    parent = where.find_link(conf.master) if conf.master else where.find_link_by_index(link.peer)
    if parent is None or not stands_on(link, parent):
        raise CniError(
            f"{link.name} does not stand on {conf.master or 'a link that is'} {conf.place}:"
            " delete the attachment and add it again"
        )


def _link_of_default_route(where: Namespace, conf: ParentedConf) -> Link:
    for route in where.routes():
        if route.table == RT_TABLE_MAIN and is_default(route.dst) and route.link:
            link = where.find_link_by_index(route.link)
            if link:
                return link
    raise LinkNotFound(
        f"master: no default route interface found {conf.place}:"
        " set master to the interface that leads to the network"
    )
