"""What ports have in common: a socket that is closed with its block."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self


class Port:
    """A client's port on one link of a namespace. Every method passes OSErrors through."""

    _socket: socket.socket

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()
