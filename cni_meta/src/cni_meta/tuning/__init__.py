"""tuning: set sysctls of the container's network and attributes of its interface, until DEL.

What was there before goes to a file, because DEL may come long after and from another process.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cni_meta.tuning.allowlist import require_allowed
from cni_meta.tuning.attributes import ATTRIBUTES
from cni_meta.tuning.backup import Backup, BackupFile, remove_stale
from cni_meta.tuning.changes import (
    is_reading,
    note_readings,
    restore,
    save,
    set_attributes,
    state_of,
    write_sysctls,
)
from cni_meta.tuning.configuration import TuningConf, Wishes, wishes
from cni_meta.tuning.cookie import netns_cookie
from cni_meta.tuning.sysctls import Sysctl, Unreadable, holds, read_value
from cnicore.chained import result_so_far
from cnicore.config import NetConf
from cnicore.errors import CniError, InvalidNetns, PluginNotAvailable
from cnicore.hookspecs import hookimpl
from cnicore.net.namespace import Namespace, namespaces, remaining_namespaces
from cnicore.owner import Owner
from cnicore.request import Request
from cnicore.result import Result
from cnicore.rollback import rollback
from cnicore.verify import required_prev_result

OWN_NETNS = "/proc/thread-self/ns/net"
REMEDY = "something changed it after the ADD, delete the attachment and add it again"


@hookimpl
def cni_config() -> type[NetConf]:
    return TuningConf


@hookimpl
def cni_add(request: Request, conf: TuningConf) -> Result:
    result, wanted = result_so_far(request), wishes(request, conf)
    require_allowed(wanted.sysctls)
    require_other_netns(request, wanted)
    file = BackupFile(conf.data_dir, request.owner)
    is_changing = bool(wanted.sysctls or wanted.attributes)
    with (
        namespaces(request.netns) as ns,
        file.locked(make=is_changing),
        rollback() as on_failure,
    ):
        before = state_of(ns.container, request.owner, wanted)
        save(before, file, request.owner, on_failure)
        write_sysctls(ns.container, wanted.sysctls, before.sysctls, on_failure)
        set_attributes(ns.container, request.ifname, wanted, before.attributes, on_failure)
        note_readings(ns.container, wanted.sysctls, file, request.owner, on_failure)
    return with_mac(result, request.ifname, wanted)


@hookimpl
def cni_del(request: Request, conf: TuningConf) -> None:
    file = BackupFile(conf.data_dir, request.owner)
    with file.locked():
        saved = file.read()
        if saved:
            if not saved.is_of(request.owner):
                return
            put_back(request, file, saved)
        file.remove()  # without a backup there may be what a crash left


@hookimpl
def cni_check(request: Request, conf: TuningConf) -> None:
    wanted = wishes(request, conf)
    required_prev_result(request)
    file = BackupFile(conf.data_dir, request.owner)
    with namespaces(request.netns) as ns:
        for sysctl in wanted.sysctls:
            verify_sysctl(ns.container, sysctl, file, request.owner)
        if wanted.attributes:
            verify_attributes(ns.container, request.ifname, wanted)


@hookimpl
def cni_gc(request: Request, conf: TuningConf) -> None:
    valid = request.valid_attachments
    if valid is not None:
        remove_stale(conf.data_dir, request.network, valid)


@hookimpl
def cni_status(request: Request, conf: TuningConf) -> None:
    require_allowed(wishes(request, conf).sysctls)
    directories = (Path(conf.data_dir), *Path(conf.data_dir).parents)
    existing = next((one for one in directories if os.path.lexists(one)), Path("/"))
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        raise PluginNotAvailable(
            f"dataDir: {existing} is no directory that can be written to: tuning could not remember"
            " there what it changes"
        )


def put_back(request: Request, file: BackupFile, saved: Backup) -> None:
    """Restore what is saved, unless the path of the namespace is another container's by now."""
    with remaining_namespaces(request.netns) as ns:
        cookie = netns_cookie(ns.container) if ns.container else 0
        if ns.container and not saved.is_elsewhere(cookie):
            restore(ns.container, request.ifname, saved, file.beside(cookie))


def require_other_netns(request: Request, wanted: Wishes) -> None:
    """Raise InvalidNetns if sysctls would be the host's; CNI_NETNS_OVERRIDE allows the rest."""
    try:
        is_host = Path(request.netns).samefile(OWN_NETNS)
    except OSError:
        return  # opening the path says what is wrong with it
    if is_host and wanted.sysctls:
        first = wanted.sysctls[0]
        raise InvalidNetns(
            f"{first.where}: {first.path} would be set on the host, whose network namespace"
            f" {request.netns} is: only a container's own may be tuned"
        )


def with_mac(result: Result, ifname: str, wanted: Wishes) -> Result:
    """The result with the new MAC address of the container's interface."""
    if "mac" not in wanted.attributes:
        return result
    mac = str(wanted.attributes["mac"])
    interfaces = (
        replace(one, mac=mac) if one.name == ifname and one.sandbox else one
        for one in result.interfaces
    )
    return replace(result, interfaces=tuple(interfaces))


def verify_sysctl(container: Namespace, sysctl: Sysctl, file: BackupFile, owner: Owner) -> None:
    """Raise CniError unless the parameter has the value; one that cannot be read is let pass."""
    with suppress(Unreadable):
        actual = read_value(container, sysctl.path)
        if actual is None:
            raise CniError(f"Error: Sysctl {sysctl.path} is gone: {REMEDY}")
        if not (holds(sysctl.value, actual) or is_reading(container, sysctl, actual, file, owner)):
            raise CniError(
                f"Error: Tuning configured value of {sysctl.path} is {sysctl.value}, current value"
                f" is {actual}: {REMEDY}"
            )


def verify_attributes(container: Namespace, ifname: str, wanted: Wishes) -> None:
    """Raise CniError unless the interface has every value that was set."""
    link = container.link(ifname)
    for key, value in wanted.attributes.items():
        actual = ATTRIBUTES[key].read(link)
        if actual != value:
            raise CniError(
                f"Error: Tuning configured {key} of {ifname} is {value}, current value is {actual}:"
                f" {REMEDY}"
            )
