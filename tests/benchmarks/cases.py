"""What is timed: configurations and the sets of plugins that get them. To time more, add an entry."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.leases import served
from conformance.cases_bandwidth import BOTH
from conformance.cases_bridge import bridge, host_local
from conformance.cases_dhcp import dhcp
from conformance.cases_ipam import conf as ipam_conf
from conformance.cases_ptp import loopback, ptp
from conformance.newer import newer_directory
from conformance.stage import REFERENCE, Stage, install

ATTACHMENT = ("ADD", "CHECK", "DEL")
VERBS = ("VERSION", *ATTACHMENT)
WITHOUT_CHECK = ("ADD", "DEL")


@dataclass(frozen=True)
class Case:
    """A chain of plugins, one after the other as in a conflist; most have a single one.

    `before` is what they are chained behind, made for each ADD by the reference's plugins and not
    timed. `no_check` are types whose CHECK is no part of the case's. `prepare` is what the host needs
    first, `kind` the kind of link that the kernel must have. Where there is one device for one
    container, no neighbour is attached beside it. `beside` is open on each stage of the case: what
    its plugins need to have running.
    """

    name: str
    plugins: tuple[Mapping[str, Any], ...]
    verbs: tuple[str, ...] = ATTACHMENT
    before: tuple[Mapping[str, Any], ...] = ()
    no_check: tuple[str, ...] = ()
    prepare: str = ""
    kind: str = ""
    has_neighbour: bool = True
    beside: Callable[[Stage], AbstractContextManager[object]] = nullcontext


@dataclass(frozen=True)
class Side:
    """A set of plugins: `directory` gives theirs, and may make it in the one that it gets.

    `beside` is open while the side is timed, on each of its stages: what has to run beside the calls.
    `for_case` gives the directory for a case, if not all cases get the same.
    """

    name: str
    directory: Callable[[Path], Path]
    beside: Callable[[Stage], AbstractContextManager[object]] = nullcontext
    for_case: Callable[[Path, Case], Path] = lambda directory, _: directory


def lacking(case: Case) -> list[str]:
    """The case's plugins that the reference of this machine's release does not have."""
    types = [conf["type"] for conf in case.plugins]
    return [plugin for plugin in types if not (REFERENCE / plugin).is_file()]


def reference_of(case: Case) -> Path | None:
    """The reference that has all plugins of the case, None if there is none."""
    return next(map(newer_directory, lacking(case)), REFERENCE)


OURS = Side("ours", lambda place: install(place, sys.executable))
THEIRS = Side(
    "reference", lambda _: REFERENCE, for_case=lambda usual, case: reference_of(case) or usual
)
SIDES = (OURS, THEIRS)
"""Ratios are to the last one."""

GATEWAY = {"isDefaultGateway": True}
NETWORK = "n1"
PORTMAP = "portmap"


def chained(plugin: str, **keys: Any) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": NETWORK, "type": plugin, **keys}


BRIDGE = bridge(**GATEWAY)
PORTS = chained(PORTMAP, capabilities={"portMappings": True})
FIREWALL = chained("firewall")
SHAPED = chained("bandwidth", **BOTH)
TUNED = chained("tuning", sysctl={"net.core.somaxconn": "500"}, mtu=1450)
SOURCE_ROUTED = chained("sbr")

PARENT = "ip link add ens1 type veth peer name far && ip link set ens1 up && ip link set far up"


def on_parent(plugin: str, **keys: Any) -> tuple[dict[str, Any]]:
    return (chained(plugin, master="ens1", ipam=host_local(), **keys),)


CASES = (
    Case("bridge", (bridge(**GATEWAY),), VERBS),
    Case("bridge-masquerade", (bridge(**GATEWAY, ipMasq=True),)),
    Case("ptp", (ptp(),), VERBS),
    Case("ptp-masquerade", (ptp(ipMasq=True),)),
    Case("loopback", (loopback(),), VERBS),
    Case("macvlan", on_parent("macvlan"), prepare=PARENT),
    Case("ipvlan", on_parent("ipvlan"), prepare=PARENT, kind="ipvlan"),
    Case(
        "vlan",
        on_parent("vlan", vlanId=100),
        prepare=PARENT,
        kind="vlan",
        has_neighbour=False,
    ),
    Case("dummy", (chained("dummy", ipam=host_local()),), kind="dummy"),
    Case("tap", (chained("tap", ipam=host_local()),)),
    Case(
        "host-device",
        (chained("host-device", device="ens1", ipam=host_local()),),
        prepare=PARENT,
        has_neighbour=False,
    ),
    Case("host-local", (ipam_conf(host_local()),), VERBS),
    Case("dhcp", (dhcp(),), beside=served),
    Case(
        "bridge+portmap+firewall+bandwidth+tuning",
        (bridge(**GATEWAY, ipMasq=True), PORTS, FIREWALL, SHAPED, TUNED),
        no_check=(PORTMAP,),
    ),
    Case("ptp+portmap+sbr", (ptp(), PORTS, SOURCE_ROUTED), WITHOUT_CHECK),
    Case(PORTMAP, (PORTS,), WITHOUT_CHECK, before=(BRIDGE,)),
    Case("firewall", (FIREWALL,), before=(BRIDGE,)),
    Case("bandwidth", (SHAPED,), before=(BRIDGE,)),
    Case("tuning", (TUNED,), before=(BRIDGE,)),
    Case("sbr", (SOURCE_ROUTED,), before=(ptp(),)),
)
"""Each side has the firewall that is its own default, ours nftables, the reference iptables.

No CHECK of the reference's portmap succeeds on a host with ip6tables: it looks for the rules of one
IP version in the other's. Nor does one of its ptp before sbr, which moves the routes.
"""

SHOWN = (("bridge", "VERSION"), ("bridge-masquerade", "ADD"))
"""Calls whose imports are listed, if their case takes part."""
