"""Network namespaces as handles: functions take the one that they act on, none is "inside"."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from cnicore.net.address import Addresses
from cnicore.net.bridges import Bridges
from cnicore.net.device import Devices
from cnicore.net.link import Links
from cnicore.net.link_settings import LinkSettings
from cnicore.net.netlink import Netlink
from cnicore.net.qdisc import Qdiscs
from cnicore.net.route import Routes
from cnicore.net.rule import Rules
from cnicore.net.sublink import Sublinks
from cnicore.net.switch import NetnsGone, inside, open_netns
from cnicore.net.sysctl import Sysctls
from cnicore.net.traffic import Traffic
from cnicore.net.tuntap import Taps


class Namespace(
    Links,
    Sublinks,
    LinkSettings,
    Bridges,
    Taps,
    Devices,
    Addresses,
    Routes,
    Rules,
    Qdiscs,
    Sysctls,
    Traffic,
):
    """One network namespace: links, addresses, routes, rules, queues, sysctls, traffic.

    `path` is empty for the namespace that this process is in.
    """

    def __init__(self, path: str = "") -> None:
        """Raises InvalidNetns if the path names no network namespace."""
        self.path = path
        self.fd = open_netns(path) if path else None
        with inside(self.fd):
            self.netlink = Netlink()

    def close(self) -> None:
        self.netlink.close()
        if self.fd is not None:
            os.close(self.fd)


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Both ends of an attachment."""

    host: Namespace
    container: Namespace


@dataclass(frozen=True, slots=True)
class RemainingNamespaces:
    """What DEL finds: the container's namespace may be gone."""

    host: Namespace
    container: Namespace | None


class Open(Protocol):
    """Opens a namespace handle; an empty path is the host's namespace."""

    def __call__(self, path: str = "") -> Namespace: ...


opener: ContextVar[Open] = ContextVar("opener", default=Namespace)
"""What opens the handles. Tests put a fake kernel, or one that fails on purpose, in its place."""


@contextmanager
def host_namespace() -> Iterator[Namespace]:
    """The namespace that this process is in."""
    handle = opener.get()()
    try:
        yield handle
    finally:
        handle.close()


@contextmanager
def namespaces(netns: str) -> Iterator[Namespaces]:
    """The host's and the container's namespace. Raises InvalidNetns if the latter is none."""
    with host_namespace() as host:
        container = opener.get()(netns)
        try:
            yield Namespaces(host, container)
        finally:
            container.close()


@contextmanager
def remaining_namespaces(netns: str) -> Iterator[RemainingNamespaces]:
    """As `namespaces`, for DEL: with an empty path, a missing one or a stale file it is gone.

    Raises InvalidNetns if it may be there but cannot be opened.
    """
    with host_namespace() as host:
        try:
            container = opener.get()(netns) if netns else None
        except NetnsGone:
            container = None
        try:
            yield RemainingNamespaces(host, container)
        finally:
            if container:
                container.close()
