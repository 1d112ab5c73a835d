"""tap, on the kernel in memory with real host-local."""

import pytest

from cnicore.net import tuntap
from cnicore.net.link import Link
from cnicore.net.tuntap import Tap

MAC = "02:00:5e:10:00:01"
CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "tap",
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    },
}


@pytest.fixture
def conf(tmp_path):
    return {**CONF, "ipam": {**CONF["ipam"], "dataDir": str(tmp_path / "leases")}}


@pytest.fixture
def container(fake_kernel):
    container = fake_kernel.namespaces["/run/netns/c1"]
    container._add_link(Link(0, "br0", "bridge", "02:00:00:00:00:b0", 1500))
    container._add_link(Link(0, "veth7", "veth", "02:00:00:00:00:07", 1500))
    return container


@pytest.fixture(autouse=True)
def filesystems(tmp_path, monkeypatch):
    """The file that says which file systems the kernel has; none of them is SELinux's."""
    file = tmp_path / "filesystems"
    file.write_text("nodev\tsysfs\n\text4\n")
    monkeypatch.setattr(tuntap, "FILESYSTEMS", file)
    return file


@pytest.fixture
def selinux(filesystems, tmp_path, monkeypatch):
    """The file with the task's own SELinux context."""
    filesystems.write_text("nodev\tsysfs\nnodev\tselinuxfs\n")
    own = tmp_path / "current"
    own.write_bytes(b"system_u:system_r:container_runtime_t:s0\0")
    monkeypatch.setattr(tuntap, "OWN_CONTEXT", own)
    return own


def leases(tmp_path):
    directory = tmp_path / "leases" / "net"
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    return sorted(name for name in names if not name.startswith(("lock", "last_")))


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"multiQueue": "yes"}, 7, "multiQueue: input should be a valid boolean, not 'yes'"),
        ({"mtu": "1400"}, 7, "mtu: input should be a valid integer, not '1400'"),
        ({"mtu": 67}, 7, "mtu: 67 is no MTU of a tap: set 68 to 65521, or 0"),
        ({"mtu": 65522}, 7, "mtu: 65522 is no MTU of a tap: set 68 to 65521, or 0"),
        ({"mtu": -1}, 7, "mtu: -1 is no MTU of a tap"),
        ({"mac": "zz"}, 7, "mac: invalid args zz for MAC addr: address zz: invalid MAC address"),
        ({"mac": "01:00:5e:00:00:01"}, 7, "mac: invalid args 01:00:5e:00:00:01 for MAC addr"),
        ({"mac": 5}, 7, "mac: "),
        ({"runtimeConfig": {"mac": "zz"}}, 7, "runtimeConfig.mac: invalid args zz"),
        ({"owner": -1}, 7, "owner: there can be no -1: set a number from 0 to 4294967294"),
        ({"owner": 2**32 - 1}, 7, "owner: there can be no 4294967295"),
        ({"owner": "root"}, 7, "owner: input should be a valid integer, not 'root'"),
        ({"owner": True}, 7, "owner: input should be a valid integer, not true"),
        ({"group": 2**32}, 7, "group: there can be no 4294967296"),
        ({"group": 1.5}, 7, "group: "),
        ({"selinuxContext": 5}, 7, "selinuxContext: "),
        (
            {"selinuxContext": "system_u:system_r:container_t:s0"},
            7,
            'selinuxContext: "system_u:system_r:container_t:s0" cannot be set: this kernel runs'
            " without SELinux: remove the key",
        ),
        ({"bridge": ["br0"]}, 7, "bridge: "),
        ({"bridge": "br1"}, 999, "bridge: failed to get bridge br1: Link not found: there is no"),
        ({"bridge": "veth7"}, 7, 'bridge: "veth7" in the container is not a bridge'),
        ({"ipam": []}, 7, "ipam: "),
        ({"ipam": {"type": "../bin/sh"}}, 999, "invalid plugin name: ../bin/sh"),
        ({"ipam": {"type": "no-such"}}, 999, 'failed to find plugin "no-such" in path ['),
        ({"ipam": {"type": "static", "addresses": []}}, 7, "IPAM plugin returned missing IP conf"),
    ],
)
@pytest.mark.usefixtures("container")
def test_a_bad_configuration_is_refused_and_leaves_nothing(
    call, fake_kernel, conf, change, code, message
):
    before = fake_kernel.snapshot()

    outcome = call("ADD", {**conf, **change})

    assert (outcome.status, outcome.document["code"]) == (1, code)
    assert message in outcome.document["msg"]
    assert fake_kernel.snapshot() == before


def test_malformed_arguments_are_refused(call, conf, container):
    outcome = call("ADD", conf, CNI_ARGS="MAC")

    assert outcome.document["msg"].startswith("ARGS: ")
    assert "eth0" not in container.by_name


