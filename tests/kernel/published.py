"""A host with containers on a bridge, ports published by portmap, and packets through all of it."""

from __future__ import annotations

import dataclasses
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cnicore.net.switch import inside, open_netns

BRIDGE = {
    "cniVersion": "1.1.0",
    "name": "n1",
    "type": "bridge",
    "bridge": "br0",
    "isDefaultGateway": True,
    "ipMasq": True,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd01::/64"}]],
    },
}
PORTMAP = {"cniVersion": "1.1.0", "name": "n1", "type": "portmap"}
HOST, OTHER_HOST, HOST6 = "203.0.113.1", "203.0.113.3", "2001:db8::1"
OUTSIDE, OUTSIDE6 = "203.0.113.2", "2001:db8::2"
BEYOND = "198.51.100.9"
WAIT = 2.0  # seconds that a packet may take; nothing takes that long
SILENCE = 0.3  # seconds without an answer that are none
LEGACY = ("iptables", "iptables-save", "iptables-restore")
SCTP = 132


class Host:
    """The host, `outside` with an address of each family beyond it, and containers."""

    def __init__(self, sandbox: Any, call: Any) -> None:
        self.sandbox, self.call = sandbox, call
        sandbox.shell("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad")
        self.set_bridge_netfilter(on=False)
        self.netns = {"host": "", "outside": sandbox.outside()}
        sandbox.shell(f"ip -n outside addr add {OUTSIDE6}/64 dev eth0 nodad")
        sandbox.shell(f"ip addr add {HOST6}/64 dev uplink nodad")
        sandbox.shell(f"ip addr add {OTHER_HOST}/24 dev uplink")
        sandbox.shell(f"ip -n outside route add default via {HOST}")
        self.attached: dict[str, Any] = {}

    def set_bridge_netfilter(self, *, on: bool) -> None:
        """Whether bridged packets pass the firewall, as on nodes of Kubernetes."""
        for family in ("iptables", "ip6tables"):
            switch = f"/proc/sys/net/bridge/bridge-nf-call-{family}"
            self.sandbox.shell(f"test ! -e {switch} || echo {on:d} >{switch}")

    def caller(self, name: str) -> Any:
        return dataclasses.replace(self.call, netns=f"/run/netns/{name}", container_id=name)

    def attach(self, name: str, **keys: Any) -> Any:
        """A new container on the bridge; returns its result."""
        self.netns[name] = self.sandbox.container(name)
        self.attached[name] = self.caller(name).add({**BRIDGE, **keys})
        return self.attached[name]

    def conf(self, container: str, *mappings: Any, **keys: Any) -> dict[str, Any]:
        wanted = {"portMappings": list(mappings)}
        return {
            **PORTMAP,
            "runtimeConfig": wanted,
            "prevResult": self.attached.get(container),
            **keys,
        }

    def publish(self, container: str, *mappings: Any, **keys: Any) -> dict[str, Any]:
        """Attach the container if it is not, and publish; returns portmap's configuration."""
        if container not in self.attached:
            self.attach(container)
        conf = self.conf(container, *mappings, **keys)
        assert self.caller(container).add(conf) == self.attached[container]
        return conf

    def address(self, name: str, version: int = 4) -> str:
        cidrs = [ip["address"] for ip in self.attached[name]["ips"]]
        return next(cidr.split("/")[0] for cidr in cidrs if (":" in cidr) == (version == 6))

    def tcp(self, client: str, to: str, port: int, server: str, server_port: int = 80) -> str:
        """Whose address the server sees when the client connects; empty if it is not reached."""
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        listener = self.socket(server, family, socket.SOCK_STREAM)
        client_socket = self.socket(client, family, socket.SOCK_STREAM)
        with listener, client_socket:
            listener.bind(("", server_port))
            listener.listen()
            client_socket.settimeout(SILENCE)
            try:
                client_socket.connect((to, port))
            except OSError:
                return ""
            connection, peer = listener.accept()
            with connection:
                connection.sendall(b"ok")
                assert client_socket.recv(2) == b"ok"
            return str(peer[0])

    @contextmanager
    def udp_server(self, name: str, port: int, version: int = 4) -> Iterator[socket.socket]:
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        with self.socket(name, family, socket.SOCK_DGRAM) as server:
            server.bind(("", port))
            yield server

    def udp(self, client: str, to: str, port: int, server: str, server_port: int = 53) -> str:
        """Whose address the server sees, after the client has got the answer."""
        version = 6 if ":" in to else 4
        with (
            self.udp_server(server, server_port, version) as server_socket,
            self.udp_server(client, 0, version) as client_socket,
        ):
            return exchange(client_socket, (to, port), server_socket)

    def socket(self, name: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        path = self.netns[name]
        fd = open_netns(path) if path else None
        with inside(fd):
            made = socket.socket(family, kind, protocol)
        if fd is not None:
            os.close(fd)
        made.settimeout(WAIT)
        if kind != socket.SOCK_RAW:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made

    def sctp(self, client: str, to: str, port: int, server: str) -> tuple[str, int]:
        """From where and to which port the server gets the beginning of an association.

        The packets are made by hand: tracking and translating SCTP needs no sockets for it.
        """
        with (
            self.socket(server, socket.AF_INET, socket.SOCK_RAW, SCTP) as server_socket,
            self.socket(client, socket.AF_INET, socket.SOCK_RAW, SCTP) as client_socket,
        ):
            client_socket.sendto(sctp_init(4000, port), (to, 0))
            packet, peer = server_socket.recvfrom(999)
        return peer[0], struct.unpack_from(">H", packet, 22)[0]


def exchange(client: socket.socket, to: tuple[str, int], server: socket.socket) -> str:
    """Whose address the server sees, after the client has got the answer; empty for silence."""
    client.sendto(b"?", to)
    server.settimeout(SILENCE)
    try:
        _, peer = server.recvfrom(9)
    except TimeoutError:
        return ""
    server.sendto(b"!", peer)
    assert client.recvfrom(9)[0] == b"!"
    return str(peer[0])


def sctp_init(source: int, destination: int) -> bytes:
    """An INIT chunk as RFC 9260 has it."""
    chunk = struct.pack(">BBHIIHHI", 1, 0, 20, 7, 65536, 1, 1, 1)
    header = struct.pack(">HHI", source, destination, 0)
    checksum = struct.pack("<I", crc32c(header + b"\0\0\0\0" + chunk))
    return header + checksum + chunk


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def use_legacy(sandbox: Any) -> None:
    """Let the programs be those of the old kernel interface, in this sandbox only."""
    sandbox.shell("mount -t tmpfs tmpfs /usr/local/sbin")
    for program in (*LEGACY, *(name.replace("ip", "ip6", 1) for name in LEGACY)):
        sandbox.shell(f"ln -s /usr/sbin/xtables-legacy-multi /usr/local/sbin/{program}")


def mapping(host_port: int, container_port: int, protocol: str = "tcp", host_ip: str = "") -> Any:
    wanted = {"hostPort": host_port, "containerPort": container_port, "protocol": protocol}
    return {**wanted, "hostIP": host_ip} if host_ip else wanted
