"""A lock for what several attachments use of a bridge."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cnicore.errors import CniError, system_errors

DIRECTORY = Path("/run/cni/bridge")
"""Root's alone: what others may open they may lock as well, and keep."""


class Bridges:
    """The part of a namespace handle that is about bridges."""

    @contextmanager
    def bridges_locked(self) -> Iterator[None]:
        """Let no other process of ours connect a port, or delete a bridge that has none, meanwhile.

        Where the directory cannot be made, as for who is root of a user namespace only, nobody is
        kept out, which stderr says.
        """
        with ExitStack() as stack:
            try:
                with system_errors(f"lock {DIRECTORY}, so that others are not kept out"):
                    DIRECTORY.mkdir(mode=0o700, parents=True, exist_ok=True)
                    handle = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                    stack.callback(os.close, handle)
                    fcntl.flock(handle, fcntl.LOCK_EX)
            except CniError as error:
                print(error, file=sys.stderr)  # noqa: T201  (stdout is the answer's alone)
            yield
