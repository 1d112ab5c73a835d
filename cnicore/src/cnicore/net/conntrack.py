"""Flows that the kernel tracks: found by where they were sent to or who answers, and forgotten.

They are those of the namespace that the thread is in. Everything raises KernelError, or OSError
where the kernel tracks nothing.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterator
from ipaddress import ip_address
from typing import NamedTuple

from cnicore.net.netlink import tolerate
from cnicore.net.nfnetlink import nfnetlink
from cnicore.net.raw import NFGENMSG, attribute, attributes_of, nested, netfilter_message
from cnicore.result import Address

# linux/netfilter/nfnetlink_conntrack.h
CT_GET, CT_DELETE = 0x101, 0x102
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ID, CTA_ZONE, CTA_FILTER = 1, 2, 12, 18, 25
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_SRC, CTA_IP_DST = {4: 1, 6: 3}, {4: 2, 6: 4}
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
ORIG_FLAGS, REPLY_FLAGS = 1, 2
# net/netfilter/nf_internals.h: what of a tuple the kernel (since 5.8) compares in a dump
COMPARE_SRC, COMPARE_PROTO, COMPARE_DST_PORT = 1 << 0, 1 << 3, 1 << 5

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
PORT = struct.Struct(">H")


class Flow(NamedTuple):
    """Where its first packet was sent to, and who answers: not the same if it is translated.

    `identity` is how the kernel names it.
    """

    protocol: int
    destination: Address
    port: int
    answerer: Address
    answerer_port: int
    identity: bytes = b""


def flows_to(version: int, protocol: int, ports: Collection[int]) -> list[Flow]:
    """The flows of an IP version that were sent to one of the ports, at whatever address.

    The kernel compares one port for us; for several, reading its table once is cheaper.
    """
    parts, flags = [_number(protocol)], COMPARE_PROTO
    if len(ports) == 1:
        parts += [_port(CTA_PROTO_DST_PORT, port) for port in ports]
        flags |= COMPARE_DST_PORT
    sent = nested(CTA_TUPLE_ORIG, nested(CTA_TUPLE_PROTO, *parts))
    return [
        flow
        for flow in _flows(version, sent, _compared(ORIG_FLAGS, flags))
        if flow.protocol == protocol and flow.port in ports
    ]


def flows_answered_by(protocol: int, address: Address) -> list[Flow]:
    """The flows that the address answers.

    The kernel compares no IPv6 address: asked for one, Linux 6.18 gives those with another.
    """
    parts, flags = [nested(CTA_TUPLE_PROTO, _number(protocol))], COMPARE_PROTO
    if address.version == 4:  # noqa: PLR2004  (the IP version)
        source = attribute(CTA_IP_SRC[address.version], address.packed)
        parts.append(nested(CTA_TUPLE_IP, source))
        flags |= COMPARE_SRC
    answered = nested(CTA_TUPLE_REPLY, *parts)
    found = _flows(address.version, answered, _compared(REPLY_FLAGS, flags))
    return [flow for flow in found if (flow.protocol, flow.answerer) == (protocol, address)]


def delete_flow(flow: Flow) -> None:
    """Forget the flow: its next packet is looked at as a first one. Absent is as wished."""
    message = netfilter_message(FAMILIES[flow.destination.version], flow.identity)
    with tolerate(errno.ENOENT):
        nfnetlink().change(f"forget the flow to port {flow.port}", CT_DELETE, message)


def _flows(version: int, *question: bytes) -> Iterator[Flow]:
    """What a dump gives; a kernel before 5.8 gives everything, whatever the question.

    It walks the whole table of the kernel, whose size and not whose content makes the time.
    """
    message = netfilter_message(FAMILIES[version], *question)
    for reply in nfnetlink().dump("list tracked flows", CT_GET, message):
        flow = _decode(version, reply.payload[NFGENMSG.size :])
        if flow:
            yield flow


def _number(protocol: int) -> bytes:
    return attribute(CTA_PROTO_NUM, bytes([protocol]))


def _port(kind: int, port: int) -> bytes:
    return attribute(kind, PORT.pack(port))


def _compared(direction: int, flags: int) -> bytes:
    return nested(CTA_FILTER, attribute(direction, struct.pack("=I", flags)))


def _decode(version: int, data: bytes) -> Flow | None:
    """None for a flow without ports."""
    whole = attributes_of(data)
    sent, answered = attributes_of(whole[CTA_TUPLE_ORIG]), attributes_of(whole[CTA_TUPLE_REPLY])
    proto, reply_proto = (attributes_of(one[CTA_TUPLE_PROTO]) for one in (sent, answered))
    if CTA_PROTO_DST_PORT not in proto or CTA_PROTO_SRC_PORT not in reply_proto:
        return None
    kept = [attribute(kind, whole[kind]) for kind in (CTA_ID, CTA_ZONE) if kind in whole]
    return Flow(
        protocol=proto[CTA_PROTO_NUM][0],
        destination=ip_address(attributes_of(sent[CTA_TUPLE_IP])[CTA_IP_DST[version]]),
        port=PORT.unpack(proto[CTA_PROTO_DST_PORT])[0],
        answerer=ip_address(attributes_of(answered[CTA_TUPLE_IP])[CTA_IP_SRC[version]]),
        answerer_port=PORT.unpack(reply_proto[CTA_PROTO_SRC_PORT])[0],
        identity=b"".join([nested(CTA_TUPLE_ORIG, whole[CTA_TUPLE_ORIG]), *kept]),
    )
