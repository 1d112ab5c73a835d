"""Change what is asked for, after noting what is there; and put it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from cni_meta.tuning.attributes import ATTRIBUTES, Value
from cni_meta.tuning.backup import Backup, BackupFile
from cni_meta.tuning.configuration import Wishes
from cni_meta.tuning.cookie import netns_cookie
from cni_meta.tuning.sysctls import Sysctl, Unreadable, read_value, restore_value
from cnicore.attempts import attempt_all
from cnicore.errors import CniError
from cnicore.net.namespace import Namespace
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
    if not (before.attributes or before.sysctls):
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
        # writing nothing would be no error and no change
        container.write_sysctl(sysctl.path, sysctl.value or "\n")
        if sysctl.path in before:
            on_failure(restore_value, container, sysctl.path, before[sysctl.path])


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
                    write = ATTRIBUTES[key].write
                    attempt(write, container, ifname, saved.attributes[key])
        for path in reversed([one for one in saved.sysctls if one not in in_use]):
            attempt(restore_value, container, path, saved.sysctls[path])
