"""Where tap answers otherwise than the reference on purpose."""

from __future__ import annotations

from conformance.intended_entry import Intended

BOTH = ("tap owner and group", "tap multi-queue owner and group", "tap * owner and group")

TAP = (
    Intended(
        "A configuration of tap that is wrong has error code 7, what is wrong elsewhere its own code.",
        "The specification has codes for it; the reference says 999.",
        (
            *("tap bad mac*", "tap mtu *", "tap owner *", "tap group fraction", "tap context"),
            *("tap bridge that is none", "tap no addresses", "tap ipam is a list"),
            *("tap bad CNI_ARGS", "tap no netns"),
        ),
        ("*/error/code",),
        reference=999,
    ),
    Intended(
        "A tap is made in one way, whether it has an owner and a group or not.",
        "The reference makes it with other header flags if it has both; whoever attaches says anew "
        "which ones it wants.",
        (*BOTH, "tap bridge addresses"),
        ("*/c1/link/eth0/tun/pi", "*/c1/link/eth0/tun/vnet_hdr"),
        reference=True,
        ours=False,
    ),
    Intended(
        "tap honours mtu and mac whatever else is configured.",
        "The reference ignores them if there are an owner and a group.",
        ("tap mtu and mac owner and group",),
        ("*/c1/link/eth0/m*", "1 ADD/result/interfaces/0/mac"),
    ),
    Intended(
        "A configuration of tap that is wrong is refused.",
        "The reference ignores the MAC address if there are an owner and a group, and takes the "
        "number that stands for nobody for one of somebody.",
        ("tap bad mac owner and group", "tap owner nobody"),
        ("1 ADD/*",),
    ),
    Intended(
        "A name that is taken stays whose it is, and a second ADD of tap is refused.",
        "The reference takes the device that has the name for its own, and leaves the one that it "
        "has made under another name.",
        ("tap twice*", "tap name taken"),
        ("[12] ADD/*", "3 DEL/*"),
    ),
    Intended(
        "An ADD of tap that fails leaves nothing.",
        "The reference leaves the device, partly under another name.",
        (
            *("tap 0.2.0 l2", "tap bad mac*", "tap mtu *", "tap owner nobody", "tap no bridge"),
            *("tap bridge that is none", "tap no addresses", "tap unknown ipam"),
        ),
        ("1 ADD/c1/*", "2 DEL/c1/*"),
        ours=None,
    ),
    Intended(
        "DEL of what host-local never leased makes no directory.",
        "The reference makes it with a lock, and leaves both.",
        ("tap *",),
        ("* DEL/files/n1/*",),
        ours=None,
    ),
    Intended(
        "DEL of tap needs neither CNI_ARGS nor an owner that can be.",
        "The reference reads all of them, although it has no use for them.",
        ("tap bad CNI_ARGS", "tap owner negative", "tap owner too large"),
        ("2 DEL/status", "2 DEL/error/code"),
    ),
)
