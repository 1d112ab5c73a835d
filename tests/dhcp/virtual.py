"""An event loop whose time jumps to whatever is due next: hours of waiting take no time."""

from __future__ import annotations

import asyncio
import selectors
from contextvars import copy_context

from cni_ipam.dhcp import clock

START = 1000.0
MOST_TURNS, TICK = 100, 1e-6


class JumpingSelector(selectors.DefaultSelector):
    """Waits no time; `waited` is by how much the loop would have been asleep.

    A loop that is busy ages a little, too: a moment that differs by a rounding has to come.
    """

    waited = 0.0
    busy = 0

    def select(self, timeout=None):
        ready = super().select(0)
        if timeout is None and not ready:
            raise AssertionError("all wait, and nothing will ever happen")
        self.busy += 1
        if timeout and not ready:
            self.waited += timeout
            self.busy = 0
        elif self.busy > MOST_TURNS:
            self.waited += TICK
        return ready or super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """`turns` counts how often the loop has woken."""

    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)
        self.turns = 0

    def time(self):
        return START + self.jumping.waited

    def _run_once(self):
        self.turns += 1
        super()._run_once()


def run(main):
    """What the coroutine function returns, with the leases' clock that of the loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        token = clock.source.set(runner.get_loop().time)
        try:
            return runner.run(main(), context=copy_context())
        finally:
            clock.source.reset(token)
