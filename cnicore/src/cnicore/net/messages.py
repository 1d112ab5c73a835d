"""The door to pyroute2: its rtnetlink message classes, without the rest of the package.

`import pyroute2` loads sockets, event loop and database, 180 ms for a process that lives 50. The
message classes stand alone, so the package's name is bound to an empty module while they load; a
later `import pyroute2` by anybody finds the whole package. Classes that few plugins need are in
modules beside this one (`messages_*`), loaded by those only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType


@contextmanager
def bare_package(name: str) -> Iterator[None]:
    """Let the submodules of a package be imported in the block without its `__init__`."""
    if name in sys.modules:
        yield
        return
    spec = find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{name} is not installed", name=name)
    package = ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = package
    try:
        yield
    finally:
        del sys.modules[name]


with bare_package("pyroute2"):
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

__all__ = ["ifaddrmsg", "ifinfmsg", "rtmsg"]
