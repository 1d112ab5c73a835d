"""A host with DHCP: a bridge, a network behind it where the servers are, containers, the daemon.

eth0 of containers  --  ports of br0 of the host  --  up-lan -- lan0 of the namespace lan 10.1.0.1
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cnicore.testing.calls import Caller
from cnicore.testing.sandbox import Sandbox
from kernel.dhcp_servers import Dnsmasq, Kea, Program

SOCKET = Path("/run/cni/dhcp.sock")
RECORDS = Path("/var/lib/cni/dhcp")
WITHOUT_DAD = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad"
BUILD = f"{WITHOUT_DAD}; ip link add br0 address 02:00:00:00:00:01 type bridge; ip link set br0 up"
AT_ONCE = 20  # containers in one shell, whose time is limited
PATIENT = ("-timeout", "5s", "-resendtimeout", "60s")


def bridged(**keys: Any) -> dict[str, Any]:
    """A configuration of bridge whose addresses are leased; `keys` are those of ipam."""
    ipam = {"type": "dhcp", **keys}
    return {"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0", "ipam": ipam}


def alone(**keys: Any) -> dict[str, Any]:
    """A configuration of dhcp without a main plugin."""
    ipam = {"type": "dhcp", **keys}
    return {"cniVersion": "1.0.0", "name": "net", "type": "dhcp", "ipam": ipam}


class Daemon(Program):
    """`dhcp daemon` of a set of plugins."""

    READY = "listening on"

    def __init__(self, plugins: Path, *flags: str) -> None:
        super().__init__([str(plugins / "dhcp"), "daemon", *PATIENT, *flags])

    def start(self) -> None:
        since = len(self.log)
        self.launch()
        self.wait_for(self.READY, since=since)

    def die(self) -> None:
        """Give it no chance to do anything about it."""
        assert self.end(signal.SIGKILL) == -signal.SIGKILL


class Site:
    """The host; everything that is started on it ends with the stack."""

    def __init__(self, sandbox: Sandbox, plugins: Path, stack: ExitStack) -> None:
        self.sandbox = sandbox
        self.plugins = plugins
        self._stack = stack
        sandbox.shell(BUILD)
        self.lan()

    def lan(self, name: str = "lan", address: str = "10.1.0.1/16") -> str:
        """A namespace for servers behind the bridge; returns its path."""
        path = self.sandbox.container(name)
        self.sandbox.shell(WITHOUT_DAD, path)
        self.wire(name, "lan0", f"up-{name}")
        self.sandbox.shell(f"ip addr add {address} dev lan0; ip link set lo up", path)
        if name == "lan":
            self.sandbox.shell("ip addr add fd00:1::1/64 dev lan0 nodad", path)
        return path

    def wired(self, *names: str) -> None:
        """Containers with a link to the bridge, for the plugin on its own."""
        for first in range(0, len(names), AT_ONCE):
            some = names[first : first + AT_ONCE]
            lines = (f"ip netns add {name}; {wiring(name, 'eth0', f'v-{name}')}" for name in some)
            self.sandbox.shell("\n".join(lines))

    def wire(self, name: str, link: str = "eth0", port: str = "") -> None:
        """Give the container a link whose other end is a port of the bridge."""
        self.sandbox.shell(wiring(name, link, port or f"v-{name}"))

    def caller(self, name: str = "c1") -> Caller:
        """Calls plugins in this process for a container, which is made if there is none."""
        path = Path(f"/run/netns/{name}")
        if not path.exists():
            self.sandbox.container(name)
        return Caller(self.plugins, netns=str(path), container_id=name)

    @contextmanager
    def adding(self, name: str = "c1") -> Iterator[subprocess.Popen[bytes]]:
        """ADD of dhcp alone for a container, as a process that goes on during the block."""
        environ = {**self.caller(name).environ, "CNI_COMMAND": "ADD"}
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([self.plugins / "dhcp"], env=environ, **streams) as plugin:
            try:
                assert plugin.stdin
                plugin.stdin.write(json.dumps(alone()).encode())
                plugin.stdin.close()
                yield plugin
            finally:
                plugin.kill()

    def started(self, program: Any) -> Any:
        """The server or the daemon, when it is ready."""
        self._stack.callback(program.close)
        program.start()
        return program

    def daemon(self, *flags: str) -> Daemon:
        daemon: Daemon = self.started(Daemon(self.plugins, *flags))
        return daemon

    def kea(self, version: int, pool: str, **keys: int) -> Kea:
        kea: Kea = self.started(Kea(version, pool, **keys))
        return kea

    def dnsmasq(self, pool: str, *lines: str, **keys: str) -> Dnsmasq:
        dnsmasq: Dnsmasq = self.started(Dnsmasq(pool, *lines, **keys))
        return dnsmasq

    def links(self, netns: str = "") -> list[str]:
        return sorted(link["ifname"] for link in self.sandbox.json("ip -json link", netns))

    def addresses(self, name: str = "c1", family: int = 4) -> list[str]:
        """Those of the container's interface, without the link-local one."""
        command = f"ip -{family} -json addr show dev eth0 scope global"
        return [
            f"{one['local']}/{one['prefixlen']}"
            for link in self.sandbox.json(command, name)
            for one in link.get("addr_info", [])
            if one  # of another scope
        ]


def wiring(name: str, link: str, port: str) -> str:
    peer = f"{port} up master br0 type veth peer name {link} netns {name}"
    return f"ip link add {peer}; ip -n {name} link set {link} up"


def addresses_of(result: Any) -> list[str]:
    """What a result of ADD says, without the length of the prefix."""
    return [ip["address"].partition("/")[0] for ip in result["ips"]]
