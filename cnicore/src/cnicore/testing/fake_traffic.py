"""The part of the kernel in memory that is about where packets go and who gets them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from cnicore.net.conntrack import Flow
from cnicore.net.link import Link
from cnicore.net.listener import Listener
from cnicore.net.path import Path
from cnicore.net.route import KernelRoute
from cnicore.result import Address, Cidr


class FakeTraffic:
    """Flows, sockets and single destinations of a FakeNamespace; a test fills in what there is.

    `listening` is by protocol and port.
    """

    by_name: dict[str, Link]
    cidrs: dict[str, list[Cidr]]
    table: list[KernelRoute]

    def note(self, *call: Any) -> None:
        raise NotImplementedError

    def init_traffic(self) -> None:
        self.flows: list[Flow] = []
        self.listening: dict[tuple[int, int], list[Listener]] = {}

    def path_to(self, address: Address) -> Path | None:
        self.note("path_to", str(address))
        if any(cidr.ip == address for cidrs in self.cidrs.values() for cidr in cidrs):
            return Path(0, is_local=True)
        routes = [route for route in self.table if address in route.dst.network]
        routes.sort(key=lambda route: route.dst.network.prefixlen)
        return Path(routes[-1].link, is_local=False) if routes else None

    def listeners(self, protocol: int, port: int) -> list[Listener]:
        self.note("listeners", protocol, port)
        return self.listening.get((protocol, port), [])

    def flows_to(self, version: int, protocol: int, ports: Collection[int]) -> list[Flow]:
        self.note("flows_to", version, protocol, *sorted(ports))
        return [
            flow
            for flow in self.flows
            if flow.destination.version == version
            and flow.protocol == protocol
            and flow.port in ports
        ]

    def flows_answered_by(self, protocol: int, address: Address) -> list[Flow]:
        self.note("flows_answered_by", protocol, str(address))
        wanted = protocol, address
        return [flow for flow in self.flows if (flow.protocol, flow.answerer) == wanted]

    def delete_flow(self, flow: Flow) -> None:
        self.note("delete_flow", str(flow.destination), flow.port)
        self.flows.remove(flow)
