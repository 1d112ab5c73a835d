"""Where packets of one namespace go, who waits for them, and which flows the kernel tracks.

Few plugins ask, so that what finds the answers is loaded when it is asked.
"""
# ruff: noqa: PLC0415  (lazy: as above)

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from cnicore.net.netlink import Netlink
from cnicore.net.switch import inside
from cnicore.result import Address

if TYPE_CHECKING:
    from cnicore.net.conntrack import Flow
    from cnicore.net.listener import Listener
    from cnicore.net.path import Path


class Traffic:
    """The part of a namespace handle that is about traffic. Raises KernelError, OSError."""

    netlink: Netlink
    fd: int | None

    def path_to(self, address: Address) -> Path | None:
        """The kernel's choice for the destination, None if there is no route."""
        from cnicore.net.path import path_to

        return path_to(self.netlink, address)

    def listeners(self, protocol: int, port: int) -> list[Listener]:
        """Who waits for the protocol (IPPROTO_TCP, ...) at the port of some address."""
        from cnicore.net.listener import listeners

        with inside(self.fd):
            return listeners(protocol, port)

    def flows_to(self, version: int, protocol: int, ports: Collection[int]) -> list[Flow]:
        """The flows of an IP version that were sent to one of the ports, at whatever address."""
        from cnicore.net.conntrack import flows_to

        with inside(self.fd):
            return flows_to(version, protocol, ports)

    def flows_answered_by(self, protocol: int, address: Address) -> list[Flow]:
        """The flows that the address answers."""
        from cnicore.net.conntrack import flows_answered_by

        with inside(self.fd):
            return flows_answered_by(protocol, address)

    def delete_flow(self, flow: Flow) -> None:
        """Forget the flow: its next packet is looked at as a first one. Absent is as wished."""
        from cnicore.net.conntrack import delete_flow

        with inside(self.fd):
            delete_flow(flow)
