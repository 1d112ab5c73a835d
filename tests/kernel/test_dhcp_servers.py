"""Leases of real servers: renewed, refused, lost, got again; what servers are told and tell."""

from __future__ import annotations

import pytest

from cni_ipam.dhcp.port4 import BROADCAST_MAC
from kernel.dhcp_servers import eventually
from kernel.dhcp_site import addresses_of, alone, bridged
from kernel.frames import raw

pytestmark = pytest.mark.kernel

POOL = "10.1.0.10,10.1.0.99,255.255.0.0,2m"
SOON = ("dhcp-option=option:T1,3", "dhcp-option=option:T2,4")  # the least that it takes
RENEWED = "DHCP4_LEASE_ALLOC"
LEASE = 5  # seconds


def test_a_lease_is_renewed_as_long_as_it_is_wanted(site):
    """One renewal a second, for three times as long as the lease lasts."""
    kea = site.kea(4, "10.1.0.10-10.1.0.99", seconds=LEASE)
    daemon = site.daemon("-timeout", "1s")
    call = site.caller()

    result = call.add(bridged())
    kea.wait_for(RENEWED, "10.1.0.10", times=1 + 3 * LEASE)

    assert addresses_of(result) == ["10.1.0.10"]
    assert site.addresses() == ["10.1.0.10/16"]
    assert not daemon.says("changed eth0")
    assert kea.says("DHCPDISCOVER")
    assert not kea.says("DHCPDISCOVER", times=2)
    # renewals are between the two alone: a broadcast would wake everybody
    assert kea.says("DHCPREQUEST", "received from 10.1.0.10 to 10.1.0.1 ", times=LEASE)
    assert call("CHECK", {**bridged(), "prevResult": result}).text == ""
    assert call("DEL", bridged()).text == ""
    kea.wait_for("DHCP4_RELEASE", "10.1.0.10")
    assert kea.leased() == []


@pytest.mark.parametrize("kind", ["dnsmasq", "kea"])
def test_an_address_that_the_server_refuses_makes_way_for_another(site, kind):
    """The server has forgotten its leases and got another subnet: it answers with a NAK."""
    if kind == "dnsmasq":
        server, second = site.dnsmasq(POOL, *SOON), "10.2.0.10,10.2.0.99,255.255.0.0,2m"
        site.sandbox.shell("ip addr add 10.2.0.1/16 dev lan0", "lan")
    else:
        server, second = site.kea(4, "10.1.0.10-10.1.0.99"), "10.2.0.10-10.2.0.99"
    daemon = site.daemon("-timeout", "1s")
    call = site.caller()
    checked = {**bridged(), "prevResult": call.add(bridged())}
    (first,) = site.addresses()

    server.end()
    server.leases.unlink()
    server.configure(second)
    server.start()
    daemon.wait_for("changed eth0 from nothing to 10.2.0.")

    assert daemon.says(f"lost {first}", "DHCPNAK")
    assert daemon.says(f"changed eth0 from {first} to nothing")
    (address,) = site.addresses()
    assert address.startswith("10.2.0.")
    # the container has another address than the runtime was told
    assert address in call("CHECK", checked).document["msg"]
    assert call("DEL", bridged()).text == ""
    eventually(lambda: not server.leased(), lambda: server.log)


def test_a_lease_outlives_a_pause_of_its_server(site):
    """Nobody answers the renewals: then every server is asked, and the same one is back."""
    kea = site.kea(4, "10.1.0.10-10.1.0.99", seconds=20, rebind=2)
    daemon = site.daemon("-timeout", "1s")
    call = site.caller()
    result = call.add(bridged())

    kea.end()
    daemon.wait_for("could not renew 10.1.0.10")
    daemon.wait_for("could not rebind 10.1.0.10")
    since = len(kea.log)
    kea.start()
    kea.wait_for("DHCPREQUEST", "received from 10.1.0.10 to 255.255.255.255", since=since)
    daemon.wait_for("renewed 10.1.0.10", since=daemon.log.rindex("could not rebind"))

    assert site.addresses() == ["10.1.0.10/16"]
    assert not daemon.says("changed eth0")
    assert call("CHECK", {**bridged(), "prevResult": result}).text == ""


def test_an_address_leaves_the_interface_with_its_lease_and_comes_back(site):
    kea = site.kea(4, "10.1.0.10-10.1.0.99", seconds=3, rebind=2)
    daemon = site.daemon("-timeout", "1s")
    call = site.caller()
    checked = {**bridged(), "prevResult": call.add(bridged())}

    kea.end()
    daemon.wait_for("changed eth0 from 10.1.0.10/16 to nothing")
    assert site.addresses() == []
    assert "has no lease now" in call("CHECK", checked).document["msg"]

    kea.start()
    daemon.wait_for("changed eth0 from nothing to 10.1.0.10/16")
    assert site.addresses() == ["10.1.0.10/16"]
    assert call("CHECK", checked).text == ""


