"""VLANs of bridge together with what needs nftables: the check of MAC addresses, masquerading."""

import dataclasses

import pytest

from kernel.frames import SOURCE, crossing
from kernel.test_bridge_lifecycle import REFERENCE
from kernel.test_bridge_vlan import (
    LAYER_2,
    RANGES,
    ROUTED,
    WIRE,
    container,
    filtering,
    place,
    trunk,
)

__all__ = ["container", "filtering", "place", "trunk"]
pytestmark = [pytest.mark.kernel, pytest.mark.full_kernel_nft]

CHECKED = {"macspoofchk": True, "vlan": 100, **RANGES}
HONEST = {"runtimeConfig": {"mac": SOURCE.hex(":")}}
IPTABLES_SEES_BRIDGED = "sysctl -qw net.bridge.bridge-nf-call-iptables={}"


def test_an_honest_mac_passes_in_every_vlan(trunk, place):
    assert crossing(place(**CHECKED, **HONEST), WIRE, None, 101) == {None: 100, 101: 101}


def test_a_spoofed_mac_passes_in_none(trunk, place):
    assert crossing(place(**CHECKED), WIRE, None, 101) == {}


def test_the_host_masquerades_what_leaves_by_the_gateway_of_a_vlan(sandbox, container):
    caller = container()
    conf = {**ROUTED, "ipMasq": True, "ipMasqBackend": "nftables"}
    sandbox.outside()
    sandbox.shell(IPTABLES_SEES_BRIDGED.format(0))
    before = sandbox.shell("nft list ruleset")

    result = caller.add(conf)

    sandbox.shell("ping -c1 -w20 203.0.113.2", "c1")  # which has no route back
    chained = {**conf, "prevResult": result}
    assert caller("CHECK", chained).text == ""
    assert caller("DEL", chained).text == ""
    assert "10.1.0.2" not in sandbox.shell("nft list ruleset")
    assert "10.1.0.2" not in before


@pytest.mark.parametrize("is_ours", [True, False])
def test_the_kernel_drops_what_it_would_masquerade_on_its_way_to_the_gateway_of_a_vlan(
    sandbox, container, is_ours
):
    """With br_netfilter, as the bridge's page says: the reference does no better."""
    caller = container()
    if not is_ours:
        caller = dataclasses.replace(caller, directory=REFERENCE)
    sandbox.outside()
    sandbox.shell(IPTABLES_SEES_BRIDGED.format(1))
    caller.add({**ROUTED, "cniVersion": "1.0.0", "ipMasq": True})

    sandbox.shell("! ping -c2 -w4 203.0.113.2", "c1")
    sandbox.shell(IPTABLES_SEES_BRIDGED.format(0))
    sandbox.shell("ping -c1 -w20 203.0.113.2", "c1")


@pytest.mark.parametrize("gone", [False, True])
def test_del_takes_the_check_of_the_mac_address_along(sandbox, container, gone):
    one, other = container("c1"), container("c2")
    conf = {**LAYER_2, **CHECKED}
    for caller in (one, other):
        caller.add(conf)
    if gone:
        sandbox.remove_container("c1")
        one = dataclasses.replace(one, netns="")

    assert one("DEL", conf).text == ""

    rules = sandbox.shell("nft list ruleset")
    assert ("c1-eth0" in rules, "c2-eth0" in rules) == (False, True)
