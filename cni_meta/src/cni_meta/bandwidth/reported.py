"""The container's link of the host where no pair leads to it: what the result says, with care.

Of the links that other plugins report, many are everybody's: a bridge, a macvlan's parent, the way
out of the host. To shape one of those would be to shape them all.
"""

from __future__ import annotations

from dataclasses import dataclass

from cni_meta.bandwidth.mark import is_of, is_of_another
from cnicore.addresses import is_default
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace
from cnicore.net.qdisc import LOOPBACK
from cnicore.net.route import RT_TABLE_MAIN, KernelRoute
from cnicore.owner import Owner
from cnicore.result import Result

PAIRS = frozenset({"veth", "netkit", "vxcan"})
SHARED = frozenset({"bridge", "bond", "team", "vrf", "openvswitch", "ifb"})


def reported_end(host: Namespace, owner: Owner, container: Link | None, result: Result) -> Link:
    """The one link of the host that the result reports and that is the container's alone.

    Raises CniError if it reports none or several.
    """
    reported = look_at(host, owner, container, result)
    fit = [link for link, flaw in reported if not flaw]
    # a plugin after this one may have reported another since the ADD
    fit = [link for link in fit if is_of(link, owner)] or fit
    if not fit:
        raise no_end(owner, container, [f"{link.name} {flaw}" for link, flaw in reported])
    if len(fit) > 1:
        raise InvalidNetworkConfig(
            f"{described(owner, container)} and has no other end on the host, and of the host's"
            f" interfaces in prevResult {' and '.join(link.name for link in fit)} could be its own:"
            " let the plugin before bandwidth report only the one that leads to the container"
        )
    return fit[0]


def no_end(owner: Owner, container: Link | None, flaws: list[str]) -> CniError:
    if container and container.kind in PAIRS:
        return CniError(
            f"the other end of {owner.ifname} (index {container.peer}) is not on the host:"
            " bandwidth must run in the namespace that has it"
        )
    why = f" ({', '.join(flaws)})" if flaws else ""
    return InvalidNetworkConfig(
        f"{described(owner, container)} and has no other end on the host, and no interface of the"
        f" host in prevResult is the container's alone{why}: remove bandwidth from this network or"
        " attach with bridge or ptp, or another plugin that reports its end on the host"
    )


def described(owner: Owner, container: Link | None) -> str:
    if container is None:
        return f"{owner.ifname} is not in the container's namespace"
    kind = f"of kind {container.kind}" if container.kind else "a device of the host itself"
    return f"{owner.ifname} is {kind}"


def look_at(
    host: Namespace, owner: Owner, container: Link | None, result: Result
) -> list[tuple[Link, str]]:
    """The host's links that the result reports, each with what speaks against shaping it."""
    reported = {one.name: one.mac for one in result.interfaces if not one.sandbox}
    if not reported:
        return []
    links = {link.name: link for link in host.links()}
    others = Others(
        frozenset(link.master for link in links.values()),
        frozenset(route.link for route in host.routes() if is_way_out(route)),
        container.peer if container and container.kind not in PAIRS else 0,
    )
    found = [(links.get(name) or Link(0, name), mac) for name, mac in reported.items()]
    return [(link, flaw_of(link, mac, owner, others)) for link, mac in found]


@dataclass(frozen=True, slots=True)
class Others:
    """Who else needs links, by their indexes."""

    masters: frozenset[int]
    ways_out: frozenset[int]
    parent: int


def is_way_out(route: KernelRoute) -> bool:
    return is_default(route.dst) and route.table == RT_TABLE_MAIN


def flaw_of(link: Link, mac: str, owner: Owner, others: Others) -> str:
    """Why the link cannot be the container's alone, or nothing."""
    is_ours = is_of(link, owner)  # what may change after the ADD is not held against it
    has_other_mac = bool(mac and link.mac) and mac.lower() != link.mac.lower()
    flaws = {
        "is not there": not link.index,
        f"is of kind {link.kind}, which is shared": link.kind in SHARED,
        "has ports": link.index in others.masters,
        "is the host's own": link.index == LOOPBACK,
        f"is what {owner.ifname} stands on": link.index == others.parent,
        "leads to another link": bool(link.peer),
        "belongs to another attachment": is_of_another(link, owner),
        "has the host's default route": link.index in others.ways_out and not is_ours,
        "has another MAC address": has_other_mac and not is_ours,
    }
    return next((flaw for flaw, applies in flaws.items() if applies), "")
