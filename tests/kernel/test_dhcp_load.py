"""200 leases that one daemon renews: what that takes of memory, processor and wake-ups."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from cni_ipam.dhcp.client import ask
from cnicore.request import Request
from kernel.dhcp_servers import eventually
from kernel.dhcp_site import alone
from kernel.dhcp_usage import renewals_of, usage_of

pytestmark = pytest.mark.kernel

COUNT = 200
NAMES = [f"c{number}" for number in range(COUNT)]
SOCKET = "/run/cni/dhcp.sock"
MIB = 80


def called(verb, name):
    request = Request(
        verb=verb,
        container_id=name,
        netns=f"/run/netns/{name}",
        ifname="eth0",
        args="",
        document=alone(),
        environ={},
    )
    return ask(request, SOCKET)


def called_for_all(verb):
    with ThreadPoolExecutor(max_workers=20) as pool:
        return list(pool.map(lambda name: called(verb, name), NAMES))


@pytest.fixture
def loaded(site):
    """The daemon with all the leases, each renewed every third second."""
    server = site.kea(4, "10.1.1.0-10.1.3.255", seconds=60, rebind=50, renew=3)
    daemon = site.daemon("-timeout", "10s", "-resendtimeout", "2m")
    site.wired(*NAMES)
    added = called_for_all("ADD")
    assert len({result.ips[0].address for result in added}) == COUNT
    return server, daemon


def test_200_leases_take_little(loaded):
    """It wakes for what is due and for answers, and does not look around in between."""
    server, daemon = loaded
    eventually(lambda: renewals_of(daemon) >= COUNT, lambda: daemon.log)
    before = usage_of(daemon)

    eventually(
        lambda: renewals_of(daemon) >= before.renewals + 2 * COUNT,
        lambda: f"{usage_of(daemon)}\n{daemon.log}",
    )

    usage = usage_of(daemon)
    renewals = usage.renewals - before.renewals
    assert usage.memory <= MIB
    assert usage.sleeps - before.sleeps <= 3 * renewals + (usage.moment - before.moment)
    assert usage.processor - before.processor <= 0.01 * renewals
    assert not daemon.says("expired")
    called_for_all("DEL")
    eventually(lambda: not server.leased(), lambda: daemon.log)
