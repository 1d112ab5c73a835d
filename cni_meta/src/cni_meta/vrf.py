"""vrf: make the container's interface a member of a VRF, which has a routing table of its own.

An interface that joins is taken down and up again by the kernel, which forgets its routes and IPv6
addresses. They are noted before and put back, the routes into the VRF's table.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from pydantic import Field

from cnicore import verify
from cnicore.chained import result_so_far
from cnicore.config import NetConf
from cnicore.errors import CniError, InvalidEnvironment, InvalidNetworkConfig, PluginNotAvailable
from cnicore.hookspecs import hookimpl
from cnicore.net.exact_route import ExactRoute
from cnicore.net.interface import first_gateways, with_gateway
from cnicore.net.link import Link
from cnicore.net.link_settings import VRF
from cnicore.net.namespace import Namespace, host_namespace, namespaces, remaining_namespaces
from cnicore.net.netlink import KernelError
from cnicore.net.route import RT_TABLE_MAIN, RTN_UNICAST
from cnicore.request import Request
from cnicore.result import Cidr, IpConfig, Result, Route
from cnicore.rollback import OnFailure, rollback
from cnicore.spec import require_ifname

LARGEST_U32 = 2**32 - 1
RESERVED_TABLES = {253, 254, 255}  # default, main, local
MISSING_PART = (
    "the kernel has no VRFs: load the module vrf (some distributions have it in a package of extra"
    " modules)"
)
REMEDY = "delete the attachment and add it again"


class VrfConf(NetConf):
    vrfname: str = Field(
        default="", description="The VRF's name, required; it is made if there is none."
    )
    table: int = Field(
        default=0,
        ge=0,
        le=LARGEST_U32,
        description="The VRF's routing table; 0: the smallest that is free.",
    )


@hookimpl
def cni_config() -> type[NetConf]:
    return VrfConf


@hookimpl
def cni_add(request: Request, conf: VrfConf) -> Result:
    require_name(conf)
    result = result_so_far(request)
    with (
        namespaces(request.netns) as ns,
        ns.container.one_at_a_time(),
        rollback() as on_failure,
    ):
        link = ns.container.link(request.ifname)
        vrf = find_or_create(ns.container, conf, on_failure)
        if link.master != vrf.index:
            require_no_master(ns.container, link)
            join(ns.container, link, vrf, on_failure)
    return result


@hookimpl
def cni_del(request: Request, conf: VrfConf) -> None:
    if name_problem(conf):
        return  # an ADD refuses it
    with remaining_namespaces(request.netns) as ns:
        if ns.container:
            with ns.container.one_at_a_time():
                leave(ns.container, request.ifname, conf.vrfname)


@hookimpl
def cni_check(request: Request, conf: VrfConf) -> None:
    require_name(conf)
    result = verify.required_prev_result(request)
    with namespaces(request.netns) as ns:
        vrf = verify_vrf(ns.container, conf)
        link = ns.container.link(request.ifname)
        if link.master != vrf.index:
            raise CniError(
                f"interface {request.ifname} is not a member of the VRF {vrf.name}: {REMEDY}"
            )
        verify.verify_addresses(ns.container, request.ifname, ips_of(result, request.ifname))
        verify_routes(ns.container, vrf, link, result)


@hookimpl
def cni_gc() -> None:
    """Nothing outlives the container's namespace."""


@hookimpl
def cni_status(conf: VrfConf) -> None:
    require_name(conf)
    with host_namespace() as host:
        if not host.can_make(VRF):
            raise PluginNotAvailable(MISSING_PART)


def name_problem(conf: VrfConf) -> str:
    """Why there cannot be a VRF of the configured name, empty if there can."""
    if not conf.vrfname:
        return "vrfname is missing: it names the VRF that the interface shall be a member of"
    try:
        require_ifname(conf.vrfname)
    except InvalidEnvironment as error:
        return f'vrfname: "{conf.vrfname}": {error}'
    return ""


def require_name(conf: VrfConf) -> None:
    problem = name_problem(conf)
    if problem:
        raise InvalidNetworkConfig(problem)


def find_or_create(container: Namespace, conf: VrfConf, on_failure: OnFailure) -> Link:
    """The VRF, up. Raises CniError if the name or the table is in the way."""
    vrf = container.find_link(conf.vrfname)
    if vrf is None:
        with explained():
            container.add_vrf(conf.vrfname, conf.table or free_table(container))
        on_failure(container.delete_link, conf.vrfname)
        return container.link(conf.vrfname)
    require_vrf(vrf, conf)
    if not vrf.is_up:
        container.set_up(vrf.name)
        on_failure(container.set_down, vrf.name)
    return vrf


def require_vrf(link: Link, conf: VrfConf) -> None:
    if link.kind != VRF:
        raise CniError(
            f"vrfname: {link.name} exists and is no VRF but of kind {link.kind or 'unknown'}:"
            " use another name"
        )
    if conf.table and link.table != conf.table:
        raise CniError(
            f"VRF {link.name} already exist with different routing table {link.table}: table must"
            f" be that or 0, not {conf.table}"
        )


