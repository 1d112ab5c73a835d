"""Change what is asked for, after noting what is there; and put it back."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from cni_meta.tuning.attributes import ATTRIBUTES, Value
from cni_meta.tuning.backup import Backup, BackupFile
from cni_meta.tuning.configuration import Wishes
from cni_meta.tuning.cookie import netns_cookie
from cni_meta.tuning.sysctls import Sysctl, Unreadable, holds, read_value, restore_value
from cnicore.attempts import attempt_all
from cnicore.errors import CniError
from cnicore.net.namespace import Namespace
from cnicore.net.netlink import tolerate
from cnicore.owner import Owner
from cnicore.rollback import OnFailure

RESTORED = ("mtu", "mac", "promisc", "allmulti", "txQLen")  # in the reference's order


def state_of(container: Namespace, owner: Owner, wanted: Wishes) -> Backup:
    """What is there now of all that will be changed. Raises CniError."""
    sysctls: dict[str, str] = {}
    for sysctl in wanted.sysctls:
        with suppress(Unreadable):
            value = read_value(container, sysctl.path)
            sysctls |= {} if value is None else {sysctl.path: value}
    attributes: dict[str, Value] = {}
    if wanted.attributes:
        link = container.link(owner.ifname)
        attributes = {key: ATTRIBUTES[key].read(link) for key in wanted.attributes}
    return Backup(owner.tag, attributes, sysctls, netns_cookie(container))


def save(before: Backup, file: BackupFile, owner: Owner, on_failure: OnFailure) -> None:
    """Write it down. Of what an earlier ADD changed, the file says what was there at first.

    That may have been the ADD of another interface: sysctls are the whole container's.
    """
    if not (before.attributes or before.sysctls or before.readings):
        return
    earlier = file.read() or Backup()
    if not earlier.is_of(owner):
        raise CniError(
            f"{file.path} is the backup of another interface, {earlier.owner}: delete that"
            " attachment first, or give the networks different values of dataDir"
        )
    first = {
        path: value for other in file.beside(before.netns) for path, value in other.sysctls.items()
    }
    sysctls = {path: first.get(path, value) for path, value in before.sysctls.items()}
    if earlier.is_elsewhere(before.netns):
        earlier = Backup()  # of a container that is gone, and no DEL came
    file.save(replace(before, sysctls=sysctls).after(earlier), on_failure)


def write_sysctls(
    container: Namespace,
    sysctls: tuple[Sysctl, ...],
    before: Mapping[str, str],
    on_failure: OnFailure,
) -> None:
    for sysctl in sysctls:
        if sysctl.path in before:
            # before: of several numbers the kernel takes those before the one that it refuses
            on_failure(restore_value, container, sysctl.path, before[sysctl.path])
        # writing nothing would be no error and no change
        container.write_sysctl(sysctl.path, sysctl.value or "\n")


def set_attributes(
    container: Namespace,
    ifname: str,
    wanted: Wishes,
    before: Mapping[str, Value],
    on_failure: OnFailure,
) -> None:
    for key, value in wanted.attributes.items():
        write = ATTRIBUTES[key].write
        write(container, ifname, value)
        on_failure(write, container, ifname, before[key])


def note_readings(
    container: Namespace,
    sysctls: tuple[Sysctl, ...],
    file: BackupFile,
    owner: Owner,
    on_failure: OnFailure,
) -> None:
    """Add to the file what the kernel made of values that it rounds, cuts off or takes for others.

    Only the kernel knows: it counts in ticks, for instance, and how long one is it does not say.
    """
    readings: dict[str, tuple[str, str]] = {}
    for sysctl in sysctls:
        with suppress(Unreadable):
            actual = read_value(container, sysctl.path)
            if actual is not None and not holds(sysctl.value, actual):
                readings[sysctl.path] = sysctl.value, actual
    now = Backup(owner.tag, netns=netns_cookie(container), readings=readings)
    save(now, file, owner, on_failure)


def is_reading(
    container: Namespace, sysctl: Sysctl, actual: str, file: BackupFile, owner: Owner
) -> bool:
    """Whether the kernel made that of the value when an ADD wrote it."""
    saved = file.read()
    if not saved or not saved.is_of(owner) or saved.is_elsewhere(netns_cookie(container)):
        return False
    return saved.readings.get(sysctl.path) == (sysctl.value, actual)


def restore(
    container: Namespace, ifname: str, saved: Backup, beside: Iterable[Backup] = ()
) -> None:
    """Put back what is still there to be put back. Raises what failed after all were tried.

    A sysctl that an interface beside has set too stays, and is put back with the last of them.
    """
    in_use = {path for other in beside for path in other.sysctls}
    with attempt_all() as attempt:
        if saved.attributes and container.find_link(ifname):
            for key in RESTORED:
                if key in saved.attributes:
                    attempt(put_back_attribute, container, ifname, key, saved.attributes[key])
        for path in reversed([one for one in saved.sysctls if one not in in_use]):
            attempt(restore_value, container, path, saved.sysctls[path])


def put_back_attribute(container: Namespace, ifname: str, key: str, value: Value) -> None:
    """Write the value that was there, if the link can still have it.

    A macvlan's or vlan's MTU is at most that of its parent, which may have become smaller.
    """
    with tolerate(errno.EINVAL):
        ATTRIBUTES[key].write(container, ifname, value)