def test_of_two_servers_each_gets_back_what_it_leased_and_one_takes_over(site):
    """Which one is faster is chance."""
    second = site.lan("lan2", "10.1.0.2/16")
    servers = [
        site.dnsmasq("10.1.1.10,10.1.1.99,255.255.0.0,2m", *SOON),
        site.dnsmasq("10.1.2.10,10.1.2.99,255.255.0.0,2m", *SOON, netns=second),
    ]
    daemon = site.daemon("-timeout", "1s")
    callers = [site.caller(name) for name in ("c1", "c2", "c3")]
    addresses = [addresses_of(call.add(bridged()))[0] for call in callers]

    assert callers[0]("DEL", bridged()).text == ""
    owner = next(one for one in servers if one.says("DHCPACK", addresses[0]))
    owner.wait_for("DHCPRELEASE", addresses[0])
    assert not any(one.says("DHCPRELEASE") for one in servers if one is not owner)

    lost = next(one for one in servers if one.says("DHCPACK", addresses[1]))
    kept = next(one for one in servers if one is not lost)
    lost.end()
    prefix = "10.1.1." if kept is servers[0] else "10.1.2."
    eventually(
        lambda: [one for one in site.addresses("c2") if one.startswith(prefix)], lambda: daemon.log
    )
    assert len(site.addresses("c2")) == 1


def test_an_address_is_free_for_the_next_as_soon_as_the_last_is_gone(site):
    site.dnsmasq("10.1.0.10,10.1.0.10,255.255.0.0,2m")
    site.daemon("-timeout", "1s", "-resendtimeout", "2s")
    first, second = site.caller("c1"), site.caller("c2")
    first.add(bridged())
    before = site.links()

    refused = second("ADD", bridged())

    assert refused.document["code"] == 11
    assert "no DHCP server answered on eth0 within 2 s (-resendtimeout)" in refused.text
    assert "has it a free address" in refused.text
    assert site.links() == before
    assert site.links("c2") == ["lo"]
    assert first("DEL", bridged()).text == ""
    assert addresses_of(second.add(bridged())) == ["10.1.0.10"]


def test_the_server_hears_what_the_configuration_says_and_the_result_has_what_it_answers(site):
    server = site.dnsmasq(
        POOL,
        "dhcp-option=option:router,10.1.0.1",
        "dhcp-option=option:classless-static-route,10.9.0.0/16,10.1.0.3,0.0.0.0/0,10.1.0.1",
        *("dhcp-option=option:mtu,1400", "dhcp-option=option:dns-server,10.1.0.53"),
        *("dhcp-option=option:domain-search,a.example,b.example", "domain=example.org"),
    )
    site.daemon("-timeout", "2s")
    call = site.caller()
    wanted = ("121", "26", "6", "119", "15", "dhcp-client-identifier")
    conf = bridged(
        request=[{"option": option} for option in wanted],
        provide=[
            {"option": "host-name", "value": "nobody", "fromArg": "K8S_POD_NAME"},
            {"option": "vendor-class-identifier", "value": "a shop"},
            {"option": "77", "value": "customer"},
        ],
        priority=77,
    )

    result = call.add(conf, CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=web-1")

    assert server.says("requested options:", "121:classless-static-route", "26:mtu")
    assert server.says("client provides name: web-1")
    assert server.says("vendor class: a shop")
    assert server.says("user class: customer")
    name = b"\0c1/net/eth0".hex(":")
    assert server.leases.read_text().split()[3:5] == ["web-1", name]
    assert result["routes"] == [
        {"dst": "10.9.0.0/16", "gw": "10.1.0.3", "mtu": 1400, "priority": 77},
        {"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1400, "priority": 77},
    ]
    assert result["ips"][0]["gateway"] == "10.1.0.1"
    assert result["dns"] == {
        "nameservers": ["10.1.0.53"],
        "domain": "example.org",
        "search": ["a.example", "b.example"],
    }
    routes = site.sandbox.shell("ip route", "c1")
    assert "10.9.0.0/16 via 10.1.0.3 dev eth0 metric 77 mtu 1400" in routes


@pytest.mark.parametrize(
    ("keys", "option"),
    [
        ({}, "00:63:31:2f:6e:65:74:2f:65:74:68:30"),
        ({"provide": [{"option": "dhcp-client-identifier", "value": "mine"}]}, "6d:69:6e:65"),
        ({"provide": [{"option": "61", "fromArg": "ID", "value": "x"}]}, "79:6f:75:72:73"),
    ],
)
def test_the_client_identifier_is_the_attachment_or_what_is_provided(site, keys, option):
    server = site.dnsmasq(POOL)
    site.daemon("-timeout", "2s")
    site.wired("c1")
    call = site.caller()

    call.add(alone(**keys), CNI_ARGS="ID=yours")

    assert server.leases.read_text().split()[4] == option
    assert call("DEL", alone(**keys)).text == ""
    eventually(lambda: not server.leased(), lambda: server.log)


@pytest.mark.parametrize("flag", [[], ["-broadcast"], ["--broadcast=true"]])
def test_servers_broadcast_their_answers_when_they_are_asked_to(site, flag):
    site.dnsmasq(POOL)
    site.daemon("-timeout", "2s", *flag)
    site.wired("c1")

    with raw("v-c1", "") as port:
        result = site.caller().add(alone())
        answers = list(answers_in(port))

    is_broadcast = [frame[:6] == BROADCAST_MAC for frame in answers]
    assert is_broadcast == [bool(flag)] * 2  # OFFER, ACK
    assert addresses_of(result)


def answers_in(port):
    """The frames from a server's port that have come."""
    port.settimeout(0)
    for _ in range(1000):
        try:
            frame = port.recv(2048)
        except BlockingIOError:
            return
        if frame[12:14] == b"\x08\x00" and frame[34:38] == b"\0\x43\0\x44":
            yield frame
