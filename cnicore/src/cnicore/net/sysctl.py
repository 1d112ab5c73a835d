"""Kernel parameters of one namespace, under /proc/sys."""

from __future__ import annotations

import errno
import sys

from cnicore.errors import CniError, reason, system_errors
from cnicore.net.switch import inside

UNWRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}
FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


class Unwritable(CniError):
    """/proc/sys is read-only here, or not ours to write."""


class Sysctls:
    """The part of a namespace handle that is about sysctls.

    Keys are paths below /proc/sys, so an interface's name may contain a dot.
    """

    fd: int | None

    def read_sysctl(self, key: str) -> str | None:
        """The value without its newline, or None where the kernel has no such parameter."""
        with system_errors(f"read /proc/sys/{key}"), inside(self.fd):
            try:
                with open(f"/proc/sys/{key}", encoding="ascii") as file:
                    return file.read().strip()
            except FileNotFoundError:
                return None

    def write_sysctl(self, key: str, value: str) -> None:
        """Raises CniError, also where the kernel has no such parameter; Unwritable if none may."""
        act = f"write {value} to /proc/sys/{key}"
        try:
            with inside(self.fd), open(f"/proc/sys/{key}", "w", encoding="ascii") as file:
                file.write(value)
        except OSError as error:
            kind = Unwritable if error.errno in UNWRITABLE else CniError
            raise kind(f"could not {act}: {reason(error)}") from error

    def write_sysctl_if_there(self, key: str, value: str) -> None:
        """A kernel without the parameter (no IPv6) is no failure, and nothing is written twice."""
        if self.read_sysctl(key) not in {None, value}:
            self.write_sysctl(key, value)

    def tune_sysctl(self, key: str, value: str) -> None:
        """For a parameter that an attachment works without: if none may be written, say so only."""
        try:
            self.write_sysctl_if_there(key, value)
        except Unwritable as error:
            print(error, file=sys.stderr)  # noqa: T201  (stdout is the answer's alone)

    def enable_forwarding(self, version: int) -> None:
        """Let this namespace forward packets of IPv4 or IPv6; it is never taken back."""
        if self.read_sysctl(FORWARDING[version]) != "1":
            self.write_sysctl(FORWARDING[version], "1")