@contextmanager
def explained() -> Iterator[None]:
    try:
        yield
    except KernelError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        raise CniError(f"{error.msg}: {MISSING_PART}") from error


def free_table(container: Namespace) -> int:
    """The smallest table that no VRF uses and that is empty."""
    used = {link.table for link in container.links() if link.kind == VRF}
    used |= {route.table for route in container.exact_routes()} | RESERVED_TABLES
    return next(table for table in count(1) if table not in used)


def require_no_master(container: Namespace, link: Link) -> None:
    if link.master:
        master = container.find_link_by_index(link.master)
        name = master.name if master else f"index {link.master}"
        raise CniError(
            f"interface {link.name} has already a master set: {name}: it can be a member of one"
            " device only"
        )


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What the kernel forgets of a link that joins or leaves a VRF."""

    addresses: tuple[Cidr, ...]
    routes: tuple[ExactRoute, ...]


def join(container: Namespace, link: Link, vrf: Link, on_failure: OnFailure) -> None:
    """Make the link a member that has its addresses, and its routes in the VRF's table."""
    forgotten = noted(container, link)
    container.join(link.name, vrf)
    on_failure(put_back, container, link, forgotten, RT_TABLE_MAIN)
    on_failure(container.release, link.name)
    put_back(container, link, forgotten, vrf.table)


def noted(container: Namespace, link: Link) -> Forgotten:
    cidrs = [one.cidr for one in container.addresses(link.name)]
    kept = tuple(cidr for cidr in cidrs if not is_link_local(cidr))
    return Forgotten(kept, tuple(routes_in(RT_TABLE_MAIN, container, link)))


def is_link_local(cidr: Cidr) -> bool:
    """Whether the kernel gives the address again by itself."""
    return cidr.version == 6 and cidr.is_link_local  # noqa: PLR2004  (the IP version)


def routes_in(table: int, container: Namespace, link: Link) -> list[ExactRoute]:
    """The link's routes that lead anywhere; those to itself the kernel keeps."""
    return [
        route
        for route in container.exact_routes()
        if (route.link, route.table) == (link.index, table) and route.header.kind == RTN_UNICAST
    ]


def put_back(container: Namespace, link: Link, forgotten: Forgotten, table: int) -> None:
    """Give the link its addresses again, and its routes in the table: these and no others."""
    present = {one.cidr for one in container.addresses(link.name)}
    for cidr in forgotten.addresses:
        if cidr not in present:
            # it was this link's a moment ago, so that nobody else can have it
            container.add_address(link.name, cidr, detect_duplicates=False)
    if link.is_up:
        container.wait_until_settled(link.name, forgotten.addresses)
    put_routes(container, link, [route.in_table(table) for route in forgotten.routes], table)


def put_routes(container: Namespace, link: Link, wanted: Sequence[ExactRoute], table: int) -> None:
    for route in routes_in(table, container, link):
        if route not in wanted:  # the kernel adds one for each address, as if it were a new one
            container.remove_route(route)
    # a gateway must be reachable when the routes through it come
    for route in sorted(wanted, key=lambda route: route.gateway is not None):
        container.put_route(route)
    ranks = Counter(route.rank for route in wanted)
    for route in wanted:
        if ranks[route.rank] > 1:  # of these the kernel uses the first
            container.remove_route(route)
            container.put_route(route)


def leave(container: Namespace, ifname: str, name: str) -> None:
    """End the membership, and delete the VRF if that was its last member."""
    vrf, link = container.find_link(name), container.find_link(ifname)
    if vrf is None or vrf.kind != VRF:
        return
    if link and link.master == vrf.index:
        container.release(ifname)
    if not any(one.master == vrf.index for one in container.links()):
        container.delete_link(vrf.name)


def verify_vrf(container: Namespace, conf: VrfConf) -> Link:
    vrf = container.find_link(conf.vrfname)
    if vrf is None:
        raise CniError(f"VRF {conf.vrfname} not found: it was deleted after the ADD, {REMEDY}")
    require_vrf(vrf, conf)
    if not vrf.is_up:
        raise CniError(f"VRF {vrf.name} is down: set it up again")
    return vrf


def ips_of(result: Result, ifname: str) -> list[IpConfig]:
    """The addresses of that interface, and those that the result gives to none."""
    names = dict(enumerate(interface.name for interface in result.interfaces))
    return [ip for ip in result.ips if ip.interface is None or names.get(ip.interface) == ifname]


def verify_routes(container: Namespace, vrf: Link, link: Link, result: Result) -> None:
    """Raise CniError unless the result's routes of the main table are in the VRF's."""
    moved: Iterable[Route] = (
        with_gateway(route, first_gateways(result.ips))
        for route in result.routes
        if route.table in {None, 0, RT_TABLE_MAIN}
    )
    present = [route for route in container.routes() if route.table == vrf.table]
    for route in moved:
        if not any(verify.is_like(one, link, route) for one in present):
            raise CniError(
                f"route {route.dst} not found in table {vrf.table} of the VRF {vrf.name}: {REMEDY}"
            )
