"""The clock that leases run by: it goes on while the machine sleeps."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar


def boot_time() -> float:
    """Seconds since the machine started, those included in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


source: ContextVar[Callable[[], float]] = ContextVar("source", default=boot_time)
"""What tells the time. Tests put a clock of their own in its place."""


def now() -> float:
    return source.get()()


class Alarm:
    """Waits for a moment of this clock."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Let who waits look at the clock again: the event loop's does not count suspension."""
        self._rung.set()

    async def wait_until(self, moment: float) -> None:
        """Return when the moment has come; infinity never comes."""
        while (remaining := moment - now()) > 0:
            self._rung.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if math.isinf(remaining) else remaining):
                    await self._rung.wait()
