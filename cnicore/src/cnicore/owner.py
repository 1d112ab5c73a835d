"""Whose a kernel object is: the tag that links, rules and elements carry.

With it DEL needs neither the previous result nor the network namespace, and GC is: list what is
tagged with the network, remove what is not in the list of valid attachments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256, sha512

PREFIX = "cni:"
LONGEST_NETWORK = 40
LONGEST_CONTAINER_ID = 64


@dataclass(frozen=True, slots=True)
class Owner:
    """One attachment: a network, a container, and the interface in it."""

    network: str
    container_id: str
    ifname: str

    @property
    def tag(self) -> str:
        """`cni:NETWORK/CONTAINER/IFNAME`, at most 126 bytes (an nftables comment holds 127)."""
        container = short(self.container_id, LONGEST_CONTAINER_ID)
        return f"{network_prefix(self.network)}{container}/{self.ifname}"

    def chain(self, prefix: str = "CNI-") -> str:
        """The reference's iptables chain name, 28 characters; the interface is not part of it."""
        digest = sha512(f"{self.network}{self.container_id}".encode()).hexdigest()
        return f"{prefix}{digest}"[:28]


def network_prefix(network: str) -> str:
    """How the tag of every attachment of the network starts."""
    return f"{PREFIX}{short(network, LONGEST_NETWORK)}/"


def short(name: str, limit: int) -> str:
    """The name, or if it is longer than `limit` a hash after "~", which no name contains."""
    return name if len(name) <= limit else "~" + sha256(name.encode()).hexdigest()[: limit - 1]


def stale(tags: Iterable[str], network: str, valid: Iterable[Owner]) -> set[str]:
    """Those of `tags` that belong to the network but to none of the valid attachments."""
    keep = {owner.tag for owner in valid}
    prefix = network_prefix(network)
    return {tag for tag in tags if tag.startswith(prefix) and tag not in keep}
