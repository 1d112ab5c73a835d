"""Where ipvlan, vlan and dummy answer otherwise than the reference on purpose."""

from __future__ import annotations

from conformance.intended import Intended

ALL = ("ipvlan*", "vlan*")
REFUSED = (
    "ipvlan unknown mode",
    "ipvlan mtu too high",
    "ipvlan without ipam",
    "vlan no master",
    "vlan id too high",
    "vlan mtu *",
    "vlan without ipam",
)

SUBLINKS = (
    Intended(
        "A configuration that is wrong has error code 7.",
        "The specification has a code for it; the reference says 999.",
        REFUSED,
        ("*/error/code",),
        reference=999,
        ours=7,
    ),
    Intended(
        "host-local's files are readable by root only.",
        "As the reference has them since 1.4.0.",
        ALL,
        ("*/files/n1/*/mode", "*/files/n1/mode"),
    ),
    Intended(
        "Interfaces have the kernel's default transmit queue length.",
        "As in the reference since 1.2.0; before, it was zero by accident.",
        ALL,
        ("*/c1/link/eth0/txqlen",),
        ours=1000,
    ),
    Intended(
        "IPv6 addresses stay when the interface is set down.",
        "As in the reference since 1.7.0.",
        ALL,
        ("*/c1/sysctl/ipv6/conf/eth0/keep_addr_on_down",),
        reference="0",
        ours="1",
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
        "An ADD that fails leaves no interface.",
        "The reference leaves the one that it has made under another name.",
        ALL,
        ("*/c1/link/<unknown veth>/*", "*/c1/sysctl/*/<unknown veth>/*"),
        ours=None,
    ),
)
