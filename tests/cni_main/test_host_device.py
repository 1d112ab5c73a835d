"""host-device, on the kernel in memory: configurations, what is selected, ADD and CHECK."""

import dataclasses

import pytest

from cni_main.host_device import elsewhere, sysfs
from cni_main.host_device.marks import Home, home_mark, home_of
from cnicore.addresses import parse_address, parse_cidr
from cnicore.net.device import Device
from cnicore.net.link import Link
from cnicore.result import Route

CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "host-device",
    "device": "hd0",
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    },
}
L2 = {key: value for key, value in CONF.items() if key not in {"ipam", "device"}}
PCI = "0000:03:00.1"
OTHER_PCI = "0000:04:00.0"
SUBFUNCTION = "mlx5_core.sf.4"
STATIC = {"type": "static", "addresses": [{"address": "10.1.0.9/24"}]}


@pytest.fixture
def conf(tmp_path):
    return {**CONF, "ipam": {**CONF["ipam"], "dataDir": str(tmp_path / "leases")}}


@pytest.fixture
def container(fake_kernel):
    return fake_kernel.namespaces["/run/netns/c1"]


@pytest.fixture
def host(fake_kernel):
    """Two devices of hardware; hd0 is in use on the host and has an alias."""
    host = fake_kernel.namespaces[""]
    host.add_device("hd0", PCI, is_up=True, alias="rack 3")
    host.add_device("hd1", OTHER_PCI)
    host.add_address("hd0", parse_cidr("10.9.0.1/24"))
    host.add_route("hd0", Route(parse_cidr("0.0.0.0/0"), parse_address("10.9.0.254")))
    fake_kernel.calls.clear()
    return host


@pytest.fixture
def sys(tmp_path):
    """A sysfs; `sys(path, link)` makes a directory, or a link to a name, in it."""
    root = tmp_path / "sys"

    def make(path, link=""):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if link:
            (root / path).symlink_to(link)
        else:
            (root / path).mkdir()

    make("bus/pci")
    token = sysfs.root.set(str(root))
    yield make
    sysfs.root.reset(token)


@pytest.fixture
def hardware(sys):
    """hd0 and hd1 are functions of PCI devices, an auxiliary device has hd0, too."""
    sys(f"bus/pci/devices/{PCI}/net/hd0")
    sys(f"bus/pci/devices/{PCI}/driver", "../../drivers/ixgbevf")
    sys(f"bus/pci/devices/{OTHER_PCI}/virtio3/net/hd1")
    sys(f"bus/auxiliary/devices/{SUBFUNCTION}/net/hd0")
    sys(f"devices/pci0000:00/{PCI}/net/hd0")


@pytest.fixture
def for_dpdk(sys):
    sys(f"bus/pci/devices/{PCI}/driver", "../../../../bus/pci/drivers/vfio-pci")


@pytest.fixture(autouse=True)
def _no_namespaces():
    token = elsewhere.directories.set(())
    yield
    elsewhere.directories.reset(token)


