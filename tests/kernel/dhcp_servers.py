"""DHCP servers for tests: dnsmasq and Kea, each a process in a namespace of the sandbox."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_interface
from itertools import count
from pathlib import Path
from typing import Any

PATIENCE = 90  # seconds; what a test waits for comes at once on a machine that is idle
POLL = 0.05
LAN = "/run/netns/lan"
HERE = "/proc/self/ns/net"
NUMBERS = count(1)
# Kea writes its identifier there, whatever its configuration says.
WITH_ITS_DIRECTORY = [
    *("unshare", "--mount", "sh", "-c"),
    'mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/kea && exec "$0" "$@"',
]


def eventually(is_so: Callable[[], Any], what: Callable[[], str] = str) -> Any:
    """What the function returns once that is true. Raises AssertionError that says `what`."""
    deadline = time.monotonic() + PATIENCE
    while not (found := is_so()):
        assert time.monotonic() < deadline, what()
        time.sleep(POLL)
    return found


class Program:
    """A process in a network namespace. It can be started again; `log` has what all of them said."""

    def __init__(
        self, command: Sequence[str], netns: str = HERE, environ: Mapping[str, str] | None = None
    ) -> None:
        self.command = [*command]
        self.netns = netns
        self.environ = {"PATH": os.environ["PATH"], **(environ or {})}
        self.directory = Path(f"/run/{Path(command[0]).name}-{next(NUMBERS)}")
        self.directory.mkdir()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    @property
    def log(self) -> str:
        with suppress(FileNotFoundError):
            return (self.directory / "log").read_text(errors="replace")
        return ""

    def launch(self) -> None:
        """Start it, and do not wait until it is ready."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net={self.netns}", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environ,
            )

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; returns the exit status."""
        assert self.process
        self.process.send_signal(number)
        try:
            status = self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait(PATIENCE)
        self.process = None
        return status

    def close(self) -> None:
        if self.process:
            self.end(signal.SIGKILL)

    def says(self, *texts: str, since: int = 0, times: int = 1) -> bool:
        """Whether a line with all the texts is that often in the log, behind the place in it."""
        lines = self.log[since:].splitlines()
        return sum(all(text in line for text in texts) for line in lines) >= times

    def wait_for(self, *texts: str, since: int = 0, times: int = 1) -> None:
        """Wait until it has said that."""

        def is_so() -> bool:
            said = self.says(*texts, since=since, times=times)
            assert said or not self.process or self.process.poll() is None, self.log
            return said

        eventually(is_so, lambda: f"{texts} is not {times} times in:\n{self.log[since:]}")


class Dnsmasq(Program):
    """A server with the pool; its shortest lease is of two minutes.

    With `others` it answers on these links, too, as if they were the one that it is on.
    """

    def __init__(
        self, pool: str, *lines: str, link: str = "lan0", netns: str = LAN, others: str = ""
    ) -> None:
        super().__init__(["dnsmasq", "--no-daemon"], netns)
        on_others = f"bridge-interface={link},{others}"
        self.lines = [*lines, on_others if others else "bind-interfaces"]
        self.command += [f"--conf-file={self.directory}/conf"]
        self.leases = self.directory / "leases"
        self.link = link
        self.configure(pool)

    def configure(self, pool: str) -> None:
        """Have it lease other addresses from its next start on."""
        lines = [
            *("port=0", f"interface={self.link}", "no-ping", "log-dhcp"),
            *("no-resolv", "no-hosts", "dhcp-authoritative", "user=root", "pid-file="),
            *(f"dhcp-leasefile={self.leases}", f"dhcp-range={pool}", *self.lines),
        ]
        (self.directory / "conf").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        since = len(self.log)
        self.launch()
        self.wait_for("DHCP, IP range", since=since)

    def leased(self) -> list[str]:
        """The addresses that it has leased now."""
        lines = self.leases.read_text().splitlines() if self.leases.exists() else []
        return [line.split()[2] for line in lines if not line.startswith("duid ")]


def subnet_of(pool: str) -> str:
    """The subnet of a pool that is written first-last."""
    first, _, _ = pool.partition("-")
    return str(ip_interface(f"{first}/{64 if ':' in first else 16}").network)


class Kea(Program):
    """A server whose leases last for `seconds`, are renewed after `renew`, rebound after `rebind`."""

    def __init__(
        self, version: int, pool: str, *, seconds: int = 6, rebind: int = 3, renew: int = 1
    ) -> None:
        # A copy: AppArmor's profile, where there is one, is for the path and for one configuration.
        program = Path(f"/run/kea-dhcp{version}")
        if not program.exists():
            shutil.copy(shutil.which(program.name) or "", program)
        super().__init__([str(program), "-c"], LAN)
        self.command = [*WITH_ITS_DIRECTORY, *self.command, f"{self.directory}/conf"]
        self.environ |= {
            f"KEA_{what}_DIR": str(self.directory) for what in ("PIDFILE", "LOCKFILE", "DHCP_DATA")
        }
        self.version = version
        self.seconds, self.rebind, self.renew = seconds, rebind, renew
        self.leases = self.directory / "leases"
        self.configure(pool)

    def configure(self, pool: str) -> None:
        """Have it lease other addresses from its next start on; what it has leased is forgotten."""
        for path in self.directory.glob("leases*"):
            path.unlink()
        pools = {"subnet": subnet_of(pool), "pools": [{"pool": pool}], "interface": "lan0"}
        section = {
            "interfaces-config": {"interfaces": ["lan0"]},
            "lease-database": {"type": "memfile", "name": str(self.leases), "lfc-interval": 0},
            "valid-lifetime": self.seconds,
            "renew-timer": self.renew,
            "rebind-timer": self.rebind,
            f"subnet{self.version}": [pools],
            **(
                {"authoritative": True}
                if self.version == 4
                else {"preferred-lifetime": self.rebind}
            ),
            "loggers": [self.logger(), self.logger(".packets", severity="DEBUG", debuglevel=50)],
        }
        (self.directory / "conf").write_text(json.dumps({f"Dhcp{self.version}": section}))

    def of_version(self) -> dict[str, Any]:
        if self.version == 4:
            return {"authoritative": True}
        identifier = {"type": "EN", "identifier": "01020304", "persist": False}
        return {"preferred-lifetime": self.rebind, "server-id": identifier}

    def logger(self, part: str = "", **keys: Any) -> dict[str, Any]:
        output = {"output": "stdout", "flush": True}
        name = f"kea-dhcp{self.version}{part}"
        return {"name": name, "output_options": [output], "severity": "INFO", **keys}

    def start(self) -> None:
        since = len(self.log)
        self.launch()
        self.wait_for(f"DHCP{self.version}_STARTED", since=since)

    def leased(self) -> list[str]:
        """The addresses whose lease it has not been given back, expired ones too."""
        rows = csv.DictReader(self.leases.read_text().splitlines())
        last = {row["address"]: row["valid_lifetime"] for row in rows}
        return [address for address, seconds in last.items() if seconds != "0"]
