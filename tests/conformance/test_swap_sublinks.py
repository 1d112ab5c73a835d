"""ipvlan, vlan and dummy attached by one set of plugins, checked and deleted by the other."""

from __future__ import annotations

import pytest

from cnicore.net.namespace import host_namespace
from conformance.cases_bridge import V4, V6, host_local
from conformance.cases_sublinks import HOST, KEYS, conf
from conformance.test_swap import remains

pytestmark = [pytest.mark.conformance, pytest.mark.kernel, pytest.mark.full_kernel]

ORDERS = (("reference", "ours"), ("ours", "reference"))
ROUTED = host_local(V4, V6, routes=[{"dst": "0.0.0.0/0"}])


@pytest.mark.parametrize(("first", "second"), ORDERS)
@pytest.mark.parametrize("plugin", KEYS)
def test_what_one_attached_the_other_finds_healthy_and_deletes(stage, plugin, first, second):
    with host_namespace() as host:
        if not host.can_make(plugin):
            pytest.skip(f"needs a kernel with links of the kind {plugin}")
    stage.sandbox.shell(HOST)
    before = remains(stage)
    stage.use(first)
    added = stage.call("ADD", conf(plugin, ipam=ROUTED))
    assert added.status == 0, added.stdout

    stage.use(second)
    chained = {**conf(plugin, ipam=ROUTED), "prevResult": added.document}
    checked = stage.call("CHECK", chained)
    assert (checked.status, checked.stdout) == (0, b"")
    for _ in range(2):
        deleted = stage.call("DEL", chained)
        assert (deleted.status, deleted.stdout) == (0, b""), deleted.stderr

    assert remains(stage) == before
