"""dummy: an interface that leads nowhere, with an address of the container's own.

For a service address that is reached by other ways, or that must exist to be bound to.
"""

from __future__ import annotations

from dataclasses import replace

from cnicore import ipam, verify
from cnicore.attempts import attempt_all
from cnicore.config import NetConf
from cnicore.errors import InvalidNetworkConfig, PluginNotAvailable
from cnicore.hookspecs import hookimpl
from cnicore.net.interface import configure_interface
from cnicore.net.namespace import Namespace, host_namespace, namespaces, remaining_namespaces
from cnicore.net.sublink import missing_driver
from cnicore.net.veth import require_free_name
from cnicore.request import Request
from cnicore.result import Interface, Result
from cnicore.rollback import rollback

KIND = "dummy"


class DummyConf(NetConf):
    """dummy has no keys of its own."""


@hookimpl
def cni_config() -> type[NetConf]:
    return DummyConf


@hookimpl
def cni_add(request: Request, conf: DummyConf) -> Result:
    require_ipam(conf)
    with namespaces(request.netns) as ns, rollback() as on_failure:
        require_free_name(ns.container, request.ifname)
        on_failure(delete_half_made, ns.container, request.ifname)
        ns.container.add_dummy(request.ifname)
        leased = ipam.lease(request, conf, on_failure)
        ips = tuple(replace(ip, interface=0) for ip in leased.ips)
        # nobody else is on the wire, so no address can be a duplicate
        configure_interface(
            ns.container, request.ifname, ips, leased.routes, detect_duplicates=False
        )
        link = ns.container.link(request.ifname)
    interface = Interface(link.name, link.mac, request.netns)
    return Result((interface,), ips, leased.routes, leased.dns)


@hookimpl
def cni_del(request: Request, conf: DummyConf) -> None:
    with (
        remaining_namespaces(request.netns) as ns,
        attempt_all() as attempt,
        ipam.releasing(request, conf, attempt),
    ):
        if ns.container:
            attempt(ns.container.delete_link, request.ifname)


@hookimpl
def cni_check(request: Request, conf: DummyConf) -> None:
    require_ipam(conf)
    result = verify.required_prev_result(request)
    ipam.forward(request, conf)
    expected = verify.container_interface(result, request)
    with namespaces(request.netns) as ns:
        link = verify.verify_link(ns.container, expected, KIND)
        verify.verify_addresses(ns.container, request.ifname, result.ips)
        verify.verify_routes(ns.container, link, result.ips, result.routes)


@hookimpl
def cni_gc(request: Request, conf: DummyConf) -> None:
    if request.valid_attachments is not None:
        ipam.forward(request, conf)  # the links went with their namespaces


@hookimpl
def cni_status(request: Request, conf: DummyConf) -> None:
    require_ipam(conf)
    with host_namespace() as host:
        if not host.can_make(KIND):
            raise PluginNotAvailable(missing_driver(KIND))
    ipam.status(request, conf)


def require_ipam(conf: DummyConf) -> None:
    """Raise InvalidNetworkConfig without ipam: the address is all that a dummy is good for."""
    if not conf.ipam.type:
        raise InvalidNetworkConfig(
            "ipam.type: dummy interface requires an IPAM configuration, for example host-local"
        )


def delete_half_made(container: Namespace, name: str) -> None:
    link = container.find_link(name)
    if link and link.kind == KIND:
        container.delete_link(name)
