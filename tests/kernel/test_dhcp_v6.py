"""DHCPv6 of real servers: an address, its renewal, its release, and both protocols at once."""

from __future__ import annotations

import pytest

from kernel.dhcp_servers import eventually
from kernel.dhcp_site import RECORDS, bridged

pytestmark = pytest.mark.kernel

POOL6 = "fd00:1::10-fd00:1::99"
V6 = bridged(protocols=["dhcpv6"])
BOTH = bridged(protocols=["dhcpv4", "dhcpv6"], request=[{"option": "6"}])
RENEWED = "DHCP6_LEASE_RENEW"


def test_an_address_is_leased_renewed_and_given_back(site):
    kea = site.kea(6, POOL6)
    daemon = site.daemon()
    call = site.caller()

    result = call.add(V6)
    kea.wait_for(RENEWED, times=3)

    assert [ip["address"] for ip in result["ips"]] == ["fd00:1::10/128"]
    assert "routes" not in result
    assert site.addresses(family=6) == ["fd00:1::10/128"]
    assert not daemon.says("changed eth0")
    assert not kea.says("SOLICIT", "received", times=2)
    assert call("CHECK", {**V6, "prevResult": result}).text == ""
    assert call("DEL", V6).text == ""
    kea.wait_for("DHCP6_RELEASE", "fd00:1::10")
    assert kea.leased() == []


def test_an_address_of_each_protocol(site):
    """dnsmasq serves both; the container that vanishes gives both back."""
    server = site.dnsmasq(
        "10.1.0.10,10.1.0.99,255.255.0.0,2m",
        "dhcp-range=fd00:1::10,fd00:1::99,64,2m",
        *("dhcp-option=option:dns-server,10.1.0.53", "dhcp-option=option6:dns-server,[fd00:1::53]"),
    )
    daemon = site.daemon()
    call = site.caller()

    result = call.add(BOTH)

    four, six = (ip["address"].partition("/")[0] for ip in result["ips"])
    assert result["dns"]["nameservers"] == ["10.1.0.53", "fd00:1::53"]
    assert site.addresses() == [f"{four}/16"]
    assert site.addresses(family=6) == [f"{six}/128"]
    assert sorted(server.leased()) == sorted([four, six])
    site.sandbox.remove_container()
    server.wait_for("DHCPRELEASE", "lan0", four)
    server.wait_for("DHCPRELEASE", "lan0", "00:04:")  # with the client's DUID, of kind UUID
    eventually(lambda: not server.leased(), lambda: f"{server.log}\n{daemon.log}")
    assert list(RECORDS.iterdir()) == []
    assert call("DEL", BOTH).text == ""


def test_when_one_protocol_has_no_server_nothing_of_the_other_stays(site):
    server = site.dnsmasq("10.1.0.10,10.1.0.99,255.255.0.0,2m")
    site.daemon("-timeout", "1s", "-resendtimeout", "2s")

    refused = site.caller()("ADD", BOTH)

    assert refused.document["code"] == 11
    assert "no DHCPv6 server answered on eth0 within 2 s (-resendtimeout)" in refused.text
    server.wait_for("DHCPRELEASE")
    assert server.leased() == []
    assert site.links("c1") == ["lo"]


def test_an_address_goes_on_after_a_restart_and_leaves_with_its_lease(site):
    kea = site.kea(6, POOL6, seconds=3, rebind=2)
    daemon = site.daemon("-timeout", "3s")
    call = site.caller()
    conf = {**V6, "prevResult": call.add(V6)}

    daemon.die()
    since = len(kea.log)
    daemon.start()
    kea.wait_for(RENEWED, since=since)
    assert call("CHECK", conf).text == ""
    kea.end()
    daemon.wait_for("changed eth0 from fd00:1::10/128 to nothing")
    assert site.addresses(family=6) == []
    kea.start()
    daemon.wait_for("changed eth0 from nothing to fd00:1::10/128")

    assert site.addresses(family=6) == ["fd00:1::10/128"]
    assert call("DEL", conf).text == ""
    kea.wait_for("DHCP6_RELEASE", "fd00:1::10")
