"""host-device's devices come home, whatever happened to them: DEL, GC and the ADD after."""

import dataclasses
import errno
import time
from threading import Timer

import pytest

from cni_main.host_device import elsewhere, returning, sysfs
from cnicore.net.netlink import KernelError
from cnicore.testing.fake_device import end_namespace

CONF = {"cniVersion": "1.1.0", "name": "net", "type": "host-device"}
PCI = "0000:03:00.1"
OTHER_PCI = "0000:04:00.0"
MAC = "02:00:00:00:01:00"
NETNS = "/run/netns/c1"
KEYS = {"device": {"device": "hd0"}, "hwaddr": {"hwaddr": MAC}, "pciBusID": {"pciBusID": PCI}}


@pytest.fixture
def call(call, tmp_path):
    return dataclasses.replace(call, ifname="net1")


@pytest.fixture
def container(fake_kernel):
    return fake_kernel.namespaces[NETNS]


@pytest.fixture(autouse=True)
def host(fake_kernel):
    host = fake_kernel.namespaces[""]
    host.add_device("hd0", PCI, alias="rack 3")
    host.add_device("hd1", OTHER_PCI)
    return host


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A sysfs with the PCI device, which shows the interface while that is on the host."""
    net = tmp_path / "sys/bus/pci/devices" / PCI / "net"
    net.mkdir(parents=True)
    monkeypatch.setattr(returning, "RETURN_TIMEOUT", 0.3)
    tokens = sysfs.root.set(str(tmp_path / "sys")), elsewhere.directories.set(())
    (net / "hd0").touch()
    yield net
    sysfs.root.reset(tokens[0])
    elsewhere.directories.reset(tokens[1])


@pytest.fixture
def before(fake_kernel):
    return fake_kernel.snapshot()


@pytest.fixture(params=KEYS.values(), ids=KEYS)
def conf(request):
    return {**CONF, **request.param}


def as_reference_gives(call, conf, container):
    """The device in the container as the reference leaves it there: without marks."""
    result = call.add(conf)
    container.altnames.clear()
    return result


def is_home(host):
    """Whether hd0 is where it was, with all that it had, but down and without addresses."""
    link = host.by_name.get("hd0")
    return (
        link is not None
        and (link.mac, link.is_up, host.snapshot_devices()) == (MAC, False, {"altnames": {}})
        and sorted(host.by_name) == ["hd0", "hd1"]
    )


def test_del_brings_the_device_home_with_its_alias_twice(call, conf, fake_kernel, before):
    call.add(conf)

    for _ in range(2):
        assert call("DEL", conf).text == ""
        after = fake_kernel.snapshot()
        assert {path: after[path]["links"] for path in after} == {
            path: before[path]["links"] for path in before
        }
        assert after[""]["altnames"] == {}


RENAMED = {
    "renamed": lambda container: container.rename("net1", "lan"),
    "renamed to its name at home": lambda container: container.rename("net1", "hd0"),
    "without an alias": lambda container: container.set_alias("net1", ""),
    "with another alias": lambda container: container.set_alias("net1", "eth9"),
    "without marks": lambda container: container.altnames.clear(),
}


@pytest.mark.parametrize("change", RENAMED.values(), ids=RENAMED)
def test_del_finds_a_device_that_was_changed_in_the_container(call, conf, host, container, change):
    call.add(conf)
    change(container)

    for _ in range(2):
        assert call("DEL", conf).text == ""
        assert is_home(host)
    assert container.by_name == {}


@pytest.mark.parametrize("renamed", ["net1", "lan", "hd0"])
def test_del_takes_over_from_the_reference(call, conf, host, container, renamed):
    result = as_reference_gives(call, conf, container)
    if renamed != "net1":
        container.rename("net1", renamed)

    for _ in range(2):
        assert call("DEL", {**conf, "prevResult": result}).text == ""
        assert is_home(host)


def test_without_parents_the_result_tells_the_device(call, host, container, fake_kernel):
    """Kernels before 5.14 do not say what a link is a function of."""
    conf = {**CONF, **KEYS["pciBusID"]}
    host.parents.clear()
    result = as_reference_gives(call, conf, container)
    container.rename("net1", "lan")

    assert call("DEL", {**conf, "prevResult": result}).text == ""
    assert is_home(host)


def test_what_nothing_tells_the_name_of_stays_and_is_said(call, host, container, places):
    conf = {**CONF, **KEYS["pciBusID"]}
    as_reference_gives(call, conf, container)
    (places / "hd0").unlink()
    container.set_alias("net1", "")

    message = call("DEL", conf).document["msg"]

    assert message == (
        'failed to find original ifname for "net1" (alias is not set):'
        " set it in the container: ip link set net1 alias NAME"
    )
    container.set_alias("net1", "hd0")
    assert call("DEL", conf).text == ""
    assert is_home(host)


@pytest.mark.parametrize("alias", ["a/b", "x" * 16, "eth%d", "..", " "])
def test_no_name_from_the_container_is_taken_that_none_can_have(call, host, container, alias):
    conf = {**CONF, **KEYS["hwaddr"]}
    as_reference_gives(call, conf, container)
    container.set_alias("net1", alias)

    assert "failed to find original ifname" in call("DEL", conf).document["msg"]
    assert list(container.by_name) == ["net1"]


# --- what is not the attachment's


def test_del_after_a_refused_add_leaves_the_interface_that_was_in_the_way(
    call, conf, host, container, fake_kernel
):
    container.add_veth("net1", peer="other", peer_in=host)
    container.set_alias("net1", "eth9")
    before = fake_kernel.snapshot()

    assert "already exists" in call("ADD", conf).document["msg"]
    assert call("DEL", conf).text == ""

    assert fake_kernel.snapshot() == before


def test_del_leaves_what_another_attachment_has_been_given(
    call, conf, host, container, fake_kernel
):
    call.add({**CONF, "name": "other", "device": "hd1"})
    before = fake_kernel.snapshot()

    assert call("DEL", conf).text == ""

    assert fake_kernel.snapshot() == before


def test_an_interface_with_the_mac_address_of_a_device_at_home_is_left(
    call, host, container, fake_kernel
):
    """As an ipvlan has its parent's."""
    conf = {**CONF, **KEYS["hwaddr"]}
    container.add_ipvlan = None
    host.add_ipvlan("net1", host.link("hd0"), container, mode="l2")
    before = fake_kernel.snapshot()

    assert call("DEL", conf).text == ""

    assert fake_kernel.snapshot() == before


