"""host-device on the real kernel, with real packets.

The devices are ends of veth pairs: they move as hardware does, but end with their namespace.
"""

import dataclasses
import os
import signal
import time

import pytest

from cnicore.net.namespace import Namespace, host_namespace, opener
from cnicore.testing.faults import FaultyKernel, failing_at_every_call

pytestmark = pytest.mark.kernel

CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "host-device",
    "device": "hd0",
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    },
}
L2 = {key: value for key, value in CONF.items() if key != "ipam"}
DEVICE = """
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
ip link add hd0 address 02:00:00:00:0d:01 type veth peer name peer0
ip link set hd0 alias 'rack 3, port 1'
ip addr add 10.1.0.1/24 dev peer0; ip addr add fd00:1::1/64 dev peer0 nodad
ip link set peer0 up; ip link set hd0 up
ip addr add 10.9.0.1/24 dev hd0 label hd0:x
ip addr add 10.9.0.2/24 dev hd0 valid_lft 900000 preferred_lft 800000
ip addr add fd00:9::1/64 dev hd0 nodad
ip route add default via 10.9.0.254 metric 7 mtu 1400
ip route add 10.10.0.0/16 via 10.9.0.254 table 300
ip -6 route add default via fd00:9::fe
ip -6 route add fd00:a::/64 dev hd0 metric 9
"""
KILLED_AT = 60  # calls; an ADD makes fewer


@pytest.fixture
def host(sandbox):
    """Has hd0, which is up and has addresses and routes, and its other end peer0."""
    sandbox.shell(DEVICE)
    return sandbox


@pytest.fixture
def caller(host, call):
    netns = host.container("c1")
    host.shell("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad", netns)
    return dataclasses.replace(call, netns=netns, ifname="net1")


def state(host, *containers):
    """Links, addresses and routes, without what runs or depends on timing."""
    seen = []
    for name in ("", *containers):
        links = host.json("ip -json -details addr", name)
        for link in links:
            for key in ("operstate", "ifindex", "link_index", "link", "flags"):
                link[key] = "UP" in link["flags"] if key == "flags" else None
            link["linkinfo"] = None
            for address in link["addr_info"]:
                address["valid_life_time"] = address["valid_life_time"] > 700000
                address["preferred_life_time"] = address["preferred_life_time"] > 600000
        seen.append(sorted(links, key=lambda link: link["ifname"]))
        for family in ("-4", "-6"):
            routes = host.shell(f"ip {family} route show table all", name).splitlines()
            # the kernel reports whether there is a carrier at the other end
            seen.append(sorted(line.replace(" linkdown", "").strip() for line in routes))
    files = host.shell("find /var/lib/cni -type f ! -name lock ! -name 'last_reserved_ip.*'")
    return [*seen, files]


def device(host, name="hd0", netns=""):
    (link,) = host.json(f"ip -json link show {name}", netns)
    return link


def require_home(host):
    """hd0 is back with the alias that it had and nothing else, down."""
    link = device(host)
    assert link["address"] == "02:00:00:00:0d:01"
    assert link["ifalias"] == "rack 3, port 1"
    assert "altnames" not in link
    assert "UP" not in link["flags"]


@pytest.mark.parametrize(("ping", "gateway"), [("ping -4", "10.1.0.1"), ("ping -6", "fd00:1::1")])
def test_packets_go_through_the_device(host, caller, ping, gateway):
    caller.add(CONF)

    host.shell(f"{ping} -c1 -W2 {gateway}", "c1")
    assert "10.9.0" not in host.shell("ip addr", "c1")


@pytest.mark.parametrize("conf", [CONF, L2], ids=["layer 3", "layer 2"])
def test_the_whole_life_of_an_attachment(host, caller, conf):
    result = caller.add(conf)
    attached = {**conf, "prevResult": result}

    assert result["interfaces"] == [
        {"mac": "02:00:00:00:0d:01", "name": "net1", "sandbox": "/run/netns/c1"}
    ]
    link = device(host, "net1", "c1")
    assert (link["ifalias"], "UP" in link["flags"]) == ("hd0", True)
    for verb in ("CHECK", "STATUS", "DEL", "DEL"):
        assert caller(verb, attached).text == ""
    require_home(host)
    host.shell("ip link set hd0 up")
    assert caller.add(conf)["interfaces"] == result["interfaces"]


def test_add_that_fails_at_any_call_leaves_the_device_as_it_was(host, caller):
    before = without_link_local(host, "c1")
    outcomes = []

    for number in failing_at_every_call(lambda: outcomes.append(caller("ADD", CONF))):
        if outcomes[-1].status:
            assert without_link_local(host, "c1") == before, f"call {number}: {outcomes[-1].text}"
        else:  # it does without that call
            caller("DEL", CONF)
            host.shell(f"ip link delete hd0; {DEVICE}")
            before = without_link_local(host, "c1")

    assert sum(outcome.status for outcome in outcomes) > 20


def without_link_local(host, *containers):
    """The state of a device that the kernel gives no address of its own: it comes late."""
    host.shell("ip -6 addr flush scope link dev hd0")
    return state(host, *containers)


