"""The page of tap says what happens on the real kernel."""

import pytest

from cnicore.net import tuntap
from kernel.test_pages import (
    TAKEN_NAME,
    Call,
    caller,
    examples_of,
    lines_of,
    links,
    require_listed,
    static,
    without_chance,
)
from kernel.test_tap import peer, said, tun_of

__all__ = ["caller"]
pytestmark = pytest.mark.kernel

CONF = {"cniVersion": "1.1.0", "name": "mynet", "type": "tap"}
CONTEXT = "system_u:system_r:container_t:s0"

# for each line of "When it fails" how it begins, and what provokes it
BAD_CALLS = {
    "container interface": Call(before=TAKEN_NAME),
    "mtu:": Call({"mtu": 70000}),
    "mac:": Call({"mac": "zz"}),
    "owner: there": Call({"owner": -1}),
    "owner: input": Call({"owner": "qemu"}),
    "bridge: failed": Call({"bridge": "br0"}),
    'bridge: "br0"': Call({"bridge": "br0"}, "ip -n c1 link add br0 type veth"),
    "selinuxContext:": Call({"selinuxContext": CONTEXT}),
    "could not open": Call(before="mount -t tmpfs none /dev/net"),
    "IPAM plugin returned": Call({"ipam": {"type": "static"}}),
    "cannot convert": Call({"cniVersion": "0.2.0"}),
}
# and what provokes those of CHECK, after the ADD of the example as a port of br0
TAMPERING = {
    "eth0 has mtu": "ip -n c1 link set eth0 mtu 1500",
    "eth0 has owner": "ip -n c1 link del eth0; ip -n c1 tuntap add mode tap name eth0 user 0;"
    " ip -n c1 link set eth0 mtu 1400 address 02:00:5e:10:00:01 master br0 up",
    "eth0 is not a port": "ip -n c1 link set eth0 nomaster",
    "Interface eth0 is of type": "ip -n c1 link del eth0; ip -n c1 link add eth0 type veth",
}
# needs a user namespace, and SELinux
ELSEWHERE = ("could not set the owner", "could not enter the selinuxContext")


def test_the_example_gives_the_result_on_the_page(sandbox, caller):
    conf, shown = examples_of("tap")

    result = caller.add(conf)

    assert without_chance(result) == without_chance(shown)
    assert result["interfaces"] == shown["interfaces"]
    chained = {**conf, "prevResult": result}
    for verb in ("CHECK", "STATUS", "DEL", "DEL"):
        assert caller(verb, chained).text == ""
    assert sandbox.shell("find /var/lib/cni -name '10.*' -o -name 'fd*'") == ""


def test_the_drawing_is_true(sandbox, caller):
    conf, _ = examples_of("tap")
    before = sandbox.json("ip -json link")

    caller.add(conf)

    assert sandbox.json("ip -json link") == before
    link, tun = tun_of(sandbox)
    assert (link["mtu"], tun["persist"], "NO-CARRIER" in link["flags"]) == (1400, True, True)
    with peer({"user": 0, "addresses": ["10.1.0.9"], "ping": "10.1.0.2"}) as process:
        assert said(process)["reply"] == "from the other end"


def test_every_message_on_the_page_is_provoked_here():
    begins = (*BAD_CALLS, *TAMPERING, *ELSEWHERE)

    assert [line for line in lines_of("tap") if not line.startswith(begins)] == []


@pytest.mark.parametrize("begin", BAD_CALLS)
def test_a_bad_call_says_what_the_page_says_and_leaves_nothing(
    sandbox, caller, monkeypatch, tmp_path, begin
):
    (tmp_path / "filesystems").write_text("nodev\tsysfs\n")
    monkeypatch.setattr(tuntap, "FILESYSTEMS", tmp_path / "filesystems")
    bad = BAD_CALLS[begin]
    sandbox.shell(bad.before or "true")
    before = links(sandbox), sandbox.shell("ip -br link", "c1")

    outcome = caller("ADD", {**CONF, **bad.keys})

    assert outcome.status == 1
    require_listed("tap", begin, outcome.document["msg"])
    assert (links(sandbox), sandbox.shell("ip -br link", "c1")) == before


@pytest.mark.parametrize("begin", TAMPERING)
def test_tampering_is_told_in_the_words_of_the_page(sandbox, caller, begin):
    conf, _ = examples_of("tap")
    sandbox.shell("ip -n c1 link add br0 type bridge")
    conf |= {"bridge": "br0", "ipam": static("10.1.0.2/24")}
    result = caller.add(conf)
    sandbox.shell(TAMPERING[begin])

    outcome = caller("CHECK", {**conf, "prevResult": result})

    assert outcome.status == 1
    require_listed("tap", begin, outcome.document["msg"])
