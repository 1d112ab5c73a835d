"""ipvlan, vlan and dummy attached by one set of plugins, checked and deleted by the other."""

from __future__ import annotations

import pytest

from cnicore.net.namespace import host_namespace
from conformance.cases_bridge import V4, V6, host_local
from conformance.cases_sublinks import BOTH, HOST, INSIDE, KEYS, conf
from conformance.newer import full_kernel_if_newer, newer_reference
from conformance.stage import staged
from conformance.test_swap import pairs, remains

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

ROUTED = host_local(V4, V6, routes=[{"dst": "0.0.0.0/0"}])
CONFS = {plugin: conf(plugin, ipam=ROUTED) for plugin in KEYS}
INSIDE_CONFS = {plugin: {**CONFS[plugin], "linkInContainer": True} for plugin in BOTH}


@pytest.fixture(autouse=True)
def _kernel(suites):
    with host_namespace() as host:
        for kind in KEYS:
            if not host.can_make(kind):
                pytest.skip(f"needs a kernel with links of the kind {kind}")


@pytest.fixture
def newer_stage(suites):
    with staged({**suites, "reference": newer_reference("dummy")}) as stage:
        yield stage


@pytest.mark.full_kernel
@pytest.mark.parametrize(("plugin", "first", "second"), pairs(BOTH))
def test_what_one_attached_the_other_finds_healthy_and_deletes(stage, plugin, first, second):
    stage.sandbox.shell(HOST)
    swap(stage, CONFS[plugin], first, second)


@full_kernel_if_newer
@pytest.mark.parametrize(("plugin", "first", "second"), pairs(["dummy"]))
def test_the_newer_one_and_ours_delete_what_the_other_attached(newer_stage, plugin, first, second):
    swap(newer_stage, CONFS[plugin], first, second)


@full_kernel_if_newer
@pytest.mark.parametrize(("plugin", "first", "second"), pairs(BOTH))
def test_the_same_with_the_parent_in_the_container(newer_stage, plugin, first, second):
    newer_stage.sandbox.shell(INSIDE)
    swap(newer_stage, INSIDE_CONFS[plugin], first, second)


def swap(stage, link_conf, first, second):
    before = remains(stage)
    stage.use(first)
    added = stage.call("ADD", link_conf)
    assert added.status == 0, added.stdout

    stage.use(second)
    chained = {**link_conf, "prevResult": added.document}
    checked = stage.call("CHECK", chained)
    assert (checked.status, checked.stdout) == (0, b"")
    for _ in range(2):
        deleted = stage.call("DEL", chained)
        assert (deleted.status, deleted.stdout) == (0, b""), deleted.stderr

    assert remains(stage) == before
