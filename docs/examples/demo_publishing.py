"""The part of the demo that publishes a container's port and shapes its traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from throughput import measure, plot, rate

from cnicore.net.namespace import Namespace
from cnicore.runtime import Attachment, Network, Runtime

CONTAINER = "shop"
NETNS = Path("/run/netns")
HOST_PORT, CONTAINER_PORT = 8080, 80
ADDRESSES = {4: "10.77.0.3", 6: "fd77::3"}  # after one that was given back
LIMIT = 20_000_000  # bits per second
BURST = 2_000_000  # bits
SECONDS = 1.5  # of each download

PORTS = [{"hostPort": HOST_PORT, "containerPort": CONTAINER_PORT, "protocol": "tcp"}]
SHAPED = {"ingressRate": LIMIT, "ingressBurst": BURST, "egressRate": LIMIT, "egressBurst": BURST}


def attachment(*, shaped: bool) -> Attachment:
    """The container with its published port, at full speed or shaped."""
    wishes: dict[str, Any] = {"portMappings": PORTS, **({"bandwidth": SHAPED} if shaped else {})}
    return Attachment(CONTAINER, str(NETNS / CONTAINER), "eth0", capability_args=wishes)


def show_download(runtime: Runtime, network: Network, places: dict[str, Namespace]) -> bool:
    """Download before and after shaping, as plots; whether the second is as slow as wanted."""
    speeds: list[float] = []
    for shaped in (False, True):
        added = runtime.add(network, attachment(shaped=shaped))
        address = str(added.result.ips[0].address.ip)
        rows = measure(places["host"], places[CONTAINER], address, seconds=SECONDS)
        print(f"  {'shaped to 20 Mbit/s' if shaped else 'as fast as it goes'}:")
        print("\n".join(f"    {line}" for line in plot(rows, full=2 * LIMIT)))
        speeds.append(rate(rows[len(rows) // 2 :]))
        if not shaped:
            runtime.delete(network, attachment(shaped=False))
    return speeds[1] < 1.3 * LIMIT < speeds[0]
