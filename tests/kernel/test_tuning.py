"""tuning on the real kernel: what it sets, what packets see of it, what comes back."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from cnicore.net.namespace import Namespace
from cnicore.testing.faults import failing_at_every_call

pytestmark = pytest.mark.kernel

PAGE = Path(__file__).parents[2] / "docs/reference/plugins/tuning.md"
BACKUPS = Path("/run/cni/tuning")

BRIDGE = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "bridge",
    "isGateway": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]},
}
TUNING = {"cniVersion": "1.1.0", "name": "net", "type": "tuning"}
ATTRIBUTES = {
    "mac": "0A:00:00:00:00:07",
    "promisc": True,
    "mtu": 1400,
    "allmulti": True,
    "txQLen": 500,
}
SYSCTLS = {
    "net.ipv4.conf.IFNAME.arp_filter": "1",
    "net/core/somaxconn": "500",
    "net.ipv4.ip_local_port_range": "1024 2048",
    "net.ipv4.ip_local_reserved_ports": "8002,8000,8001,9000-9003",
}


@pytest.fixture
def caller(sandbox, call):
    return dataclasses.replace(call, netns=sandbox.container("c1"))


@pytest.fixture
def conf(caller):
    return {**TUNING, **ATTRIBUTES, "sysctl": SYSCTLS, "prevResult": caller.add(BRIDGE)}


def sysctl(sandbox, key, netns="c1"):
    return sandbox.shell(f"cat /proc/sys/{key}", netns).strip()


def state(sandbox):
    """The container's interface and all parameters of its network that can be read."""
    (link,) = sandbox.json("ip -json -details link show eth0", "c1")
    keys = ("address", "mtu", "promiscuity", "allmulti", "txqlen", "flags")
    # what the kernel counts and draws by itself is no setting
    moving = "nf_conntrack_count|tcp_mem|/route/|random|stable_secret|fastopen_key"
    settings = sandbox.shell(f"grep -rs . /proc/sys/net | grep -Ev '{moving}' | sort", "c1")
    return {key: link.get(key) for key in keys}, settings


def backups():
    return sorted(path.name for path in BACKUPS.iterdir()) if BACKUPS.exists() else []


# --- the handle


@pytest.fixture
def host(sandbox):
    sandbox.shell("ip link add v0 type veth peer name v1")
    namespace = Namespace()
    yield namespace
    namespace.close()


def test_each_setting_is_written_and_read_back(host, sandbox):
    host.set_mtu("v0", 1300)
    host.set_queue_length("v0", 0)
    host.set_promiscuity("v0", on=True)
    host.set_all_multicast("v0", on=True)

    link, other = host.link("v0"), host.link("v1")
    assert (link.mtu, link.queue_length) == (1300, 0)
    assert (link.is_promiscuous, link.promiscuity, link.takes_all_multicast) == (True, 1, True)
    assert (other.mtu, other.queue_length) == (1500, 1000)
    assert (other.is_promiscuous, other.takes_all_multicast) == (False, False)

    host.set_promiscuity("v0", on=False)
    host.set_all_multicast("v0", on=False)
    (told,) = sandbox.json("ip -json -details link show v0")
    assert (told["promiscuity"], told.get("allmulti", 0)) == (0, 0)


def test_promiscuity_that_others_asked_for_is_told_from_the_setting(host, sandbox):
    sandbox.shell("ip link add b0 type bridge && ip link set v0 master b0")
    before = host.link("v0")
    assert (before.promiscuity, before.is_promiscuous) == (1, False)

    host.set_promiscuity("v0", on=True)
    assert host.link("v0").promiscuity == 2
    host.set_promiscuity("v0", on=False)

    assert host.link("v0") == before


# --- the plugin


def test_add_sets_everything(sandbox, caller, conf):
    document = caller.add(conf)

    (link,) = sandbox.json("ip -json -details link show eth0", "c1")
    assert (link["address"], link["mtu"], link["txqlen"]) == ("0a:00:00:00:00:07", 1400, 500)
    assert {"PROMISC", "ALLMULTI"} <= {*link["flags"]}
    assert sysctl(sandbox, "net/ipv4/conf/eth0/arp_filter") == "1"
    assert sysctl(sandbox, "net/core/somaxconn") == "500"
    assert sysctl(sandbox, "net/ipv4/ip_local_port_range") == "1024\t2048"
    assert sysctl(sandbox, "net/ipv4/ip_local_reserved_ports") == "8000-8002,9000-9003"
    assert document["interfaces"][-1]["mac"] == "0a:00:00:00:00:07"


