"""Attach containers to three networks, publish a port, send packets, and take all of it back.

Needs root. Everything happens in network and mount namespaces of its own with an empty /run and
/var/lib; the machine's network is not touched. The exit status says whether every step held.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import demo_publishing as publishing

from cnicore.errors import CniError
from cnicore.net.namespace import Namespace
from cnicore.net.switch import inside
from cnicore.runtime import AddResult, Attachment, Network, Runtime, load_network

EXAMPLES = Path(__file__).parent
NETNS = Path("/run/netns")
PRIVATE_DIRECTORIES = ("/run", "/var/lib")
CONTAINERS = ("web", "db")
INTERFACES = {"apps": "eth0", "wire": "eth1"}  # each network's interface in every container
HOST = {4: "203.0.113.1", 6: "2001:db8::1"}
MAIN_TABLE = 254
OUTSIDE = {4: "203.0.113.2", 6: "2001:db8::2"}
TIMEOUT = 10.0  # seconds, for each call of a plugin and each connection
KEPT = ("apps0", "shop0", "last_reserved_ip.", "/lock")

Results = dict[str, dict[str, AddResult]]
"""By network, then by container."""


class StepFailed(Exception):
    """Something that the demo shows did not hold."""


def main() -> int:
    if os.geteuid() != 0:
        print("  ✗ the demo needs root, for namespaces of its own")
        return 1
    if "--inside" not in sys.argv:
        unshare = ["unshare", "--net", "--mount", "--propagation", "private"]
        os.execvp("unshare", [*unshare, sys.executable, __file__, "--inside"])  # noqa: S606  (no shell)
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        with tempfile.TemporaryDirectory() as plugins, ExitStack() as stack:
            make_private()
            places = make_places(stack)
            show(install_plugins(plugins), places)
    except (StepFailed, CniError, OSError, subprocess.CalledProcessError) as error:
        print(f"  ✗ {error}")
        return 1
    print("\nAll of it held.")
    return 0


def show(runtime: Runtime, places: dict[str, Namespace]) -> None:
    networks = [load_network(EXAMPLES, name) for name in INTERFACES]
    host = places["host"]
    before = inventory(host)
    with step("attached web and db to apps (bridge, masquerading) and to wire (ptp)"):
        results = {network.name: attach(runtime, network) for network in networks}
    print()
    print_topology(networks, results, places)
    print("\nTraffic, TCP both ways; who the server sees:")
    send_packets(results, places)
    shop = load_network(EXAMPLES, "shop")
    print(f"\nA download from the host by shop ({', '.join(one.type for one in shop.plugins)}):")
    with step("shop got what it may have, and no more"):
        if not publishing.show_download(runtime, shop, places):
            raise StepFailed("the download is not shaped")
    with step("shop's port 80 is the host's port 8080 for the world"):
        require_published(places)
    print("\nAnd back:")
    published = publishing.attachment(shaped=True)
    with step("CHECK finds all five attachments as they were made"):
        runtime.check(shop, published)
        for network in networks:
            for container in CONTAINERS:
                runtime.check(network, attachment(network, container))
    with step("deleted, and deleted again, which is no error"):
        for _ in range(2):
            runtime.delete(shop, published)
        for network in [*networks, *networks]:
            for container in CONTAINERS:
                runtime.delete(network, attachment(network, container))
    require_nothing_left(before, inventory(host), places)


# --- the stage


def make_private() -> None:
    for directory in PRIVATE_DIRECTORIES:
        run(f"mount -t tmpfs tmpfs {directory}")
    NETNS.mkdir()


def make_places(stack: ExitStack) -> dict[str, Namespace]:
    """The containers' namespaces, and one "outside" that has no route to any of them."""
    for name in (*CONTAINERS, publishing.CONTAINER, "outside"):
        run(f"ip netns add {name}")
    run("ip link set lo up")
    # duplicate address detection would have the gateway wait for a second or two
    Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0", encoding="ascii")
    run("ip link add uplink type veth peer name eth0 netns outside")
    run("ip link set uplink addrgenmode none")
    for version, length in ((4, 24), (6, 64)):
        run(f"ip addr add {HOST[version]}/{length} dev uplink nodad")
        run(f"ip -n outside addr add {OUTSIDE[version]}/{length} dev eth0 nodad")
    run("ip link set uplink up")
    run("ip -n outside link set eth0 up")
    names = ("", *CONTAINERS, publishing.CONTAINER, "outside")
    paths = {name or "host": str(NETNS / name) if name else "" for name in names}
    return {name: stack.enter_context(closing(Namespace(path))) for name, path in paths.items()}


def install_plugins(directory: str) -> Runtime:
    with step("installed the plugins into a temporary directory"):
        run(f"{Path(sys.executable).with_name('cni')} install {directory}")
    return Runtime([directory], timeout=TIMEOUT)