@pytest.mark.parametrize("name", ["eth0", "net1"])
def test_a_device_at_home_keeps_an_alias_that_looks_like_a_name(call, host, name, before):
    """The alias is whatever somebody likes, and the container may have had the same name."""
    host.rename("hd0", name)
    host.set_alias(name, "uplink")
    conf = {**CONF, "hwaddr": MAC}
    caller = dataclasses.replace(call, ifname=name)
    caller.add(conf)

    for _ in range(2):
        assert caller("DEL", conf).text == ""
        assert (host.link(name).alias, host.link(name).mac) == ("uplink", MAC)


# --- the name is taken at home


@pytest.mark.parametrize("gone", [False, True])
def test_a_taken_name_is_said_and_the_device_stays_healthy(
    call, host, container, fake_kernel, gone
):
    conf = {**CONF, **KEYS["device"]}
    call.add(conf)
    host.add_dummy("hd0")
    if gone:
        end_namespace(fake_kernel, NETNS)
    before = fake_kernel.snapshot()

    outcome = call("DEL", conf)

    assert outcome.document["msg"] == (
        'failed to return "net1" to the host as "hd0": the host has another interface "hd0":'
        " rename or delete that one, then delete the attachment again"
    )
    assert fake_kernel.snapshot() == before
    host.rename("hd0", "new")
    assert call("DEL", conf).text == ""
    assert host.link("hd0").mac == MAC


