"""The words that the parts of dhcp share: what is wished for, what was leased, whose it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address

from cnicore.owner import Owner
from cnicore.result import Route

DHCPV4, DHCPV6 = "dhcpv4", "dhcpv6"
LONGEST_CLIENT_ID = 254
INFINITE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Wish:
    """What the configuration asks of the servers.

    `request` are the codes of option 55 in order, `send` options of our own, `priority` the metric
    of the routes, 0 for none.
    """

    protocols: tuple[str, ...] = (DHCPV4,)
    request: tuple[int, ...] = (3, 1)
    send: tuple[tuple[int, bytes], ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for servers, in seconds (the daemon's flags); see RFC 2131, 4.1."""

    timeout: float = 10
    resend_max: float = 62
    resend_timeout: float = 208
    broadcast: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """From when a lease is good and what falls due, in seconds of CLOCK_BOOTTIME.

    An endless lease has infinity for all but `begin`.
    """

    begin: float
    renew: float
    rebind: float
    expire: float


@dataclass(frozen=True, slots=True)
class Lease4:
    """What a DHCPv4 server granted; `server_mac` is where its ACK came from."""

    address: IPv4Interface
    server: IPv4Address
    server_mac: bytes
    term: Term
    gateway: IPv4Address | None = None
    routes: tuple[Route, ...] = ()
    mtu: int = 0
    dns: tuple[IPv4Address, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease6:
    """What a DHCPv6 server granted; `server` is its DUID."""

    address: IPv6Address
    server: bytes
    term: Term
    preferred: float = 0
    dns: tuple[IPv6Address, ...] = ()
    search: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where the leased interface is: its namespace (path, device and inode), its name and MAC.

    `via` are links of the host that lead where it leads, for when it is gone.
    """

    netns: str
    device: int
    inode: int
    ifname: str
    mac: bytes = b""
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """All that is known of an attachment's leases: what a record on disk says."""

    owner: Owner
    place: Place
    wish: Wish
    lease4: Lease4 | None = None
    lease6: Lease6 | None = None
    client_id: bytes = field(default=b"")


def client_id(owner: Owner) -> bytes:
    """The client identifier, as the reference has it: containerID/network/interface, cut."""
    text = f"{owner.container_id}/{owner.network}/{owner.ifname}"
    return text.encode()[:LONGEST_CLIENT_ID]
