"""Say which process of the host no longer gets what is sent to a port, because it is published."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from cni_meta.portmap.configuration import PROTOCOLS
from cni_meta.portmap.plan import Claim
from cnicore.errors import CniError
from cnicore.net.listener import Listener, process_of
from cnicore.net.namespace import Namespace


def warn(host: Namespace, claims: Iterable[Claim]) -> None:
    """Name on stderr every process that listens at one of the ports; no failure."""
    warned: set[int] = set()
    for claim in claims:
        for listener in _listeners(host, claim):
            if listener.inode not in warned and _is_at(listener, claim):
                warned.add(listener.inode)
                _say(claim, listener)


def _listeners(host: Namespace, claim: Claim) -> list[Listener]:
    try:
        return host.listeners(PROTOCOLS[claim.protocol], claim.host_port)
    except (CniError, OSError):
        return []  # the kernel has no means to ask, for SCTP often


def _is_at(listener: Listener, claim: Claim) -> bool:
    if claim.version not in listener.versions:
        return False
    return (
        claim.host_ip is None
        or listener.address.is_unspecified
        or listener.address == claim.host_ip
    )


def _say(claim: Claim, listener: Listener) -> None:
    process = process_of(listener.inode)
    who = f'process "{process[1]}" (pid {process[0]})' if process else "a process out of sight"
    words = (
        f"portmap: warning: {who} of this host listens at {listener.address} port"
        f" {claim.host_port}/{claim.protocol}; what is sent there goes to the container now"
    )
    print(words, file=sys.stderr)  # noqa: T201  (stdout is the answer's alone)