def test_a_lease_is_kept_while_the_device_is_in_use(call, host, container, tmp_path):
    ipam = {"type": "host-local", "subnet": "10.1.0.0/24", "dataDir": str(tmp_path / "leases")}
    conf = {**CONF, **KEYS["device"], "ipam": ipam}
    call.add(conf)
    host.add_dummy("hd0")

    assert call("DEL", conf).status == 1
    assert (tmp_path / "leases/net/10.1.0.2").exists()
    host.delete_link("hd0")
    assert call("DEL", conf).status == 0
    assert not (tmp_path / "leases/net/10.1.0.2").exists()


def test_a_device_keeps_the_mac_address_that_it_was_given(call, conf, host, container):
    call.add(conf)
    container.set_mac("net1", "02:00:00:00:00:99")

    assert call("DEL", conf).text == ""

    assert host.link("hd0").mac == "02:00:00:00:00:99"


def test_a_del_that_fails_at_any_call_leaves_the_device_healthy_or_at_home(
    call, conf, host, container, fake_kernel
):
    failures = 0
    for number in range(1, 100):
        fake_kernel.fail_at = 0
        call.add(conf)
        before = fake_kernel.snapshot()
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("DEL", conf)
        if outcome.status == 0:
            break
        failures += 1
        is_moved = any(one[1] == "move_device" for one in fake_kernel.calls[: number - 1])
        assert is_moved or fake_kernel.snapshot() == before, fake_kernel.calls[number - 1]
        fake_kernel.fail_at = 0
        assert call("DEL", conf).status == 0
        assert is_home(host)
    assert failures > 10


def test_kernels_before_6_2_rename_at_home(call, conf, host, container):
    call.add(conf)

    def busy(name, new):
        raise KernelError(f"rename {name} to {new}", errno.EBUSY)

    container.rename = busy

    assert call("DEL", conf).text == ""
    assert is_home(host)


# --- the namespace is gone


@pytest.mark.parametrize("netns", ["", NETNS])
@pytest.mark.parametrize("taken", [False, True], ids=["", "as dev3"])
def test_a_device_that_fell_back_is_restored(call, conf, host, fake_kernel, netns, taken):
    call.add(conf)
    if taken:
        host.add_dummy("net1")
    end_namespace(fake_kernel, NETNS)
    assert "hd0" not in host.by_name

    for _ in range(2):
        assert call("DEL", conf, CNI_NETNS=netns).text == ""
        host.by_name.pop("net1", None)
        assert is_home(host)
        assert host.link("hd0").alias == "rack 3"


@pytest.mark.parametrize("is_up", [False, True])
def test_a_device_that_fell_back_under_any_name_is_restored_unless_it_is_used(
    call, conf, host, container, fake_kernel, is_up
):
    call.add(conf)
    container.set_alias("net1", "")
    container.rename("net1", "lan")
    end_namespace(fake_kernel, NETNS)
    if is_up:
        host.set_up("lan")

    assert call("DEL", conf).text == ""

    assert host.snapshot_devices() == {"altnames": {}}
    assert [name for name in host.by_name if name != "hd1"] == ["lan" if is_up else "hd0"]


@pytest.mark.parametrize("taken", [False, True], ids=["", "as dev3"])
def test_a_device_of_the_reference_that_fell_back_is_restored(
    call, conf, host, container, fake_kernel, taken
):
    host.rename("hd0", "enp3s0f1")
    conf = {**conf, "device": "enp3s0f1"} if "device" in conf else {**CONF, "hwaddr": MAC}
    result = as_reference_gives(call, conf, container)
    if taken:
        host.add_dummy("net1")
    end_namespace(fake_kernel, NETNS)

    for _ in range(2):
        assert call("DEL", {**conf, "prevResult": result}).text == ""
        assert (host.link("enp3s0f1").mac, host.link("enp3s0f1").alias) == (MAC, "")


