"""Where host-device answers otherwise than the reference on purpose."""

from __future__ import annotations

from conformance.intended_entry import Intended

ALL = ("host-device*",)
FAILED = (
    "host-device interface exists",
    "host-device no addresses",
    "host-device unknown ipam*",
)
"""The reference has moved the device by then."""

REFUSED = ("host-device two devices", "host-device a port")
"""The reference gives the device away."""

HOST_DEVICE = (
    Intended(
        "A configuration of host-device that is wrong has error code 7.",
        "The specification has a code for it; the reference says 999.",
        (
            "host-device nothing selected",
            "host-device device number",
            "host-device bad hwaddr",
            "host-device kernelpath",
            "host-device no addresses",
        ),
        ("*/error/code",),
        reference=999,
        ours=7,
    ),
    Intended(
        "host-device says 8 for a namespace that cannot be opened.",
        "The reference says 999.",
        ("host-device no netns",),
        ("1 ADD/error/code",),
        reference=999,
        ours=8,
    ),
    Intended(
        "host-device does not give away a device that is in use, or one of two.",
        "A bridge would lose its port for good, and which of two is meant nobody knows.",
        REFUSED,
        (
            "[12] */status",
            "1 ADD/error/code",
            "1 ADD/result/*",
            "1 ADD/c1/*",
            "*/host/*",
            "*/files/n1/*",
        ),
    ),
    Intended(
        "The container may have an interface of the device's name on the host.",
        "As in the reference since 1.5.0.",
        ("host-device name in the container",),
        ("*",),
    ),
    Intended(
        "After an ADD of host-device that fails the device is on the host, as it was.",
        "The reference leaves it in the container, for a DEL to bring home.",
        FAILED,
        ("*/c1/*", "*/host/*"),
    ),
    Intended(
        "DEL of host-device brings home what it finds, and succeeds if there is nothing.",
        "The reference fails for ever if the device is home already, or the namespace gone.",
        ALL,
        ("* DEL/status", "* DEL/error/code"),
        ours=...,
    ),
    Intended(
        "A device that is home has no alias of host-device's.",
        "As newer versions of the reference; this one leaves the device's own name.",
        ALL,
        ("* DEL/host/link/hd0/ifalias",),
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
        ALL,
        ("*/files/n1/mode", "*/files/n1/lock/*"),
        ours=None,
    ),
    Intended(
        "IPv6 addresses of a device stay when it is set down.",
        "As in the reference since 1.7.0.",
        ALL,
        ("*/c1/sysctl/ipv6/conf/eth0/keep_addr_on_down",),
        reference="0",
        ours="1",
    ),
)
