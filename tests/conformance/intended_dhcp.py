"""Where dhcp answers otherwise than the reference on purpose."""

from __future__ import annotations

from conformance.intended_entry import Intended

DHCP = (
    Intended(
        "What is wrong has the error code that the specification has for it.",
        "The reference says 999 for everything. Without a daemon it is 11: try again later.",
        ("dhcp option unknown", "dhcp no daemon", "dhcp no netns"),
        ("1 ADD/error/code",),
        reference=999,
    ),
    Intended(
        "DEL of dhcp succeeds without a daemon.",
        "The next one gives the lease back; the reference fails for as long as there is none.",
        ("dhcp no daemon",),
        ("2 DEL/status", "2 DEL/error/code"),
    ),
    Intended(
        "CHECK of dhcp fails if there is no lease.",
        "The reference gets one.",
        ("dhcp CHECK alone",),
        ("1 CHECK/*",),
    ),
    Intended(
        "Of several routers the first one is the gateway.",
        "As in newer releases of the reference; this one takes none.",
        ("dhcp two routers",),
        ("1 ADD/result/*",),
        reference=None,
    ),
    Intended(
        "A classful route leads to its network.",
        "The reference leaves bits of the host in the destination, which the kernel refuses.",
        ("dhcp static routes",),
        ("1 ADD/result/routes/0/dst",),
        reference="10.9.0.0/8",
        ours="10.0.0.0/8",
    ),
    Intended(
        "A classless route without a router has the scope of the link.",
        "As in newer releases of the reference.",
        ("dhcp on the link",),
        ("1 ADD/result/routes/0/scope",),
        reference=None,
        ours=253,
    ),
)
