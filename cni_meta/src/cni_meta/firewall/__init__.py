"""firewall: let a container's traffic through the host's firewall, and keep bridges apart.

A host that drops forwarded packets by default passes what the container's addresses send, and the
answers. Nobody can connect to the container for that. `ingressPolicy` also takes something away: it
keeps the containers of one bridge from those of another, or from each other too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from pydantic import Field

from cni_meta.firewall import admin_chain, choice
from cni_meta.firewall.backend import (
    ISOLATED,
    OPEN,
    POLICIES,
    Attachment,
    Backend,
    Departure,
    Settings,
)
from cnicore.attempts import attempt_all
from cnicore.chained import result_so_far
from cnicore.config import NetConf
from cnicore.errors import CniError, InvalidNetworkConfig, PluginNotAvailable
from cnicore.firewall.choice import with_all
from cnicore.hookspecs import hookimpl
from cnicore.request import Request
from cnicore.result import Address, Result
from cnicore.rollback import rollback
from cnicore.teardown import promised_addresses

DEFAULT_BUS = "unix:path=/var/run/dbus/system_bus_socket"
DEFAULT = Settings()
LINK_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,15}")
"""Less than the kernel takes: neither firewall's wildcard, nor what one of them would cut at."""


class FirewallConf(NetConf):
    backend: str = Field(
        default="",
        description="`nftables`, `iptables` or `firewalld`; empty: whichever polices the host.",
    )
    iptables_admin_chain_name: str = Field(
        default="",
        description="iptables: the chain of the administrator's rules; empty: `CNI-ADMIN`.",
    )
    firewalld_zone: str = Field(
        default="", description="firewalld: the zone of the addresses; empty: `trusted`."
    )
    ingress_policy: str = Field(
        default="",
        description="Who is kept out: `open` nobody, `same-bridge` the other bridges that have a"
        " policy, `isolated` these and the other containers of the bridge; empty: `open`.",
    )


@hookimpl
def cni_config() -> type[NetConf]:
    return FirewallConf


@hookimpl
def cni_add(request: Request, conf: FirewallConf) -> Result:
    require_sound(conf)
    result = result_so_far(request)
    attachment, settings = attachment_of(request, conf, result), settings_of(request, conf)
    backend = backend_for(conf, settings, attachment)
    with rollback() as on_failure:
        on_failure(backend.delete, Departure(request.owner, attachment.addresses), settings)
        backend.add(attachment, settings)
    return result


@hookimpl
def cni_del(request: Request, conf: FirewallConf) -> None:
    promised, settings = promised_addresses(request), settings_of(request, conf)
    present = partial(addresses_in_container, request)
    leaving = Departure(request.owner, promised, present)
    with attempt_all() as attempt:
        attempt(in_every_backend, lambda backend: backend.delete(leaving, settings))
        if not promised:
            # what the reference made names no owner: the container still may have its addresses
            attempt(delete_of_container, leaving, settings)


@hookimpl
def cni_check(request: Request, conf: FirewallConf) -> None:
    require_sound(conf)
    attachment = with_plugged_ports(attachment_of(request, conf, result_so_far(request)))
    settings = settings_of(request, conf)
    backend_for(conf, settings, attachment).verify(attachment, settings)


@hookimpl
def cni_gc(request: Request, conf: FirewallConf) -> None:
    valid = request.valid_attachments
    if valid is not None:
        settings = settings_of(request, conf)
        in_every_backend(lambda backend: backend.gc(request.network, valid, settings))


@hookimpl
def cni_status(request: Request, conf: FirewallConf) -> None:
    require_sound(conf)
    settings = settings_of(request, conf)
    try:
        backend_for(conf, settings, Attachment(request.owner, ())).require_usable(settings)
    except CniError as error:
        raise PluginNotAvailable(error.msg, error.details) from error


