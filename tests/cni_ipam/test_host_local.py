"""ADD and DEL of host-local, called as a runtime or a main plugin calls them."""

from dataclasses import replace

import pytest

SUBNET = {"subnet": "10.1.2.0/24"}
DUAL_STACK = [[SUBNET], [{"subnet": "2001:db8:1::/64"}]]


def error_of(outcome):
    assert outcome.status == 1, outcome.text
    return outcome.document


def test_add_gives_an_address_of_each_range_set_with_routes_and_dns(call, tmp_path, network):
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text(
        "# comment\n; comment\n\nnameserver 192.0.2.3\n nameserver 192.0.2.4 x\nnameserver\n"
        "domain one\ndomain two\nsearch a b\nsearch c\noptions ndots:5 # c\nsortlist 10.0.0.0\n"
    )
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "192.168.0.5/16", "gw": "10.1.2.9", "mtu": 1400}]
    conf = network(ranges=DUAL_STACK, routes=routes, resolvConf=str(resolv_conf))

    assert call.add(conf) == {
        "cniVersion": "1.1.0",
        "ips": [
            {"address": "10.1.2.2/24", "gateway": "10.1.2.1"},
            {"address": "2001:db8:1::2/64", "gateway": "2001:db8:1::1"},
        ],
        "routes": routes,
        "dns": {
            "nameservers": ["192.0.2.3", "192.0.2.4"],
            "domain": "two",
            "search": ["a", "b", "c"],
            "options": ["ndots:5", "#", "c"],
        },
    }


def test_the_files_are_those_of_the_reference_to_the_byte(
    call, data_dir, directory, network, files
):
    call.add(network(ranges=DUAL_STACK), CNI_CONTAINERID="cid1")

    assert files() == {
        "10.1.2.2": b"cid1\r\neth0",
        "2001:db8:1::2": b"cid1\r\neth0",
        "last_reserved_ip.0": b"10.1.2.2",
        "last_reserved_ip.1": b"2001:db8:1::2",
        "lock": b"",
    }
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert modes == {
        "10.1.2.2": 0o600,
        "2001:db8:1::2": 0o600,
        "last_reserved_ip.0": 0o600,
        "last_reserved_ip.1": 0o600,
        "lock": 0o750,
    }
    assert [path.stat().st_mode & 0o777 for path in (data_dir, directory)] == [0o755, 0o755]


def test_the_runtimes_ranges_come_first_then_the_older_way_then_ranges(call, network):
    conf = network(subnet="10.2.0.0/24")
    conf["runtimeConfig"] = {"ipRanges": [[{"subnet": "10.3.0.0/24"}]]}

    addresses = [ip["address"] for ip in call.add(conf)["ips"]]

    assert addresses == ["10.3.0.2/24", "10.2.0.2/24", "10.1.2.2/24"]


def test_the_same_attachment_is_not_given_a_second_address(call, network, files):
    conf = network()
    call.add(conf)
    before = files()

    error = error_of(call("ADD", conf))

    assert error["msg"] == (
        "failed to allocate for range 0: 10.1.2.2 has been allocated to c1, duplicate allocation"
        " is not allowed: delete its attachment eth0 first"
    )
    assert files() == before
    assert call.add(conf, CNI_IFNAME="eth1")["ips"][0]["address"] == "10.1.2.3/24"
    assert call.add(conf, CNI_CONTAINERID="c2")["ips"][0]["address"] == "10.1.2.4/24"


def test_requests_from_all_three_sources_are_one_set(call, network, files):
    ranges = [[SUBNET], [{"subnet": "fd00::/64"}], [{"subnet": "10.5.0.0/24"}]]
    conf = network(ranges=ranges)
    conf["args"] = {"cni": {"ips": ["fd00::77/64", "10.1.2.99"]}}
    conf["runtimeConfig"] = {"ips": ["10.5.0.9", "10.5.0.9", "fd00:0::77"]}

    document = call.add(conf, CNI_ARGS="IP=10.1.2.99/8")

    addresses = [ip["address"] for ip in document["ips"]]
    assert addresses == ["10.1.2.99/24", "fd00::77/64", "10.5.0.9/24"]
    assert files()["last_reserved_ip.0"] == b"10.1.2.99"


