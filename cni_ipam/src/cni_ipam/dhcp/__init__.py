"""dhcp: leases addresses from DHCP servers, through a daemon that keeps them alive.

The daemon is `dhcp daemon` of the same program. It has all that lasts; a call of the plugin asks it
and is over. Where it does not answer, DEL and GC leave marks that it obeys when it is back.
"""

from __future__ import annotations

import os
from dataclasses import replace

from cni_ipam.dhcp import marks
from cni_ipam.dhcp.client import DaemonUnreachable, ask
from cni_ipam.dhcp.conf import DhcpConf, PlaceConf, likely_place_of, place_of, wish_of
from cnicore.attempts import attempt_all
from cnicore.config import NetConf
from cnicore.errors import CniError, PluginNotAvailable, system_errors
from cnicore.hookspecs import hookimpl
from cnicore.net.switch import open_netns
from cnicore.owner import Owner
from cnicore.request import Request
from cnicore.result import Result


@hookimpl
def cni_config() -> type[NetConf]:
    return DhcpConf


@hookimpl
def cni_add(request: Request) -> Result:
    wish_of(request)  # what is wrong is said before anybody waits
    place = place_of(request)
    netns = open_netns(request.netns)
    try:
        result = ask(with_absolute_netns(request), place.socket, netns)
    finally:
        os.close(netns)
    if result is None:
        raise CniError(f"the DHCP daemon at {place.socket} reported no lease: see its log")
    return result


@hookimpl
def cni_del(request: Request) -> None:
    place = likely_place_of(request)
    try:
        ask(request, place.socket)
    except DaemonUnreachable:
        mark(place, request.owner)


@hookimpl
def cni_check(request: Request) -> None:
    if request.prev_result is None:
        raise CniError("Required prevResult missing: CHECK needs the result of the ADD")
    ask(with_absolute_netns(request), place_of(request).socket)


@hookimpl
def cni_gc(request: Request) -> None:
    valid = request.valid_attachments
    if valid is None:
        return
    place = likely_place_of(request)
    try:
        ask(request, place.socket)
    except DaemonUnreachable:
        mark_others(place, request.network, valid)


@hookimpl
def cni_status(request: Request) -> None:
    wish_of(request)
    try:
        ask(request, place_of(request).socket)
    except DaemonUnreachable as error:
        raise PluginNotAvailable(error.msg, error.details) from error


def with_absolute_netns(request: Request) -> Request:
    """The same for the daemon, whose current directory is another one. Raises CniError."""
    if os.path.isabs(request.netns):
        return request
    with system_errors("find the current directory, which CNI_NETNS starts from"):
        return replace(request, netns=os.path.abspath(request.netns))


def mark(place: PlaceConf, owner: Owner) -> None:
    """Let the daemon release the attachment's leases when it is back."""
    with system_errors(f"mark the ended lease in {place.directory} (ipam.leaseDir)"):
        marks.mark_ended(place.directory, owner)


def mark_others(place: PlaceConf, network: str, valid: tuple[Owner, ...]) -> None:
    """The same for every attachment of the network that is not valid."""
    with system_errors(f"list the directory {place.directory} (ipam.leaseDir)"):
        recorded = marks.recorded(place.directory, network)
    with attempt_all() as attempt:
        for owner in recorded:
            if owner not in valid:
                attempt(mark, place, owner)
