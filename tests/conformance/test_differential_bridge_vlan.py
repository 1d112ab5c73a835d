"""bridge with VLANs of both sets of plugins in twin sandboxes, on a kernel whose bridges filter them."""

from __future__ import annotations

import subprocess

import pytest

from conformance.cases_bridge_vlan import CASES, FILTERING
from conformance.conftest import play_both
from conformance.differences import covers, differences
from conformance.intended import INTENDED, Intended
from conformance.test_differential import unneeded_cases, unneeded_paths

pytestmark = [pytest.mark.conformance, pytest.mark.kernel, pytest.mark.full_kernel]

UNFILTERED = "bridge with vlan not filtered"
PORT = "<veth of c1/*>"

VLAN = (
    Intended(
        "A port that is in a VLAN is no longer in the bridge's own.",
        "As in the reference since 1.8.0; before, what is untagged in the bridge got to it, too.",
        (
            "bridge with vlan l2",
            "bridge with vlan dual stack",
            "bridge with vlan masquerade",
            "bridge with vlan prepared",
        ),
        (f"*/host/vlan/{PORT}/1", "*/host/vlan/<veth of host/*>/1"),
        reference="Egress Untagged",
        ours=None,
    ),
    Intended(
        "The gateway of a VLAN takes no router advertisements.",
        "A container could otherwise reroute the host; the reference sees to it on the bridge only.",
        ("bridge with vlan dual stack", "bridge with vlan masquerade", "bridge with vlan kept"),
        ("*/host/sysctl/ipv6/conf/br0.*/accept_ra",),
        reference="1",
        ours="0",
    ),
    Intended(
        "A trunk is made.",
        "Newer versions of the reference know the key; this one has no VLANs then.",
        ("bridge with trunk",),
        ("*/host/link/br0/vlan_filtering",),
        reference=0,
        ours=1,
    ),
    Intended(
        "The port of a trunk is in its VLANs, tagged.",
        "Newer versions of the reference know the key.",
        ("bridge with trunk",),
        (f"*/host/vlan/{PORT}/101", f"*/host/vlan/{PORT}/20[01]"),
        reference=None,
        ours="",
    ),
    Intended(
        "A VLAN on a bridge that does not filter them is an error.",
        "The reference attaches the container, but nothing keeps it in its VLAN.",
        (UNFILTERED,),
        ("1 ADD/status", "1 ADD/error/code"),
    ),
    Intended(
        "An ADD that is refused leaves nothing and changes nothing.",
        "It is refused before the bridge is touched.",
        (UNFILTERED,),
        (
            *("1 ADD/c1/*", "1 ADD/result/*", "*/files/n1/*"),
            *(f"1 ADD/host/{kind}/{PORT}/*" for kind in ("link", "vlan", "sysctl/*")),
        ),
        ours=None,
    ),
    Intended(
        "The bridge of others keeps its sysctls when the ADD is refused.",
        "It is refused before the bridge is touched.",
        (UNFILTERED,),
        ("*/host/sysctl/ipv6/conf/br0/accept_ra",),
        reference="0",
        ours="1",
    ),
)
"""Differences that only such a kernel shows; the page of the plugin tells of them."""

TABLE = (*INTENDED, *VLAN)
found: dict[str, list] = {}


@pytest.fixture(autouse=True)
def _kernel(suites):
    tried = subprocess.run(
        ["unshare", "--net", "sh", "-c", FILTERING], capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip("needs a kernel whose bridges filter VLANs")


@pytest.mark.parametrize("vlan_case", CASES, ids=lambda case: case.name)
def test_ours_does_what_the_reference_does(vlan_case, suites):
    played = play_both(vlan_case, suites)
    seen = list(differences(vlan_case.name, played["reference"], played["ours"]))
    found[vlan_case.name] = seen

    unintended = [str(one) for one in seen if not any(covers(entry, one) for entry in TABLE)]

    assert not unintended, "\n".join(unintended)
    first = next(iter(played["ours"].values()))
    assert vlan_case.says in f"{first.get('error/msg')}"


def test_there_is_no_entry_that_nothing_needs():
    if found.keys() != {case.name for case in CASES}:
        pytest.skip("not all cases were selected")
    everything = [one for seen in found.values() for one in seen]

    unused = [
        f"{entry.what} {unneeded}"
        for entry in VLAN
        for unneeded in [*unneeded_cases(entry, everything), *unneeded_paths(entry, everything)]
    ]
    assert not unused, "\n".join(unused)
