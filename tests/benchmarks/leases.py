"""What runs beside the calls of dhcp: a server, and the daemon of the side that is timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from conformance.dhcp_hosts import Host
from conformance.stage import Stage

POOL = "10.1.0.10,10.1.0.99,255.255.0.0,1h"
IN_ORDER = "dhcp-sequential-ip"  # or else it depends on MAC addresses, and sides get different ones


@contextmanager
def served(stage: Stage) -> Iterator[None]:
    """Let the stage's two containers have links to a network with a server, and start the daemon."""
    (suite,) = stage.suites
    with ExitStack() as stack:
        host = Host(stage, stack, IN_ORDER, pool=POOL)
        host.site.wire("c0")
        host.daemon(suite)
        yield