def test_an_empty_request_is_none(call, network):
    assert call.add(network(), CNI_ARGS="IP=")["ips"][0]["address"] == "10.1.2.2/24"


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        (["10.1.2.1"], "failed to allocate for range 0: requested ip 10.1.2.1 is subnet's gateway"),
        (
            ["10.1.2.2"],
            (
                "failed to allocate for range 0: requested IP address 10.1.2.2 is not available in"
                " range set 10.1.2.1-10.1.2.254: container other (eth0) holds it"
            ),
        ),
        (
            ["10.1.2.9", "192.0.2.1", "fd00::9"],
            "failed to allocate all requested IPs: 192.0.2.1 fd00::9",
        ),
        (["10.1.2.9", "10.1.2.10"], "failed to allocate all requested IPs: 10.1.2.10"),
    ],
)
def test_a_request_that_cannot_be_met_leaves_the_directory_as_it_was(
    call, requested, message, network, files
):
    ranges = [[SUBNET], [{"subnet": "2001:db8:1::/64"}]]
    conf = network(ranges=ranges)
    call.add(conf, CNI_CONTAINERID="other")
    before = files()

    error = error_of(call("ADD", {**conf, "runtimeConfig": {"ips": requested}}))

    assert error["msg"].startswith(message)
    assert files() == before


def test_when_a_later_range_set_is_full_nothing_is_taken_of_the_earlier(call, network, files):
    full = {"subnet": "10.9.0.0/29", "rangeStart": "10.9.0.2", "rangeEnd": "10.9.0.2"}
    conf = network(ranges=[[SUBNET], [full]])
    call.add(conf)
    before = files()

    error = error_of(call("ADD", conf, CNI_CONTAINERID="c2"))

    assert error["msg"] == (
        "failed to allocate for range 1: no IP addresses available in range set:"
        " 10.9.0.2-10.9.0.2 of network mynet: delete containers or add a range"
    )
    assert files() == before


def test_a_network_of_eight_gives_five_addresses_round_robin(call, network):
    conf = network(ranges=[[{"subnet": "10.9.0.0/29"}]])

    def add(name):
        return call.add(conf, CNI_CONTAINERID=name)["ips"][0]["address"]

    assert [add(f"c{number}") for number in range(5)] == [
        f"10.9.0.{number}/29" for number in (2, 3, 4, 5, 6)
    ]
    assert call("ADD", conf, CNI_CONTAINERID="c9").status == 1
    for name in ("c1", "c3"):
        assert call("DEL", conf, CNI_CONTAINERID=name).status == 0
    assert [add("c5"), add("c6")] == ["10.9.0.3/29", "10.9.0.5/29"]


@pytest.mark.parametrize("text", ["", "torn", "192.0.2.1", "10.1.2.254\n"])
def test_an_unknown_last_address_starts_from_the_beginning(call, directory, text, network):
    directory.mkdir(parents=True)
    (directory / "last_reserved_ip.0").write_text(text)

    assert call.add(network())["ips"][0]["address"] == "10.1.2.2/24"


def test_networks_do_not_share_addresses(call, network):
    conf = network()

    assert call.add(conf)["ips"] == call.add({**conf, "name": "other"})["ips"]


# --- DEL


def test_del_gives_back_what_the_attachment_holds_and_nothing_else(call, directory, network, files):
    conf = network(ranges=DUAL_STACK)
    call.add(conf)
    call.add(conf, CNI_IFNAME="eth1")
    (directory / "notes").write_bytes(b"c1\r\neth0")
    (directory / "10.1.2.77.bak").write_bytes(b"c1\r\neth0")

    for _ in range(2):
        assert call("DEL", conf).status == 0

    assert sorted(files()) == [
        "10.1.2.3",
        "10.1.2.77.bak",
        "2001:db8:1::3",
        "last_reserved_ip.0",
        "last_reserved_ip.1",
        "lock",
        "notes",
    ]


def test_del_gives_back_what_very_old_releases_reserved(call, directory, network, files):
    directory.mkdir(parents=True)
    (directory / "10.1.2.2").write_text("c1\n")
    (directory / "10.1.2.3").write_text("c1")
    (directory / "10.1.2.4").write_text("c1\r\neth1")

    assert call("DEL", network()).status == 0

    assert sorted(files()) == ["10.1.2.4", "lock"]


