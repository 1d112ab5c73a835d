"""The page of macvlan says what happens on the real kernel."""

import dataclasses
import json
import re
import time
from pathlib import Path

import pytest

from kernel.lan import FIRST, Lan

pytestmark = pytest.mark.kernel

PAGE = (Path(__file__).parents[2] / "docs/reference/plugins/macvlan.md").read_text()
CONF, RESULT = map(json.loads, re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
(SHIM,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
LINES = re.findall(r"^\| `(.*?)` \|", PAGE.partition("## When it fails")[2], re.MULTILINE)
MAC = "02:00:5e:10:00:01"


@pytest.fixture
def lan(sandbox):
    lan = Lan(sandbox)
    sandbox.shell("ip link set up0 down; ip link set up0 name ens1; ip link set ens1 up")
    lan.settle("ens1")
    return lan


@pytest.fixture
def caller(lan, call):
    return dataclasses.replace(call, netns=lan.container("c1"))


@pytest.fixture
def other(lan, call):
    return dataclasses.replace(call, netns=lan.container("c2"), container_id="c2")


def names(sandbox):
    found = [sandbox.json(f"ip {where} -json link") for where in ("", "-n c1")]
    return [[link["ifname"] for link in links] for links in found]


def without_mac(document):
    return re.sub(r'"mac": "[^"]*"', '"mac": …', json.dumps(document, sort_keys=True))


def test_the_example_gives_the_result_on_the_page_and_the_drawing_is_true(
    sandbox, lan, caller, other
):
    result = caller.add(CONF)

    assert without_mac(result) == without_mac(RESULT)
    assert other.add(CONF)["ips"][0]["address"] == "10.1.0.3/24"
    for container in ("c1", "c2"):
        assert "default via 10.1.0.1 dev eth0" in sandbox.shell("ip route", container)
        lan.require_reach(container, "10.1.0.1", "fd00:1::1")
    chained = {**CONF, "prevResult": result}
    for verb in ("CHECK", "STATUS", "DEL", "DEL"):
        assert caller(verb, chained).text == ""


def test_the_hosts_own_macvlan_reaches_the_containers(sandbox, lan, caller):
    caller.add(CONF)
    sandbox.shell("ip addr flush dev ens1")
    sandbox.shell(SHIM)

    lan.require_reach("", FIRST[0])
    lan.require_reach("c1", "10.1.0.253")


def test_a_parent_without_carrier_makes_an_add_wait_for_the_search_for_duplicates(sandbox, caller):
    sandbox.shell("echo 1 >/proc/sys/net/ipv6/conf/default/accept_dad", "c1")
    sandbox.shell("ip link set ens1 down")
    began = time.monotonic()

    caller.add(CONF)

    assert time.monotonic() - began >= 5


@dataclasses.dataclass
class Bad:
    """An ADD that fails: keys of the configuration, a command before it, and variables."""

    keys: dict = dataclasses.field(default_factory=dict)
    before: str = "true"
    variables: dict = dataclasses.field(default_factory=dict)


STATIC = {"type": "static", "addresses": [{"address": "fd00:1::1/64", "gateway": "fd00:1::1"}]}
SIBLING = "ip link add m0 link ens1 type macvlan mode bridge"

# for each line of the page how it begins, and what provokes it
BAD = {
    'master: Link not found: there is no interface "ens9"': Bad({"master": "ens9"}),
    'master: Link not found: there is no interface "ens1"': Bad({"linkInContainer": True}),
    "master: no default route": Bad({"master": ""}),
    "master: ens1 is a port": Bad(
        before="ip link add br0 type bridge; ip link set ens1 master br0"
    ),
    "master: ens1 takes": Bad({"mode": "passthru"}, SIBLING),
    "master: lo takes": Bad({"master": "lo"}),
    "mode: unknown": Bad({"mode": "source"}),
    "mtu: invalid": Bad({"mtu": 9000}),
    "could not create": Bad({"mtu": 67}),
    "could not add": Bad({"mtu": 1279}),
    "mac: invalid": Bad({"mac": "zz"}),
    "mac: 02:00": Bad({"mac": MAC}, f"{SIBLING}; ip link set m0 address {MAC}; ip link set m0 up"),
    "ARGS: unknown": Bad(variables={"CNI_ARGS": "K8S_POD_NAME=x"}),
    "bcqueuelen:": Bad({"bcqueuelen": -1}),
    "container interface": Bad(before="ip -n c1 link add eth0 type veth peer name e1"),
    "link eth0 has address": Bad(
        {"ipam": STATIC},
        "ip netns exec c1 sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/accept_dad'",
    ),
    "IPAM plugin returned": Bad({"ipam": {"type": "static"}}),
    "cannot convert": Bad({"cniVersion": "0.2.0", "ipam": {}}),
}
TAMPERING = {
    "container macvlan mode": "ip -n c1 link set eth0 type macvlan mode private",
    "eth0 does not stand": "ip link set ens1 netns lan",
    "Interface eth0 not found": "ip link delete ens1",
}


def line(begin):
    (found,) = (one for one in LINES if one.startswith(begin))
    return found


def test_every_message_on_the_page_is_provoked_here():
    begins = (*BAD, *TAMPERING)

    assert [one for one in LINES if not one.startswith(begins)] == []
    assert len(LINES) == len(begins)


@pytest.mark.parametrize("begin", BAD)
def test_a_bad_call_says_what_the_page_says_and_leaves_nothing(sandbox, caller, begin):
    bad = BAD[begin]
    sandbox.shell(bad.before)
    before = names(sandbox)

    outcome = caller("ADD", {**CONF, **bad.keys}, **bad.variables)

    assert outcome.document["msg"] == line(begin)
    assert names(sandbox) == before
    assert sandbox.shell("find /var/lib/cni -name '10.1.*' -o -name 'fd00*'") == ""


@pytest.mark.parametrize("begin", TAMPERING)
def test_tampering_is_told_in_the_words_of_the_page(sandbox, caller, begin):
    attached = {**CONF, "prevResult": caller.add(CONF)}
    sandbox.shell(TAMPERING[begin])

    assert caller("CHECK", attached).document["msg"] == line(begin)
