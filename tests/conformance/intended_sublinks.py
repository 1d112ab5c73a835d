"""Where ipvlan, vlan and dummy answer otherwise than the reference on purpose."""

from __future__ import annotations

from conformance.intended_entry import Intended

ALL = ("ipvlan*", "vlan*")
UNSOUND = (
    "vlan no master",
    "vlan id too high",
    "vlan mtu *",
    "vlan without ipam",
)
"""What vlan of the reference refuses in each verb."""
LEFT = ("ipvlan without ipam", "vlan without ipam")
"""The reference gets as far as the interface."""

LEFT_BESIDE = Intended(
    "A second ADD of ipvlan leaves no interface.",
    "The reference leaves the one that it has made under another name; no DEL removes it.",
    ("ipvlan*",),
    ("[345] */c1/link/<unknown veth>/*", "[345] */c1/sysctl/*/<unknown veth>/*"),
    ours=None,
)

SUBLINKS = (
    Intended(
        "A configuration of ipvlan or vlan that is wrong has error code 7.",
        "The specification has a code for it; the reference says 999.",
        ("ipvlan unknown mode", "ipvlan without ipam", *UNSOUND),
        ("1 ADD/error/code",),
        reference=999,
        ours=7,
    ),
    Intended(
        "DEL of vlan needs no parent and no sound configuration.",
        "A DEL that fails is repeated for ever; the reference gives no address back before it has "
        "seen the parent.",
        ("vlan DEL without a parent", "vlan no parent", *UNSOUND),
        ("[12] DEL/status", "[12] DEL/error/code"),
    ),
    Intended(
        "ipvlan refuses an MTU above its parent's.",
        "As vlan and macvlan; the reference makes an interface for packets that the parent does "
        "not take.",
        ("ipvlan mtu too high",),
        ("1 ADD/*", "2 DEL/files/n1/*"),
    ),
    LEFT_BESIDE,
    Intended(
        "An ADD of ipvlan or vlan that fails leaves no interface.",
        "The reference leaves it; for vlan without IPAM its DEL does not remove it either.",
        LEFT,
        ("[12] */c1/link/eth0/*", "[12] */c1/sysctl/*/eth0/*"),
        ours=None,
    ),
    Intended(
        "After an ADD of ipvlan or vlan that fails the parent's MAC address is the parent's alone.",
        "The interface that the reference makes has the same.",
        ("ipvlan mtu too high", *LEFT),
        ("[12] */host/link/ens1/mac",),
        reference="<mac of c1/eth0>",
        ours="<mac of host/ens1>",
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
        "DEL only reads.",
        ("ipvlan DEL without a parent", "ipvlan no parent", "ipvlan unknown mode"),
        ("[12] DEL/files/n1/mode", "[12] DEL/files/n1/lock/*"),
        ours=None,
    ),
    Intended(
        "ipvlan and vlan have the kernel's default transmit queue length.",
        "As in the reference since 1.2.0; before, it was zero by accident.",
        ALL,
        ("*/c1/link/eth0/txqlen",),
        reference=None,
        ours=1000,
    ),
    Intended(
        "ipvlan announces IPv6 addresses, too.",
        "As in the reference since 1.4.0.",
        ("ipvlan*",),
        ("*/c1/sysctl/ipv6/conf/eth0/ndisc_notify",),
        reference="0",
        ours="1",
    ),
    Intended(
        "IPv6 addresses of ipvlan and vlan stay when the interface is set down.",
        "As in the reference since 1.7.0.",
        ("ipvlan dual stack", "vlan dual stack"),
        ("*/c1/sysctl/ipv6/conf/eth0/keep_addr_on_down",),
        reference="0",
        ours="1",
    ),
)

NEWER_SUBLINKS = (
    Intended(
        "A configuration of dummy that is wrong has error code 7.",
        "The specification has a code for it; the reference says 999.",
        ("dummy without ipam", "dummy without an address"),
        ("1 ADD/error/code",),
        reference=999,
        ours=7,
    ),
    Intended(
        "DEL of dummy needs no IPAM.",
        "A configuration that ADD refuses has left nothing; a DEL that fails is repeated for ever.",
        ("dummy without ipam",),
        ("2 DEL/status", "2 DEL/error/code"),
    ),
    LEFT_BESIDE,
    Intended(
        "An ADD of dummy that gets no address leaves no interface.",
        "The reference leaves it, for a DEL to remove.",
        ("dummy without an address",),
        ("1 ADD/c1/link/eth0/*", "1 ADD/c1/sysctl/*/eth0/*"),
        ours=None,
    ),
    Intended(
        "IPv6 addresses of a dummy are not probed for duplicates.",
        "Nobody else is on the wire.",
        ("dummy dual stack",),
        ("*/c1/link/eth0/address/fd07::2/64/nodad",),
        reference=None,
        ours=True,
    ),
    Intended(
        "host-local creates its directory when it first leases an address.",
        "DEL only reads.",
        ("dummy DEL only",),
        ("1 DEL/files/n1/mode", "1 DEL/files/n1/lock/*"),
        ours=None,
    ),
)
"""Differences from a reference that has dummy and all keys."""
