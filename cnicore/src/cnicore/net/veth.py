"""A veth pair between host and container, the container's end under its final name at once."""

from __future__ import annotations

import os
from collections.abc import Iterable

from cnicore.attempts import attempt_all
from cnicore.errors import CniError, InvalidNetworkConfig
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace, Namespaces
from cnicore.owner import Owner, stale
from cnicore.rollback import OnFailure

NAME_ATTEMPTS = 10
LARGEST_MTU = 65535  # linux/if_ether.h: ETH_MAX_MTU


def create_veth(
    ns: Namespaces,
    owner: Owner,
    on_failure: OnFailure,
    *,
    mtu: int = 0,
    mac: str = "",
    master: str = "",
) -> tuple[Link, Link]:
    """Create the pair, tag the host's end with its owner and set it up; returns (host, container).

    The host's end is a port of `master` if there is one, and never accepts router advertisements: a
    container could reroute the host with them (CVE-2020-10749). `mtu` (0: the kernel's) is for both
    ends, `mac` for the container's. Raises CniError, also when the container has the interface.
    """
    require_free_name(ns.container, owner.ifname)
    name = free_name(ns.host)
    # before it is made, or a signal in between would leave it; a name drawn by lot is nobody else's
    on_failure(ns.host.delete_link, name)
    ns.host.add_veth(
        name, peer=owner.ifname, peer_in=ns.container, mtu=mtu, peer_mac=mac, master=master
    )
    ns.host.set_alias(name, owner.tag)
    ns.host.write_sysctl_if_there(f"net/ipv6/conf/{name}/accept_ra", "0")
    # until its link-local address is settled the host could not look for its neighbour
    ns.host.tune_sysctl(f"net/ipv6/conf/{name}/accept_dad", "0")
    ns.host.set_up(name)
    return ns.host.link(name), ns.container.link(owner.ifname)


def require_possible_mtu(mtu: int) -> None:
    """Raise InvalidNetworkConfig for an MTU beyond any veth's; the kernel refuses small ones."""
    if mtu > LARGEST_MTU:
        raise InvalidNetworkConfig(f"mtu: {mtu} is too large, a veth takes at most {LARGEST_MTU}")


def require_free_name(container: Namespace, ifname: str) -> None:
    """Raise CniError if the container has an interface of that name.

    To be asked before anything is leased: some IPAM plugins hand an attached container its own
    lease again, and taking that back would cut it off.
    """
    if container.find_link(ifname):
        raise CniError(
            f'container interface "{ifname}" already exists: delete that attachment first'
        )


def free_name(host: Namespace) -> str:
    """A name for an end that nobody has to know by name, as the reference makes them.

    Raises CniError if chance is against it again and again.
    """
    for _ in range(NAME_ATTEMPTS):
        name = f"veth{os.urandom(4).hex()}"
        if host.find_link(name) is None:
            return name
    raise CniError(f"no free name for the host's end of a veth after {NAME_ATTEMPTS} attempts")


def delete_owned_links(host: Namespace, owner: Owner) -> None:
    """Delete the host's links with the owner's tag, for a container's end out of reach."""
    for link in host.links():
        if link.alias == owner.tag:
            host.delete_link(link.name)


def delete_stale_links(host: Namespace, network: str, valid: Iterable[Owner]) -> None:
    """GC: delete the network's tagged links that belong to no valid attachment.

    Raises what failed after all were tried.
    """
    links = host.links()
    gone = stale((link.alias for link in links), network, valid)
    with attempt_all() as attempt:
        for link in links:
            if link.alias in gone:
                attempt(host.delete_link, link.name)
