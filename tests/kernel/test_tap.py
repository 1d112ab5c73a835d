"""tap on the real kernel, with a process that reads and writes frames at its other end."""

import dataclasses
import itertools
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from cnicore.net import address
from kernel.tap_peer import IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_VNET_HDR

pytestmark = pytest.mark.kernel

PROGRAM = Path(__file__).with_name("tap_peer.py")
SINGLE, MULTI = IFF_TAP | IFF_NO_PI, IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE
CONF = {"cniVersion": "1.1.0", "name": "net", "type": "tap"}
DUAL = {
    **CONF,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    },
}
PEER = {"mac": "02:00:5e:10:00:99", "addresses": ["10.1.0.1", "fd00:1::1"]}


@pytest.fixture
def caller(sandbox, call):
    return dataclasses.replace(call, netns=sandbox.container())


@pytest.fixture
def anybody(sandbox):
    """Let every user open /dev/net/tun, as udev does."""
    sandbox.shell("mknod /run/tun c 10 200; chmod 666 /run/tun; mount --bind /run/tun /dev/net/tun")


@contextmanager
def peer(order, name="eth0"):
    """The process at the other end, attached or refused; `say` gives what it says next."""
    command = ["ip", "netns", "exec", "c1", sys.executable, "-I", "-S", str(PROGRAM)]
    process = subprocess.Popen(
        [*command, json.dumps({"name": name, **order})],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        first = said(process)
        yield process if first == "attached" else first
    finally:
        process.kill()
        process.communicate()


def said(process):
    return json.loads(process.stdout.readline())


def tun_of(sandbox, name="eth0"):
    (link,) = sandbox.json(f"ip -d -json link show {name}", "c1")
    return link, link["linkinfo"]["info_data"]


def wait_until_settled(sandbox):
    """Duplicate address detection begins when a process attaches and takes a second or two."""
    for _ in range(300):
        shown = sandbox.shell("ip -6 addr show dev eth0 scope global", "c1")
        if "tentative" not in shown:
            return shown
        time.sleep(0.1)
    raise AssertionError(shown)


WAYS = list(
    itertools.product(({}, {"owner": 0}, {"owner": 61234}), ({}, {"group": 65432}), (False, True))
)


@pytest.mark.parametrize(("owner", "group", "multi_queue"), WAYS)
def test_every_combination_is_honoured(sandbox, caller, owner, group, multi_queue):
    keys = {"mtu": 1400, "mac": "02:00:5e:10:00:01", "multiQueue": multi_queue, **owner, **group}

    result = caller.add({**CONF, **keys})

    link, tun = tun_of(sandbox)
    assert (link["address"], link["mtu"]) == ("02:00:5e:10:00:01", 1400)
    assert "UP" in link["flags"]
    assert (tun["type"], tun["persist"], tun["multi_queue"]) == ("tap", True, multi_queue)
    assert (tun["pi"], tun["vnet_hdr"]) == (False, False)
    told = {key: str(tun[key]) for key in ("user", "group") if key in tun}
    assert told == {
        **({"user": "61234" if owner["owner"] else "root"} if owner else {}),
        **({"group": "65432"} if group else {}),
    }
    assert result["interfaces"] == [
        {"name": "eth0", "mac": "02:00:5e:10:00:01", "sandbox": "/run/netns/c1"}
    ]
    chained = {**CONF, **keys, "prevResult": result}
    assert caller("CHECK", chained).text == ""


@pytest.mark.parametrize(("flags", "files"), [(SINGLE, 1), (MULTI, 2)])
@pytest.mark.parametrize("number", [0, 1])
def test_the_owner_reaches_the_container(sandbox, caller, anybody, flags, files, number):
    owners = {"owner": 1234, "group": 4321, "multiQueue": files > 1}
    result = caller.add({**DUAL, **owners})
    target = result["ips"][number]["address"].partition("/")[0]
    order = {**PEER, "flags": flags, "files": files, "user": 1234, "group": 4321, "ping": target}

    with peer(order) as process:
        assert said(process) == {
            "mac": result["interfaces"][0]["mac"],
            "reply": "from the other end",
        }


@pytest.mark.parametrize(
    ("keys", "who", "outcome"),
    [
        ({}, {"user": 1234, "group": 4321}, "attached"),
        ({"owner": 1234}, {"user": 1234, "group": 4321}, "attached"),
        ({"owner": 1234}, {"user": 1235, "group": 4321}, {"error": "EPERM"}),
        ({"group": 4321}, {"user": 1235, "group": 4321}, "attached"),
        ({"group": 4321}, {"user": 1234, "group": 4322}, {"error": "EPERM"}),
        ({"owner": 1234, "group": 4321}, {"user": 1234, "group": 4322}, {"error": "EPERM"}),
        ({"owner": 0}, {"user": 1234, "group": 0}, {"error": "EPERM"}),
        ({"owner": 2**32 - 2}, {"user": 2**32 - 2, "group": 0}, "attached"),
        ({"multiQueue": True}, {}, {"error": "EINVAL"}),
        ({}, {"flags": MULTI}, {"error": "EINVAL"}),
        ({}, {"files": 2}, {"error": "EBUSY"}),
    ],
)
def test_who_may_attach(caller, anybody, keys, who, outcome):
    caller.add({**CONF, **keys})

    with peer({"serve": True, **who}) as process:
        assert outcome == (process if isinstance(process, dict) else "attached")


@pytest.mark.parametrize(("ping", "gateway"), [("ping -4", "10.1.0.1"), ("ping -6", "fd00:1::1")])
def test_the_container_reaches_the_process_and_routes_through_it(sandbox, caller, ping, gateway):
    caller.add(DUAL)

    with peer({**PEER, "serve": True}):
        wait_until_settled(sandbox)
        sandbox.shell(f"{ping} -c1 -w20 {gateway}", "c1")
        assert gateway in sandbox.shell(f"{ping.replace('ping', 'ip')} route show default", "c1")


def test_frames_for_many_flows_come_through_both_queues(sandbox, caller):
    caller.add({**DUAL, "multiQueue": True})
    sandbox.shell("ip neigh add 10.1.0.1 lladdr 02:00:5e:10:00:99 dev eth0", "c1")
    send = (
        "import socket\n"
        "for port in range(2000, 2064):\n"
        " socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('10.1.0.1', port))\n"
    )

    with peer({"flags": MULTI, "files": 2, "read": True}) as process:
        assert tun_of(sandbox)[1]["numqueues"] == 2
        sandbox.shell(f'python3 -c "{send}"', "c1")
        frames = []
        while len(frames) < 64:
            one = said(process)
            if bytes.fromhex(one["frame"])[23] == 17 and one["frame"].endswith("78"):
                frames.append(one["file"])

    assert set(frames) == {0, 1}


@pytest.mark.parametrize(("flags", "header"), [(0, 0), (IFF_VNET_HDR, 10)])
def test_whoever_attaches_says_whether_frames_have_a_header(sandbox, caller, flags, header):
    caller.add({**DUAL, "owner": 0, "group": 0})

    with peer({"flags": SINGLE | flags, "read": True}) as process:
        sandbox.shell("ping -c1 -W1 10.1.0.1 || true", "c1")
        while True:
            data = bytes.fromhex(said(process)["frame"])[header:]
            if data[12:14] == b"\x08\x06":
                break

    assert data[:6] == b"\xff" * 6


def test_the_mtu_holds_on_the_wire(sandbox, caller):
    caller.add({**DUAL, "mtu": 1400, "owner": 0, "group": 0})

    with peer({**PEER, "serve": True}):
        sandbox.shell("ping -4 -c1 -w20 -M do -s 1372 10.1.0.1", "c1")
        with pytest.raises(AssertionError, match="too long|100% packet loss"):
            sandbox.shell("ping -4 -c1 -W1 -M do -s 1373 10.1.0.1", "c1")


BRIDGED = """
ip -n c1 link add br0 type bridge
ip -n c1 link set br0 up
ip -n c1 link add port type veth peer name eth0 netns c2
ip -n c1 link set port master br0 up
ip -n c2 addr add 10.1.0.9/24 dev eth0
ip -n c2 addr add fd00:1::9/64 dev eth0 nodad
ip -n c2 link set eth0 up
"""


@pytest.mark.parametrize("target", ["10.1.0.9", "fd00:1::9"])
def test_a_port_of_a_bridge_reaches_another_port(sandbox, caller, target):
    sandbox.container("c2")
    sandbox.shell(BRIDGED)
    conf = {**CONF, "bridge": "br0", "mac": "02:00:5e:10:00:01"}

    result = caller.add(conf)

    assert tun_of(sandbox)[0]["master"] == "br0"
    assert caller("CHECK", {**conf, "prevResult": result}).text == ""
    with peer({**PEER, "ping": target}) as process:
        (link,) = sandbox.json("ip -json link show eth0", "c2")
        assert said(process) == {"mac": link["address"], "reply": "from the other end"}
    assert caller("DEL", conf).text == ""
    assert {link["ifname"] for link in sandbox.json("ip -json link", "c1")} == {"lo", "br0", "port"}


def test_the_add_does_not_wait_for_what_begins_when_a_process_attaches(
    sandbox, caller, monkeypatch
):
    """Without a carrier duplicate address detection does not begin; the reference waits five seconds."""
    monkeypatch.setattr(address, "SETTLE_TIMEOUT", 120.0)
    sandbox.shell("echo 1 >/proc/sys/net/ipv6/conf/default/accept_dad", "c1")
    before = time.monotonic()

    caller.add(DUAL)

    assert time.monotonic() - before < 60
    shown = sandbox.shell("ip -6 addr show dev eth0 scope global", "c1")
    assert "fd00:1::2/64" in shown
    assert "tentative" in shown
    with peer({**PEER, "ping": "fd00:1::2"}) as process:
        assert said(process)["reply"] == "from the other end"
        assert "tentative" not in sandbox.shell("ip -6 addr show dev eth0 scope global", "c1")


def test_a_duplicate_at_the_other_end_is_found_when_it_attaches(sandbox, caller):
    caller.add(DUAL)
    defend = {"mac": "02:00:5e:10:00:99", "addresses": ["fd00:1::2"], "serve": True}

    with peer(defend):
        for _ in range(300):
            shown = sandbox.shell("ip -6 addr show dev eth0 scope global", "c1")
            if "dadfailed" in shown:
                break
            time.sleep(0.1)

    assert "dadfailed" in shown