def require_sound(conf: FirewallConf) -> None:
    """Raise InvalidNetworkConfig for what no ADD could do; a DEL does not care."""
    if conf.backend and conf.backend not in choice.BACKENDS:
        choice.load(conf.backend)
    options = {"iptables": conf.iptables_admin_chain_name, "firewalld": conf.firewalld_zone}
    keys = {"iptables": "iptablesAdminChainName", "firewalld": "firewalldZone"}
    for backend, value in options.items():
        if value and conf.backend not in ("", backend):
            raise InvalidNetworkConfig(
                f"{keys[backend]}: the backend {conf.backend} has no such thing,"
                f" remove it or set backend to {backend}"
            )
    if conf.iptables_admin_chain_name:
        admin_chain.require_usable(conf.iptables_admin_chain_name)
    if conf.ingress_policy and conf.ingress_policy not in POLICIES:
        raise InvalidNetworkConfig(
            f'ingressPolicy: unknown ingress policy: "{conf.ingress_policy}":'
            f" set it to {', '.join(POLICIES)}"
        )


def settings_of(request: Request, conf: FirewallConf) -> Settings:
    return Settings(
        backend=conf.backend,
        admin_chain=conf.iptables_admin_chain_name or DEFAULT.admin_chain,
        zone=conf.firewalld_zone or DEFAULT.zone,
        bus=request.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or DEFAULT_BUS,
    )


def attachment_of(request: Request, conf: FirewallConf, result: Result) -> Attachment:
    """Every address of the result, whichever interface has it, as the reference does."""
    addresses = tuple(dict.fromkeys(ip.address.ip for ip in result.ips))
    policy = conf.ingress_policy or OPEN
    if policy == OPEN:
        return Attachment(request.owner, addresses)
    if not result.interfaces:
        raise InvalidNetworkConfig(
            f"ingressPolicy: {policy} needs to know the bridge, and prevResult has no interface:"
            " put firewall after the plugin bridge"
        )
    bridge, *others = [link.name for link in result.interfaces if not link.sandbox] or [""]
    for name in (bridge, *others):
        if not LINK_NAME.fullmatch(name):
            raise InvalidNetworkConfig(
                f'ingressPolicy: prevResult has no usable name of a bridge: "{name}"'
            )
    return Attachment(request.owner, addresses, policy, bridge, tuple(others))


def with_plugged_ports(attachment: Attachment) -> Attachment:
    """The attachment as ADD saw it: plugins after this one add links that are no ports.

    Raises CniError if an isolated attachment has no port of the bridge any more.
    """
    if attachment.policy != ISOLATED or not attachment.ports:
        return attachment
    from cnicore.net.namespace import host_namespace  # noqa: PLC0415  (lazy: for this policy alone)

    with host_namespace() as host:
        bridge = host.find_link(attachment.bridge)
        links = [host.find_link(name) for name in attachment.ports]
    ports = tuple(link.name for link in links if link and bridge and link.master == bridge.index)
    if not ports:
        raise CniError(
            f"no interface of {attachment.owner.tag} is a port of {attachment.bridge}:"
            " attach the container again"
        )
    return replace(attachment, ports=ports)


def addresses_in_container(request: Request) -> Sequence[Address]:
    """Those that the container's interface has now, without link-local ones."""
    if not request.netns:
        return ()
    from cnicore.net.namespace import remaining_namespaces  # noqa: PLC0415  (lazy: a runtime that keeps results spares it)

    with remaining_namespaces(request.netns) as ns:
        if ns.container is None or ns.container.find_link(request.ifname) is None:
            return ()
        present = [one.cidr.ip for one in ns.container.addresses(request.ifname)]
    return [address for address in present if not address.is_link_local]


def delete_of_container(leaving: Departure, settings: Settings) -> None:
    found = replace(leaving, addresses=leaving.present())
    if found.addresses:
        in_every_backend(lambda backend: backend.delete(found, settings))


def backend_for(conf: FirewallConf, settings: Settings, attachment: Attachment) -> Backend:
    versions = attachment.versions or [4]
    has_options = bool(conf.iptables_admin_chain_name)
    name = choice.choose(settings, versions, has_iptables_options=has_options)
    return choice.loader.get()(name)


def in_every_backend(step: Callable[[Backend], None]) -> None:
    """The configuration may have changed since the ADD, or the reference have made it."""
    with_all(choice.BACKENDS, lambda name: step(choice.loader.get()(name)))
