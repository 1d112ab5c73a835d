"""The network namespaces that have a name on this machine: where devices may be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from contextvars import ContextVar

from cnicore.errors import CniError
from cnicore.net.device import Device
from cnicore.net.namespace import Namespace, opener
from cnicore.net.switch import OWN

directories: ContextVar[tuple[str, ...]] = ContextVar(
    "directories", default=("/run/netns", "/run/docker/netns")
)
"""Where runtimes keep namespaces."""


def find_elsewhere(is_wanted: Callable[[Device], bool]) -> tuple[Device, str, str] | None:
    """A device in a container, with the path of the namespace and its cookie."""
    for container in named_namespaces():
        for device in container.devices():
            if is_wanted(device):
                return device, container.path, container.cookie()
    return None


def named_namespaces() -> Iterator[Namespace]:
    """A handle of each, for as long as it is looked at; without the host's own."""
    for directory in directories.get():
        for name in names_in(directory):
            path = f"{directory}/{name}"
            with suppress(CniError):  # it may end meanwhile, and nothing but a namespace is of use
                if not is_own(path):
                    with closing(opener.get()(path)) as container:
                        yield container


def names_in(directory: str) -> list[str]:
    with suppress(OSError):
        return sorted(os.listdir(directory))
    return []


def is_own(path: str) -> bool:
    with suppress(OSError):
        return os.path.samefile(path, OWN)
    return False