@pytest.mark.parametrize("is_up", [False, True])
def test_a_device_of_the_reference_that_was_renamed_too_is_known_by_its_configured_name(
    call, host, container, fake_kernel, is_up
):
    conf = {**CONF, **KEYS["device"]}
    as_reference_gives(call, conf, container)
    container.rename("net1", "lan")
    end_namespace(fake_kernel, NETNS)
    if is_up:
        host.set_up("lan")

    assert call("DEL", conf).text == ""

    assert [name for name in host.by_name if name != "hd1"] == ["lan" if is_up else "hd0"]


def test_del_waits_until_the_kernel_has_ended_the_namespace(call, host, container, fake_kernel):
    conf = {**CONF, **KEYS["device"]}
    call.add(conf)
    ended = fake_kernel.namespaces.pop(NETNS)
    fake_kernel.namespaces["ending"] = ended
    timer = Timer(0.1, end_namespace, (fake_kernel, "ending"))
    timer.start()

    assert call("DEL", conf).text == ""

    timer.join()
    assert is_home(host)


def test_a_virtual_device_is_gone_with_its_namespace(call, host, container, fake_kernel):
    host.change("hd0", kind="veth")
    conf = {**CONF, **KEYS["device"]}
    call.add(conf)
    end_namespace(fake_kernel, NETNS)

    started = time.monotonic()
    assert call("DEL", conf).text == ""

    assert time.monotonic() - started >= 0.3
    assert list(host.by_name) == ["hd1"]


def test_without_a_namespace_the_mark_is_looked_for_everywhere(
    call, conf, host, fake_kernel, tmp_path
):
    caller = dataclasses.replace(call, netns=f"{tmp_path}/c9")
    fake_kernel.add_namespace(f"{tmp_path}/c9")
    (tmp_path / "c9").touch()
    elsewhere.directories.set((str(tmp_path),))
    caller.add(conf)

    assert call("DEL", conf, CNI_CONTAINERID="c2", CNI_NETNS="").text == ""
    assert not is_home(host)
    assert call("DEL", conf, CNI_NETNS="").text == ""
    assert is_home(host)


# --- GC, and the ADD after


def test_gc_brings_home_what_belongs_to_no_attachment(
    call, conf, host, container, fake_kernel, tmp_path
):
    caller = dataclasses.replace(call, netns=f"{tmp_path}/c9", container_id="c9")
    fake_kernel.add_namespace(f"{tmp_path}/c9")
    (tmp_path / "c9").touch()
    elsewhere.directories.set((str(tmp_path),))
    keep = {"cni.dev/valid-attachments": [{"containerID": "c9", "ifname": "net1"}]}
    caller.add(conf)

    assert call("GC", conf).status == 0
    assert call("GC", {**conf, **keep}).status == 0
    assert call("GC", {**conf, "name": "other", "cni.dev/valid-attachments": []}).status == 0
    assert not is_home(host)

    assert call("GC", {**conf, "cni.dev/valid-attachments": None}).status == 0
    assert is_home(host)
    caller.add(conf)
    end_namespace(fake_kernel, f"{tmp_path}/c9")
    assert call("GC", {**conf, "cni.dev/valid-attachments": []}).status == 0
    assert is_home(host)


def test_gc_leaves_what_the_reference_has_given_since(
    call, conf, host, container, fake_kernel, tmp_path
):
    """It knows no marks, and leaves those of an earlier attachment."""
    caller = dataclasses.replace(call, netns=f"{tmp_path}/c9", container_id="c9")
    there = fake_kernel.add_namespace(f"{tmp_path}/c9")
    (tmp_path / "c9").touch()
    elsewhere.directories.set((str(tmp_path),))
    call.add(conf)
    link = container.link("net1")
    container.move_device(link, there, "net1")  # home and away again
    before = fake_kernel.snapshot()

    assert call("GC", {**conf, "cni.dev/valid-attachments": []}).status == 0
    assert fake_kernel.snapshot() == before

    assert caller("DEL", conf).text == ""
    assert is_home(host)
    assert host.snapshot_devices() == {"altnames": {}}


