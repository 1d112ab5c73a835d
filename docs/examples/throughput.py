"""Measure how fast bytes get from one network namespace to another, and draw it.

    rows = measure(host, container, "10.1.0.2")
    for line in plot(rows):
        print(line)

Everything happens in this thread: it sends as much as the kernel takes, and counts what arrives.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

from cnicore.net.namespace import Namespace
from cnicore.net.switch import inside

ROW = 0.25  # seconds
WIDTH = 40  # characters of the longest bar
DATAGRAM = 1400  # bytes, which fit into every packet
CHUNK = bytes(1 << 16)


class Flow:
    """Sockets in two namespaces; `rows` has the bytes that arrived in each quarter of a second."""

    def __init__(
        self, sender: Namespace, receiver: Namespace, address: str, *, udp: bool = False
    ) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        with inside(receiver.fd):
            self.receiving = socket.socket(family, kind)
        with inside(sender.fd):
            self.sending = socket.socket(family, kind)
        self.receiving.bind((address, 0))
        if udp:
            self.sending.connect(self.receiving.getsockname())
        else:
            with self.receiving as listener:
                listener.listen()
                self.sending.connect(listener.getsockname())
                self.receiving, _ = listener.accept()
        self.payload = CHUNK[:DATAGRAM] if udp else CHUNK
        self.rows: list[int] = []
        for end in (self.sending, self.receiving):
            end.settimeout(0)

    def send(self) -> None:
        with suppress(BlockingIOError):  # what counts is what arrives
            self.sending.send(self.payload)

    def receive(self, row: int) -> None:
        self.rows += [0] * (row + 1 - len(self.rows))
        self.rows[row] += len(self.receiving.recv(len(CHUNK)))


def measure(
    sender: Namespace, receiver: Namespace, address: str, *, seconds: float = 3, udp: bool = False
) -> list[int]:
    """Send for so long; the bytes that arrived at the receiver's address in each quarter second."""
    flow = Flow(sender, receiver, address, udp=udp)
    run([flow], seconds)
    return flow.rows


def run(flows: Sequence[Flow], seconds: float) -> None:
    """Let bytes flow at the same time, and close the flows."""
    receivers = {flow.receiving: flow for flow in flows}
    senders = {flow.sending: flow for flow in flows}
    start = time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        readable, writable, _ = select.select(receivers, senders, [], ROW)
        for end in readable:
            receivers[end].receive(int(passed / ROW))
        for end in writable:
            senders[end].send()
    for flow in flows:
        flow.rows += [0] * (int(seconds / ROW) - len(flow.rows))
        flow.sending.close()
        flow.receiving.close()


def rate(rows: Sequence[int]) -> float:
    """Bits per second, on average."""
    return sum(rows) * 8 / (len(rows) * ROW)


def plot(rows: Sequence[int], full: float = 0) -> list[str]:
    """A line for each row; the longest bar is for `full` bits per second, or the fastest row."""
    full = full or max(rate([row]) for row in rows) or 1
    return [
        f"{(number + 1) * ROW:5.2f} s {'█' * round(WIDTH * min(rate([row]) / full, 1)):{WIDTH}}"
        f" {rate([row]) / 1e6:8.1f} Mbit/s"
        for number, row in enumerate(rows)
    ]
