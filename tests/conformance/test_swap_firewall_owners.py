"""Whose an address is, where the reference deletes what ours let through and gives it to others.

The reference leaves the mark that ours makes of an address, and knows nothing of it.
"""

from __future__ import annotations

import dataclasses

import pytest

from conformance.cases_firewall import firewall
from kernel.published import use_legacy

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

CONF = {**firewall(), "cniVersion": "1.0.0"}
ADDRESSES = ("10.7.0.2/32", "fd07::2/128")
RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "br0"}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/netns"}],
    "ips": [{"address": "10.7.0.2/24"}, {"address": "fd07::2/64"}],
}
SUITES = ("ours", "reference")


@pytest.fixture(params=["nft", "legacy"])
def variant(request):
    return request.param


@pytest.fixture
def host(stage, variant):
    """A host whose iptables is of either variant; in c1 is the address that others get later."""
    if variant == "legacy":
        use_legacy(stage.sandbox)
    assert variant in stage.sandbox.shell("iptables --version").replace("nf_tables", "nft")
    stage.sandbox.container("c2")
    host = Host(stage)
    host.take("c1")
    return host


@dataclasses.dataclass
class Host:
    """Calls that give the address to one container after the other."""

    stage: object

    def call(self, suite, verb, name, **keys):
        self.stage.use(suite)
        variables = {
            "CNI_CONTAINERID": name,
            "CNI_NETNS": f"/run/netns/{name}",
            "PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
        }
        return self.stage.call(verb, {**CONF, "prevResult": RESULT, **keys}, variables)

    def succeed(self, suite, verb, name, **keys):
        answer = self.call(suite, verb, name, **keys)
        assert answer.status == 0, answer.stdout

    def take(self, name):
        """The container has the address, as bridge would have given it."""
        self.stage.sandbox.shell(
            "ip link add eth0 type veth peer name peer; ip link set eth0 up;"
            "ip addr add 10.7.0.2/24 dev eth0; ip addr add fd07::2/64 dev eth0 nodad",
            name,
        )

    def lose(self, name):
        self.stage.sandbox.shell("ip link delete eth0", name)

    def collect(self, *valid):
        """GC by ours, which knows the verb since 1.1.0."""
        attachments = [{"containerID": name, "ifname": "eth0"} for name in valid]
        keys = {"cniVersion": "1.1.0", "cni.dev/valid-attachments": attachments}
        self.succeed("ours", "GC", "c1", prevResult=None, **keys)

    def lines(self):
        saved = self.stage.sandbox.shell("iptables-save -t filter; ip6tables-save -t filter")
        return [line for line in saved.splitlines() if any(one in line for one in ADDRESSES)]

    def passes(self):
        """Whether the address passes; in both families alike."""
        found = [line for line in self.lines() if line.startswith("-A CNI-FORWARD ")]
        assert len(found) in (0, 4), found
        return bool(found)

    def owners(self):
        """Whom the marks name; in both families alike."""
        marks = [line for line in self.lines() if line.startswith("-A CNI-FORWARD-OWNERS ")]
        names = [line.split("cni:n1/")[1].split("/")[0] for line in marks]
        half = len(names) // 2
        assert names[:half] == names[half:], marks
        return names[:half]


def swapped(host):
    """Ours let c1 through, the reference deleted that; c2 has the address now."""
    host.succeed("ours", "ADD", "c1")
    host.succeed("reference", "DEL", "c1")
    host.lose("c1")
    host.take("c2")
    assert (host.passes(), host.owners()) == (False, ["c1"])


def test_a_mark_without_rules_goes_with_the_next_del_of_its_owner(host):
    swapped(host)

    host.succeed("ours", "DEL", "c1", prevResult=None)

    assert host.lines() == []


@pytest.mark.parametrize("valid", [[], ["c2"]])
def test_a_mark_without_rules_goes_with_gc(host, valid):
    swapped(host)

    host.collect(*valid)

    assert host.lines() == []


def test_gc_of_ours_leaves_a_mark_of_a_valid_attachment(host):
    host.succeed("ours", "ADD", "c1")

    host.collect("c1")

    assert (host.passes(), host.owners()) == (True, ["c1"])


def test_an_add_of_ours_for_another_container_replaces_the_mark(host):
    swapped(host)

    host.succeed("ours", "ADD", "c2")

    assert (host.passes(), host.owners()) == (True, ["c2"])
    for suite in SUITES:
        host.succeed(suite, "CHECK", "c2")
    host.succeed("ours", "DEL", "c1")
    host.succeed("ours", "DEL", "c1", prevResult=None)
    host.collect("c2")
    assert (host.passes(), host.owners()) == (True, ["c2"])
    host.succeed("ours", "DEL", "c2", prevResult=None)
    assert host.lines() == []


def test_what_the_reference_added_for_another_container_stays_when_the_old_one_is_deleted(host):
    swapped(host)
    host.succeed("reference", "ADD", "c2")

    for keys in ({}, {}, {"prevResult": None}):
        host.succeed("ours", "DEL", "c1", **keys)

    assert host.passes()
    for suite in SUITES:
        host.succeed(suite, "CHECK", "c2")


@pytest.mark.parametrize("valid", [[], ["c2"]])
def test_what_the_reference_added_for_another_container_stays_with_gc_and_the_mark_goes(
    host, valid
):
    swapped(host)
    host.succeed("reference", "ADD", "c2")

    host.collect(*valid)

    assert (host.passes(), host.owners()) == (True, [])
    for suite in SUITES:
        host.succeed(suite, "CHECK", "c2")


@pytest.mark.parametrize("suite", SUITES)
def test_what_the_reference_added_for_another_container_goes_when_that_is_deleted(host, suite):
    swapped(host)
    host.succeed("reference", "ADD", "c2")

    host.succeed(suite, "DEL", "c2")

    assert not host.passes()
    assert host.owners() == ([] if suite == "ours" else ["c1"])


def test_del_of_ours_finds_the_address_in_the_other_container_without_a_result(host):
    swapped(host)
    host.succeed("reference", "ADD", "c2")

    host.succeed("ours", "DEL", "c2", prevResult=None)

    assert host.lines() == []


@pytest.mark.parametrize("keys", [{}, {"prevResult": None}], ids=["result", "no result"])
def test_what_the_reference_added_for_the_same_container_again_goes_with_its_del(host, keys):
    host.succeed("ours", "ADD", "c1")
    host.succeed("reference", "DEL", "c1")
    host.succeed("reference", "ADD", "c1")

    host.succeed("ours", "DEL", "c1", **keys)

    assert host.lines() == []


def test_an_add_of_ours_makes_the_rules_of_the_reference_its_own(host):
    """The reference's DEL of c1 was lost, so that its rules still stand."""
    host.succeed("reference", "ADD", "c1")
    host.lose("c1")
    host.take("c2")

    host.succeed("ours", "ADD", "c2")

    assert (host.passes(), host.owners()) == (True, ["c2"])
    host.succeed("ours", "DEL", "c1")
    assert host.passes()
    host.collect()
    assert host.lines() == []


def test_the_reference_deletes_what_ours_made_its_own(host):
    host.succeed("reference", "ADD", "c1")
    host.succeed("ours", "ADD", "c1")

    for suite in SUITES:
        host.succeed(suite, "CHECK", "c1")
    host.succeed("reference", "DEL", "c1")

    assert not host.passes()
