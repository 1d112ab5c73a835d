"""The part of the kernel in memory that is about tap devices."""

from __future__ import annotations

import errno
from typing import Any

from cnicore.net.link import Link
from cnicore.net.netlink import KernelError
from cnicore.net.tuntap import KIND, Tap
from cnicore.rollback import OnFailure


class FakeTaps:
    """Tap devices of a FakeNamespace; `has_taps` is whether its kernel makes any."""

    by_name: dict[str, Link]
    has_taps = True

    @property
    def taps(self) -> dict[str, Tap]:
        """What the taps are, by name."""
        taps: dict[str, Tap] = self.__dict__.setdefault("_taps", {})
        return taps

    def note(self, *call: Any) -> None:
        raise NotImplementedError

    def delete_link(self, name: str) -> None:
        raise NotImplementedError

    def _add_link(self, link: Link) -> None:
        raise NotImplementedError

    def require_taps(self) -> None:
        self.note("require_taps")
        if not self.has_taps:
            raise KernelError("open /dev/net/tun", errno.ENOENT)

    def add_tap(
        self, name: str, tap: Tap, on_failure: OnFailure, *, selinux_context: str = ""
    ) -> None:
        self.note("add_tap", name, tap, selinux_context)
        if name in self.by_name:
            raise KernelError(f"create the tap {name}", errno.EBUSY)
        self._add_link(Link(0, name, KIND, "02:00:00:00:00:05", 1500))
        self.taps[name] = tap
        on_failure(self.delete_link, name)

    def find_tap(self, name: str) -> Tap | None:
        self.note("find_tap", name)
        return self.taps.get(name) if name in self.by_name else None
