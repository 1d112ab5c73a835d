"""Why the lane cannot run on this machine, where it cannot."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
from collections.abc import Callable

TRACEME = 0
NO_DEBIAN = "this is no Debian on amd64: its archive has the kernels"


def obstacle() -> str:
    """The first thing that is in the way, or empty."""
    return next((words for is_so, words in OBSTACLES if is_so()), "")


def is_no_debian() -> bool:
    programs = ("apt-get", "apt-cache", "dpkg-deb")
    return platform.machine() != "x86_64" or not all(map(shutil.which, programs))


def is_not_root() -> bool:
    return os.geteuid() != 0


def has_no_namespaces() -> bool:
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return tried.returncode != 0


def has_no_ptrace() -> bool:
    """Whether a process may not be traced, which user-mode-linux lives by."""
    child = os.fork()
    if child == 0:
        os._exit(ctypes.CDLL(None).ptrace(TRACEME, 0, None, None) != 0)
    return os.waitpid(child, 0)[1] != 0


OBSTACLES: tuple[tuple[Callable[[], bool], str], ...] = (
    (is_no_debian, NO_DEBIAN),
    (is_not_root, "it needs root, for namespaces of its own"),
    (has_no_namespaces, "this machine makes no mount namespaces"),
    (has_no_ptrace, "this machine forbids ptrace, which user-mode-linux is made of"),
)
