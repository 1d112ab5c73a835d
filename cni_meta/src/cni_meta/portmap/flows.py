"""Let the kernel forget flows that go where a port led before, or no longer leads.

A flow is tracked with its translation: a client that goes on sending would never reach the port's
new container, and never be refused when there is none. First the rules, then the flows, or a packet
in between would bring the old flow back.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cni_meta.portmap.configuration import PROTOCOLS
from cni_meta.portmap.plan import Forward
from cnicore.errors import CniError
from cnicore.net.conntrack import Flow
from cnicore.net.namespace import Namespace

WITHOUT_CONNECTION = ("udp", "sctp")
"""Not TCP: that would break connections of a process of the host, those to a container have ended
with its processes, and who connects anew has a new flow.
"""


def forget_others(host: Namespace, forwards: Iterable[Forward]) -> None:
    """After an ADD: what was sent to the ports and goes elsewhere."""
    for (version, protocol), group in _grouped(forwards).items():
        ports = {forward.claim.host_port for forward in group}
        with _reported(group):
            found = host.flows_to(version, PROTOCOLS[protocol], ports)
            for flow in found:
                if _is_misled(host, flow, group):
                    host.delete_flow(flow)


def forget_answered(host: Namespace, forwards: Iterable[Forward]) -> None:
    """After a DEL: what came through the ports and the container answered."""
    gone = {
        (PROTOCOLS[one.claim.protocol], one.claim.host_port, one.address, one.port): one
        for one in forwards
        if one.claim.protocol in WITHOUT_CONNECTION
    }
    with _reported(gone.values()):
        for protocol, address in {(protocol, address) for protocol, _, address, _ in gone}:
            for flow in host.flows_answered_by(protocol, address):
                if (flow.protocol, flow.port, flow.answerer, flow.answerer_port) in gone:
                    host.delete_flow(flow)


def _grouped(forwards: Iterable[Forward]) -> dict[tuple[int, str], list[Forward]]:
    """What has no connections, by IP version and protocol."""
    groups: dict[tuple[int, str], list[Forward]] = {}
    for forward in forwards:
        if forward.claim.protocol in WITHOUT_CONNECTION:
            groups.setdefault((forward.claim.version, forward.claim.protocol), []).append(forward)
    return groups


def _is_misled(host: Namespace, flow: Flow, forwards: Iterable[Forward]) -> bool:
    """Whether one of the forwards is for the flow, but somebody else answers it."""
    claimed = [
        forward
        for forward in forwards
        if forward.claim.host_port == flow.port
        and forward.claim.host_ip in {None, flow.destination}
    ]
    answerers = {(forward.address, forward.port) for forward in claimed}
    if not claimed or (flow.answerer, flow.answerer_port) in answerers:
        return False
    return any(forward.claim.host_ip for forward in claimed) or _is_local(host, flow)


def _is_local(host: Namespace, flow: Flow) -> bool:
    path = host.path_to(flow.destination)
    return path is not None and path.is_local


@contextmanager
def _reported(forwards: Iterable[Forward]) -> Iterator[None]:
    """A flow that stays is said on stderr: the port itself is as it should be."""
    try:
        yield
    except (CniError, OSError) as error:
        ports = ", ".join(sorted({str(forward.claim) for forward in forwards}))
        words = f"portmap: old flows to {ports} may go on as before: {error}"
        print(words, file=sys.stderr)  # noqa: T201  (stdout is the answer's alone)
