"""Servers that never answer, clients that go away, what is left of an ADD that failed."""

from __future__ import annotations

import json
import re
import time

import pytest

from kernel.dhcp_site import RECORDS, alone, bridged

pytestmark = pytest.mark.kernel

POOL = "10.1.0.10,10.1.0.99,255.255.0.0,2m"
CHECKED = {**alone(), "prevResult": {"cniVersion": "1.0.0", "ips": []}}


def everything(site):
    """What an attachment could leave."""
    records = sorted(RECORDS.iterdir()) if RECORDS.exists() else []
    return site.links(), site.links("c1"), records


def test_add_without_a_server_ends_in_time_and_leaves_nothing(site):
    daemon = site.daemon("-timeout", "1s", "-resendmax", "1s", "-resendtimeout", "5s")
    call = site.caller()
    before = everything(site)
    begin = time.monotonic()

    refused = call("ADD", bridged())

    took = time.monotonic() - begin
    assert refused.status == 1
    assert refused.document["code"] == 11
    assert refused.document["msg"].startswith(
        "no DHCP server answered on eth0 within 5 s (-resendtimeout)"
    )
    assert 1 < took < 60  # it ends early when there is no time for another attempt
    # attempts of a second each, and a pause of one to three after each
    pauses = [float(one) for one in re.findall(r"next try in ([0-9.]+) s", daemon.log)]
    assert 1 <= len(pauses) <= 4
    assert all(1 <= pause <= 3 for pause in pauses)
    assert len(set(pauses)) == len(pauses) or len(pauses) == 1  # containers do not ask in step
    assert everything(site) == before
    assert call("DEL", bridged()).text == ""


def test_a_client_that_goes_away_during_its_add_leaves_nothing(site):
    """A runtime kills a plugin that takes too long; nobody would ever call DEL for its lease."""
    daemon = site.daemon("-timeout", "100ms", "-resendtimeout", "1h")
    site.wired("c1", "c2")
    with site.adding():
        daemon.wait_for("next try in", times=5)

    # short pauses first, as a server may just be starting, then longer ones
    pauses = [float(one) for one in re.findall(r"next try in ([0-9.]+) s", daemon.log)]
    assert all(1 <= pause <= 3 for pause in pauses[:4])
    assert 3 <= pauses[4] <= 5
    # a container that comes later is served, and nothing is leased for the first
    server = site.dnsmasq(POOL)
    site.caller("c2").add(alone())
    assert len(server.leased()) == 1
    assert len(list(RECORDS.glob("*.json"))) == 1
    assert "has no lease for eth0 of container c1" in site.caller()("CHECK", CHECKED).text


def test_del_and_check_during_an_add_do_not_wait_for_it(site):
    daemon = site.daemon("-timeout", "1s", "-resendtimeout", "1h")
    site.wired("c1")
    call = site.caller()
    with site.adding() as plugin:
        daemon.wait_for("next try in")

        assert "has no lease for eth0" in call("CHECK", CHECKED).text
        assert call("STATUS", bridged()).text == ""
        assert call("DEL", alone()).text == ""

        refused = json.loads(plugin.stdout.read())
        assert plugin.wait(60) == 1
    assert refused["code"] == 11
    assert "a DEL came meanwhile" in refused["msg"]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        ("true", 'start it with "dhcp daemon"'),
        ("mkdir -p /run/cni/dhcp.sock", "/run/cni/dhcp.sock"),
        ("mkdir -p /run/cni && touch /run/cni/dhcp.sock", "/run/cni/dhcp.sock"),
    ],
)
def test_without_a_daemon_the_error_says_how_to_start_one(site, break_it, words):
    site.sandbox.shell(break_it)
    call = site.caller()
    before = everything(site)

    refused = call("ADD", bridged())

    assert refused.document["code"] == 11
    assert "ipam.daemonSocketPath: cannot reach the DHCP daemon" in refused.document["msg"]
    assert words in refused.document["msg"]
    assert everything(site) == before
    assert call("STATUS", bridged()).document["code"] == 50
    assert call("DEL", bridged()).text == ""
