"""What ADD, CHECK and DEL of macvlan do and leave on the real kernel."""

import dataclasses
import errno
import json

import pytest

from cnicore.errors import Terminated
from cnicore.net.link import RTM_NEWLINK
from cnicore.net.namespace import Namespace, opener
from cnicore.net.netlink import KernelError
from cnicore.net.sublink import Macvlan
from cnicore.testing.faults import failing_at_every_call
from kernel.lan import FIRST, PARENT, SWITCH, Lan

pytestmark = pytest.mark.kernel

CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "macvlan",
    "master": PARENT,
    "ipam": {
        "type": "host-local",
        "ranges": [
            [{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.2"}],
            [{"subnet": "fd00:1::/64", "rangeStart": "fd00:1::2"}],
        ],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    },
}
MAC = "02:00:5e:10:00:01"


@pytest.fixture
def lan(sandbox):
    return Lan(sandbox)


@pytest.fixture
def caller(lan, call):
    return dataclasses.replace(call, netns=lan.container("c1"))


@pytest.fixture
def other(lan, call):
    return dataclasses.replace(call, netns=lan.container("c2"), container_id="c2")


def state(sandbox, *containers):
    """Everything that an attachment could leave, on the host and in containers."""
    kernel = [
        sandbox.shell(
            f"ip {into} -details -json addr; bridge {into} fdb;"
            f" ip {into} -json route show table all; ip {into} -json -6 route show table all"
        )
        for into in ("", *(f"-n {name}" for name in containers))
    ]
    files = sandbox.shell("find /var/lib/cni -type f ! -name lock ! -name 'last_reserved_ip.*'")
    return kernel, files


def eth0(sandbox, netns="c1"):
    (link,) = sandbox.json("ip -details -json link show eth0", netns)
    return link


@pytest.mark.parametrize("gone", [False, True])
def test_del_leaves_nothing_also_when_the_namespace_is_gone(sandbox, caller, gone):
    before = state(sandbox)

    result = caller.add(CONF)
    assert state(sandbox) != before  # the lease, and the address that the parent listens to
    if gone:
        sandbox.remove_container("c1")
    for _ in range(2):
        assert caller("DEL", {**CONF, "prevResult": result}).text == ""

    with_the_namespace = 5  # seconds that the kernel may need to dismantle it
    for _ in range(with_the_namespace * 20):
        if state(sandbox) == before:
            break
        sandbox.shell("sleep 0.05")
    assert state(sandbox) == before


def test_del_needs_no_parent(sandbox, caller):
    """The kernel takes the link with its parent."""
    caller.add(CONF)
    sandbox.shell(f"ip link delete {PARENT}")
    assert "eth0" not in sandbox.shell("ip link", "c1")

    assert caller("DEL", CONF).text == ""

    assert sandbox.shell("find /var/lib/cni -name '10.1.*' -o -name 'fd00*'") == ""


@pytest.mark.parametrize("parent", ["master", "macvlan", "in the container"])
def test_add_that_fails_at_any_call_of_the_kernel_leaves_nothing(sandbox, caller, parent):
    sandbox.shell(f"ip link add m0 link {PARENT} type macvlan mode bridge")
    sandbox.shell(f"ip link add net1 netns c1 link {PARENT} type macvlan mode bridge")
    keys = {
        "master": {},
        "macvlan": {"master": "m0"},
        "in the container": {"master": "net1", "linkInContainer": True},
    }
    conf = {**CONF, **keys[parent]}
    before = state(sandbox, "c1")
    statuses = []

    for number in failing_at_every_call(lambda: statuses.append(caller("ADD", conf).status)):
        if statuses[-1] == 0:  # the failure of a sysctl that only tunes
            caller("DEL", conf)
        assert state(sandbox, "c1") == before, number

    assert statuses.count(1) > 10
    assert statuses[-1] == 0


class Interrupted(Namespace):
    """A signal comes when the kernel has made the link, before anybody can know."""

    def add_macvlan(self, *args, **kwargs):
        super().add_macvlan(*args, **kwargs)
        raise Terminated("now")


@pytest.mark.parametrize("master", [PARENT, "m0"])
def test_a_signal_in_the_moment_in_which_the_link_is_made_takes_it_back(sandbox, caller, master):
    sandbox.shell(f"ip link add m0 link {PARENT} type macvlan mode bridge")
    before = state(sandbox, "c1")

    token = opener.set(Interrupted)
    outcome = caller("ADD", {**CONF, "master": master})
    opener.reset(token)

    assert outcome.document["msg"] == "now"
    assert state(sandbox, "c1") == before


class Overtaken(Namespace):
    """Somebody attaches the same container in the moment before the kernel is asked."""

    def add_macvlan(self, name, parent, into, macvlan):
        super().add_macvlan(name, parent, into, Macvlan("private"))
        super().add_macvlan(name, parent, into, macvlan)


def test_an_add_that_comes_second_leaves_the_link_of_the_first(sandbox, caller):
    token = opener.set(Overtaken)
    outcome = caller("ADD", CONF)
    opener.reset(token)

    assert "could not create the macvlan eth0 on up0: File exists" in outcome.document["msg"]
    assert eth0(sandbox)["linkinfo"]["info_data"]["mode"] == "private"


class OldKernel(Namespace):
    """As before 6.13: the name of a new link is looked for where its parent is."""

    def __init__(self, path=""):
        super().__init__(path)
        change = self.netlink.change

        def changed(act, kind, message, flags=0):
            name = message.get_attr("IFLA_IFNAME")
            if kind == RTM_NEWLINK and not message["index"] and self.find_link(name):
                raise KernelError(act, errno.EEXIST)
            change(act, kind, message, flags)

        self.netlink.change = changed


@pytest.fixture(params=["this kernel", "an old kernel"])
def any_kernel(request):
    token = opener.set(OldKernel if request.param == "an old kernel" else Namespace)
    yield
    opener.reset(token)


@pytest.mark.usefixtures("any_kernel")
@pytest.mark.parametrize("ifname", ["eth0", PARENT])
def test_the_host_may_have_an_interface_of_the_same_name(sandbox, lan, caller, ifname):
    """As nearly every host has; it may even be the parent."""
    sandbox.shell("ip link add eth0 type veth peer name e0")
    before = sandbox.shell("ip -o link")
    caller = dataclasses.replace(caller, ifname=ifname)

    result = caller.add(CONF)

    assert sandbox.shell("ip -o link") == before
    lan.require_reach("c1", *SWITCH)
    assert caller("CHECK", {**CONF, "prevResult": result}).text == ""
    assert "already exists" in caller("ADD", CONF).document["msg"]
    assert caller("DEL", CONF).text == ""
    assert sandbox.shell("ip -o link show type macvlan", "c1") == ""
    assert sandbox.shell("ip -o link") == before


@pytest.mark.full_kernel
def test_a_kernel_that_looks_for_the_name_on_the_host_takes_the_macvlan_too(sandbox, lan, caller):
    """Kernels before 6.13 do; the lane of the full kernel has one."""
    sandbox.shell("ip link add eth0 type veth peer name e0")

    caller.add(CONF)

    lan.require_reach("c1", *SWITCH)


@pytest.mark.parametrize("family", ["", "-6"])
def test_without_a_master_the_default_route_of_either_family_shows_the_parent(
    sandbox, lan, caller, family
):
    gateway = SWITCH[1 if family else 0]
    sandbox.shell("ip link add other type veth peer name e0; ip link set other up")
    sandbox.shell("ip route add 10.9.0.0/16 dev other; ip route add default dev other table 100")
    sandbox.shell(f"ip {family} route add default via {gateway} dev {PARENT}")
    conf = {**CONF, "master": ""}
    assert caller("STATUS", conf).text == ""

    result = caller.add(conf)

    lan.require_reach("c1", *SWITCH)
    sandbox.shell(f"ip {family} route delete default")
    assert caller("CHECK", {**conf, "prevResult": result}).text == ""
    assert caller("STATUS", conf).document["code"] == 50


@pytest.mark.parametrize("family", ["", "-6"])
def test_without_a_master_the_containers_default_route_may_show_it(sandbox, caller, family):
    """Here through a macvlan, whose own parent is out of sight."""
    sandbox.shell(f"ip link add net1 netns c1 link {PARENT} type macvlan mode bridge")
    sandbox.shell("ip addr add 10.1.0.9/24 dev net1; ip addr add fd00:1::9/64 dev net1", "c1")
    sandbox.shell(
        f"ip link set net1 up; ip {family} route add default via {SWITCH[bool(family)]}", "c1"
    )
    conf = {**CONF, "master": "", "linkInContainer": True, "ipam": {}}

    result = caller.add(conf)

    assert eth0(sandbox)["link_index"] == sandbox.json(f"ip -json link show {PARENT}")[0]["ifindex"]
    assert caller("CHECK", {**conf, "prevResult": result}).text == ""


def test_an_alternative_name_of_the_master_will_do(sandbox, caller):
    """Those may be longer than a name."""
    for name in ("wan", "the-interface-that-leads-to-the-world"):
        sandbox.shell(f"ip link property add dev {PARENT} altname {name}")
        conf = {**CONF, "master": name}
        assert caller("STATUS", conf).text == ""

        result = caller.add(conf)

        assert caller("CHECK", {**conf, "prevResult": result}).text == ""
        assert caller("DEL", conf).text == ""


def test_the_keys_reach_the_kernel(sandbox, caller):
    caller.add({**CONF, "mode": "private", "mtu": 1280, "mac": MAC, "bcqueuelen": 2**32 - 1})

    link = eth0(sandbox)
    assert (link["mtu"], link["address"]) == (1280, MAC)
    assert (link["linkinfo"]["info_data"]["mode"], link["linkinfo"]["info_data"]["bcqueuelen"]) == (
        "private",
        2**32 - 1,
    )
    for key in ("ipv4/conf/eth0/arp_notify", "ipv6/conf/eth0/ndisc_notify"):
        assert sandbox.shell(f"cat /proc/sys/net/{key}", "c1") == "1\n"


def test_the_mtu_is_the_parents_unless_it_is_said(sandbox, caller):
    sandbox.shell(f"ip link set {PARENT} mtu 9000")

    caller.add(CONF)

    assert eth0(sandbox)["mtu"] == 9000


BUSY = "master: p1 is a port of a bridge or bond, or has ipvlans: set master to that bridge or bond"
IMPOSSIBLE = "master: {0} takes no macvlan of mode bridge: it has a macvlan of mode passthru, or is"
REFUSED = {
    "a bridge's port": ({"master": "p1"}, BUSY),
    "loopback": ({"master": "lo"}, IMPOSSIBLE.format("lo")),
    "tun": ({"master": "tun0"}, IMPOSSIBLE.format("tun0")),
    "no such": ({"master": "gone"}, 'master: Link not found: there is no interface "gone" on the'),
    "no such, long": ({"master": "g" * 40}, "master: Link not found: there is no interface"),
    "the parent's MAC": ({"mac": "PARENT"}, "is the address of up0 or of another macvlan on it"),
    "a sibling's MAC": ({"mac": MAC}, f"mac: {MAC} is the address of up0 or of another macvlan"),
    "no MTU": ({"mtu": 20}, "could not create the macvlan eth0 on up0: Invalid argument"),
    "too large an MTU": ({"mtu": 1501}, "mtu: invalid MTU 1501, must be [0, master MTU(1500)]"),
    "an MTU without IPv6": ({"mtu": 1279}, "could not add fd00:1::3/64 to eth0: Invalid argument"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_the_kernel_refuses_is_told_and_leaves_nothing(
    sandbox, caller, other, change, message
):
    sandbox.shell(
        "ip link add br0 type bridge; ip link add p1 type veth; ip link set p1 master br0"
    )
    sandbox.shell("ip tuntap add tun0 mode tun")
    caller.add({**CONF, "mac": MAC})
    if change.get("mac") == "PARENT":
        change = {"mac": sandbox.json(f"ip -json link show {PARENT}")[0]["address"]}
    before = state(sandbox, "c1", "c2")

    outcome = other("ADD", {**CONF, **change})

    assert message in outcome.document["msg"]
    assert state(sandbox, "c1", "c2") == before


def test_an_address_that_another_host_has_is_noticed_and_leaves_nothing(sandbox, caller):
    """Here the switch itself has it."""
    sandbox.shell("echo 1 >/proc/sys/net/ipv6/conf/default/accept_dad", "c1")
    ipam = {"type": "static", "addresses": [{"address": "fd00:1::1/64", "gateway": "fd00:1::2"}]}
    before = state(sandbox, "c1")

    outcome = caller("ADD", {**CONF, "ipam": ipam})

    assert "link eth0 has address fd00:1::1/64 in DADFAILED state" in outcome.document["msg"]
    assert state(sandbox, "c1") == before


def test_an_old_version_that_cannot_say_the_result_leaves_nothing(sandbox, caller):
    before = state(sandbox, "c1")

    outcome = caller("ADD", {**CONF, "cniVersion": "0.2.0", "ipam": {}})

    assert "cannot convert: no valid IP addresses" in outcome.document["msg"]
    assert state(sandbox, "c1") == before


TAMPERING = {
    "the interface is gone": ("ip -n c1 link delete eth0", "Interface eth0 not found"),
    "the parent is gone": ("ip link delete up0", "Interface eth0 not found"),
    "the parent has another name": (
        "ip link set up0 down; ip link set up0 name up1",
        "eth0 does not stand on up0 on the host",
    ),
    "the parent is elsewhere": (
        "ip link set up0 netns lan",
        "eth0 does not stand on up0 on the host",
    ),
    "it is of another kind": (
        "ip -n c1 link delete eth0; ip -n c1 link add eth0 type veth",
        "of type veth, not of type macvlan",
    ),
    "its mode is another": (
        "ip -n c1 link set eth0 type macvlan mode private",
        "container macvlan mode private does not match expected value: bridge",
    ),
    "its MAC address is another": (
        "ip -n c1 link set eth0 address 02:00:00:00:00:99",
        "Mac 02:00:00:00:00:99 doesn't match prevResult",
    ),
    "it is down": ("ip -n c1 link set eth0 down", "Interface eth0 is down"),
    "an address is gone": (
        "ip -n c1 addr delete 10.1.0.2/24 dev eth0",
        "Failed to match addr 10.1.0.2/24",
    ),
    "a route is gone": ("ip -n c1 -6 route delete default", "Expected Route ::/0 via fd00:1::1"),
    "the lease is gone": ("rm /var/lib/cni/networks/net/10.1.0.2", "10.1.0.2"),
}


@pytest.mark.parametrize(("command", "message"), TAMPERING.values(), ids=TAMPERING)
def test_check_holds_until_the_attachment_changes(sandbox, caller, command, message):
    attached = {**CONF, "prevResult": caller.add(CONF)}
    assert caller("CHECK", attached).text == ""

    sandbox.shell(command)

    assert message in json.dumps(caller("CHECK", attached).document)


def test_check_holds_after_tuning_and_when_the_parent_has_got_smaller(sandbox, caller):
    """tuning changed MAC address and MTU; each plugin of the chain checks the chain's result."""
    tuning = {"cniVersion": "1.1.0", "name": "net", "type": "tuning", "mac": MAC, "mtu": 1400}
    result = caller.add({**tuning, "prevResult": caller.add(CONF)})
    link = eth0(sandbox)
    assert (link["mtu"], link["address"]) == (1400, MAC)

    sandbox.shell(f"ip link set {PARENT} mtu 1300")

    assert eth0(sandbox)["mtu"] == 1300
    assert caller("CHECK", {**CONF, "prevResult": result}).text == ""


def test_gc_gives_back_the_lease_of_a_container_that_nobody_deleted(sandbox, caller, other):
    caller.add(CONF)
    before = state(sandbox)
    other.add(CONF)
    sandbox.remove_container("c2")
    valid = [{"containerID": "c1", "ifname": "eth0"}]

    assert caller("GC", {**CONF, "cni.dev/valid-attachments": valid}).text == ""

    assert state(sandbox)[1] == before[1]
    assert sandbox.shell(f"ip -br addr show eth0 | grep -c {FIRST[1]}", "c1") == "1\n"


def test_status_wants_the_parent(sandbox, caller):
    assert caller("STATUS", CONF).text == ""
    sandbox.shell(f"ip link delete {PARENT}")

    document = caller("STATUS", CONF).document

    assert (document["code"], document["msg"]) == (
        50,
        'master: Link not found: there is no interface "up0" on the host:'
        " set master to one that is there",
    )
