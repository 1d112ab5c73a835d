"""Give a device away to a container, and bring it home.

At any moment it is on the host under a name of its own or whole in the container, marked, so that
whoever comes after a crash finds it and knows where it belongs.
"""

from __future__ import annotations

import errno
from dataclasses import replace

from cni_main.host_device.marks import mark, owner_mark, tags_of, unmark
from cnicore.errors import CniError
from cnicore.net.device import Belongings, Device
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace, Namespaces
from cnicore.net.netlink import tolerate
from cnicore.owner import Owner
from cnicore.rollback import OnFailure, rollback


def give(
    ns: Namespaces, device: Device, owner: Owner, belongings: Belongings, on_failure: OnFailure
) -> None:
    """Move the device into the container, under the interface's name."""
    on_failure(take_back, ns, device, owner, belongings)
    mark(ns.host, device.link, owner, ns.container.cookie())
    ns.host.move_device(device.link, ns.container, owner.ifname)


def take_back(ns: Namespaces, device: Device, owner: Owner, belongings: Belongings) -> None:
    """For undoing: all is as it was before the device was given, or was about to be."""
    link = device.link
    with ns.host.moving_devices():
        given = given_device(ns.container, device, owner)
        if given:
            bring_home(ns, given, link.name)
        present = ns.host.find_link(link.name)
        if present is None or not (given or present.index == link.index):
            return  # somebody else has taken it
        restore_marks(ns.host, device, present)
        if given:
            restore_belongings(ns.host, link, present, belongings)


def given_device(container: Namespace, device: Device, owner: Owner) -> Device | None:
    """The device that was just given; without marks by what it was called before and after."""
    marked = container.find_device(owner_mark(owner))
    if marked:
        return marked
    names = {owner.ifname, device.link.name}
    like = (device.link.name, device.link.mac)
    links = (one for one in container.devices() if one.link.name in names and not tags_of(one))
    return next((one for one in links if (one.link.alias, one.link.mac) == like), None)


def restore_marks(host: Namespace, device: Device, present: Link) -> None:
    marked = host.find_device_by_index(present.index)
    if marked:
        unmark(host, marked)
    host.set_alias(present.name, device.link.alias)  # also one that was too long for a mark


def restore_belongings(
    host: Namespace, before: Link, present: Link, belongings: Belongings
) -> None:
    host.put_addresses(present, belongings)
    if before.is_up:
        host.set_up(present.name)
        host.put_routes(present, belongings)


def bring_home(ns: Namespaces, device: Device, name: str) -> None:
    """Move the device to the host, where it is down and still marked.

    If it cannot have its name there, it stays as it is. Raises CniError.
    """
    if ns.host.find_link(name):
        raise taken_name(device.link.name, name)
    for altname in device.altnames:  # the container may have added what keeps it there
        if altname == name or ns.host.find_device(altname):
            ns.container.delete_altname(device.link, altname)
    with rollback() as on_failure:
        link = rename_early(ns.container, device.link, name, on_failure)
        ns.container.move_device(link, ns.host, name)


def rename_early(container: Namespace, link: Link, name: str, on_failure: OnFailure) -> Link:
    """Where it can be done: programs on the host that rename devices then never see the old one."""
    if link.name == name or container.find_link(name):
        return link
    with tolerate(errno.EBUSY):  # it is up, which stops kernels before 6.2
        container.rename(link.name, name)
        on_failure(container.rename, name, link.name)
        return replace(link, name=name)
    return link


def settle(host: Namespace, device: Device, name: str) -> None:
    """Give a device that is on the host its name and alias back. Raises CniError."""
    link = device.link
    if link.name != name:
        other = host.find_link(name)
        if other and other.index != link.index:
            raise taken_name(link.name, name)
        host.delete_altname(link, name)  # else it would stand in its own way
        rename(host, link, name)
    unmark(host, replace(device, link=host.link(name)))


def rename(host: Namespace, link: Link, name: str) -> None:
    with tolerate(errno.EBUSY):
        host.rename(link.name, name)
        return
    host.set_down(link.name)
    host.rename(link.name, name)
    host.set_up(name)


def taken_name(current: str, name: str) -> CniError:
    return CniError(
        f'failed to return "{current}" to the host as "{name}": the host has another interface'
        f' "{name}": rename or delete that one, then delete the attachment again'
    )
