"""Interfaces that joined a VRF by one set of plugins, checked and released by the other."""

from __future__ import annotations

import pytest

from cnicore.net.namespace import host_namespace
from conformance.cases_bridge import bridge
from conformance.cases_vrf import DUAL, vrf

pytestmark = [pytest.mark.conformance, pytest.mark.kernel, pytest.mark.full_kernel]

ORDERS = (("reference", "ours"), ("ours", "reference"))


@pytest.fixture(autouse=True)
def _kernel(stage):
    with host_namespace() as host:
        if not host.can_make("vrf"):
            pytest.skip("needs a kernel with VRFs: the module vrf")


def attach(stage, suite, conf, before, ifname="eth0"):
    """Attach with the reference and join with the suite; returns both results."""
    variables = {"CNI_IFNAME": ifname}
    stage.use("reference")
    attached = stage.call("ADD", before, variables)
    assert attached.status == 0, attached.stdout
    stage.use(suite)
    joined = stage.call("ADD", {**conf, "prevResult": attached.document}, variables)
    assert joined.status == 0, joined.stdout
    return attached.document, joined.document


def links(stage):
    return sorted(link["ifname"] for link in stage.sandbox.json("ip -json -n c1 link"))


@pytest.mark.parametrize(("first", "second"), ORDERS)
@pytest.mark.parametrize("conf", [vrf(), vrf(table=1001)], ids=["any table", "1001"])
@pytest.mark.parametrize("before", [bridge(), DUAL], ids=["bridge", "dual stack"])
def test_what_one_joined_the_other_finds_healthy_and_releases(stage, before, conf, first, second):
    attached, joined = attach(stage, first, conf, before)
    stage.use(second)

    checked = stage.call("CHECK", {**conf, "prevResult": joined})
    loses_routes = (first, before) == ("reference", DUAL)  # as the version that is compared does
    assert checked.status == int(loses_routes), checked.stdout
    for _ in range(2):
        deleted = stage.call("DEL", {**conf, "prevResult": joined})
        assert (deleted.status, deleted.stdout) == (0, b"")
    assert links(stage) == ["eth0", "lo"]
    assert stage.call("DEL", {**before, "prevResult": attached}).status == 0
    assert links(stage) == ["lo"]


@pytest.mark.parametrize(("first", "second"), ORDERS)
def test_a_vrf_of_one_is_joined_by_the_other_and_goes_with_its_last_member(stage, first, second):
    _, one = attach(stage, first, vrf(), bridge())
    _, two = attach(stage, second, vrf(), bridge(), "eth1")

    stage.use(second)
    assert stage.call("DEL", {**vrf(), "prevResult": one}).status == 0
    assert links(stage) == ["blue", "eth0", "eth1", "lo"]
    stage.use(first)
    gone = stage.call("DEL", {**vrf(), "prevResult": two}, {"CNI_IFNAME": "eth1"})
    assert (gone.status, links(stage)) == (0, ["eth0", "eth1", "lo"])