def test_the_next_add_takes_a_device_that_nobody_has_restored(
    call, conf, host, container, fake_kernel, places
):
    other = dataclasses.replace(call, netns="/run/netns/c2", container_id="c2")
    there = fake_kernel.add_namespace("/run/netns/c2")
    call.add(conf)
    end_namespace(fake_kernel, NETNS)
    (places / "hd0").rename(places / "net1")

    def show_renamed(name, new):
        type(host).rename(host, name, new)
        (places / name).rename(places / new)

    host.rename = show_renamed
    result = other.add(conf)

    assert there.link("net1").alias == "hd0"
    assert result["interfaces"][0]["mac"] == MAC
    assert call("DEL", conf, CNI_NETNS="").text == ""  # what comes too late changes nothing
    assert there.link("net1").alias == "hd0"
    assert other("DEL", conf).text == ""
    assert is_home(host)
    assert host.link("hd0").alias == "rack 3"


def test_marks_that_the_reference_has_left_do_no_harm(call, conf, host, container, before):
    """Its DEL clears the alias only."""
    call.add(conf)
    container.move_device(container.link("net1"), host, "hd0")
    host.set_alias("hd0", "")

    call.add(conf)
    assert call("DEL", conf).text == ""

    assert is_home(host)


def test_a_name_that_somebody_gave_since_is_kept(call, host, container):
    conf = {**CONF, **KEYS["hwaddr"]}
    call.add(conf)
    container.move_device(container.link("net1"), host, "hd0")
    host.set_alias("hd0", "new")
    host.rename("hd0", "lan0")

    call.add(conf)

    assert (container.link("net1").alias, call("DEL", conf).text) == ("lan0", "")
    assert (host.link("lan0").mac, host.link("lan0").alias) == (MAC, "new")


@pytest.mark.parametrize(
    "document", [{"ipam": {"type": "gone"}}, {"prevResult": 7}, {"hwaddr": "zz"}]
)
def test_del_brings_the_device_home_with_a_configuration_that_is_wrong(call, host, document):
    conf = {**CONF, **KEYS["device"]}
    call.add(conf)

    call("DEL", {**conf, **document})

    assert is_home(host)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"hwaddr": "zz"},
        {"pciBusID": "../x"},
        {"kernelpath": "/"},
        {"runtimeConfig": {"deviceID": "gone"}},
    ],
)
def test_del_of_what_never_could_be_attached_succeeds(call, document):
    for netns in ("", NETNS, "/run/netns/gone"):
        assert call("DEL", {**CONF, **document}, CNI_NETNS=netns).text == ""


def test_a_killed_call_is_finished_by_del(call, conf, host, container, fake_kernel, before):
    """At whatever call it stops, nothing is taken back: as if by SIGKILL."""
    last = 0
    for number in range(1, 100):
        fake_kernel.calls.clear()
        stopped = stop_before(fake_kernel, number, lambda: call("ADD", conf))
        fake_kernel.fail_at = 0
        if not stopped:
            break
        last = number
        for _ in range(2):
            assert call("DEL", conf).text == "", number
            assert is_home(host), number
            assert host.link("hd0").alias == "rack 3", number
    assert last > 10


def test_a_killed_del_is_finished_by_the_next(call, conf, host, container, fake_kernel):
    last = 0
    for number in range(1, 100):
        fake_kernel.fail_at = 0
        call.add(conf)
        fake_kernel.calls.clear()
        stopped = stop_before(fake_kernel, number, lambda: call("DEL", conf))
        last = number
        assert call("DEL", conf).text == "", number
        assert is_home(host), number
        assert host.link("hd0").alias == "rack 3", number
        if not stopped:
            break
    assert last > 5


class KilledError(BaseException):
    """Stands for the end of the process."""


def stop_before(kernel, number, act):
    """Run it until the call of that number, after which no call has any effect; whether it came."""
    note, made = kernel.note, []

    def counting(*call):
        made.append(call)
        if len(made) >= number:
            raise KilledError
        note(*call)

    kernel.note = counting
    try:
        act()
    except KilledError:
        return True
    finally:
        del kernel.note
    return False
