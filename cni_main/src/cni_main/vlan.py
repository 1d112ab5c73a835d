"""vlan: the container's interface is one 802.1Q VLAN of a link of the host.

What the container sends leaves the parent tagged with the id; only what arrives with it gets in.
"""

from __future__ import annotations

import errno
from dataclasses import replace

from pydantic import Field

from cni_main import parent as parents
from cni_main.parent import ParentedConf
from cnicore import ipam, verify
from cnicore.config import NetConf
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.hookspecs import hookimpl
from cnicore.net.interface import configure_interface
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace, namespaces
from cnicore.net.netlink import KernelError
from cnicore.net.veth import require_free_name
from cnicore.request import Request
from cnicore.result import Interface, Result
from cnicore.rollback import rollback

KIND = "vlan"
HIGHEST_ID = 4094  # IEEE 802.1Q: 4095 is reserved


class VlanConf(ParentedConf):
    """The keys of vlan; values are looked at where they are needed, so that DEL needs none."""

    vlan_id: int = Field(
        default=0,
        description=f"Id of the VLAN, 0 to {HIGHEST_ID}.",
        json_schema_extra={"minimum": 0, "maximum": HIGHEST_ID},
    )


@hookimpl
def cni_config() -> type[NetConf]:
    return VlanConf


@hookimpl
def cni_add(request: Request, conf: VlanConf) -> Result:
    require_sound(conf)
    ipam.require_plugin(conf)
    with namespaces(request.netns) as ns, rollback() as on_failure:
        require_free_name(ns.container, request.ifname)
        where = parents.namespace_of_parent(ns, conf)
        parent = parents.find_parent(where, conf)
        parents.require_possible_mtu(conf, parent)
        with parents.making_child(on_failure, ns.container, request.ifname, parent):
            make(where, parent, ns.container, request.ifname, conf)
        leased = ipam.lease(request, conf, on_failure)
        ips = tuple(replace(ip, interface=0) for ip in leased.ips)
        configure_interface(ns.container, request.ifname, ips, leased.routes)
        link = ns.container.link(request.ifname)
    interface = Interface(link.name, link.mac, request.netns)
    return Result((interface,), ips, leased.routes, conf.dns.to_dns())


@hookimpl
def cni_del(request: Request, conf: VlanConf) -> None:
    parents.delete(request, conf)


@hookimpl
def cni_check(request: Request, conf: VlanConf) -> None:
    result = verify.required_prev_result(request)
    ipam.forward(request, conf)
    expected = verify.container_interface(result, request)
    with namespaces(request.netns) as ns:
        link = verify.verify_link(ns.container, expected, KIND)
        parents.verify_parent(parents.namespace_of_parent(ns, conf), conf, link)
        verify_id(link, conf.vlan_id)
        verify.verify_addresses(ns.container, request.ifname, result.ips)
        verify.verify_routes(ns.container, link, result.ips, result.routes)


@hookimpl
def cni_gc(request: Request, conf: VlanConf) -> None:
    parents.collect(request, conf)


@hookimpl
def cni_status(request: Request, conf: VlanConf) -> None:
    require_sound(conf)
    ipam.require_plugin(conf)
    parents.require_kind(KIND, conf)
    ipam.status(request, conf)


def require_sound(conf: VlanConf) -> None:
    """Raise InvalidNetworkConfig, naming the key, for what no attachment could be made with."""
    if not conf.master:
        raise InvalidNetworkConfig(
            'master: "master" field is required. It specifies the host interface name to create'
            " the VLAN for"
        )
    if not 0 <= conf.vlan_id <= HIGHEST_ID:
        raise InvalidNetworkConfig(
            f"vlanId: invalid VLAN ID {conf.vlan_id} (must be between 0 and {HIGHEST_ID} inclusive)"
        )


def make(where: Namespace, parent: Link, container: Namespace, name: str, conf: VlanConf) -> None:
    """Create the link. Raises CniError if the parent has that VLAN already, wherever it is."""
    try:
        where.add_vlan(name, parent, container, vlan_id=conf.vlan_id, mtu=conf.mtu)
    except KernelError as error:
        if error.errno != errno.EEXIST or container.find_link(name):
            raise
        raise CniError(
            f"vlanId: {parent.name} has VLAN {conf.vlan_id} already, in this or another container:"
            " each VLAN can be attached once, use another vlanId or delete the other attachment"
        ) from error


def verify_id(link: Link, vlan_id: int) -> None:
    if link.vlan != vlan_id:
        raise CniError(
            f"Interface {link.name} has VLAN {link.vlan}, not vlanId {vlan_id}:"
            " delete the attachment and add it again"
        )
