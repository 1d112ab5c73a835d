"""Distributions with plugins, made for one test."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

import pytest

from conformance.minimal import MINIMAL


@pytest.fixture
def minimal() -> str:
    """Source of the smallest plugin: ADD succeeds with an empty result."""
    return MINIMAL


@pytest.fixture
def distribute(tmp_path, monkeypatch):
    """Puts a distribution on sys.path: `distribute(entry points, **modules)`; returns its folder."""
    made = []
    numbers = count()

    def distribute(entry_points, *, name="acme_plugins", version="1.2.3", **modules) -> Path:
        folder = tmp_path / f"site{next(numbers)}"
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata)
        (info / "entry_points.txt").write_text(entry_points)
        for module, source in modules.items():
            (folder / f"{module}.py").write_text(source)
        made.extend(modules)
        monkeypatch.syspath_prepend(folder)
        return folder

    yield distribute
    for module in made:
        sys.modules.pop(module, None)
