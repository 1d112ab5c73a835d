"""The table of intended differences from the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Intended:
    """A difference on purpose: in which cases, in which aspects (both with wildcards), and why.

    `reference` and `ours` are the values where they are always the same; None: not there.
    """

    what: str
    why: str
    cases: tuple[str, ...]
    paths: tuple[str, ...]
    reference: Any = ...
    ours: Any = ...


FAILED_BRIDGES = (
    "bridge two gateways of one family",
    "bridge conflicting address",
    "bridge overlapping ipv6 address",
    "bridge 0.2.0 l2",
    "bridge unknown ipam",
    "bridge ipam outside",
    "bridge no addresses",
)
"""The reference gets as far as the interface pair."""

REFUSED_BRIDGES = (
    "bridge bad mac",
    "bridge interface exists",
    "bridge no netns",
    "bridge netns is a file",
)
"""The reference gets as far as the bridge."""

VETH = "<veth of c1/*>"

ERRORS = (
    Intended(
        "A configuration that is wrong has error code 7.",
        "The specification has a code for it; the reference says 999 for nearly everything.",
        (
            "bridge * text",
            "bridge mtu fraction",
            "bridge name *",
            "bridge vlan *",
            "bridge bad mac",
            "bridge hairpin and promiscuous",
            "bridge no addresses",
            "bridge that is none",
            "ptp without ipam",
            "ptp without a gateway",
            "ptp mtu text",
            "ptp ipam is a list",
            "host-local no *",
            "host-local bad subnet",
            "host-local subnet too small",
            "host-local host bits",
            "host-local range outside",
            "host-local sets overlap",
            "host-local families mixed",
            "host-local 0.2.0 two of one family",
            "host-local ranges is no list",
            "static no mask",
            "static two of one family in 0.2.0",
        ),
        ("*/error/code",),
        reference=999,
        ours=7,
    ),
    Intended(
        "A network namespace that cannot be opened has error code 8.",
        "The reference keeps that code for namespaces that are the host's.",
        ("bridge no netns", "bridge netns is a file"),
        ("1 ADD/error/code",),
        reference=999,
        ours=8,
    ),
    Intended(
        "A wrong CNI_ARGS has error code 4.",
        "It is an environment variable.",
        ("bridge CNI_ARGS unknown",),
        ("1 ADD/error/code",),
        reference=999,
        ours=4,
    ),
    Intended(
        "DEL of what never could be attached succeeds.",
        "A configuration that ADD refuses has left nothing; a DEL that fails is repeated for ever.",
        (
            "host-local no *",
            "host-local bad subnet",
            "host-local subnet too small",
            "host-local host bits",
            "host-local range outside",
            "host-local sets overlap",
            "host-local families mixed",
            "host-local 0.2.0 two of one family",
            "host-local data directory is a file",
            "host-local ranges is no list",
            "ptp without ipam",
            "bridge vlan *",
            "bridge CNI_ARGS unknown",
            "bridge netns is a file",
        ),
        ("2 DEL/status", "2 DEL/error/code"),
    ),
    Intended(
        "Text that is not UTF-8 is an error.",
        "JSON is UTF-8; the reference replaces other bytes and goes on with names nobody wrote.",
        ("protocol, bytes that are no UTF-8",),
        ("1 ADD/*",),
    ),
)

ROLLBACK = (
    Intended(
        "Forwarding, once switched on, stays on, also when the ADD fails later.",
        "Others may rely on it by then; the reference switches it on after all gateways.",
        ("bridge two gateways of one family",),
        ("*/host/sysctl/*forward*",),
        reference="0",
        ours="1",
    ),
    Intended(
        "An ADD that fails leaves nothing.",
        "The reference leaves the interface pair, its addresses and routes, for a DEL to remove.",
        ("ptp without a gateway", *FAILED_BRIDGES),
        ("1 ADD/c1/*", f"1 ADD/host/link/{VETH}/*", f"1 ADD/host/sysctl/*/{VETH}/*"),
        ours=None,
    ),
    Intended(
        "An ADD that fails removes the bridge that it created.",
        "Unless another container uses it by then; the reference leaves it.",
        (
            "bridge two gateways of one family",
            "bridge unknown ipam",
            "bridge ipam outside",
            "bridge no addresses",
            "bridge 0.2.0 l2",
            *REFUSED_BRIDGES,
        ),
        ("*/host/link/br0/*", "*/host/sysctl/*/br0/*", "*/host/route/*"),
        reference=...,
        ours=None,
    ),
    Intended(
        "Forwarding is not switched on by an ADD that is refused.",
        "What can be known to be wrong is found before anything is changed.",
        ("ptp without a gateway",),
        ("*/host/sysctl/*forward*",),
        reference="1",
        ours="0",
    ),
    Intended(
        "loopback that refuses to attach leaves lo down.",
        "As for every other failed ADD, nothing stays changed.",
        ("loopback foreign address",),
        ("1 ADD/c1/link/lo/*",),
    ),
    Intended(
        "host-local remembers no address of an ADD that failed.",
        "Only a lease that was handed out moves the place where the next search begins.",
        ("host-local second set exhausted", "host-local requested outside"),
        ("*/files/n1/last_reserved_ip.0/*",),
        ours=None,
    ),
)

HOST_LOCAL = (
    Intended(
        "host-local's files are readable by root only.",
        "As the reference has them since 1.4.0; both read files of either mode.",
        ("host-local*", "bridge*", "ptp*"),
        ("*/files/n1/*/mode",),
        reference="-rw-r--r--",
        ours="-rw-------",
    ),
    Intended(
        "host-local creates its directory when it first leases an address.",
        "CHECK, DEL and an ADD that is refused only read.",
        (
            "host-local resolvConf missing",
            "host-local CHECK without a lease",
            "ptp DEL *",
            "ptp CHECK without prevResult",
            "bridge *",
        ),
        ("*/files/n1/mode", "*/files/n1/lock/*"),
        ours=None,
    ),
)

RESULTS = (
    Intended(
        "loopback's result has the shape of its version.",
        "The reference prints the newest shape under the label of 0.3.0 to 0.4.0.",
        ("loopback 0.4.0", "protocol, keys in capitals"),
        ("*/result/ips/*/version",),
        reference=None,
    ),
    Intended(
        "bridge passes the name servers of the IPAM plugin on.",
        "As the reference does since 1.2.0.",
        ("bridge dns of resolvConf",),
        ("1 ADD/result/dns/*",),
        reference=None,
    ),
    Intended(
        "CHECK finds a healthy attachment without IPAM healthy.",
        "The reference asks an IPAM plugin without a name and always fails.",
        ("bridge l2", "bridge ipam null"),
        ("2 CHECK/*",),
        ours=...,
    ),
    Intended(
        "CHECK finds a route that was given the default gateway.",
        "Newer versions of the reference compare the gateway that was really used, as ours do.",
        ("ptp routes", "bridge routes", "bridge ipv6 routes"),
        ("2 CHECK/status", "2 CHECK/error/code"),
    ),
)

LINKS = (
    Intended(
        "The host's end of an interface pair says whose it is.",
        "Its alias names network, container and interface, so that GC and a DEL without the "
        "namespace find it.",
        ("bridge*", "ptp*"),
        (f"*/host/link/{VETH}/ifalias",),
        reference=None,
    ),
    Intended(
        "Interface pairs have the kernel's default transmit queue length.",
        "As in the reference since 1.2.0; before, it was zero by accident.",
        ("bridge*", "ptp*"),
        ("*/link/*/txqlen",),
        reference=None,
        ours=1000,
    ),
    Intended(
        "Addresses are not probed for duplicates where none can be.",
        "On a point-to-point link, and with bridge's default, duplicate address detection only "
        "delays the attachment.",
        ("bridge*", "ptp*"),
        ("*/nodad",),
        reference=None,
        ours=True,
    ),
    Intended(
        "bridge announces IPv6 addresses, too.",
        "A neighbour may remember an earlier container with the address; the reference announces "
        "IPv4 ones only.",
        ("bridge*",),
        ("*/c1/sysctl/ipv6/conf/eth0/ndisc_notify",),
        reference="0",
        ours="1",
    ),
    Intended(
        "IPv6 addresses stay when the interface is set down.",
        "As in the reference since 1.7.0.",
        ("bridge*", "ptp*"),
        ("*/c1/sysctl/ipv6/conf/eth0/keep_addr_on_down",),
        reference="0",
        ours="1",
    ),
    Intended(
        "A bridge keeps its own MAC address.",
        "The reference lets it follow its ports, which breaks connections whenever a container "
        "comes or goes, until the bridge gets its first address.",
        ("bridge*",),
        (
            "*/host/link/*/mac",
            "*/result/interfaces/[01]/mac",
        ),
    ),
)

FIREWALL = (
    Intended(
        "Traffic between two subnets of one attachment is not masqueraded.",
        "The rules that accept stand before the one that masquerades; in the reference the second "
        "subnet's is behind it.",
        ("bridge masquerade two ranges of one family",),
        ("1 ADD/host/iptables",),
    ),
    Intended(
        "DEL removes the masquerading of several addresses of one family.",
        "The reference fails for ever because the chain is still in use.",
        ("bridge masquerade two ranges of one family",),
        ("2 DEL/*",),
    ),
)

INTENDED = (*ERRORS, *ROLLBACK, *HOST_LOCAL, *RESULTS, *LINKS, *FIREWALL)
