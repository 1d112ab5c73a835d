"""What a device carries while it is away from home: whose it is, and what it was called there.

The alias is the reference's: the name at home. Where the kernel has alternative names (since 5.5)
two of them say more, and go with the device wherever it is moved or falls back to:

    cni:NETWORK:CONTAINER:IFNAME            the attachment
    cni-home:IFNAME:NAME:PLACE:ALIAS        name and alias at home, the latter in base64

PLACE is the container's namespace. The reference knows no marks and leaves them, also when it gives
the device to the next container: in any other place they are not true.
"""

from __future__ import annotations

import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple

from cnicore.net.device import Device
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace
from cnicore.owner import PREFIX, Owner

HOME = "cni-home:"
LONGEST_MARK = 127  # linux/if.h: ALTIFNAMSIZ less the terminating zero


class Home(NamedTuple):
    """What a device was called before it was given away; for which interface, and where to."""

    ifname: str
    name: str
    place: str
    alias: str


def owner_mark(owner: Owner) -> str:
    return owner.tag.replace("/", ":")  # ip of iproute2 takes no "/" in a name


def tags_of(device: Device) -> list[str]:
    """The owners' tags that the device carries: one, or none."""
    marks = [name for name in device.altnames if name.startswith(PREFIX)]
    return [f"{PREFIX}{mark.removeprefix(PREFIX).replace(':', '/')}" for mark in marks]


def home_mark(home: Home) -> str:
    """Unique in the container, where another device may have had the same name at home before."""
    beginning = f"{HOME}{home.ifname}:{home.name}:{home.place}:"
    alias = urlsafe_b64encode(home.alias.encode(errors="replace")).decode().rstrip("=")
    if len(beginning.encode()) + len(alias) <= LONGEST_MARK:
        return beginning + alias
    print(f"the alias of {home.name} is too long to be kept", file=sys.stderr)  # noqa: T201  (stdout is the answer's alone)
    return beginning


def home_of(device: Device) -> Home | None:
    """What the device's mark says, None if it has none that can be read."""
    for mark in device.altnames:
        parts = mark.removeprefix(HOME).split(":")
        if mark.startswith(HOME) and len(parts) == len(Home._fields):
            ifname, name, place, alias = parts
            return Home(ifname, name, place, _decoded(alias))
    return None


def home_if_true(device: Device, place: str) -> Home | None:
    """What the mark of a device says that is in that place, None if it is not true there."""
    home = home_of(device)
    return home if home and home.place == place else None


def given_name(device: Device) -> str:
    """What its mark says that it is called at home, empty without one."""
    home = home_of(device)
    return home.name if home else ""


def mark(host: Namespace, link: Link, owner: Owner, place: str) -> None:
    """Write down whose the device will be, before it goes. The owner first, for who cleans up."""
    if host.add_altname(link, owner_mark(owner)):
        # older versions of the reference leave the name as the alias
        alias = "" if link.alias == link.name else link.alias
        home = Home(owner.ifname, link.name, place, alias)
        host.add_altname(link, home_mark(home))
    host.set_alias(link.name, link.name)


def unmark(host: Namespace, device: Device) -> None:
    """Give a device that is home, under its name there, its own alias back. The owner last."""
    link, home = device.link, home_of(device)
    if home and link.alias in {"", home.name}:
        host.set_alias(link.name, home.alias)
    elif link.alias == link.name:
        host.set_alias(link.name, "")
    for name in sorted(device.altnames):  # "cni:" comes after "cni-home:"
        if name.startswith((HOME, PREFIX)):
            host.delete_altname(link, name)


def _decoded(text: str) -> str:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:  # whoever is root in the container may have written it
        return ""