def test_the_hosts_parameters_stay_as_they_are(sandbox, caller, conf):
    keys = ("net/core/somaxconn", "net/ipv4/ip_local_port_range")
    before = [sysctl(sandbox, key, "") for key in keys]

    caller.add(conf)

    assert [sysctl(sandbox, key, "") for key in keys] == before


def test_packets_see_the_mac_address_and_the_mtu(sandbox, caller, conf):
    caller.add(conf)

    sandbox.shell("ping -c1 -W5 -M do -s 1372 10.1.0.1", "c1")
    (neighbour,) = sandbox.json("ip -json neigh show 10.1.0.2")
    assert neighbour["lladdr"] == "0a:00:00:00:00:07"
    refused = sandbox.shell("ping -c1 -W5 -M do -s 1373 10.1.0.1 2>&1 || true", "c1")
    assert "mtu=1400" in refused or "mtu 1400" in refused

    assert caller("DEL", conf).text == ""
    sandbox.shell("ping -c1 -W5 -M do -s 1472 10.1.0.1", "c1")


@pytest.mark.parametrize("prev_result", [True, False])
def test_del_restores_everything_sysctls_included(sandbox, caller, conf, prev_result):
    before = state(sandbox)
    caller.add(conf)
    assert state(sandbox) != before
    assert backups() == ["c1_eth0.json"]

    for _ in range(2):
        assert caller("DEL", conf if prev_result else TUNING).text == ""
        assert (state(sandbox), backups()) == (before, [])


def test_del_restores_what_was_there_before_the_first_add(sandbox, caller, conf):
    sandbox.shell(
        "ip link set eth0 promisc on mtu 1450; echo 7 >/proc/sys/net/core/somaxconn", "c1"
    )
    before = state(sandbox)
    caller.add({**conf, "allmulti": False})
    caller.add({**conf, "mtu": 1300})

    assert caller("DEL", TUNING).text == ""

    assert state(sandbox) == before


def test_del_leaves_an_mtu_that_the_parent_no_longer_allows(sandbox, caller, conf):
    sandbox.shell(
        "ip link del eth0; ip link add p0 type veth peer name p1;"
        "ip link add eth0 link p0 type macvlan && ip link set eth0 up",
        "c1",
    )
    before = sysctl(sandbox, "net/core/somaxconn")
    caller.add({**conf, "mtu": 1300})
    sandbox.shell("ip link set p0 mtu 1400", "c1")

    assert caller("DEL", TUNING).text == ""

    (link,) = sandbox.json("ip -json link show eth0", "c1")
    assert link["mtu"] == 1300
    assert (sysctl(sandbox, "net/core/somaxconn"), backups()) == (before, [])


@pytest.mark.parametrize("gone", ["interface", "namespace"])
@pytest.mark.parametrize("netns", ["/run/netns/c1", ""])
def test_del_after_everything_is_gone_leaves_no_file(sandbox, caller, conf, gone, netns):
    caller.add(conf)
    if gone == "interface":
        sandbox.shell("ip link delete eth0", "c1")
    else:
        sandbox.remove_container("c1")

    for _ in range(2):
        assert caller("DEL", TUNING, CNI_NETNS=netns).text == ""
        assert backups() == []
    if gone == "interface" and netns:
        assert sysctl(sandbox, "net/core/somaxconn") == "4096"


def test_add_that_fails_at_any_call_of_the_kernel_puts_everything_back(sandbox, caller, conf):
    before = state(sandbox)
    failures = 0

    def attempt():
        nonlocal failures
        failures += caller("ADD", conf).status

    for number in failing_at_every_call(attempt):
        assert (state(sandbox), backups()) == (before, []), f"call {number}"

    assert failures >= 16
    assert backups() == ["c1_eth0.json"]


@pytest.mark.parametrize(
    "keys",
    [
        {"mtu": 67},
        {"mac": "01:00:00:00:00:01"},
        {"sysctl": {**SYSCTLS, "net.ipv4.no_such": "1"}},
        {"sysctl": {**SYSCTLS, "net.core.somaxconn.x": "1"}},
        {"sysctl": {**SYSCTLS, "net.ipv4.tcp_congestion_control": "no_such"}},
        {"sysctl": {**SYSCTLS, "net.ipv4": "1"}},
    ],
)
def test_what_the_kernel_refuses_is_named_and_leaves_nothing_changed(sandbox, caller, conf, keys):
    before = state(sandbox)

    message = caller("ADD", {**conf, **keys}).document["msg"]

    (key,) = keys
    named = {"mtu": "MTU of eth0 to 67", "mac": "mac: address 01:", "sysctl": "/proc/sys/net/"}
    assert named[key] in message
    assert (state(sandbox), backups()) == (before, [])


