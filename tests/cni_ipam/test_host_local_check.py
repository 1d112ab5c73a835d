"""CHECK, GC and STATUS of host-local."""

import pytest

SUBNET = {"subnet": "10.1.2.0/24"}
DUAL_STACK = [[SUBNET], [{"subnet": "2001:db8:1::/64"}]]


def error_of(outcome):
    assert outcome.status == 1, outcome.text
    return outcome.document


# --- CHECK


def with_result(conf, *ips, interfaces=()):
    return {**conf, "prevResult": {"interfaces": list(interfaces), "ips": list(ips)}}


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_check_accepts_what_add_made(call, version, network):
    conf = network(version, ranges=DUAL_STACK)
    result = call.add(conf)

    assert call("CHECK", conf).status == 0
    assert call("CHECK", {**conf, "prevResult": result}).status == 0


def test_check_accepts_a_healthy_attachment_whose_result_has_more(call, network):
    conf = network()
    call.add(conf, CNI_CONTAINERID="c2")
    call.add(conf)
    container = {"name": "eth0", "sandbox": "/run/netns/c1"}
    result = with_result(
        conf,
        {"address": "10.1.2.3/24", "interface": 1},
        {"address": "192.168.7.7/24", "interface": 1},
        {"address": "10.1.2.2/24", "interface": 2},
        {"address": "10.1.2.200/24", "interface": 0},
        interfaces=[{"name": "eth0"}, container, {"name": "eth9", "sandbox": "/run/netns/c1"}],
    )

    assert call("CHECK", result).status == 0


@pytest.mark.parametrize("ranges", [[[{"subnet": "10.7.0.0/16"}]], [[]], None])
def test_check_does_not_blame_the_attachment_for_new_ranges(call, ranges, network):
    result = call.add(network())
    conf = network(ranges=ranges)

    assert call("CHECK", {**conf, "prevResult": result}).status == 0


def test_check_accepts_what_very_old_releases_reserved(call, directory, network):
    directory.mkdir(parents=True)
    (directory / "10.1.2.2").write_text("c1\n")

    conf = with_result(network(), {"address": "10.1.2.2/24"})

    assert call("CHECK", conf).status == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "host-local: Failed to find address 10.1.2.2 added by container c1: its file is"),
        ("", "host-local: Failed to find address 10.1.2.2 added by container c1: its file is"),
        ("c2\r\neth0", "host-local: 10.1.2.2 is reserved by container c2 (eth0)"),
        ("c1\r\neth1", "host-local: 10.1.2.2 is reserved by container c1 (eth1)"),
    ],
)
def test_check_notices_what_became_of_an_address(call, directory, content, message, network):
    conf = network(ranges=DUAL_STACK)
    result = call.add(conf)
    (directory / "10.1.2.2").unlink()
    if content is not None:
        (directory / "10.1.2.2").write_text(content)

    error = error_of(call("CHECK", {**conf, "prevResult": result}))

    assert error["msg"].startswith(message)


def test_check_fails_if_the_attachment_holds_nothing(call, directory, network):
    conf = network()
    call.add(conf)

    error = error_of(call("CHECK", conf, CNI_IFNAME="eth1"))

    assert error["msg"].startswith("host-local: Failed to find address added by container c1:")
    assert str(directory) in error["msg"]


# --- GC


@pytest.fixture
def crowded(call, directory, network):
    conf = network()
    for name in ("c1", "c2"):
        call.add(conf, CNI_CONTAINERID=name)
        call.add(conf, CNI_CONTAINERID=name, CNI_IFNAME="eth1")
    (directory / "10.1.2.100").write_text("c1")
    (directory / "10.1.2.101").write_text("c9")
    (directory / "10.1.2.102").write_text("")
    (directory / "notes").write_text("c9")
    (directory / "10.1.2.103").mkdir()
    return conf


def test_gc_keeps_valid_attachments_and_what_is_no_reservation(call, crowded, directory):
    valid = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "gone", "ifname": "eth0"}]

    assert call("GC", {**crowded, "cni.dev/valid-attachments": valid}).status == 0

    assert sorted(path.name for path in directory.iterdir()) == [
        "10.1.2.100",
        "10.1.2.103",
        "10.1.2.2",
        "last_reserved_ip.0",
        "lock",
        "notes",
    ]


@pytest.mark.parametrize("nothing", [[], None])
def test_gc_with_an_empty_list_gives_back_everything(call, crowded, nothing, files):
    assert call("GC", {**crowded, "cni.dev/valid-attachments": nothing}).status == 0

    assert sorted(files()) == ["last_reserved_ip.0", "lock", "notes"]


def test_gc_without_a_list_removes_nothing(call, crowded, files):
    before = files()

    assert call("GC", crowded).status == 0

    assert files() == before


# --- STATUS


def test_status_leaves_no_trace(call, directory, network):
    conf = network()
    call.add(conf)
    (directory / "lock").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}

    assert call("STATUS", conf).status == 0

    assert {path.name: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_status_says_which_range_set_is_full(call, network):
    conf = network(ranges=[[SUBNET], [{"subnet": "10.9.0.0/30"}]])
    call.add(conf)

    error = error_of(call("STATUS", conf))

    assert error["code"] == 50
    assert error["msg"].startswith(
        "no IP addresses available in range set: 10.9.0.1-10.9.0.2 of network mynet"
    )


@pytest.mark.parametrize("below", ["file", "file/deeper"])
def test_status_and_add_name_a_data_directory_that_is_none(call, tmp_path, below, network):
    (tmp_path / "file").touch()
    conf = network(dataDir=str(tmp_path / below))

    status, add = error_of(call("STATUS", conf)), error_of(call("ADD", conf))

    path = tmp_path / below / "mynet"
    assert (status["code"], status["msg"]) == (
        50,
        f"could not write to the directory {path} (ipam.dataDir): Not a directory",
    )
    assert (add["code"], add["msg"]) == (
        999,
        f"could not reserve addresses in the directory {path} (ipam.dataDir): Not a directory",
    )


def test_status_says_that_resolv_conf_cannot_be_read(call, network):
    error = error_of(call("STATUS", network(resolvConf="/no/such")))

    assert error["code"] == 50
    assert error["msg"].startswith("could not read /no/such (ipam.resolvConf)")


def test_status_names_a_wrong_key(call, network):
    error = error_of(call("STATUS", network(ranges=[[{"subnet": 3}]])))

    assert (error["code"], error["msg"][:24]) == (7, "ipam.ranges[0][0].subnet")


def test_status_succeeds_if_only_the_runtime_knows_the_ranges(call, network):
    assert call("STATUS", network(ranges=None)).status == 0
