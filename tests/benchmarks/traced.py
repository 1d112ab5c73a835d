"""Run a plugin so that `python -X importtime` lists everything it imports.

Python itself leaves out what importlib.import_module loads, and lists what was looked for in vain.
The last line on stderr says what was really there in the end.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

LOADED = "loaded: "


def import_module(name: str, package: str | None = None) -> ModuleType:
    """As importlib's, but by the way that is timed."""
    below = name.lstrip(".")
    level = len(name) - len(below)
    __import__(below, {"__package__": package}, None, (), level)
    above = package.rsplit(".", level - 1)[0] if package and level else ""
    return sys.modules[f"{above}.{below}".strip(".")]


def leave(status: int) -> None:
    os.write(2, f"\n{LOADED}{' '.join(sys.modules)}\n".encode())
    leave_at_once(status)


if __name__ == "__main__":
    importlib.import_module = import_module
    leave_at_once, os._exit = os._exit, leave
    del sys.argv[0]
    with open(sys.argv[0], encoding="utf-8") as script:  # noqa: PTH123  (pathlib would be an import more)
        exec(compile(script.read(), sys.argv[0], "exec"))  # noqa: S102  (the program under test)