def run(command: str) -> str:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise StepFailed(f"{command}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@contextmanager
def step(text: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        print(f"  ✗ {text}")
        raise
    print(f"  ✓ {text}")


# --- the work


def attachment(network: Network, container: str) -> Attachment:
    return Attachment(container, str(NETNS / container), INTERFACES[network.name])


def attach(runtime: Runtime, network: Network) -> dict[str, AddResult]:
    return {
        container: runtime.add(network, attachment(network, container)) for container in CONTAINERS
    }


def print_topology(
    networks: Iterable[Network], results: Results, places: dict[str, Namespace]
) -> None:
    for network in networks:
        print(f"{network.name}  {', '.join(plugin.type for plugin in network.plugins)}")
        for container in CONTAINERS:
            is_last = container == CONTAINERS[-1]
            print(f"{'└─' if is_last else '├─'} {container}")
            ifname = INTERFACES[network.name]
            indent = "   " if is_last else "│  "
            print(f"{indent}└─ {ifname}  {describe_link(places[container], ifname)}")
            for line in describe_addresses(results[network.name][container], places[container]):
                print(f"{indent}   {line}")


def describe_link(container: Namespace, ifname: str) -> str:
    link = container.link(ifname)
    return f"{link.kind}, {link.mac}, MTU {link.mtu}, {'up' if link.is_up else 'down'}"


def describe_addresses(added: AddResult, container: Namespace) -> Iterator[str]:
    """The addresses that ADD reported, and what the kernel routes through their interface."""
    link = container.link(added.result.interfaces[-1].name)
    for ip in added.result.ips:
        yield f"├─ {ip.address}"
    routes = [route for route in container.routes() if route.link == link.index]
    shown = [route for route in routes if route.table == MAIN_TABLE and not route.dst.is_link_local]
    for route in shown:
        via = f" via {route.gateways[0]}" if route.gateways else ""
        yield f"{'└─' if route is shown[-1] else '├─'} route {route.dst.network}{via}"


def send_packets(results: Results, places: dict[str, Namespace]) -> None:
    web, db = ({name: results[name][one].result.ips for name in results} for one in CONTAINERS)
    for network in results:
        for mine, theirs in zip(web[network], db[network], strict=True):
            talk(places, ("web", "db"), f"{theirs.address.ip}", f"{mine.address.ip}")
    for mine in web["apps"]:
        version = mine.address.version
        talk(places, ("web", "host"), f"{mine.gateway}", f"{mine.address.ip}")
        talk(places, ("host", "web"), f"{mine.address.ip}", f"{mine.gateway}")
        talk(places, ("web", "outside"), OUTSIDE[version], HOST[version])


def talk(places: dict[str, Namespace], who: tuple[str, str], address: str, expected: str) -> None:
    """Connect from the first to the second, who has the address and must see the expected one."""
    client, server = who
    seen = seen_by(places[server], address, places[client])
    if seen != expected:
        raise StepFailed(f"{client} → {server} at {address}: it saw {seen} instead of {expected}")
    hidden = ", the host's: masqueraded" if server == "outside" else ""
    print(f"  ✓ {client:4} → {server:7} {address:15} sees {seen}{hidden}")


def require_published(places: dict[str, Namespace]) -> None:
    """Outside reaches the container through the host's address and port, in both families."""
    client, shop = places["outside"], places[publishing.CONTAINER]
    port = publishing.HOST_PORT
    for version, address in HOST.items():
        seen = seen_by(shop, publishing.ADDRESSES[version], client, via=(address, port))
        if seen != OUTSIDE[version]:
            raise StepFailed(f"through {address} port {port} shop saw {seen}, not the client")
        print(f"  ✓ outside → {address} port {port}: shop sees {seen}")


def seen_by(
    server: Namespace, address: str, client: Namespace, via: tuple[str, int] | None = None
) -> str:
    """The address that the server sees when the client talks to it over TCP, maybe via another."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(server.fd):
        port = publishing.CONTAINER_PORT if via else 0
        listener = socket.create_server((address, port), family=family)
    with inside(client.fd):
        caller = socket.socket(family)
    with listener, caller:
        listener.settimeout(TIMEOUT)
        caller.settimeout(TIMEOUT)
        caller.connect(via or listener.getsockname())
        caller.sendall(b"hello")
        connection, peer = listener.accept()
        with connection:
            connection.sendall(connection.recv(5))
        if caller.recv(5) != b"hello":
            raise StepFailed(f"{address} did not send back what it got")
    return str(peer[0])


# --- the proof


def inventory(host: Namespace) -> set[str]:
    """Everything on the host that an attachment could leave, a line each."""
    links = host.links()
    names = {link.index: link.name for link in links}
    lines = {f"link {link.name}" for link in links}
    for link in links:
        lines |= {f"address {one.cidr} on {link.name}" for one in host.addresses(link.name)}
    lines |= {
        f"route {one.dst.network} in table {one.table} on {names.get(one.link)}"
        for one in host.routes()
    }
    lines |= {f"rule {line.strip()}" for line in firewall_rules()}
    for directory in PRIVATE_DIRECTORIES:
        lines |= {f"file {file}" for file in Path(directory).rglob("*") if file.is_file()}
    return lines


def firewall_rules() -> list[str]:
    listings = [run("nft list ruleset")]
    if shutil.which("iptables-legacy-save"):  # the other iptables shows up in nft's listing
        listings.append(run("iptables-legacy-save"))
    return [line for listing in listings for line in listing.splitlines() if line.strip("\t }")]


def require_nothing_left(before: set[str], after: set[str], places: dict[str, Namespace]) -> None:
    with step("nothing is left in links, addresses, routes, firewall and files"):
        for container in CONTAINERS:
            left = {link.name for link in places[container].links()} - {"lo"}
            if left:
                raise StepFailed(f"left in {container}: {', '.join(sorted(left))}")
        kept = {line for line in after - before if is_kept(line)}
        changed = sorted((after ^ before) - kept)
        if changed:
            raise StepFailed(f"changed after the last delete: {'; '.join(changed)}")
    print("    but what the networks keep for their next container:")
    for line in sorted(line for line in kept if not line.startswith("rule ")):
        print(f"      {line}")
    print("      the firewall's table inet cni, without any container in it")


def is_kept(line: str) -> bool:
    """Whether the line is no attachment's: what is in the firewall for one carries its name."""
    is_frame = line.startswith("rule ") and "cni:" not in line and "CNI-" not in line
    return is_frame or any(part in line for part in KEPT)


if __name__ == "__main__":
    sys.exit(main())