def leases(tmp_path):
    directory = tmp_path / "leases" / "net"
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    return sorted(name for name in names if not name.startswith(("lock", "last_")))


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"device": ""}, 7, 'specify either "device", "hwaddr", "kernelpath" or "pciBusID"'),
        ({"device": None, "dpdkMode": True}, 7, 'specify either "device"'),
        ({"device": 1}, 7, "device: input should be a valid string, not 1"),
        ({"device": "nope"}, 999, 'device: failed to find host device: Link not found: there is no interface "nope" on the host'),
        ({"device": "a" * 16}, 999, "device: failed to find host device: Link not found"),
        ({"device": "", "hwaddr": "zz"}, 7, 'hwaddr: failed to parse MAC address "zz"'),
        ({"device": "", "hwaddr": "02:00:00:00:00"}, 7, "hwaddr: failed to parse MAC address"),
        ({"device": "", "hwaddr": "02:00:00:00:00:99"}, 999, "hwaddr: failed to find physical interface"),
        ({"device": "", "kernelpath": "/dev/x"}, 7, 'kernelpath: kernel device path "/dev/x" must be absolute and begin with /sys/devices/'),
        ({"device": "", "kernelpath": "/sys/devices/../x"}, 7, "kernelpath: kernel device path"),
        ({"device": "", "kernelpath": "/sys/devices/pci9"}, 999, "kernelpath: failed to find host device: /sys/devices/pci9 has no interface"),
        ({"device": "", "pciBusID": "../x"}, 7, 'pciBusID: "../x" is no address of a device'),
        ({"device": "", "pciBusID": "0000:09:00.0"}, 999, "pciBusID: error with host device: there is no PCI device 0000:09:00.0"),
        ({"device": "", "runtimeConfig": {"deviceID": "x"}}, 999, "runtimeConfig.deviceID: runtime config DeviceID x not found or unsupported"),
        ({"hwaddr": "02:00:00:00:01:01"}, 7, 'device, hwaddr: they name different devices: "hd0" and "hd1"'),
        ({"pciBusID": OTHER_PCI}, 7, 'device, pciBusID: they name different devices: "hd0" and "hd1"'),
        ({"hwaddr": "02:00:00:00:00:99"}, 999, "hwaddr: failed to find physical interface"),
        ({"dpdkMode": "yes"}, 7, "dpdkMode: "),
        ({"ipam": []}, 7, "ipam: "),
        ({"ipam": {}, "cniVersion": "0.2.0"}, 999, "cannot convert: no valid IP addresses: add ipam"),
        ({"ipam": {"type": "no-such"}}, 999, 'failed to find plugin "no-such" in path ['),
        ({"ipam": {"type": "static", "addresses": []}}, 7, "IPAM plugin returned missing IP config"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("hardware", "host")
def test_a_bad_configuration_is_refused_and_the_device_stays(
    call, fake_kernel, conf, change, code, message
):
    before = fake_kernel.snapshot()

    outcome = call("ADD", {**conf, **change})

    assert (outcome.status, outcome.document["code"]) == (1, code)
    assert message in outcome.document["msg"]
    assert fake_kernel.snapshot() == before


SELECTED = [
    ({"device": "hd0"}, "hd0"),
    ({"hwaddr": "02:00:00:00:01:00"}, "hd0"),
    ({"hwaddr": "02-00-00-00-01-01"}, "hd1"),
    ({"kernelpath": f"/sys/devices/pci0000:00/{PCI}"}, "hd0"),
    ({"pciBusID": PCI}, "hd0"),
    ({"pciBusID": OTHER_PCI}, "hd1"),
    ({"runtimeConfig": {"deviceID": PCI}}, "hd0"),
    ({"RuntimeConfig": {"DeviceID": SUBFUNCTION}}, "hd0"),
    ({"pciBusID": PCI, "runtimeConfig": {"deviceID": OTHER_PCI}}, "hd1"),
    ({"pciBusID": OTHER_PCI, "runtimeConfig": {"deviceID": SUBFUNCTION}}, "hd0"),
    ({"device": "hd0", "hwaddr": "02:00:00:00:01:00", "pciBusID": PCI}, "hd0"),
]


@pytest.mark.parametrize(("keys", "name"), SELECTED)
@pytest.mark.usefixtures("hardware")
def test_each_key_selects_its_device(call, host, container, keys, name):
    if SUBFUNCTION in str(keys):
        host.parents[host.link("hd0").index] = SUBFUNCTION
    if name == "hd1":
        host.parents[host.link("hd1").index] = "virtio3"
    before = host.link(name)

    document = call.add({**L2, **keys})

    assert document["interfaces"] == [
        {"name": "eth0", "mac": before.mac, "sandbox": "/run/netns/c1"}
    ]
    assert (list(container.by_name), container.link("eth0").alias) == (["eth0"], name)
    assert container.link("eth0").is_up
    container.rename("eth0", "other")
    assert call("DEL", {**L2, **keys}).status == 0
    assert host.link(name) == dataclasses.replace(before, is_up=False)


def test_a_second_key_that_selects_nothing_is_no_second_device(call, host):
    """As with the reference, deviceID alone may stand beside pciBusID."""
    outcome = call("ADD", {**L2, "device": "hd0", "kernelpath": "/sys/devices/none"})

    assert outcome.document["msg"].startswith("kernelpath: failed to find host device")


def test_add_moves_the_device_and_says_where_it_belongs(call, conf, host, container):
    document = call.add({**conf, "dns": {"nameservers": ["192.0.2.53"]}})

    assert document["interfaces"] == [
        {"name": "eth0", "mac": "02:00:00:00:01:00", "sandbox": "/run/netns/c1"}
    ]
    assert document["ips"] == [
        {"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 0},
        {"address": "fd00::2/64", "gateway": "fd00::1", "interface": 0},
    ]
    assert document["routes"] == [{"dst": "0.0.0.0/0"}]
    assert document["dns"] == {"nameservers": ["192.0.2.53"]}
    assert list(host.by_name) == ["hd1"]
    link = container.link("eth0")
    assert (link.alias, link.is_up) == ("hd0", True)
    assert container.snapshot_devices()["altnames"] == {
        "eth0": ["cni:net:c1:eth0", "cni-home:eth0:hd0:/run/netns/c1:cmFjayAz"]
    }
    assert [str(cidr) for cidr in container.cidrs["eth0"]] == ["10.1.0.2/24", "fd00::2/64"]


def test_the_device_is_up_before_anybody_asks_for_an_address(call, conf, host, fake_kernel):
    call("ADD", {**conf, "ipam": {"type": "no-such"}})

    assert ("/run/netns/c1", "set_up", "eth0") in fake_kernel.calls


@pytest.mark.parametrize(("ipam", "dns"), [({}, None), (STATIC, {"domain": "example.net"})])
def test_dns_is_said_only_with_ipam(call, host, ipam, dns):
    document = call.add({**L2, "device": "hd0", "ipam": ipam, "dns": {"domain": "example.net"}})

    assert document.get("dns") == dns


def test_add_says_on_stderr_that_the_host_loses_a_default_route(call, conf, host, capsys):
    call.add(conf)

    assert capsys.readouterr().err == "hd0 takes a default route of the host with it\n"


def test_add_that_fails_at_any_call_leaves_the_device_as_it_was(
    call, conf, host, fake_kernel, tmp_path
):
    before = fake_kernel.snapshot()
    failures = 0
    for number in range(1, 200):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", conf)
        if outcome.status == 0:
            break
        failures += 1
        after = fake_kernel.snapshot()
        order = sorted(after[""]["links"])  # the device comes back behind the others
        assert order == sorted(before[""]["links"])
        assert after == before, fake_kernel.calls[number - 1]
        assert leases(tmp_path) == [], number
    assert outcome.status == 0
    assert failures > 20


def test_an_alias_too_long_to_be_kept_is_back_after_a_failed_add(call, host, conf, capsys):
    host.set_alias("hd0", "x" * 200)

    call("ADD", {**conf, "ipam": {"type": "no-such"}})

    assert host.link("hd0").alias == "x" * 200
    assert "the alias of hd0 is too long to be kept" in capsys.readouterr().err


def test_a_kernel_without_other_names_has_the_alias(call, conf, host, container, fake_kernel):
    for namespace in (host, container):
        namespace.has_altnames = False
    before = fake_kernel.snapshot()

    assert call("ADD", {**conf, "ipam": {"type": "no-such"}}).status == 1
    assert fake_kernel.snapshot() == before
    call.add(conf)
    assert container.link("eth0").alias == "hd0"
    assert call("DEL", conf).status == 0

    assert (host.link("hd0").alias, host.link("hd0").is_up) == ("", False)


def test_a_device_that_is_taken_is_not_given(call, conf, host, fake_kernel, tmp_path):
    fake_kernel.add_namespace(f"{tmp_path}/c2")
    other = dataclasses.replace(call, netns=f"{tmp_path}/c2", container_id="c2", ifname="net1")
    other.add(conf)
    before = fake_kernel.snapshot()

    assert "it is not there, or in a container" in call("ADD", conf).document["msg"]
    elsewhere.directories.set((str(tmp_path), f"{tmp_path}/none"))
    (tmp_path / "c2").touch()
    (tmp_path / "c3").touch()

    message = call("ADD", conf).document["msg"]
    assert message.endswith(
        f'it is "net1" in {tmp_path}/c2 for cni:net/c2/net1: delete that attachment first'
    )
    assert fake_kernel.snapshot() == before


def test_a_port_of_a_bridge_is_not_given(call, conf, host, fake_kernel):
    host.add_bridge("br0")
    host.set_master("hd0", "br0")
    before = fake_kernel.snapshot()

    assert call("ADD", conf).document["msg"] == (
        'host device "hd0" is taken: it is a port of "br0": release it first:'
        " ip link set hd0 nomaster"
    )
    assert fake_kernel.snapshot() == before
    assert call("STATUS", conf).document["code"] == 50


def test_a_second_add_fails_and_leaves_the_first_as_it_was(call, conf, host, fake_kernel, tmp_path):
    call.add(conf)
    before, held = fake_kernel.snapshot(), leases(tmp_path)

    outcome = call("ADD", {**conf, "device": "hd1"})

    assert 'interface "eth0" already exists' in outcome.document["msg"]
    assert (fake_kernel.snapshot(), leases(tmp_path)) == (before, held)


def test_the_container_may_have_an_interface_named_like_the_device(call, conf, host, container):
    container.add_dummy("hd0")
    other = dataclasses.replace(call, ifname="net1")

    other.add(conf)
    assert sorted(container.by_name) == ["hd0", "net1"]
    assert other("DEL", conf).status == 0

    assert list(container.by_name) == ["hd0"]
    assert host.link("hd0").mac == "02:00:00:00:01:00"


# --- DPDK


@pytest.mark.parametrize(
    "keys",
    [{"pciBusID": PCI}, {"runtimeConfig": {"deviceID": PCI}}, {"device": "hd0", "DPDKMode": True}],
)
@pytest.mark.usefixtures("for_dpdk")
def test_a_device_for_dpdk_is_left_alone_and_gets_its_address(call, fake_kernel, host, keys):
    conf = {**L2, **keys, "ipam": STATIC}
    before = fake_kernel.snapshot()

    result = call.add(conf)

    assert result["interfaces"] == [{"name": "eth0", "sandbox": "/run/netns/c1"}]
    assert result["ips"] == [{"address": "10.1.0.9/24", "interface": 0}]
    assert call.add({**conf, "ipam": {}})["interfaces"] == result["interfaces"]
    for verb in ("CHECK", "STATUS", "DEL", "DEL"):
        assert call(verb, {**conf, "prevResult": result}).text == ""
    assert fake_kernel.snapshot() == before


@pytest.mark.usefixtures("for_dpdk")
def test_check_notices_that_the_driver_has_changed(call, fake_kernel, host, sys, tmp_path):
    conf = {**L2, "pciBusID": PCI}
    result = call.add(conf)
    with_mac = [{**result["interfaces"][0], "mac": "02:00:00:00:01:00"}]

    other = {**conf, "prevResult": {**result, "interfaces": with_mac}}
    assert "driven from user space by now" in call("CHECK", other).document["msg"]
    (tmp_path / f"sys/bus/pci/devices/{PCI}/driver").unlink()
    assert "not found" in call("CHECK", {**conf, "prevResult": result}).document["msg"]
    (tmp_path / f"sys/bus/pci/devices/{PCI}").rmdir()
    assert "there is no PCI device" in call("CHECK", {**conf, "prevResult": result}).document["msg"]
    assert call("DEL", conf).status == 0


@pytest.mark.parametrize("key", ["device", "hwaddr", "kernelpath"])
@pytest.mark.usefixtures("for_dpdk")
def test_a_device_for_dpdk_has_no_second_key(call, host, key):
    values = {"device": "hd0", "hwaddr": "02:00:00:00:01:00", "kernelpath": "/sys/devices/x"}

    document = call("ADD", {**L2, "pciBusID": PCI, key: values[key]}).document

    assert (document["code"], document["msg"].split(":")[0]) == (7, f"{key}, pciBusID")


# --- CHECK and STATUS

TAMPERING = {
    "the interface is gone": lambda container: container.delete_link("eth0"),
    "the interface is down": lambda container: container.set_down("eth0"),
    "the MAC address is another": lambda container: container.set_mac("eth0", "02:00:00:00:00:99"),
    "an address is gone": lambda container: container.cidrs["eth0"].pop(),
    "a route is gone": lambda container: container.table.pop(
        [str(route.dst) for route in container.table].index("0.0.0.0/0")
    ),
    "the alias is gone": lambda container: container.set_alias("eth0", ""),
    "the alias is another": lambda container: container.set_alias("eth0", "eth7"),
    "it is another attachment's": lambda container: container.altnames.update(
        {container.link("eth0").index: ["cni:net:c2:eth0", "cni-home:eth0:hd0:/run/netns/c1:"]}
    ),
}


@pytest.mark.parametrize("tamper", TAMPERING.values(), ids=TAMPERING)
def test_check_fails_after_tampering_and_not_before(call, conf, host, container, tamper):
    attached = {**conf, "prevResult": call.add(conf)}
    assert call("CHECK", attached).text == ""

    tamper(container)

    assert call("CHECK", attached).status == 1


@pytest.mark.usefixtures("hardware")
def test_check_notices_another_device(call, host, container):
    conf = {**L2, "pciBusID": PCI}
    attached = {**conf, "prevResult": call.add(conf)}
    assert call("CHECK", attached).text == ""

    container.parents[container.link("eth0").index] = OTHER_PCI

    assert "is not the device that the ADD has given" in call("CHECK", attached).document["msg"]


@pytest.mark.parametrize("alias", ["", "hd9"])
def test_check_without_marks_looks_at_the_alias(call, conf, host, container, alias):
    attached = {**conf, "prevResult": call.add(conf)}
    container.altnames.clear()  # as the reference gives a device
    assert call("CHECK", attached).text == ""

    container.set_alias("eth0", alias)

    assert "has lost its alias" in call("CHECK", attached).document["msg"]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"device": ""}, 7, "specify either"),
        ({"device": "nope"}, 50, 'there is no interface "nope" on the host'),
        ({"device": "", "pciBusID": "0000:09:00.0"}, 50, "there is no PCI device 0000:09:00.0"),
        ({"device": "", "hwaddr": "02:00:00:00:00:99"}, 50, "failed to find physical interface"),
        ({"hwaddr": "02:00:00:00:01:01"}, 7, "they name different devices"),
        ({"ipam": {"type": "nope"}}, 50, 'ipam.type: failed to find plugin "nope"'),
    ],
)
@pytest.mark.usefixtures("hardware")
def test_status_says_what_an_add_would_lack(call, conf, host, change, code, message):
    assert call("STATUS", conf).status == 0

    document = call("STATUS", {**conf, **change}).document

    assert document["code"] == code
    assert message in document["msg"]


