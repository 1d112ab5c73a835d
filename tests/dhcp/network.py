"""A network with a real DHCP server: the host's bridge leads to it, and containers are its ports.

server eth0 10.1.0.1, fd00:1::1  --  srv0 of br0 of the host 10.1.0.254  --  v1  --  eth0 of c1
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

WITHOUT_DAD = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad"
BUILD = f"""
set -e
{WITHOUT_DAD}
ip link add br0 type bridge; ip addr add 10.1.0.254/24 dev br0; ip link set br0 up
ip netns add server
ip netns exec server sh -c '{WITHOUT_DAD}; ip link set lo up'
ip link add srv0 type veth peer name eth0 netns server
ip link set srv0 master br0; ip link set srv0 up
ip -n server addr add 10.1.0.1/24 dev eth0; ip -n server addr add fd00:1::1/64 dev eth0
ip -n server link set eth0 up
"""
# dnsmasq refuses leases of less than two minutes
CONFIGURATION = """
port=0
user=root
no-ping
dhcp-authoritative
log-dhcp
log-facility=-
interface={interface}
dhcp-leasefile={leases}
dhcp-range={range}
{more}
"""
IPV4 = "10.1.0.50,10.1.0.59,255.255.255.0,2m"
PATIENCE = 60  # for a loaded machine


class Network:
    """The network of a sandbox, and the one server in it."""

    def __init__(self, sandbox, directory: Path) -> None:
        if shutil.which("dnsmasq") is None:
            pytest.skip("needs dnsmasq of the package dnsmasq-base")
        self.sandbox = sandbox
        self.leases = directory / "leases"
        self._configuration = directory / "dnsmasq.conf"
        self._log = directory / "dnsmasq.log"
        self._server: subprocess.Popen | None = None
        sandbox.shell(BUILD)

    def container(self, name: str = "c1") -> str:
        """A container whose eth0 is a port of the bridge; returns its path."""
        path = self.sandbox.container(name)
        self.sandbox.shell(WITHOUT_DAD, path)
        self.sandbox.shell(
            f"ip link add v{name} type veth peer name eth0 netns {name};"
            f" ip link set v{name} master br0; ip link set v{name} up"
        )
        return path

    def serve(self, ranges: str = IPV4, more: str = "", *, on_host: bool = False) -> None:
        """Start the server, or start it again with another configuration."""
        self.stop()
        interface = "br0" if on_host else "eth0"
        text = CONFIGURATION.format(
            interface=interface, leases=self.leases, range=ranges, more=more
        )
        self._configuration.write_text(text)
        command = ["dnsmasq", "--keep-in-foreground", f"--conf-file={self._configuration}"]
        prefix = [] if on_host else ["nsenter", "--net=/run/netns/server"]
        begun = self.log().count("IP range")
        with self._log.open("a") as log:
            self._server = subprocess.Popen([*prefix, *command], stderr=log, stdout=log)
        self.until(lambda: self.log().count("IP range") > begun or self._server.poll() is not None)
        assert self._server.poll() is None, self.log()

    def stop(self) -> None:
        if self._server:
            self._server.kill()
            self._server.wait()
            self._server = None

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def leased(self) -> list[str]:
        """The addresses that the server has given away."""
        lines = self.leases.read_text().splitlines() if self.leases.exists() else []
        return sorted(line.split()[2] for line in lines if not line.startswith("duid"))

    def until(self, is_so) -> None:
        """Wait for what the server does."""
        end = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < end, self.log()
            time.sleep(0.02)
