"""The real kernel, with one call that fails: what is left of an ADD when any of its steps does."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cnicore.net.namespace import Namespace, opener
from cnicore.net.netlink import KernelError


class FaultyKernel:
    """Opens real handles; call number `fail_at` (from 1, over all handles) raises EIO instead.

    `calls` counts. Closing is no call.
    """

    def __init__(self, fail_at: int = 0) -> None:
        self.fail_at = fail_at
        self.calls = 0

    def open(self, path: str = "") -> Namespace:
        self.note("open a namespace")
        return FaultyNamespace(path, self)

    def note(self, act: str) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise KernelError(act, errno.EIO, "injected")

    @contextmanager
    def in_place(self) -> Iterator[FaultyKernel]:
        """Let every handle that is opened in the block be one of these."""
        token = opener.set(self.open)
        try:
            yield self
        finally:
            opener.reset(token)


class FaultyNamespace(Namespace):
    """A real handle that reports each call before it is made."""

    def __init__(self, path: str, kernel: FaultyKernel) -> None:
        self._kernel = kernel
        super().__init__(path)

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name.startswith("_") or name == "close" or not callable(value):
            return value
        kernel: FaultyKernel = super().__getattribute__("_kernel")

        def reported(*args: Any, **kwargs: Any) -> Any:
            kernel.note(name)
            return value(*args, **kwargs)

        return reported


def failing_at_every_call(attempt: Callable[[], object]) -> Iterator[int]:
    """Run `attempt` again and again, each time with the next call failing, until none is left to.

    Yields the number of the failed call after each attempt, so that the caller can look at what was
    left. An attempt may succeed all the same: plugins tolerate the failure of some calls.
    """
    number = 0
    while True:
        number += 1
        kernel = FaultyKernel(number)
        with kernel.in_place():
            attempt()
        if kernel.calls < number:
            return
        yield number
