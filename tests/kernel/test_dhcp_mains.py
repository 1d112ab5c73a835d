"""dhcp below main plugins: the RELEASE reaches the server, however a container ends."""

from __future__ import annotations

import pytest

from kernel.dhcp_servers import HERE, eventually
from kernel.dhcp_site import RECORDS, bridged

pytestmark = pytest.mark.kernel

MACVLAN = {**bridged(), "name": "mac", "type": "macvlan", "master": "ens1"}
PTP = {**bridged(), "name": "point", "type": "ptp"}
CONFS = {"bridge": bridged(), "macvlan": MACVLAN, "ptp": PTP}
# the server for macvlan is behind its parent, the one for ptp answers on the host's ends
BUILD = """
ip link add dhcp0 type bridge
ip addr add 10.2.0.1/16 dev dhcp0
ip link set dhcp0 up
ip netns add far
ip link add ens1 type veth peer name lan0 netns far
ip link set ens1 up
ip -n far addr add 10.3.0.1/16 dev lan0
ip -n far link set lan0 up
"""


def pool(number):
    return f"10.{number}.0.10,10.{number}.0.99,255.255.0.0,2m"


@pytest.fixture
def servers(site):
    site.sandbox.shell(BUILD)
    return {
        "bridge": site.dnsmasq(pool(1)),
        "macvlan": site.dnsmasq(pool(3), netns="/run/netns/far"),
        "ptp": site.dnsmasq(pool(2), link="dhcp0", netns=HERE, others="lo,veth*"),
    }


def attached(site, conf, how):
    """The caller for a container of that end, its configuration with prevResult, its address."""
    call = site.caller(f"{conf['type']}-{how}")
    result = call.add(conf)
    return call, {**conf, "prevResult": result}, result["ips"][0]["address"].partition("/")[0]


def test_every_server_hears_of_every_end(site, servers):
    """DEL, a namespace that vanishes, and a DEL while there is no daemon; side by side."""
    daemon = site.daemon()
    deleted, vanished, unheard = (
        {main: attached(site, conf, how) for main, conf in CONFS.items()}
        for how in ("deleted", "vanished", "unheard")
    )

    for main, (call, conf, address) in deleted.items():
        assert call("CHECK", conf).text == ""
        assert call("DEL", conf).text == ""
        servers[main].wait_for("DHCPRELEASE", address)
        assert call("DEL", conf).text == ""

    for main in vanished:
        site.sandbox.remove_container(f"{main}-vanished")
    for main, (call, conf, address) in vanished.items():
        servers[main].wait_for("DHCPRELEASE", address)
        assert call("DEL", conf).text == ""

    daemon.die()
    for call, conf, _ in unheard.values():
        assert call("DEL", conf).text == ""
    daemon.start()
    for main, (_, _, address) in unheard.items():
        servers[main].wait_for("DHCPRELEASE", address)

    for server in servers.values():
        eventually(lambda server=server: not server.leased(), lambda: daemon.log)
    assert list(RECORDS.iterdir()) == []


def test_gc_gives_back_what_is_not_valid_any_more(site, servers):
    """At once, or when the daemon is back."""
    daemon = site.daemon()
    keep, stale, late = (attached(site, bridged(), how) for how in ("keep", "stale", "late"))

    def collect(*valid):
        attachments = [{"containerID": f"bridge-{name}", "ifname": "eth0"} for name in valid]
        call = site.caller("keep")
        answer = call("GC", {**bridged(), "cni.dev/valid-attachments": attachments})
        assert answer.text == ""

    collect("keep", "late")
    servers["bridge"].wait_for("DHCPRELEASE", stale[2])
    daemon.die()
    collect("keep")
    daemon.start()
    servers["bridge"].wait_for("DHCPRELEASE", late[2])

    assert servers["bridge"].leased() == [keep[2]]
    assert keep[0]("CHECK", keep[1]).text == ""
