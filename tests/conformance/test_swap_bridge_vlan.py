"""Containers in a VLAN, attached by one set of plugins, checked, joined and deleted by the other."""

from __future__ import annotations

import subprocess

import pytest

from conformance.cases_bridge import V4, V6, bridge, host_local
from conformance.cases_bridge_vlan import FILTERING
from conformance.test_swap import remains

pytestmark = [pytest.mark.conformance, pytest.mark.kernel, pytest.mark.full_kernel]

ORDERS = (("reference", "ours"), ("ours", "reference"))
CONF = bridge(vlan=100, isDefaultGateway=True, ipam=host_local(V4, V6))
SECOND = {"CNI_CONTAINERID": "c2", "CNI_NETNS": "/run/netns/c2"}


@pytest.fixture(autouse=True)
def _kernel():
    command = ["unshare", "--net", "sh", "-c", FILTERING]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs a kernel whose bridges filter VLANs")


def add(stage, suite, variables=None):
    stage.use(suite)
    answer = stage.call("ADD", CONF, variables)
    assert answer.status == 0, answer.stdout
    return {**CONF, "prevResult": answer.document}


def delete(stage, suite, chained, variables=None):
    stage.use(suite)
    for _ in range(2):
        answer = stage.call("DEL", chained, variables)
        assert (answer.status, answer.stdout) == (0, b""), answer.stderr


@pytest.mark.parametrize(("first", "second"), ORDERS)
def test_what_one_attached_the_other_finds_healthy_and_deletes(stage, first, second):
    delete(stage, first, add(stage, first))  # the VLAN's gateway stays for ever
    before = remains(stage)
    chained = add(stage, first)

    stage.use(second)
    checked = stage.call("CHECK", chained)
    assert (checked.status, checked.stdout) == (0, b"")
    delete(stage, second, chained)

    assert remains(stage) == before


@pytest.mark.parametrize(("first", "second"), ORDERS)
def test_both_share_the_gateway_and_the_vlan(stage, first, second):
    stage.sandbox.container("c2")
    stage.sandbox.shell("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad", "c2")
    one = add(stage, first)
    two = add(stage, second, SECOND)

    devices = [chained["prevResult"]["interfaces"][3] for chained in (one, two)]
    assert devices[0] == devices[1] != {}
    targets = ("10.7.0.1", "10.7.0.3", "fd07::1", "fd07::3")
    stage.sandbox.shell(" && ".join(f"ping -c1 -w20 {target}" for target in targets), "c1")
    delete(stage, second, one)
    stage.sandbox.shell("ping -c1 -w20 10.7.0.1 && ping -c1 -w20 fd07::1", "c2")
