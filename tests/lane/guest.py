"""One guest: a kernel that is started, runs one command, and ends within a limit."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lane.kernels import Kernel

INIT = Path(__file__).with_name("init.sh")
BEGIN, END = "--- the guest is up ---", "--- the guest is done ---"
TAIL = 20
"""Lines of the console that are shown when a guest dies."""
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
"""What the command sees, whatever the caller has set."""
PASSED_ON = ("CNI_NEWER_REFERENCE",)
"""What it sees if the caller has set it."""


@dataclass(frozen=True)
class Order:
    """What a guest has to do, and for how many seconds it may.

    The place is a directory of its own in a directory that all guests of a run share: its parent.
    """

    place: Path
    command: Sequence[str]
    folder: Path
    limit: float


@dataclass(frozen=True)
class Ended:
    """How a guest ended: the command's exit status, None if the guest died before, and the console."""

    status: int | None
    console: str
    in_time: bool = True

    @property
    def output(self) -> str:
        """What the command printed; of a guest that died, the end of all that it said."""
        before, began, output = self.console.partition(f"{BEGIN}\n")
        if self.status is not None:
            return output.rpartition(f"{END}\n")[0]
        end = "\n".join((output if began else before).splitlines()[-TAIL:])
        how = "died" if self.in_time else "was stopped at its time limit"
        return f"The guest {how}. The end of its console:\n{end}\n"


@dataclass
class Guests:
    """Starts guests, and ends those that run when it is told to."""

    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, kernel: Kernel, order: Order, processor: int) -> Ended:
        furnish(kernel, order)
        console = order.place / "console"
        with console.open("wb") as output:
            process = subprocess.Popen(
                confined(kernel.command(order.place, processor)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.running.append(process)
        in_time = ends_in_time(process, order.limit)
        return Ended(written_status(order.place), console.read_text(errors="replace"), in_time)

    def stop(self) -> None:
        for process in self.running:
            process.kill()


def furnish(kernel: Kernel, order: Order) -> None:
    """Put there what the guest's first process looks for."""
    (order.place / "memory").mkdir(parents=True)
    shutil.copy(INIT, order.place / "init")
    settings = {
        **kernel.settings,
        "modules": str(kernel.modules),
        "busybox": str(kernel.busybox),
        "shared": str(order.place.parent),
    }
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
    (order.place / "settings").write_text("".join(lines))
    (order.place / "command").write_text(script(order.command, order.folder))
    for program in ("init", "command"):
        (order.place / program).chmod(0o755)


def script(command: Sequence[str], folder: Path) -> str:
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environ = [f"{name}={value}" for name, value in {**ENVIRONMENT, **passed_on}.items()]
    words = shlex.join(["env", "-i", *environ, *command])
    return (
        f"#!/bin/sh\necho '{BEGIN}'\ncd {shlex.quote(str(folder))} && {words}\n"
        f"status=$?\necho '{END}'\nexit $status\n"
    )


def confined(command: Sequence[str]) -> list[str]:
    """The command with namespaces of its own: they end with this program, and all in them too."""
    namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"]
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", *namespaces, "--kill-child", *command),
    ]


def ends_in_time(process: subprocess.Popen[bytes], limit: float) -> bool:
    """Wait for the end, at most so many seconds, then make an end."""
    try:
        process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        return False
    finally:
        process.kill()
        process.wait()
    return True


def written_status(place: Path) -> int | None:
    try:
        return int((place / "status").read_text())
    except (FileNotFoundError, ValueError):
        return None
