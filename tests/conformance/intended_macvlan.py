"""Where macvlan answers otherwise than the reference on purpose."""

from __future__ import annotations

from conformance.intended_entry import Intended

ALL = ("macvlan*",)
REFUSED = (
    "macvlan mode unknown",
    "macvlan mtu tiny",
    "macvlan bad mac",
    "macvlan multicast mac",
    "macvlan runtime mac",
    "macvlan argument mac",
    "macvlan parent a port",
    "macvlan parent loopback",
    "macvlan passthru beside another",
    "macvlan no netns",
)
LEFT = (
    "macvlan mac of the parent",
    "macvlan no addresses",
    "macvlan unknown ipam",
    "macvlan 0.2.0 l2",
)
"""The reference gets as far as the interface."""

MACVLAN = (
    Intended(
        "A configuration of macvlan that is wrong has error code 7.",
        "The specification has a code for it; the reference says 999.",
        (
            "macvlan mode *",
            "macvlan mtu negative",
            "macvlan mtu above",
            "macvlan mtu text",
            "macvlan bad mac",
            "macvlan multicast mac",
            "macvlan runtime mac",
            "macvlan argument mac",
            "macvlan no addresses",
        ),
        ("*/error/code",),
        reference=999,
        ours=7,
    ),
    Intended(
        "A wrong CNI_ARGS of macvlan has error code 4, a namespace that cannot be opened 8.",
        "The reference says 999.",
        ("macvlan argument unknown", "macvlan no netns"),
        ("1 ADD/error/code",),
        reference=999,
    ),
    Intended(
        "DEL of macvlan needs no parent and no sound configuration.",
        "As in the reference since 1.4.0; a DEL that fails is repeated for ever.",
        (
            "macvlan master gone",
            "macvlan no default route",
            "macvlan mtu negative",
            "macvlan mtu above",
            "macvlan argument unknown",
            "macvlan DEL, master gone",
            "macvlan DEL, bad configuration",
        ),
        ("[12] DEL/status", "[12] DEL/error/code"),
    ),
    Intended(
        "An ADD of macvlan that fails leaves no interface.",
        "The reference leaves it, for a DEL to remove, unless the last step for one without IPAM "
        "fails; with an IPAM plugin that is not there the DEL does not remove it either.",
        LEFT,
        ("[12] */c1/link/eth0/*", "[12] */c1/sysctl/*/eth0/*"),
        ours=None,
    ),
    Intended(
        "The parent does not listen to more than before after an ADD of macvlan that fails.",
        "The interface that the reference leaves listens on.",
        ("macvlan 0.2.0 l2",),
        ("1 ADD/host/link/up0/promiscuity",),
        reference=1,
        ours=0,
    ),
    Intended(
        "host-local's files are readable by root only.",
        "As the reference has them since 1.4.0; both read files of either mode.",
        ALL,
        ("*/files/n1/*/mode",),
        reference="-rw-r--r--",
        ours="-rw-------",
    ),
    Intended(
        "host-local creates its directory when it first leases an address.",
        "CHECK, DEL and an ADD that is refused only read.",
        (*REFUSED, "macvlan DEL*", "macvlan CHECK without prevResult"),
        ("*/files/n1/mode", "*/files/n1/lock/*"),
        ours=None,
    ),
    Intended(
        "A macvlan has the kernel's default transmit queue length.",
        "As in the reference since 1.2.0; before, it was zero by accident.",
        ALL,
        ("*/c1/link/*/txqlen",),
        reference=None,
        ours=1000,
    ),
    Intended(
        "macvlan announces IPv6 addresses, too.",
        "As in the reference since 1.4.0.",
        ALL,
        ("*/c1/sysctl/ipv6/conf/*/ndisc_notify",),
        reference="0",
        ours="1",
    ),
    Intended(
        "IPv6 addresses of a macvlan stay when it is set down.",
        "As in the reference since 1.7.0.",
        ALL,
        ("*/c1/sysctl/ipv6/conf/eth0/keep_addr_on_down",),
        reference="0",
        ours="1",
    ),
)

NEWER = (
    Intended(
        "A configuration of macvlan that is wrong has error code 7.",
        "The specification has a code for it; the reference says 999.",
        ("macvlan newer bcqueuelen *",),
        ("*/error/code",),
        reference=999,
        ours=7,
    ),
    Intended(
        "DEL of macvlan needs no sound configuration.",
        "A DEL that fails is repeated for ever.",
        ("macvlan newer bcqueuelen negative",),
        ("2 DEL/status", "2 DEL/error/code"),
    ),
    Intended(
        "host-local creates its directory when it first leases an address.",
        "DEL only reads.",
        ("macvlan newer master gone", "macvlan newer n* in the container"),
        ("2 DEL/files/n1/*",),
        ours=None,
    ),
)
"""Differences from a reference that knows all keys."""
