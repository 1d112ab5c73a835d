"""Plugin and daemon of different sets, and a node that changes from one set to the other."""

from __future__ import annotations

import pytest

from conformance.cases_dhcp import dhcp
from conformance.dhcp_hosts import hosted
from kernel.dhcp_site import addresses_of

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

CONF = dhcp()


@pytest.fixture
def host(suites):
    with hosted(suites) as host:
        yield host


def test_the_reference_is_told_that_the_daemon_is_ours(host):
    daemon = host.daemon("ours")
    host.stage.use("reference")

    for verb in ("ADD", "CHECK", "DEL"):
        refused = host.stage.call(verb, CONF)
        assert refused.status == 1
        assert "this daemon speaks JSON" in refused.document["msg"]
        assert "use the dhcp plugin of its own suite" in refused.document["msg"]

    assert host.server.leased() == []
    # and the daemon goes on
    host.stage.use("ours")
    assert addresses_of(host.stage.call("ADD", CONF).document) == host.server.leased()
    assert daemon.process.poll() is None


def test_ours_says_that_the_daemon_is_of_the_reference(host):
    host.daemon("reference")
    host.stage.use("ours")

    refused = host.stage.call("ADD", CONF)
    assert refused.document["code"] == 11
    assert "is a daemon that speaks HTTP, which is the Go suite's" in refused.document["msg"]
    assert 'start "dhcp daemon" of this suite' in refused.document["msg"]

    status = host.stage.call("STATUS", {**CONF, "cniVersion": "1.1.0"})
    assert status.document["code"] == 50
    assert "which is the Go suite's" in status.document["msg"]
    deleted = host.stage.call("DEL", CONF)
    assert (deleted.status, deleted.stdout) == (0, b"")
    # the daemon of the reference still serves its own
    host.stage.use("reference")
    assert host.stage.call("ADD", CONF).status == 0


@pytest.mark.parametrize(("first", "second"), [("reference", "ours"), ("ours", "reference")])
def test_a_node_changes_sets_and_containers_end_as_they_began(host, first, second):
    """The new daemon does not have the lease: DEL succeeds, and a new ADD gets the address."""
    earlier = host.daemon(first)
    host.stage.use(first)
    added = host.stage.call("ADD", CONF)
    assert added.status == 0, added.stdout

    earlier.end()
    host.daemon(second)
    host.stage.use(second)
    deleted = host.stage.call("DEL", {**CONF, "prevResult": added.document})
    assert (deleted.status, deleted.stdout) == (0, b"")
    again = host.stage.call("ADD", CONF)

    assert addresses_of(again.document) == addresses_of(added.document)
    assert host.stage.call("DEL", CONF).status == 0