def test_add_makes_the_tap_with_its_addresses(call, conf, container):
    document = call.add({**conf, "mtu": 1400, "owner": 0, "dns": {"domain": "example.net"}})

    assert document["interfaces"] == [
        {"mac": "02:00:00:00:00:05", "name": "eth0", "sandbox": "/run/netns/c1"}
    ]
    assert document["ips"] == [
        {"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 0},
        {"address": "fd00::2/64", "gateway": "fd00::1", "interface": 0},
    ]
    assert document["routes"] == [{"dst": "0.0.0.0/0"}]
    assert document["dns"] == {"domain": "example.net"}
    link = container.by_name["eth0"]
    assert (link.kind, link.mtu, link.is_up, link.master) == ("tun", 1400, True, 0)
    assert container.taps == {"eth0": Tap(owner=0)}
    assert [str(cidr) for cidr in container.cidrs["eth0"]] == ["10.1.0.2/24", "fd00::2/64"]
    assert container.sysctls["net/ipv4/conf/eth0/arp_notify"] == "1"


def test_add_without_ipam_makes_a_port_of_a_bridge(call, container):
    conf = {key: value for key, value in CONF.items() if key != "ipam"}

    document = call.add({**conf, "bridge": "br0", "multiQueue": True, "group": 6})

    assert document.keys() == {"cniVersion", "interfaces"}
    link = container.by_name["eth0"]
    assert (link.is_up, link.master) == (True, container.by_name["br0"].index)
    assert container.taps == {"eth0": Tap(group=6, is_multi_queue=True)}
    assert "eth0" not in container.cidrs


def test_the_dns_of_ipam_is_dropped(call, container):
    ipam = {
        "type": "static",
        "addresses": [{"address": "10.1.0.2/24"}],
        "dns": {"nameservers": ["192.0.2.53"]},
    }

    assert "dns" not in call.add({**CONF, "ipam": ipam})


@pytest.mark.parametrize(
    ("runtime", "arguments", "mac", "expected"),
    [
        (MAC, "MAC=02:00:5e:10:00:02", "02:00:5e:10:00:03", MAC),
        ("", f"IgnoreUnknown=1;MAC={MAC}", "02:00:5e:10:00:03", MAC),
        ("", "", MAC.upper(), MAC),
        ("", "", "0200.5e10.0001", MAC),
        ("", "", "", "02:00:00:00:00:05"),
    ],
)
def test_the_first_mac_address_counts(call, container, runtime, arguments, mac, expected):
    conf = {**CONF, "ipam": {}, "mac": mac, "runtimeConfig": {"mac": runtime}}

    document = call.add(conf, CNI_ARGS=arguments)

    assert document["interfaces"][0]["mac"] == expected


def test_the_context_goes_with_the_making(call, conf, fake_kernel, selinux):
    call.add({**conf, "selinuxContext": "system_u:system_r:container_t:s0"})

    (made,) = [one for one in fake_kernel.calls if one[1] == "add_tap"]
    assert made[2:] == ("eth0", Tap(), "system_u:system_r:container_t:s0")


@pytest.mark.parametrize("own", [b"kernel\0", b"kernel\n"])
def test_selinux_without_a_policy_is_none(call, conf, container, selinux, own):
    selinux.write_bytes(own)

    outcome = call("ADD", {**conf, "selinuxContext": "system_u:system_r:container_t:s0"})

    assert "this kernel runs without SELinux" in outcome.document["msg"]


def test_a_second_add_fails_and_leaves_the_first_as_it_was(call, conf, fake_kernel, tmp_path):
    call.add(conf)
    before, held = fake_kernel.snapshot(), leases(tmp_path)

    outcome = call("ADD", {**conf, "mtu": 1300, "mac": MAC})

    assert 'interface "eth0" already exists' in outcome.document["msg"]
    assert (fake_kernel.snapshot(), leases(tmp_path)) == (before, held)


def test_add_that_fails_at_any_call_leaves_nothing(call, conf, fake_kernel, container, tmp_path):
    before = fake_kernel.snapshot()
    conf |= {"bridge": "br0", "mtu": 1400, "mac": MAC}
    failures = 0
    for number in range(1, 100):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", conf)
        if outcome.status == 0:
            break
        failures += 1
        assert fake_kernel.snapshot() == before, fake_kernel.calls[number - 1]
        assert leases(tmp_path) == [], number
    assert outcome.status == 0
    assert failures > 15


def test_an_old_version_without_a_way_to_say_the_result_leaves_nothing(
    call, conf, fake_kernel, container
):
    before = fake_kernel.snapshot()

    outcome = call("ADD", {**conf, "cniVersion": "0.2.0", "ipam": {}})

    assert "no valid IP addresses" in outcome.document["msg"]
    assert fake_kernel.snapshot() == before


def test_del_leaves_nothing_twice_and_without_a_namespace(
    call, conf, fake_kernel, container, tmp_path
):
    before = fake_kernel.snapshot()
    for variables in ({}, {"CNI_NETNS": ""}, {"CNI_NETNS": "/run/netns/gone"}):
        call.add(conf)
        for _ in range(2):
            assert call("DEL", conf, **variables).text == ""
        assert leases(tmp_path) == []
        container.delete_link("eth0")
        assert fake_kernel.snapshot() == before


def test_del_needs_no_configuration_that_an_add_would_take(call, conf, container, tmp_path):
    call.add(conf)
    bad = {"mtu": 5, "owner": -1, "mac": "zz", "bridge": "gone", "selinuxContext": "a:b:c"}

    assert call("DEL", {**conf, **bad}, CNI_ARGS="no pair").text == ""

    assert "eth0" not in container.by_name
    assert leases(tmp_path) == []


def test_del_deletes_the_link_although_the_ipam_plugin_is_gone(call, conf, container):
    call.add(conf)

    outcome = call("DEL", {**conf, "ipam": {"type": "gone"}})

    assert 'failed to find plugin "gone"' in outcome.document["msg"]
    assert "eth0" not in container.by_name


def replace_tap(**changes):
    def tamper(container):
        container.taps["eth0"] = Tap(**{"owner": 5, "group": None, **changes})

    return tamper


TAMPERING = {
    "it is gone": (lambda c: c.delete_link("eth0"), "Interface eth0 not found"),
    "it is of another kind": (lambda c: c.change("eth0", kind="veth"), "not of type tun"),
    "it is no tap": (lambda c: c.taps.pop("eth0"), "Interface eth0 is a tun device, not a tap"),
    "it is down": (lambda c: c.set_down("eth0"), "Interface eth0 is down"),
    "the MAC is another": (lambda c: c.set_mac("eth0", MAC), "doesn't match prevResult"),
    "the MTU is another": (lambda c: c.set_mtu("eth0", 1300), "eth0 has mtu 1300, not 1400"),
    "the owner is another": (replace_tap(owner=0), "eth0 has owner 0, not 5"),
    "there is no owner": (replace_tap(owner=None), "eth0 has owner null, not 5"),
    "there is a group": (replace_tap(group=0), "eth0 has group 0, not null"),
    "it has queues": (replace_tap(is_multi_queue=True), "eth0 has multiQueue true, not false"),
    "it would go": (replace_tap(is_persistent=False), "eth0 has persistence false, not true"),
    "it is no port": (lambda c: c.change("eth0", master=0), "eth0 is not a port of br0"),
    "the bridge is gone": (lambda c: c.delete_link("br0"), "bridge: failed to get bridge br0"),
    "an address is gone": (lambda c: c.cidrs["eth0"].pop(), "Failed to match addr fd00::2/64"),
    "a route is gone": (
        lambda c: c.table.pop([str(route.dst) for route in c.table].index("0.0.0.0/0")),
        "Expected Route 0.0.0.0/0",
    ),
}


@pytest.mark.parametrize(("tamper", "message"), TAMPERING.values(), ids=TAMPERING)
def test_check_fails_after_tampering_and_not_before(call, conf, container, tamper, message):
    conf |= {"mtu": 1400, "owner": 5, "bridge": "br0"}
    attached = {**conf, "prevResult": call.add(conf)}
    assert call("CHECK", attached).text == ""

    tamper(container)

    assert message in call("CHECK", attached).document["msg"]


def test_check_needs_the_result_and_the_lease(call, conf, container, tmp_path):
    result = call.add(conf)
    foreign = [{**link, "sandbox": "/run/netns/c2"} for link in result["interfaces"]]

    assert "prevResult missing" in call("CHECK", conf).document["msg"]
    other = {**conf, "prevResult": {**result, "interfaces": foreign}}
    assert "doesn't match configured netns" in call("CHECK", other).document["msg"]
    (tmp_path / "leases" / "net" / "10.1.0.2").unlink()
    assert call("CHECK", {**conf, "prevResult": result}).status == 1


def test_gc_gives_back_leases_of_attachments_that_are_gone(call, conf, container, tmp_path):
    call.add(conf)
    keep = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}

    assert call("GC", conf).text == ""
    assert call("GC", {**conf, **keep}).text == ""
    assert leases(tmp_path) == ["10.1.0.2", "fd00::2"]

    assert call("GC", {**conf, "cni.dev/valid-attachments": []}).text == ""
    assert leases(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"mtu": 5}, 7, "mtu: 5 is no MTU"),
        ({"owner": -1}, 7, "owner: there can be no -1"),
        ({"mac": "zz"}, 7, "mac: invalid args zz"),
        ({"selinuxContext": "a:b:c"}, 50, 'selinuxContext: "a:b:c" cannot be set'),
        ({"ipam": {"type": "nope"}}, 50, 'ipam.type: failed to find plugin "nope" in path ['),
    ],
)
def test_status_says_what_an_add_would_lack(call, conf, fake_kernel, change, code, message):
    assert call("STATUS", conf).text == ""
    assert call("STATUS", {**conf, "ipam": {}, "bridge": "of a container"}).text == ""

    document = call("STATUS", {**conf, **change}).document

    assert document["code"] == code
    assert message in document["msg"]


def test_status_misses_the_driver(call, conf, fake_kernel):
    fake_kernel.namespaces[""].has_taps = False

    document = call("STATUS", conf).document

    assert (document["code"], document["msg"]) == (
        50,
        "could not open /dev/net/tun: No such file or directory",
    )


def test_status_asks_the_ipam_plugin(call, conf, fake_kernel, tmp_path):
    (tmp_path / "leases").write_text("not a directory")

    assert call("STATUS", conf).document["code"] == 50
