"""Make, check and remove the queues of an attachment."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cni_meta.bandwidth import ifb, mark
from cni_meta.bandwidth.rates import Limit, Limits
from cnicore.attempts import attempt_all
from cnicore.errors import CniError
from cnicore.net.link import Link
from cnicore.net.namespace import Namespace, Namespaces
from cnicore.net.netlink import KernelError
from cnicore.net.qdisc import Qdisc
from cnicore.owner import Owner
from cnicore.rollback import OnFailure

ETHERNET_HEADER = 14  # bytes, which the MTU leaves out
MISSING_PARTS = (
    "the kernel lacks a part of traffic control: load the modules ifb, sch_tbf, sch_ingress,"
    " cls_u32 and act_mirred (some distributions have them in a package of extra modules)"
)
REMEDY = "delete the attachment and add it again"


def limit_rate(host: Namespace, link: Link, limit: Limit, on_failure: OnFailure) -> None:
    """Let no more than that leave through the link. Raises CniError."""
    ticks = host.clock_ticks()
    warn_if_packets_are_larger(link, limit, ticks)
    with parts_needed(), free_place(link, "root"):
        host.add_bucket(link, limit.bucket(ticks))
    on_failure(host.delete_bucket, link)


def limit_arrivals(
    host: Namespace, link: Link, limit: Limit, owner: Owner, on_failure: OnFailure
) -> Link:
    """Let no more than that come in through the link; returns the device that holds it back.

    A queue can only delay what leaves, so all that arrives is sent out through an ifb first.
    """
    name = ifb.free_name(host, owner)
    with parts_needed():
        host.add_ifb(name, mtu=link.mtu)
        on_failure(host.delete_link, name)
        host.set_alias(name, owner.tag)
        device = host.link(name)
        limit_rate(host, device, limit, on_failure)
        with free_place(link, "ingress"):
            host.add_ingress(link)
        on_failure(host.delete_ingress, link)
        host.add_redirect(link, device)
    return device


def remove(host: Namespace, links: Iterable[Link], devices: list[Link]) -> None:
    """Stop shaping the links and delete the devices. Raises what failed after all was tried."""
    with attempt_all() as attempt:
        for link in links:
            attempt(release, host, link, devices)
        for device in devices:
            attempt(host.delete_link, device.name)


def release(host: Namespace, link: Link, devices: list[Link]) -> None:
    with attempt_all() as attempt:
        attempt(host.delete_bucket, link)
        attempt(stop_redirecting, host, link, devices)
    mark.take(host, link)  # not before: a DEL that failed is repeated


def stop_redirecting(host: Namespace, link: Link, devices: list[Link]) -> None:
    """Filters of others stay; a redirection to a device that is gone is one of ours."""
    targets = {0, *(device.index for device in devices)}
    filters = host.filters(link)
    is_ours = [one.target in targets for one in filters]
    if all(is_ours):
        host.delete_ingress(link)
    elif any(is_ours):
        host.delete_redirect(link)


def redirects_to(host: Namespace, link: Link, devices: list[Link]) -> bool:
    """Whether what arrives at the link is sent to one of the devices."""
    indexes = {device.index for device in devices}
    return bool(devices) and any(one.target in indexes for one in host.filters(link))


def has_bucket(host: Namespace, link: Link, limit: Limit) -> bool:
    """Whether exactly that is what the link is limited to."""
    root, ticks = root_of(host.qdiscs(), link), host.clock_ticks()
    return bool(root and root.bucket and limit.is_like(root.bucket, ticks))


def root_of(qdiscs: list[Qdisc], link: Link) -> Qdisc | None:
    return next((one for one in qdiscs if one.link == link.index and one.is_root), None)


def verify(ns: Namespaces, link: Link, limits: Limits, owner: Owner) -> None:
    """Raise CniError unless the attachment is limited as the configuration says."""
    qdiscs, ticks = ns.host.qdiscs(), ns.host.clock_ticks()
    if limits.ingress:
        verify_bucket(qdiscs, link, limits.ingress, ticks)
    if limits.egress:
        device = verify_redirect(ns, link, owner)
        verify_bucket(qdiscs, device, limits.egress, ticks)


def verify_bucket(qdiscs: list[Qdisc], link: Link, limit: Limit, ticks: float) -> None:
    root = root_of(qdiscs, link)
    if root is None or root.bucket is None:
        kind = root.kind if root else "none"
        raise CniError(
            f"Failed to find qdisc: {link.name} has no token bucket at its root ({kind}), so that"
            f" {limit.key}Rate is not kept: {REMEDY}"
        )
    if not limit.is_like(root.bucket, ticks):
        wanted = limit.bucket(ticks)
        raise CniError(
            f"Rate, limit or buffer doesn't match: {link.name} has {_numbers(root.bucket)},"
            f" {limit.key}Rate and {limit.key}Burst need {_numbers(wanted)}: {REMEDY}"
        )


def verify_redirect(ns: Namespaces, link: Link, owner: Owner) -> Link:
    """The device that the container's packets pass. Raises CniError if they do not."""
    device = next(iter(ifb.those_of(ns, owner)), None)
    if device is None:
        raise CniError(f"there is no ifb {ifb.names(owner)[0]} for {owner.ifname}: {REMEDY}")
    if not device.is_up:
        raise CniError(f"the ifb {device.name} is down: set it up again")
    if device.mtu != link.mtu:
        raise CniError(
            f"the ifb {device.name} has an MTU of {device.mtu}, {link.name} one of {link.mtu}:"
            f" set it with ip link set {device.name} mtu {link.mtu}"
        )
    if not redirects_to(ns.host, link, [device]):
        raise CniError(f"{link.name} does not redirect to the ifb {device.name}: {REMEDY}")
    return device


def warn_if_packets_are_larger(link: Link, limit: Limit, ticks: float) -> None:
    frame, largest = link.mtu + ETHERNET_HEADER, limit.largest_packet(ticks)
    if largest < frame:
        print(  # noqa: T201  (stdout is the answer's alone)
            f"bandwidth: {limit.key}Burst lets {largest} bytes pass at once, but {link.name} has"
            f" packets of up to {frame}: the larger ones are dropped",
            file=sys.stderr,
        )


@contextmanager
def free_place(link: Link, place: str) -> Iterator[None]:
    """Say what to do where somebody else's qdisc is in the way."""
    try:
        yield
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise
        raise CniError(
            f"{link.name} already has a qdisc that bandwidth did not make:"
            f" remove it with tc qdisc delete dev {link.name} {place}"
        ) from error


@contextmanager
def parts_needed() -> Iterator[None]:
    """Say what to do where the kernel does not know what it is asked for."""
    try:
        yield
    except KernelError as error:
        if error.errno not in {errno.ENOENT, errno.EOPNOTSUPP}:
            raise
        raise CniError(f"{error.msg}: {MISSING_PARTS}") from error


def _numbers(bucket: object) -> str:
    return str(bucket).partition("(")[2].rstrip(")")