@pytest.mark.parametrize("order", [("eth0", "eth1"), ("eth1", "eth0")])
def test_a_sysctl_of_two_interfaces_comes_back_with_the_last_of_them(sandbox, caller, conf, order):
    conf = {**TUNING, "sysctl": {"net.core.somaxconn": "777"}, "prevResult": conf["prevResult"]}
    before = sysctl(sandbox, "net/core/somaxconn")
    for ifname in ("eth0", "eth1"):
        dataclasses.replace(caller, ifname=ifname).add(conf)
    first, last = (dataclasses.replace(caller, ifname=one) for one in order)

    assert first("DEL", conf).text == ""
    assert last("CHECK", conf).text == ""
    assert last("DEL", conf).text == ""

    assert sysctl(sandbox, "net/core/somaxconn") == before != "777"
    assert backups() == []


def test_an_empty_value_empties_a_list_and_is_refused_where_there_is_none(sandbox, caller, conf):
    key = "net.ipv4.ip_local_reserved_ports"
    sandbox.shell("echo 8000 > /proc/sys/net/ipv4/ip_local_reserved_ports", "c1")
    conf = {**TUNING, "sysctl": {key: ""}, "prevResult": conf["prevResult"]}

    caller.add(conf)

    assert sysctl(sandbox, "net/ipv4/ip_local_reserved_ports") == ""
    assert caller("CHECK", conf).text == ""
    refused = caller("ADD", {**conf, "sysctl": {"net.core.somaxconn": ""}}).document["msg"]
    assert "/proc/sys/net/core/somaxconn: Invalid argument" in refused


def another_container(sandbox):
    """The container goes without a DEL, and the next one gets the path of its namespace."""
    sandbox.shell("ip netns del c1 && ip netns add c1")
    sandbox.shell("ip -n c1 link add eth0 mtu 1300 type veth peer name v0")


def test_a_late_del_leaves_the_container_alone_that_has_the_path_now(sandbox, caller, conf):
    caller.add(conf)
    another_container(sandbox)
    sandbox.shell("echo 900 > /proc/sys/net/core/somaxconn", "c1")
    before = state(sandbox)

    assert caller("DEL", conf).text == ""

    assert (state(sandbox), backups()) == (before, [])


def test_an_add_does_not_keep_what_was_saved_of_a_container_that_is_gone(sandbox, caller, conf):
    caller.add(conf)
    another_container(sandbox)

    caller.add({**TUNING, "mtu": 1400, "prevResult": conf["prevResult"]})

    saved = json.loads((BACKUPS / "c1_eth0.json").read_text())
    assert (saved["mtu"], "sysctl" in saved) == (1300, False)


def test_a_parameter_that_cannot_be_read_is_set_all_the_same(sandbox, caller, conf):
    """route/flush is write-only; stable_secret has no value until it is set."""
    address = "2001:0db8:0000:0000:0000:0000:0000:0001"
    special = {"net.ipv4.route.flush": "1", "net.ipv6.conf.IFNAME.stable_secret": address}
    conf = {**TUNING, "sysctl": {**special, **SYSCTLS}, "prevResult": conf["prevResult"]}

    caller.add(conf)

    assert sysctl(sandbox, "net/ipv6/conf/eth0/stable_secret") == address
    assert json.loads((BACKUPS / "c1_eth0.json").read_text())["sysctl"].keys() == {
        "net/ipv4/conf/eth0/arp_filter",
        "net/core/somaxconn",
        "net/ipv4/ip_local_port_range",
        "net/ipv4/ip_local_reserved_ports",
    }
    assert caller("CHECK", conf).text == ""
    assert caller("DEL", conf).text == ""


TAMPERING = [
    "ip link set eth0 address 02:00:00:00:00:02",
    "ip link set eth0 promisc off",
    "ip link set eth0 mtu 1399",
    "ip link set eth0 allmulticast off",
    "ip link set eth0 txqueuelen 501",
    "ip link delete eth0",
    "echo 0 >/proc/sys/net/ipv4/conf/eth0/arp_filter",
    "echo 1024 2049 >/proc/sys/net/ipv4/ip_local_port_range",
    "echo 8000-8002,9000-9002 >/proc/sys/net/ipv4/ip_local_reserved_ports",
]


