"""Plugins of the reference that are newer than the release that most tests compare with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance.stage import REFERENCE

NEWER = Path(os.environ.get("CNI_NEWER_REFERENCE", REFERENCE))


def newer_reference(plugin: str) -> Path:
    """The directory of a reference that has the plugin; skips where there is none."""
    for directory in (REFERENCE, NEWER):
        if (directory / plugin).is_file():
            return directory
    pytest.skip(
        f"needs a reference that has {plugin}: a newer release of Debian's package"
        " containernetworking-plugins, unpacked, whose directory is named in CNI_NEWER_REFERENCE"
    )
