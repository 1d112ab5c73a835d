"""What a daemon of dhcp has used of memory, processor and wake-ups."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from kernel.dhcp_site import Daemon

TICKS = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """What the daemon has used by then; it sleeps once for each time that something wakes it."""

    moment: float
    renewals: int
    memory: float
    files: int
    sleeps: int
    processor: float


def usage_of(daemon: Daemon) -> Usage:
    lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
    status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    stat = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(") ")[2].split()
    return Usage(
        moment=time.monotonic(),
        renewals=renewals_of(daemon),
        memory=int(status["VmHWM"][0]) / 1024,
        files=len(list(Path(f"/proc/{daemon.pid}/fd").iterdir())),
        sleeps=int(status["voluntary_ctxt_switches"][0]),
        processor=(int(stat[11]) + int(stat[12])) / TICKS,
    )


def renewals_of(daemon: Daemon) -> int:
    return daemon.log.count(": renewed ")