def test_a_device_in_use_is_no_reason_for_status_to_fail(call, conf, host, fake_kernel, tmp_path):
    fake_kernel.add_namespace(f"{tmp_path}/c2")
    other = dataclasses.replace(call, netns=f"{tmp_path}/c2", container_id="c2")
    other.add(conf)
    assert call("STATUS", conf).document["code"] == 50

    (tmp_path / "c2").touch()
    elsewhere.directories.set((str(tmp_path),))

    assert call("STATUS", conf).status == 0


@pytest.mark.parametrize("alias", ["", "rack 3", "ü", "x" * 40])
def test_a_mark_says_what_was_written(alias):
    home = Home("net1", "hd0", "4026532281", alias)

    assert home_of(Device(Link(1, "net1"), (home_mark(home), "cni:net:c1:net1"))) == home


@pytest.mark.parametrize("mark", ["cni-home:", "cni-home:a:b:c", "cni-home:a:b:c:d:e"])
def test_a_mark_that_is_none_says_nothing(mark):
    assert home_of(Device(Link(1, "net1"), (mark,))) is None


def test_an_alias_in_a_mark_that_is_no_text_is_none():
    assert home_of(Device(Link(1, "net1"), ("cni-home:a:b:c:_w",))) == Home("a", "b", "c", "")