def test_the_index_need_not_stay_for_addresses_and_routes_to_come_back(host, caller):
    """The container has another link with the device's number, and so has the host afterwards."""
    index = device(host)["ifindex"]
    host.shell(f"ip -n c1 link add other index {index} type veth peer name end")
    before = without_link_local(host, "c1")

    assert caller("ADD", {**CONF, "ipam": {"type": "no-such"}}).status == 1

    assert device(host)["ifindex"] != index
    assert without_link_local(host, "c1") == before


def kill_at(number, act):
    """Let a child of this process do it, and kill it before its call of that number."""
    child = os.fork()
    if not child:
        kernel = FaultyKernel(number)
        kernel.note = lambda _: count_and_die(kernel)
        with kernel.in_place():
            act()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def count_and_die(kernel):
    kernel.calls += 1
    if kernel.calls == kernel.fail_at:
        os.kill(os.getpid(), signal.SIGKILL)


def test_an_add_that_is_killed_at_any_call_is_undone_by_del(host, caller):
    host.shell("ip link set hd0 down")
    killed = 0
    for number in range(1, KILLED_AT):
        if not kill_at(number, lambda: caller("ADD", CONF)):
            break
        killed += 1
        assert caller("DEL", CONF).text == "", number
        require_home(host)
    assert caller("DEL", CONF).text == ""
    require_home(host)
    assert 20 < killed < KILLED_AT - 2


def test_a_del_that_is_killed_at_any_call_is_finished_by_the_next(host, caller):
    killed = 0
    for number in range(1, KILLED_AT):
        caller.add(L2)
        was_killed = kill_at(number, lambda: caller("DEL", L2))
        assert caller("DEL", L2).text == "", number
        require_home(host)
        if not was_killed:
            break
        killed += 1
    assert 10 < killed < KILLED_AT - 2


