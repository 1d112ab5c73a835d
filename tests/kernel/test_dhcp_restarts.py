"""A daemon that ends without warning: the next one goes on with what lives and ends what does not."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from kernel.dhcp_servers import eventually
from kernel.dhcp_site import RECORDS, addresses_of, bridged

pytestmark = pytest.mark.kernel

POOL = "10.1.0.10,10.1.0.99,255.255.0.0,2m"
OTHER_BOOT = "11111111-2222-3333-4444-555555555555"


def record_of(name):
    """The record of the container's lease, and where it is."""
    for path in RECORDS.glob("*.json"):
        document = json.loads(path.read_text())
        if document["containerID"] == name:
            return path, document
    raise AssertionError(f"no record of {name}")


def test_a_lease_goes_on_however_often_the_daemon_is_killed(site):
    kea = site.kea(4, "10.1.0.10-10.1.0.99", seconds=30, rebind=20)
    daemon = site.daemon("-timeout", "2s")
    call = site.caller()
    conf = {**bridged(), "prevResult": call.add(bridged())}
    assert site.addresses() == ["10.1.0.10/16"]

    for _ in range(3):
        kea.wait_for("DHCP4_LEASE_ALLOC", since=len(kea.log))
        daemon.die()
        since = len(kea.log)
        daemon.start()
        assert call("CHECK", conf).text == ""
        kea.wait_for("DHCPREQUEST", "from 10.1.0.10", since=since)
        kea.wait_for("DHCP4_LEASE_ALLOC", "lease 10.1.0.10 ", since=since)

    assert site.addresses() == ["10.1.0.10/16"]
    assert daemon.says("going on with the lease that an earlier daemon got", times=3)
    assert not daemon.says("changed eth0")
    assert not kea.says("DHCPDISCOVER", times=2)
    assert call("DEL", conf).text == ""
    kea.wait_for("DHCP4_RELEASE", "10.1.0.10")


def attached(site, *names):
    """By name the callers for containers with a lease, and the addresses."""
    callers = {name: site.caller(name) for name in names}
    leased = {name: addresses_of(call.add(bridged()))[0] for name, call in callers.items()}
    return callers, leased


def test_a_daemon_that_is_back_ends_what_has_ended_meanwhile(site):
    """Containers that are gone, of another namespace under the same path, and deleted."""
    server = site.dnsmasq(POOL)
    daemon = site.daemon()
    callers, leased = attached(site, "kept", "gone", "anew", "ended")

    daemon.die()
    site.sandbox.remove_container("gone")
    site.sandbox.remove_container("anew")
    site.sandbox.container("anew")
    for _ in range(2):
        assert callers["ended"]("DEL", bridged()).text == ""
    daemon.start()

    for name in ("gone", "anew", "ended"):
        server.wait_for("DHCPRELEASE", leased[name])
    assert server.leased() == [leased["kept"]]
    assert [path.name for path in RECORDS.iterdir()] == [record_of("kept")[0].name]
    assert site.addresses("kept") == [f"{leased['kept']}/16"]
    callers["anew"].add(bridged())
    assert len(site.addresses("anew")) == 1
    assert callers["kept"]("DEL", bridged()).text == ""
    server.wait_for("DHCPRELEASE", leased["kept"])


def test_a_record_that_says_nothing_any_more_is_dropped(site):
    """One that is torn, and one of another boot: nobody knows what has become of the leases."""
    server = site.dnsmasq(POOL)
    daemon = site.daemon()
    callers, leased = attached(site, "kept", "torn", "booted")

    daemon.die()
    torn, _ = record_of("torn")
    torn.write_bytes(torn.read_bytes()[:100])
    booted, document = record_of("booted")
    booted.write_text(json.dumps({**document, "boot": OTHER_BOOT}))
    daemon.start()

    assert daemon.says(f"removed the record {torn}")
    assert daemon.says(f"removed the record {booted}", "boot")
    assert not server.says("DHCPRELEASE")
    assert [path.name for path in RECORDS.iterdir()] == [record_of("kept")[0].name]
    for name in ("torn", "booted"):
        assert callers[name]("DEL", bridged()).text == ""
        again = callers[name].add(bridged())
        assert addresses_of(again) == [leased[name]]  # the server still knows the client


def test_a_lease_that_ran_out_while_there_was_no_daemon_is_got_anew(site):
    """Its address leaves the interface when the daemon is back, and comes with the next lease."""
    kea = site.kea(4, "10.1.0.10-10.1.0.99", seconds=2, rebind=2)
    daemon = site.daemon("-timeout", "2s")
    call = site.caller()
    conf = {**bridged(), "prevResult": call.add(bridged())}

    daemon.die()
    kea.end()
    killed = time.monotonic()
    eventually(lambda: time.monotonic() > killed + 2)
    daemon.start()
    daemon.wait_for("changed eth0 from 10.1.0.10/16 to nothing")
    assert site.addresses() == []
    kea.start()
    daemon.wait_for("changed eth0 from nothing to 10.1.0.10/16")

    assert site.addresses() == ["10.1.0.10/16"]
    assert call("CHECK", conf).text == ""


def test_a_terminated_daemon_leaves_the_leases_and_takes_socket_and_pidfile(site):
    server = site.dnsmasq(POOL)
    daemon = site.daemon("-timeout", "2s", "-pidfile", "/run/dhcp.pid")
    call = site.caller()
    conf = {**bridged(), "prevResult": call.add(bridged())}
    assert Path("/run/dhcp.pid").read_text() == str(daemon.pid)

    assert daemon.end() == 0

    assert not Path("/run/cni/dhcp.sock").exists()
    assert not Path("/run/dhcp.pid").exists()
    assert len(site.addresses()) == 1
    assert not server.says("DHCPRELEASE")
    stopped = call("STATUS", conf).document
    assert stopped["code"] == 50
    assert 'start it with "dhcp daemon"' in stopped["msg"]
    daemon.start()
    assert call("STATUS", conf).text == ""
    assert call("CHECK", conf).text == ""