@pytest.mark.parametrize("command", TAMPERING)
def test_check_fails_after_tampering_and_not_before(sandbox, caller, conf, command):
    attached = {**conf, "prevResult": caller.add(conf)}
    assert caller("CHECK", attached).text == ""

    sandbox.shell(command, "c1")

    assert caller("CHECK", attached).status == 1


def test_check_of_the_whole_chain_is_healthy(sandbox, caller, conf):
    result = caller.add(conf)

    for plugin in (BRIDGE, conf):
        assert caller("CHECK", {**plugin, "prevResult": result}).text == ""


def test_an_interface_with_a_dot_in_its_name(sandbox, caller):
    conf = {**BRIDGE, "prevResult": None}
    result = caller.add(conf, CNI_IFNAME="eth0.7")
    conf = {**TUNING, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}, "prevResult": result}

    caller.add(conf, CNI_IFNAME="eth0.7")

    assert sysctl(sandbox, "net/ipv4/conf/eth0.7/arp_filter") == "1"
    assert caller("DEL", conf, CNI_IFNAME="eth0.7").text == ""
    assert sysctl(sandbox, "net/ipv4/conf/eth0.7/arp_filter") == "0"


# --- what it must never do


@pytest.mark.parametrize("override", ["", "1"])
def test_the_sysctls_of_the_host_are_never_set(sandbox, caller, conf, override):
    before = sysctl(sandbox, "net/core/somaxconn", "")

    document = caller("ADD", conf, CNI_NETNS="/proc/self/ns/net", CNI_NETNS_OVERRIDE=override)

    assert document.document["code"] == 8
    assert sysctl(sandbox, "net/core/somaxconn", "") == before
    assert backups() == []


def test_a_value_cannot_smuggle_in_another_parameter(sandbox, caller, conf):
    """CVE-2022-0811."""
    before = sandbox.shell("cat /proc/sys/kernel/core_pattern")
    for value in ("1+kernel.core_pattern=|/x", "1\nkernel.core_pattern=|/x", "1;kernel.x=1"):
        for key in ("net.core.somaxconn", "net.ipv4.conf.IFNAME.arp_filter"):
            caller("ADD", {**conf, "sysctl": {key: value}})

    assert sandbox.shell("cat /proc/sys/kernel/core_pattern") == before


@pytest.mark.parametrize(
    ("line", "is_allowed"),
    [
        ("^net.ipv4.conf.IFNAME.arp_filter$", True),
        ("net.ipv4.conf.IFNAME.arp", False),
        ("", False),
    ],
)
def test_the_list_of_the_node_is_obeyed(sandbox, caller, conf, line, is_allowed):
    sandbox.shell(
        "mkdir /run/upper /run/work"
        " && mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc"
        f" && mkdir -p /etc/cni/tuning && echo '{line}' >/etc/cni/tuning/allowlist.conf"
    )
    before = state(sandbox)
    conf = {**conf, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}

    outcome = caller("ADD", conf)

    assert (outcome.status == 0) == is_allowed
    if not is_allowed:
        assert "/etc/cni/tuning/allowlist.conf" in outcome.document["msg"]
        assert (state(sandbox), backups()) == (before, [])
    assert caller("STATUS", conf).status == outcome.status


def test_gc_of_the_chain_removes_the_backup_of_a_container_that_nobody_deleted(
    sandbox, caller, conf
):
    caller.add(conf)
    other = dataclasses.replace(caller, netns=sandbox.container("c2"), container_id="c2")
    other.add({**conf, "prevResult": other.add(BRIDGE)})
    valid = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}

    for plugin in (BRIDGE, TUNING):
        assert other("GC", {**plugin, **valid}).text == ""

    assert backups() == ["c1_eth0.json"]


def test_the_example_of_the_page_makes_what_the_page_shows(sandbox, caller):
    conf_list, shown = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    document = json.loads(conf_list)
    common = {key: document[key] for key in ("cniVersion", "name")}
    result = {}
    for plugin in document["plugins"]:
        result = caller.add({**plugin, **common, **({"prevResult": result} if result else {})})
        if plugin["type"] == "bridge":
            mac = result["interfaces"][-1]["mac"]

    text = (BACKUPS / "c1_eth0.json").read_text().replace(mac, "02:42:0a:01:00:02")
    text = re.sub(r'"netns": \d+', '"netns": 4711', text)
    assert text == shown.rstrip("\n")
    for plugin in reversed(document["plugins"]):
        assert caller("DEL", {**plugin, **common}).text == ""
    assert backups() == []
