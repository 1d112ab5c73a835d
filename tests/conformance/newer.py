"""Plugins of the reference that are newer than the release that most tests compare with."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import pytest

from conformance.stage import REFERENCE
from lane.packages import CACHE, NEWER_REFERENCE

RELEASE = "1.9"
"""What the tables of intended differences from newer plugins are about."""
VARIABLE = "CNI_NEWER_REFERENCE"
FETCHED = CACHE.joinpath(*reversed(NEWER_REFERENCE))


def newer_directory(plugin: str) -> Path | None:
    """The directory of a reference that has the plugin, None if there is none."""
    named = os.environ.get(VARIABLE)
    places = [REFERENCE, Path(named) if named else plugins_of(FETCHED)]
    return next((place for place in places if place and (place / plugin).is_file()), None)


def newer_reference(plugin: str) -> Path:
    """The same, for a test; skips where there is none."""
    directory = newer_directory(plugin)
    if directory is None:
        pytest.skip(what_is_missing(plugin, FETCHED))
    return directory


def plugins_of(package: Path) -> Path | None:
    """The plugins of Debian's unpacked package, None unless they are of the release."""
    return package / "usr/lib/cni" if is_compared(release_of(package)) else None


def is_compared(release: str) -> bool:
    return release.startswith(f"{RELEASE}.")


def release_of(package: Path) -> str:
    """Of Debian's unpacked package; empty if it is not there."""
    for changelog in package.glob("usr/share/doc/*/changelog.Debian.gz"):
        newest = gzip.decompress(changelog.read_bytes()).decode().partition("\n")[0]
        if found := re.search(r"\((?:\d+:)?(\d[\d.]*)", newest):
            return found[1]
    return ""


def what_is_missing(plugin: str, package: Path) -> str:
    ways = f"name the directory of an unpacked {RELEASE} in {VARIABLE}"
    if release := release_of(package):
        return (
            f"needs a reference {RELEASE} that has {plugin}, and Debian has {release} by now,"
            f" which is in {package.parent.parent.name}: {ways}"
        )
    return f"needs a reference that has {plugin}: `make setup-kernel` fetches one from Debian, or {ways}"


# a test of the lane may not skip there, so without the newer reference it is none of the lane's
full_kernel_if_newer = pytest.mark.full_kernel if newer_directory("dummy") else pytest.mark.kernel