CHANGES = {
    "renamed": "ip link set net1 down; ip link set net1 name lan; ip link set lan up",
    "renamed to its name at home": "ip link set net1 down; ip link set net1 name hd0",
    "without an alias": "ip link set net1 alias ''",
    "with a name of another at home": "ip link set net1 alias lo",
    "with a name of the host's": "ip link property add dev net1 altname peer0",
    "with its name at home as another": "ip link property add dev net1 altname hd0",
    "without marks": "ip link property del dev net1 $(ip link show net1 | sed -n 's/ *altname/altname/p')",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_del_finds_a_device_that_was_changed_in_the_container(host, caller, change):
    caller.add(CONF)
    host.shell(change, "c1")

    for _ in range(2):
        assert caller("DEL", CONF).text == ""
        link = device(host)
        assert (link["address"], "altnames" in link) == ("02:00:00:00:0d:01", False)


@pytest.mark.parametrize("name", ["net1", "lan"])
def test_a_device_of_no_marks_that_is_on_the_host_under_any_name_is_restored(host, caller, name):
    """As the kernel brings back what the reference has given; here it is moved by hand."""
    caller.add(L2)
    host.shell(CHANGES["without marks"], "c1")
    host.shell(f"ip link set net1 down; ip link set net1 name {name}", "c1")
    host.shell(f"ip link set {name} netns {os.getpid()}", "c1")

    for _ in range(2):
        assert caller("DEL", L2, CNI_NETNS="").text == ""
        assert device(host)["address"] == "02:00:00:00:0d:01"


def test_a_taken_name_is_said_and_the_device_stays_healthy(host, caller):
    attached = {**CONF, "prevResult": caller.add(CONF)}
    host.shell("ip link add hd0 type veth peer name peer1")
    before = state(host, "c1")

    outcome = caller("DEL", attached)

    assert outcome.document["msg"] == (
        'failed to return "net1" to the host as "hd0": the host has another interface "hd0":'
        " rename or delete that one, then delete the attachment again"
    )
    assert state(host, "c1") == before
    assert caller("CHECK", attached).text == ""
    host.shell("ping -4 -c1 -W2 10.1.0.1; ping -6 -c1 -W2 fd00:1::1", "c1")
    host.shell("ip link set hd0 name hd9")
    assert caller("DEL", attached).text == ""
    require_home(host)


def test_the_container_may_have_an_interface_named_like_the_device(host, caller):
    host.shell("ip -n c1 link add hd0 type veth peer name other")

    caller.add(CONF)
    assert device(host, "net1", "c1")["address"] == "02:00:00:00:0d:01"
    assert caller("DEL", CONF).text == ""

    require_home(host)
    assert device(host, "hd0", "c1")["address"] != "02:00:00:00:0d:01"


def test_a_name_that_is_taken_at_the_last_moment_is_no_loss(host, caller):
    """The kernel has moved the device by then, and keeps its old name."""

    class Racing(Namespace):
        def move_device(self, link, into, name):
            if into.path and into.find_link(name) is None:
                host.shell(f"ip -n c1 link add {name} type veth peer name other")
            super().move_device(link, into, name)

    before = without_link_local(host)
    token = opener.set(Racing)
    outcome = caller("ADD", CONF)
    opener.reset(token)

    assert "could not move hd0 to /run/netns/c1 as net1: File exists" in outcome.document["msg"]
    assert without_link_local(host) == before


@pytest.mark.parametrize("name", ["lan-port", "an-other-name-that-is-long-1"])
def test_a_device_may_be_configured_by_another_name(host, caller, name):
    host.shell(f"ip link property add dev hd0 altname {name}")
    conf = {**CONF, "device": name}

    attached = {**conf, "prevResult": caller.add(conf)}

    assert device(host, "net1", "c1")["ifalias"] == "hd0"
    assert caller("CHECK", attached).text == ""
    for _ in range(2):
        assert caller("DEL", conf).text == ""
        assert device(host)["altnames"] == [name]


def test_a_device_may_be_configured_by_its_mac_address(host, caller):
    conf = {**L2, "device": "", "hwaddr": "02:00:00:00:0D:01"}

    caller.add(conf)
    host.shell("ip link set net1 down; ip link set net1 name lan", "c1")

    assert caller("DEL", conf).text == ""
    require_home(host)


def test_one_device_is_given_once_however_many_want_it_at_the_same_time(host, call, caller):
    for number in range(2, 6):
        host.container(f"c{number}")
    callers = [
        dataclasses.replace(caller, netns=f"/run/netns/c{number}", container_id=f"c{number}")
        for number in range(1, 6)
    ]
    children = []
    for one in callers:
        child = os.fork()
        if not child:
            os._exit(one("ADD", CONF).status)
        children.append(child)

    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

    assert sorted(statuses) == [0, 1, 1, 1, 1]
    winner = callers[statuses.index(0)]
    assert device(host, "net1", winner.netns)["ifalias"] == "hd0"
    for one in callers:
        if one is not winner:
            assert one("DEL", CONF).text == ""
    assert device(host, "net1", winner.netns)["ifalias"] == "hd0"
    assert winner("DEL", CONF).text == ""
    require_home(host)


def test_who_moves_devices_waits_for_who_does(host):
    """The child is older than the lock, which it would inherit."""
    begin, end = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.read(begin[0], 1)
        with host_namespace() as other, other.moving_devices():
            os.set_blocking(end[0], False)
            os._exit(0 if os.read(end[0], 1) == b"2" else 1)
    with host_namespace() as handle, handle.moving_devices():
        os.write(begin[1], b"1")
        time.sleep(0.1)
        os.write(end[1], b"2")

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_device_in_another_container_is_said_to_be_there(host, caller):
    host.container("c2")
    other = dataclasses.replace(caller, netns="/run/netns/c2", container_id="c2")
    other.add(CONF)

    message = caller("ADD", CONF).document["msg"]

    assert message.endswith(
        'it is "net1" in /run/netns/c2 for cni:net/c2/net1: delete that attachment first'
    )
    assert caller("STATUS", CONF).text == ""
    assert caller("STATUS", {**CONF, "device": "none"}).document["code"] == 50


def test_a_port_of_a_bridge_stays_one(host, caller):
    host.shell("ip link add br0 type bridge; ip link set hd0 master br0")

    assert 'it is a port of "br0"' in caller("ADD", CONF).document["msg"]

    assert device(host)["master"] == "br0"


def test_a_virtual_device_ends_with_its_namespace_and_del_succeeds(host, caller):
    host.shell("ip link add link peer0 name mv0 type macvlan mode bridge")
    conf = {**CONF, "device": "mv0"}
    caller.add(conf)
    host.shell("ping -4 -c1 -W2 10.1.0.2 || true")
    host.remove_container("c1")

    for netns in (caller.netns, ""):
        assert caller("DEL", conf, CNI_NETNS=netns).text == ""
    assert "mv0" not in host.shell("ip link")


def test_a_device_whose_container_lost_its_name_is_found_by_its_mark(host, caller):
    """The first path is gone, the namespace is not: another name leads to it."""
    caller.add(CONF)
    host.shell("touch /run/netns/other; mount --bind /run/netns/c1 /run/netns/other")
    host.remove_container("c1")

    for _ in range(2):
        assert caller("DEL", CONF).text == ""
        require_home(host)


def test_gc_brings_home_what_belongs_to_no_attachment(host, caller):
    caller.add(CONF)
    keep = [{"containerID": "c1", "ifname": "net1"}]

    assert caller("GC", {**CONF, "cni.dev/valid-attachments": keep}).text == ""
    assert device(host, "net1", "c1")["ifalias"] == "hd0"
    assert caller("GC", {**CONF, "cni.dev/valid-attachments": []}).text == ""

    require_home(host)
    assert host.shell("find /var/lib/cni -name '10.*' -o -name 'fd*'") == ""


def test_lo_is_not_given(host, caller):
    before = state(host)

    message = caller("ADD", {**CONF, "device": "lo"}).document["msg"]

    assert message.startswith("could not move lo to /run/netns/c1 as net1: ")
    assert state(host) == before
