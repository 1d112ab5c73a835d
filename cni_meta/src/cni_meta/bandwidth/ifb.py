"""The intermediate device of an attachment: what the container sends queues there.

Its name is the reference's, a hash of network and container, so that either implementation deletes
what the other made. A second interface of the container in the network gets another one.
"""

from __future__ import annotations

from dataclasses import replace

from cni_meta.bandwidth.host_end import ends_of_others
from cnicore.errors import CniError
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace, Namespaces, RemainingNamespaces
from cnicore.owner import Owner
from cnicore.spec import LONGEST_IFNAME

KIND, PREFIX = "ifb", "bwp"


def names(owner: Owner) -> tuple[str, str]:
    """The reference's name, and the one for when another interface of the container has that."""
    # no container id has a slash, so that no other attachment has the second name
    second = replace(owner, container_id=f"{owner.container_id}/{owner.ifname}")
    return _name(owner), _name(second)


def _name(owner: Owner) -> str:
    return owner.chain(PREFIX)[:LONGEST_IFNAME]


def free_name(host: Namespace, owner: Owner) -> str:
    for name in names(owner):
        if host.find_link(name) is None:
            return name
    raise CniError(
        f"no name is free for the ifb of {owner.ifname}: {' and '.join(names(owner))} belong to"
        " others, delete them if nobody uses them"
    )


def those_of(ns: Namespaces | RemainingNamespaces, owner: Owner) -> list[Link]:
    """The attachment's devices, those of the reference included."""
    found = [ns.host.find_link(name) for name in names(owner)]
    return [link for link in found if link and link.kind == KIND and _is_of(ns, link, owner)]


def _is_of(ns: Namespaces | RemainingNamespaces, link: Link, owner: Owner) -> bool:
    """The reference writes no tag; its device is that of the interface which it is used for."""
    if link.alias or ns.container is None:
        return link.alias in {"", owner.tag}
    return not any(
        one.target == link.index
        for end in ends_of_others(ns.container, ns.host, owner.ifname)
        for one in ns.host.filters(end)
    )
