"""What a process that serves one call and ends does without."""

from __future__ import annotations

import sys
from types import ModuleType

PYDANTIC_PLUGIN_LOADER = "pydantic.plugin._loader"


def without_pydantic_plugins() -> None:
    """Let pydantic, when it is imported later, find no plugins of its own kind.

    Those are for observing long-lived applications; looking for them reads the metadata of every
    installed distribution and imports importlib.metadata, 20 ms of each call. pydantic's own
    switch (PYDANTIC_DISABLE_PLUGINS) is asked only after that import, hence a module in the place
    of its loader. Only the program that is a plugin calls this, never a library: in a process that
    has loaded pydantic already, the real loader stays.
    """
    loader = ModuleType(PYDANTIC_PLUGIN_LOADER, "Finds no plugins.")
    loader.__dict__["get_plugins"] = tuple
    sys.modules.setdefault(PYDANTIC_PLUGIN_LOADER, loader)
