"""vrf of both sets of plugins in twin sandboxes, on a kernel that has VRFs."""

from __future__ import annotations

import pytest

from cnicore.net.namespace import host_namespace
from conformance.cases_vrf import FULL
from conformance.conftest import play_both
from conformance.differences import covers, differences
from conformance.intended import INTENDED, Intended

pytestmark = [pytest.mark.conformance, pytest.mark.kernel, pytest.mark.full_kernel]

ROUTED = ("vrf dual stack*", "vrf ptp")
REFUSED = ("vrf has a master", "vrf no interface")

VRF = (
    Intended(
        "A VRF has the kernel's default transmit queue length.",
        "The reference sets none by accident.",
        ("vrf *",),
        ("*/c1/link/blue/txqlen",),
        reference=None,
        ours=1000,
    ),
    Intended(
        "The routes of an interface go with it into the VRF's table, and no others come.",
        "Newer versions of the reference move those through a gateway; this one loses them.",
        ROUTED,
        ("[12] */c1/route/*",),
    ),
    Intended(
        "An IPv6 address that is given back is not probed for duplicates again.",
        "It was this link's a moment before.",
        ROUTED,
        ("[12] */nodad",),
        reference=None,
        ours=True,
    ),
    Intended(
        "A second ADD of vrf is harmless.",
        "The reference fails because the interface has a master, which is the VRF.",
        ("vrf joined twice",),
        ("3 ADD/*",),
    ),
    Intended(
        "An ADD of vrf that fails leaves no VRF.",
        "The reference leaves the one that it has made.",
        REFUSED,
        ("1 ADD/c1/link/blue/*", "1 ADD/c1/sysctl/*/blue/*", "1 ADD/c1/rules"),
    ),
    Intended(
        "DEL of vrf takes an interface from the VRF only.",
        "The reference takes it from whatever master it has by then.",
        ("vrf has a master",),
        ("2 DEL/c1/link/*", "2 DEL/c1/sysctl/*/blue/*"),
    ),
    Intended(
        "DEL of vrf succeeds when the interface is gone, and deletes the VRF without members.",
        "The reference fails for ever.",
        ("vrf no interface", "vrf DEL after the interface is gone"),
        (
            *("* DEL/status", "* DEL/error/code", "2 DEL/c1/rules"),
            *("* DEL/c1/link/blue/*", "* DEL/c1/sysctl/*/blue/*"),
        ),
    ),
)
"""Differences that only such a kernel shows; the page of the plugin tells of them."""

TABLE = (*INTENDED, *VRF)
found: dict[str, list] = {}


@pytest.fixture(autouse=True)
def _kernel(suites):
    with host_namespace() as host:
        if not host.can_make("vrf"):
            pytest.skip("needs a kernel with VRFs: the module vrf")


@pytest.mark.parametrize("vrf_case", FULL, ids=lambda case: case.name)
def test_ours_does_what_the_reference_does(vrf_case, suites):
    played = play_both(vrf_case, suites)
    seen = list(differences(vrf_case.name, played["reference"], played["ours"]))
    found[vrf_case.name] = seen

    unintended = [str(one) for one in seen if not any(covers(entry, one) for entry in TABLE)]

    assert not unintended, "\n".join(unintended)
    first = next(iter(played["ours"].values()))
    assert vrf_case.says in f"{first.get('error/msg')}"


def test_there_is_no_entry_that_nothing_needs():
    if found.keys() != {case.name for case in FULL}:
        pytest.skip("not all cases were selected")
    everything = [one for seen in found.values() for one in seen]

    assert [entry.what for entry in VRF if not any(covers(entry, one) for one in everything)] == []
