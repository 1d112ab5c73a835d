"""What several attachments use, taken back by a failed ADD only if no other one came meanwhile.

The kernel deletes a bridge with ports as readily as one without. So nobody may come between the
look at the ports and the deletion, and an ADD holds the lock from its look at the bridge until it
has a port of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from cnicore.net.namespace import Namespace
from cnicore.owner import PREFIX


def delete_unused_bridge(host: Namespace, name: str) -> None:
    """Delete the bridge if it has no port: another ADD may have come to use it meanwhile."""
    with host.bridges_locked():
        bridge = host.link(name)
        if not any(link.master == bridge.index for link in host.links()):
            host.delete_link(name)


def unless_shared(host: Namespace, bridge: str, own_port: str, undo: Callable[[], object]) -> None:
    """Undo what another attachment may rely on only if the bridge has no port of another one."""
    with host.bridges_locked():
        index = host.link(bridge).index
        others = (link for link in host.links() if link.master == index and link.name != own_port)
        if not any(link.alias.startswith(PREFIX) for link in others):
            undo()
