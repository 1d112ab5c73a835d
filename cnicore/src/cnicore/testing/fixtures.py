"""Fixtures for the tests of any plugin; pytest finds them by themselves once cnicore is installed.

Every value is small and documented where it is defined; nothing happens unless a test asks.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cnicore.testing.calls import Caller
    from cnicore.testing.fake_kernel import FakeKernel
    from cnicore.testing.sandbox import Sandbox

# Imports stand inside the fixtures: this file is loaded by every pytest of the environment.


@pytest.fixture
def plugin_directory(tmp_path: Path) -> Path:
    """A directory for CNI_PATH whose plugins run in this process."""
    from cnicore.testing.calls import plugin_directory

    directory = tmp_path / "bin"
    directory.mkdir()
    return plugin_directory(directory)


@pytest.fixture
def call(plugin_directory: Path) -> Caller:
    """Calls plugins as a runtime does; `dataclasses.replace` it for another container."""
    from cnicore.testing.calls import Caller

    return Caller(plugin_directory, netns="/run/netns/c1")


@pytest.fixture
def fake_kernel() -> Iterator[FakeKernel]:
    """A kernel in memory, in place of the real one, with the container `/run/netns/c1`."""
    from cnicore.testing.fake_kernel import FakeKernel

    kernel = FakeKernel()
    kernel.add_namespace("/run/netns/c1")
    with kernel.in_place():
        yield kernel


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Fresh network and mount namespaces of the real kernel for one test."""
    from cnicore.testing.sandbox import sandboxed

    if os.geteuid() != 0:
        pytest.skip("needs root for namespaces of its own")
    if shutil.which("ip") is None:
        pytest.skip("needs ip of iproute2")
    with sandboxed() as sandbox:
        yield sandbox
