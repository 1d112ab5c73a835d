"""Start a program, wait for its end, say what it cost; as little else as possible in between."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 120.0  # seconds
STANDARD = (0, 1, 2)


class CallFailed(Exception):
    """A program that is timed did not do what it was asked for."""


@dataclass(frozen=True)
class Finished:
    """A process that ended: milliseconds from spawn to exit, and of processor time.

    Processor time includes the programs that it waited for. `peak` is its own resident memory in
    MiB, 0 unless it was watched.
    """

    status: int
    stdout: bytes
    stderr: bytes
    wall: float
    processor: float
    peak: float


class Spawner:
    """Runs programs one at a time, with files in memory as their standard streams."""

    def __init__(self) -> None:
        self._streams = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
        self._actions = [
            (os.POSIX_SPAWN_DUP2, stream, number)
            for stream, number in zip(self._streams, STANDARD, strict=True)
        ]

    def close(self) -> None:
        for stream in self._streams:
            os.close(stream)

    def run(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        stdin: bytes = b"",
        *,
        watch: bool = False,
    ) -> Finished:
        """Run the program to its end. Raises CallFailed if that does not come.

        To watch its memory costs a processor; what is watched is not worth timing.
        """
        self._rewind(stdin)
        begin = time.perf_counter_ns()
        pid = os.posix_spawn(
            argv[0],
            argv,
            environ,
            file_actions=self._actions,
            setsigdef=[signal.SIGPIPE],  # Python ignores it, and a child would too
        )
        peak, status, usage = wait(pid, watch=watch)
        wall = time.perf_counter_ns() - begin
        processor = usage.ru_utime + usage.ru_stime
        code = os.waitstatus_to_exitcode(status)
        return Finished(code, self._text(1), self._text(2), wall / 1e6, processor * 1e3, peak)

    def _rewind(self, stdin: bytes) -> None:
        for stream in self._streams:
            os.ftruncate(stream, 0)
            os.lseek(stream, 0, os.SEEK_SET)
        os.pwrite(self._streams[0], stdin, 0)

    def _text(self, number: int) -> bytes:
        stream = self._streams[number]
        return os.pread(stream, os.fstat(stream).st_size, 0)


def wait(pid: int, *, watch: bool) -> tuple[float, int, os.struct_rusage]:
    """Wait for the child; it does not outlive this call."""
    end = os.pidfd_open(pid)
    try:
        peak = watch_memory(pid, end) if watch else 0.0
        require_end(end)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(end)
    _, status, usage = os.wait4(pid, 0)
    return peak, status, usage


def watch_memory(pid: int, end: int) -> float:
    """The largest resident memory of the process, in MiB.

    The kernel's own figure, ru_maxrss, is never less than the memory of the process that spawned
    it: this one, which is larger than a plugin of the reference.
    """
    peak = 0
    limit = time.monotonic() + TIMEOUT
    with Path(f"/proc/{pid}/status").open("rb", buffering=0) as file:
        while not is_over(end, 0) and time.monotonic() < limit:
            file.seek(0)
            _, _, rest = file.read(4096).partition(b"VmHWM:")  # absent once its memory is freed
            peak = int(rest.split(maxsplit=1)[0]) if rest else peak
    return peak / 1024


def require_end(end: int) -> None:
    if not is_over(end, TIMEOUT):
        raise CallFailed(f"a program is still running after {TIMEOUT:.0f} s")


def is_over(end: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(end, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
