"""Hosts with a DHCP server and the daemon of one set of plugins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from conformance.stage import Stage, staged
from kernel.dhcp_servers import Dnsmasq, Program, eventually
from kernel.dhcp_site import SOCKET, Daemon, Site

POOL = "10.1.0.10,10.1.0.10,255.255.0.0,2m"


class GoDaemon(Program):
    """`dhcp daemon` of the reference."""

    def __init__(self, plugins: Path, *flags: str) -> None:
        super().__init__([str(plugins / "dhcp"), "daemon", "-timeout", "2s", *flags])

    def start(self) -> None:
        self.launch()
        eventually(SOCKET.exists, lambda: self.log)


DAEMONS = {"reference": GoDaemon, "ours": Daemon}


class Host:
    """A stage with the container c1 on the network of the server; a daemon is started by name."""

    def __init__(self, stage: Stage, stack: ExitStack, *lines: str, pool: str = POOL) -> None:
        self.stage = stage
        self.site = Site(stage.sandbox, next(iter(stage.suites.values())), stack)
        self.site.wire("c1")
        self.server: Dnsmasq = self.site.dnsmasq(pool, *lines)

    def daemon(self, suite: str) -> Program:
        daemon: Program = self.site.started(DAEMONS[suite](self.stage.suites[suite]))
        return daemon


@contextmanager
def hosted(suites: Mapping[str, Path], lines: Sequence[str] = ()) -> Iterator[Host]:
    with staged(suites) as stage, ExitStack() as stack:
        yield Host(stage, stack, *lines)
