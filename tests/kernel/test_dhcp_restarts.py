"""A daemon that ends without warning: the next one goes on with what lives and ends what does not."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from kernel.dhcp_servers import eventually
from kernel.dhcp_site import RECORDS, addresses_of, bridged

pytestmark = pytest.mark.kernel

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


def test_a_daemon_that_is_back_ends_what_has_ended_meanwhile(site):
    """Of six containers one is as it was, and the lease of one has run out on the server, too."""
    server = site.dnsmasq("10.1.0.10,10.1.0.99,255.255.0.0,2m")
    daemon = site.daemon("-timeout", "2s")
    names = ("kept", "gone", "anew", "ended", "torn", "booted")
    callers = {name: site.caller(name) for name in names}
    leased = {name: addresses_of(call.add(bridged()))[0] for name, call in callers.items()}

    daemon.die()
    site.sandbox.remove_container("gone")
    site.sandbox.remove_container("anew")
    site.sandbox.container("anew")
    assert callers["ended"]("DEL", bridged()).text == ""
    assert callers["ended"]("DEL", bridged()).text == ""
    torn, _ = record_of("torn")
    torn.write_bytes(torn.read_bytes()[:100])
    booted, document = record_of("booted")
    (key,) = (key for key, value in document.items() if "boot" in key.lower())
    booted.write_text(json.dumps({**document, key: OTHER_BOOT}))
    daemon.start()

    for name in ("gone", "anew", "ended"):
        server.wait_for("DHCPRELEASE", leased[name])
    assert sorted(server.leased()) == sorted(leased[name] for name in ("kept", "torn", "booted"))
    assert daemon.says(f"removed the record {torn}")
    assert daemon.says(f"removed the record {booted}", "boot")
    assert [json.loads(path.read_text())["containerID"] for path in RECORDS.glob("*.json")] == [
        "kept"
    ]
    assert sorted(path.suffix for path in RECORDS.iterdir()) == [".json"]
    # who is there anew gets an address of its own, and so do those of whom nothing was known
    for name in ("anew", "torn", "booted"):
        call = callers[name]
        if name != "anew":
            assert call("DEL", bridged()).text == ""
        call.add(bridged())
        assert len(site.addresses(name)) == 1
    assert callers["kept"]("DEL", bridged()).text == ""
    server.wait_for("DHCPRELEASE", leased["kept"])


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
    server = site.dnsmasq("10.1.0.10,10.1.0.99,255.255.0.0,2m")
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