def test_del_keeps_old_files_if_the_attachment_has_its_own(call, directory, network, files):
    directory.mkdir(parents=True)
    (directory / "10.1.2.2").write_text("c1")
    (directory / "10.1.2.3").write_text("c1\r\neth0")

    assert call("DEL", network()).status == 0

    assert sorted(files()) == ["10.1.2.2", "lock"]


@pytest.mark.parametrize(
    "ipam",
    [
        {"ranges": "x"},
        {"ranges": [[{"subnet": "10.1.2.0/31"}]]},
        {"ranges": None},
        {"routes": [{}]},
        {"resolvConf": "/no/such"},
    ],
)
def test_del_and_gc_need_no_valid_ranges(call, ipam, network, files):
    call.add(network())
    call.add(network(), CNI_CONTAINERID="c2")
    broken = {**network(**ipam), "runtimeConfig": 3, "args": {"cni": []}}

    assert call("DEL", broken, CNI_ARGS="nonsense").status == 0
    assert call("GC", {**broken, "cni.dev/valid-attachments": []}).status == 0

    assert sorted(files()) == ["last_reserved_ip.0", "lock"]


@pytest.mark.parametrize("verb", ["DEL", "CHECK", "GC", "STATUS"])
def test_only_add_makes_the_directory(call, data_dir, verb, network):
    outcome = call(verb, {**network(), "cni.dev/valid-attachments": []})

    assert outcome.status == (1 if verb == "CHECK" else 0)
    assert not data_dir.exists()


def test_del_succeeds_where_the_data_directory_is_a_file(call, tmp_path, network):
    (tmp_path / "file").touch()

    assert call("DEL", network(dataDir=str(tmp_path / "file"))).status == 0


def test_an_address_that_cannot_be_removed_does_not_keep_the_others(
    call, data_dir, monkeypatch, network
):
    from cni_ipam.host_local.directory import Directory

    conf = network(ranges=DUAL_STACK)
    call.add(conf)
    remove = Directory.remove

    def broken_for_ipv4(self, name):
        if name == "10.1.2.2":
            raise OSError(5, "Input/output error")
        remove(self, name)

    monkeypatch.setattr(Directory, "remove", broken_for_ipv4)

    error = error_of(call("DEL", conf))

    path = data_dir / "mynet" / "10.1.2.2"
    assert error["msg"] == f"could not remove the reservation {path}: Input/output error"
    assert not (data_dir / "mynet" / "2001:db8:1::2").exists()


# --- the container id never is a path


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
def test_a_container_id_with_a_path_is_refused(call, data_dir, verb, network):
    outcome = replace(call, container_id="../x")(verb, network())

    assert error_of(outcome)["msg"] == "invalid characters in containerID"
    assert not data_dir.exists()


def test_a_container_called_like_an_address_does_not_reach_the_last_one(call, network, files):
    conf = network()
    call.add(conf)

    assert call("DEL", conf, CNI_CONTAINERID="10.1.2.2").status == 0

    assert sorted(files()) == ["10.1.2.2", "last_reserved_ip.0", "lock"]


@pytest.mark.parametrize("length", [4087, 4088, 4096, 5000, 100_000])
def test_however_long_a_container_id_is_its_address_is_given_back(call, network, files, length):
    container = {"CNI_CONTAINERID": "a" * length}
    conf = network()

    result = call.add(conf, **container)
    assert call("CHECK", {**conf, "prevResult": result}, **container).status == 0
    assert call("ADD", conf, **container).status == 1
    assert call("DEL", conf, **container).status == 0
    assert set(files()) == {"last_reserved_ip.0", "lock"}


@pytest.mark.parametrize(
    "valid",
    [{}, 0, "", False, [{"containerID": "c1", "ifname": None}], [{"containerID": 1}], ["c1"]],
)
def test_gc_with_a_malformed_list_is_refused_before_anything_is_given_back(
    call, network, files, valid
):
    call.add(network(), CNI_CONTAINERID="c1")
    before = files()

    outcome = call("GC", {**network(), "cni.dev/valid-attachments": valid})

    assert (outcome.status, outcome.document["code"]) == (1, 7)
    assert outcome.document["msg"].startswith("cni.dev/valid-attachments")
    assert files() == before
