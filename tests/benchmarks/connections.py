"""How fast new connections to a published port of the host reach the container."""

from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import ExitStack, closing

from benchmarks.places import CONTAINER, CONTAINER_PORT, HOST_PORTS, Place
from cnicore.net.switch import inside, open_netns

OUTSIDE = "outside"
HOST = "203.0.113.1"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, so that no port stays in use
PATIENCE = 5.0  # seconds for one connection


def make_outside(place: Place) -> None:
    """A host beyond the place's, with a route to nothing but its address."""
    place.namespaces.enter()
    place.sandbox.outside(gateway=f"{HOST}/24")


def rate(place: Place, seconds: float) -> float:
    """Connections per second, one after the other: each is opened, accepted and reset.

    Client and server are this process, so there is no waiting for another to be scheduled. Raises
    OSError if a connection is refused, or takes too long.
    """
    place.namespaces.enter()
    with ExitStack() as stack:
        server_netns, client_netns = (
            open_netns(f"/run/netns/{name}") for name in (CONTAINER, OUTSIDE)
        )
        for fd in (server_netns, client_netns):
            stack.callback(os.close, fd)
        with inside(server_netns):
            server = stack.enter_context(closing(socket.create_server(("", CONTAINER_PORT))))
        server.settimeout(PATIENCE)
        stack.enter_context(inside(client_netns))
        return connections(server, (HOST, HOST_PORTS[CONTAINER]), seconds)


def connections(server: socket.socket, published: tuple[str, int], seconds: float) -> float:
    count = 0
    begin = now = time.perf_counter()
    while now - begin < seconds:
        with socket.socket() as client:
            client.settimeout(PATIENCE)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.connect(published)
            server.accept()[0].close()
        count += 1
        now = time.perf_counter()
    return count / (now - begin)
