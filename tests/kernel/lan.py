"""A network beyond the host: a switch, and on the host the parent that leads to it.

    up0 of the host 10.1.0.254, fd00:1::fe  --  port0 of the switch sw in lan 10.1.0.1, fd00:1::1

A frame never leaves a switch by the port that it came in by, unless that port reflects (hairpin).
"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path

PARENT = "up0"
# each by IPv4 and IPv6; the containers get theirs in the order that they come
SWITCH = ("10.1.0.1", "fd00:1::1")
HOST = ("10.1.0.254", "fd00:1::fe")
FIRST = ("10.1.0.2", "fd00:1::2")
SECOND = ("10.1.0.3", "fd00:1::3")

WITHOUT_DAD = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad"
BUILD = f"""
set -e
{WITHOUT_DAD}
ip netns add lan; ip netns exec lan sh -c '{WITHOUT_DAD}'
ip link add up0 type veth peer name port0 netns lan
ip -n lan link add sw type bridge
ip -n lan link set port0 master sw
ip -n lan link set port0 up; ip -n lan link set sw up
ip -n lan addr add 10.1.0.1/24 dev sw; ip -n lan addr add fd00:1::1/64 dev sw
ip link set up0 up; ip addr add 10.1.0.254/24 dev up0; ip addr add fd00:1::fe/64 dev up0
"""

# what comes to port 7000 of a group or of everybody, until the last word
LISTEN = """
import socket, struct, sys
link = struct.pack("=I", socket.if_nametoindex("eth0"))
ours = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
ours.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
ours.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                socket.inet_pton(socket.AF_INET6, "ff02::4242") + link)
ours.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                socket.inet_aton("239.1.2.3") + bytes(4) + link)
ours.settimeout(30)
ours.bind(("::", 7000))
print("listening", flush=True)
heard = set()
while sys.argv[1] not in heard:
    heard.add(ours.recv(99).decode())
print(*sorted(heard))
"""
SAY = """
import socket, sys, time
device, address, word = sys.argv[1:]
if ":" in address:
    ours = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    to = (address, 7000, 0, socket.if_nametoindex(device))
else:
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    to = (address, 7000)
for _ in range(5):
    ours.sendto(word.encode(), to)
    time.sleep(.02)
"""


class Lan:
    """The network, as the host's and the containers' tests see it."""

    def __init__(self, sandbox) -> None:
        self.sandbox = sandbox
        sandbox.shell(BUILD)
        self.settle()

    def settle(self, parent: str = PARENT) -> None:
        """Wait until the kernel has noticed that all links are up, which it does by and by."""
        for where, link in (("", parent), ("-n lan", "port0"), ("-n lan", "sw")):
            is_up = f"ip {where} -o link show {link} | grep -q 'state UP'"
            self.sandbox.shell(f"for n in $(seq 400); do {is_up} && exit; sleep .05; done; exit 1")

    def container(self, name: str) -> str:
        """A container in which IPv6 addresses can be used at once; returns its path."""
        path = self.sandbox.container(name)
        self.sandbox.shell(WITHOUT_DAD, path)
        return path

    def reflect(self) -> None:
        """Let the switch send frames back by the port that they came in by."""
        self.sandbox.shell("ip -n lan link set port0 type bridge_slave hairpin on")

    def require_reach(self, source: str, *targets: str) -> None:
        """Raise AssertionError unless all targets answer; an empty source is the host."""
        self.sandbox.shell(" && ".join(f"ping -c1 -w20 {target}" for target in targets), source)

    def require_no_reach(self, source: str, *targets: str) -> None:
        """Raise AssertionError if one of the targets answers within a second."""
        pings = " & ".join(f"ping -c5 -i0.2 -w1 {target}" for target in targets)
        answers = self.sandbox.shell(f"{pings} & wait", source)
        assert "bytes from" not in answers, answers

    @contextmanager
    def listening(self, name: str, last: str):
        """Hear in a container's eth0 until the last word; gives a function that says which came."""
        path = Path("/run/netns") / name
        command = ["nsenter", f"--net={path}", "python3", "-c", LISTEN, last]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
            assert listener.stdout.readline() == "listening\n"
            try:
                yield lambda: listener.stdout.readline().split()
            finally:
                listener.kill()

    def say(self, source: str, address: str, word: str) -> None:
        """Send the word to a group or to everybody, from a container or from the switch."""
        device = "sw" if source == "lan" else "eth0"
        self.sandbox.shell(f"python3 -c '{SAY}' {device} {address} {word}", source)
