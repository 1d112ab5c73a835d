"""tuning, on the kernel in memory: configurations, ADD, CHECK, DEL, GC, STATUS."""

import dataclasses
import fcntl
import json
import os
from pathlib import Path

import pytest

from cni_meta.tuning.allowlist import location
from cnicore.net.link import Link

MAC = "02:00:00:00:00:02"
RESULT = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "eth0", "mac": "02:00:00:00:00:09"},
        {"name": "eth0", "mac": MAC, "sandbox": "/run/netns/c1"},
        {"name": "eth1", "mac": MAC, "sandbox": "/run/netns/c1"},
    ],
}
ATTRIBUTES = {
    "mac": "0a:00:00:00:00:07",
    "promisc": True,
    "mtu": 1400,
    "allmulti": True,
    "txQLen": 500,
}
SYSCTLS = {"net.ipv4.conf.IFNAME.arp_filter": "1", "net.core.somaxconn": "500"}
ALL = {**ATTRIBUTES, "sysctl": SYSCTLS}


@pytest.fixture(autouse=True)
def allowlist(tmp_path):
    """Where the node's list of sysctls is; there is none unless a test writes it."""
    path = tmp_path / "etc" / "allowlist.conf"
    path.parent.mkdir()
    token = location.set(str(path))
    yield path
    location.reset(token)


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "a" / "tuning"


@pytest.fixture
def conf(data_dir):
    return {
        "cniVersion": "1.1.0",
        "name": "net",
        "type": "tuning",
        "dataDir": str(data_dir),
        "prevResult": RESULT,
    }


@pytest.fixture
def container(fake_kernel):
    namespace = fake_kernel.namespaces["/run/netns/c1"]
    link = Link(0, "eth0", "veth", MAC, 1500, is_up=True, queue_length=1000)
    namespace._add_link(link)
    namespace.sysctls |= {
        "net/ipv4/conf/eth0/arp_filter": "0",
        "net/core/somaxconn": "4096",
        "net/ipv4/ip_local_port_range": "32768\t60999",
    }
    return namespace


def state(container):
    return container.by_name["eth0"], dict(container.sysctls)


def files(data_dir):
    return sorted(path.name for path in data_dir.iterdir()) if data_dir.exists() else []


def saved(data_dir, name="c1_eth0.json"):
    return json.loads((data_dir / name).read_text())


# --- configurations


@pytest.mark.parametrize(
    ("keys", "code", "message"),
    [
        ({"mac": "none"}, 7, "mac: address none: invalid MAC address"),
        ({"mac": "02:00:00:00:00"}, 7, "mac: address 02:00:00:00:00: invalid MAC address"),
        ({"mac": 2}, 7, "mac: input should be a valid string"),
        ({"runtimeConfig": {"mac": "x"}}, 7, "runtimeConfig.mac: address x"),
        ({"args": {"cni": {"mac": "x"}}}, 7, "args.cni.mac: address x"),
        ({"mtu": -1}, 7, "mtu: -1 is not possible"),
        ({"mac": "01:00:00:00:00:01"}, 7, "mac: address 01:00:00:00:00:01: it is a multicast"),
        ({"mac": "00:00:00:00:00:00"}, 7, "mac: address 00:00:00:00:00:00: no interface can"),
        ({"mtu": 70000}, 7, "mtu: 70000 is not possible: it must be from 1 to 65535"),
        ({"args": {"cni": {"sysctl": {"fs.x": "1"}}}}, 7, "args.cni.sysctl: invalid net sysctl"),
        ({"mtu": 2**31}, 7, "mtu: 2147483648 is not possible"),
        ({"mtu": "1400"}, 7, "mtu: input should be a valid integer"),
        ({"args": {"cni": {"mtu": -5}}}, 7, "mtu: -5 is not possible"),
        ({"txQLen": -1}, 7, "txQLen: -1 is not possible"),
        ({"txQLen": 2**32}, 7, "txQLen: 4294967296 is not possible"),
        ({"promisc": "yes"}, 7, "promisc: input should be a valid boolean"),
        ({"allmulti": 1}, 7, "allmulti: input should be a valid boolean"),
        ({"sysctl": {"net.core.somaxconn": 1}}, 7, "sysctl.net.core.somaxconn: input should be"),
        ({"sysctl": ["net.core.somaxconn"]}, 7, "sysctl: input should be an object"),
        ({"sysctl": {"kernel.shmmax": "1"}}, 7, 'sysctl: invalid net sysctl key: "kernel.shmmax"'),
        ({"sysctl": {"fs/file-max": "1"}}, 7, 'sysctl: invalid net sysctl key: "fs/file-max"'),
        ({"sysctl": {"network.x": "1"}}, 7, 'sysctl: invalid net sysctl key: "network.x"'),
        ({"sysctl": {"net": "1"}}, 7, 'sysctl: invalid net sysctl key: "net"'),
        ({"sysctl": {"": "1"}}, 7, 'sysctl: invalid net sysctl key: ""'),
        ({"sysctl": {"IFNAME/net": "1"}}, 7, 'sysctl: invalid net sysctl key: "IFNAME/net"'),
        ({"sysctl": {"net.a\nb": "1"}}, 7, "sysctl: invalid net sysctl key"),
        ({"sysctl": {"net.a\0b": "1"}}, 7, "sysctl: invalid net sysctl key"),
        ({"sysctl": {"net.a": "é"}}, 7, "sysctl: the value of net.a must be ASCII text"),
        ({"sysctl": {"net.a": "1\0"}}, 7, "sysctl: the value of net.a must be ASCII text"),
        (
            {"sysctl": {"net.a.b": "1", "net/a/b": "2"}},
            7,
            "sysctl: net/a/b is duplicated with two values, under net/a/b and under another",
        ),
        (
            {"sysctl": {"net.a.IFNAME": "1", "net.a.eth0": "2"}},
            7,
            "sysctl: net/a/eth0 is duplicated with two values",
        ),
        ({"prevResult": None, "mtu": 1400}, 7, "Required prevResult missing: tuning must be"),
        ({"prevResult": None}, 7, "Required prevResult missing: tuning must be"),
        ({"prevResult": []}, 6, "prevResult: expected an object, not a list"),
    ],
)
def test_a_bad_configuration_is_refused_and_changes_nothing(
    call, conf, container, keys, code, message
):
    before = state(container)

    document = call("ADD", {**conf, **keys}).document

    assert (document["code"], document["msg"][: len(message)]) == (code, message)
    assert (state(container), files(Path(conf["dataDir"]))) == (before, [])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("MAC=x", "MAC in CNI_ARGS: address x: invalid MAC address"),
        ("K8S_POD_NAME=a;MAC=0a:00:00:00:00:01", 'ARGS: unknown args ["K8S_POD_NAME=a"]'),
        ("MAC", 'ARGS: invalid pair "MAC"'),
    ],
)
def test_wrong_cni_args_are_refused_but_del_does_not_look_at_them(
    call, conf, container, args, message
):
    assert call("ADD", conf, CNI_ARGS=args).document["msg"].startswith(message)
    assert call("CHECK", conf, CNI_ARGS=args).document["msg"].startswith(message)
    assert call("DEL", conf, CNI_ARGS=args).text == ""


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('"sysctl": {"net.a": "1", "net.b": "1", "net.a": "1"}', "net.a"),
        ('"SysCtl": {"net.a": "1", "net.a": "2"}', "net.a"),
        ('"args": {"cni": {"sysctl": {"net.c": "1", "net.c": "1"}}}', "net.c"),
        ('"sysctl": {"net.a": "1"}, "sysctl": {"net.b": "1"}', "sysctl"),
    ],
)
@pytest.mark.parametrize("verb", ["ADD", "CHECK", "STATUS"])
def test_a_sysctl_that_stands_twice_is_refused(call, conf, container, text, key, verb):
    stdin = json.dumps(conf)[:-1] + f", {text}}}"

    outcome = raw(call, verb, stdin)

    assert outcome["code"] == 7
    assert f'sysctl: the key "{key}" is duplicated: write it once' in outcome["msg"]


def test_del_does_not_mind_a_sysctl_that_stands_twice(call, conf, container):
    stdin = json.dumps(conf)[:-1] + ', "sysctl": {"net.a": "1", "net.a": "1"}}'

    assert raw(call, "DEL", stdin) is None


def raw(call, verb, stdin):
    from cnicore.main import answer_as

    text = answer_as("tuning", {**call.environ, "CNI_COMMAND": verb}, stdin.encode).text
    return json.loads(text) if text else None


def test_the_same_sysctl_in_two_spellings_with_one_value_is_harmless(call, conf, container):
    call.add({**conf, "sysctl": {"net.core.somaxconn": "5", "net/core/somaxconn": "5"}})

    assert container.sysctls["net/core/somaxconn"] == "5"


@pytest.mark.parametrize(
    ("keys", "args", "expected"),
    [
        ({"mac": "0A-00-00-00-00-01"}, "", "0a:00:00:00:00:01"),
        ({"mac": "0a00.0000.0001"}, "", "0a:00:00:00:00:01"),
        ({"mac": "0a:00:00:00:00:01"}, "MAC=0a:00:00:00:00:02", "0a:00:00:00:00:02"),
        ({}, "IgnoreUnknown=1;K8S_POD_NAME=a;MAC=0a:00:00:00:00:02", "0a:00:00:00:00:02"),
        (
            {"runtimeConfig": {"mac": "0a:00:00:00:00:03"}},
            "MAC=0a:00:00:00:00:02",
            "0a:00:00:00:00:03",
        ),
        (
            {
                "args": {"cni": {"mac": "0a:00:00:00:00:04"}},
                "runtimeConfig": {"mac": "0a:00:00:00:00:03"},
            },
            "",
            "0a:00:00:00:00:04",
        ),
        (
            {
                "args": {"cni": {"mac": None}},
                "RuntimeConfig": {"MAC": "0a:00:00:00:00:03"},
            },
            "",
            "0a:00:00:00:00:03",
        ),
        ({"args": {"cni": {"mac": ""}}, "mac": "0a:00:00:00:00:01"}, "", MAC),
        ({"mac": ""}, "", MAC),
    ],
)
def test_which_mac_address_wins(call, conf, container, keys, args, expected):
    call.add({**conf, **keys}, CNI_ARGS=args)

    assert container.by_name["eth0"].mac == expected


def test_args_win_over_the_networks_keys(call, conf, container):
    static = {"mtu": 1400, "promisc": True, "allmulti": True, "txQLen": 5}
    arguments = {"mtu": 1300, "promisc": False, "allmulti": False, "txQLen": 0}

    call.add({**conf, **static, "args": {"cni": arguments}})

    link = container.by_name["eth0"]
    assert (link.mtu, link.is_promiscuous, link.takes_all_multicast) == (1300, False, False)
    assert link.queue_length == 0


def test_sysctls_of_args_are_merged_key_by_key_in_any_spelling(call, conf, container):
    arguments = {"net/core/somaxconn": "7", "net.ipv4.x": "1"}

    call.add({**conf, "sysctl": SYSCTLS, "args": {"cni": {"sysctl": arguments}}})

    assert container.sysctls["net/core/somaxconn"] == "7"
    assert container.sysctls["net/ipv4/conf/eth0/arp_filter"] == "1"
    assert container.sysctls["net/ipv4/x"] == "1"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.conf.IFNAME.arp_filter", "net/ipv4/conf/eth0.100/arp_filter"),
        ("net/ipv4/conf/IFNAME/arp_filter", "net/ipv4/conf/eth0.100/arp_filter"),
        ("net/ipv4/conf/IFNAME/../all/arp_filter", "net/ipv4/conf/eth0.100/all/arp_filter"),
        ("net/../../kernel/core_pattern", "net/kernel/core_pattern"),
        ("/net//core/somaxconn/", "net/core/somaxconn"),
        ("net.IFNAME.IFNAME", "net/eth0.100/IFNAME"),
    ],
)
def test_a_key_leads_to_one_file_below_net(call, conf, container, key, path):
    call.add({**conf, "sysctl": {key: "1"}}, CNI_IFNAME="eth0.100")

    assert container.sysctls[path] == "1"


def test_a_value_is_written_verbatim_and_to_one_file_only(call, conf, container):
    """CVE-2022-0811: a value of CRI-O could smuggle in other parameters."""
    value = "1+kernel.core_pattern=|/x\nkernel.core_pattern=|/x"
    before = dict(container.sysctls)

    call.add({**conf, "sysctl": {"net.core.somaxconn": value}})

    assert container.sysctls == {**before, "net/core/somaxconn": value}


# --- the list of what is allowed


@pytest.mark.parametrize(
    "lines",
    [
        "net.ipv4.conf.IFNAME.arp_filter\nnet.core.somaxconn",
        "  ^net\\.ipv4\\.conf\\.IFNAME\\.arp_filter$  \n\n# words\n^net.core.*$\n",
        "net/ipv4/conf/IFNAME/arp_filter\nnet/core/somaxconn",
        "net.*",
    ],
)
def test_what_a_line_matches_whole_is_allowed(call, conf, container, allowlist, lines):
    allowlist.write_text(lines)

    call.add({**conf, "sysctl": SYSCTLS})

    assert container.sysctls["net/core/somaxconn"] == "500"


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "\n",
        "net.core.somaxcon",
        "somaxconn",
        "net.core.somaxconn.more",
        "^net.core$|somaxconn$",
        "# net.core.somaxconn",
        "net.ipv4.conf.eth0.arp_filter",
    ],
)
def test_what_no_line_matches_whole_is_refused(call, conf, container, allowlist, data_dir, lines):
    allowlist.write_text(lines)
    before = state(container)
    conf = {**conf, "mtu": 1400, "sysctl": {"net.core.somaxconn": "500"}}

    for verb in ("ADD", "STATUS"):
        document = call(verb, conf).document

        assert document["code"] == 7
        assert "sysctl: net.core.somaxconn is not allowed" in document["msg"]
        assert str(allowlist) in document["msg"]
    assert (state(container), files(data_dir)) == (before, [])


def test_sysctls_of_args_need_to_be_allowed_too(call, conf, container, allowlist):
    allowlist.write_text("net.core.somaxconn")
    arguments = {"args": {"cni": {"sysctl": {"net.ipv4.ip_forward": "1"}}}}

    document = call("ADD", {**conf, "sysctl": {"net.core.somaxconn": "5"}, **arguments}).document

    assert document["msg"].startswith("args.cni.sysctl: net.ipv4.ip_forward is not allowed")


def test_a_value_that_args_give_is_named_by_its_place_there(call, conf, container, allowlist):
    allowlist.write_text("")
    sysctls = {"sysctl": {"net.x": "1"}, "args": {"cni": {"sysctl": {"net/x": "2"}}}}

    document = call("ADD", {**conf, **sysctls}).document

    assert document["msg"].startswith("args.cni.sysctl: net.x is not allowed")


def test_a_list_that_is_not_there_although_a_link_leads_to_it_allows_nothing(
    call, conf, container, allowlist
):
    allowlist.symlink_to(allowlist.parent / "mounted" / "allowlist.conf")

    document = call("ADD", {**conf, "sysctl": SYSCTLS}).document

    assert "is a link to a file that is not there: until it can be read" in document["msg"]
    assert call.add(conf)


def test_a_directory_of_the_list_that_is_a_link_to_nowhere_allows_nothing(
    call, conf, container, allowlist
):
    allowlist.parent.rmdir()
    allowlist.parent.symlink_to(allowlist.parent.parent / "nope")

    document = call("ADD", {**conf, "sysctl": SYSCTLS}).document

    assert f"{allowlist.parent} is a link to a file that is not there" in document["msg"]


@pytest.mark.parametrize("broken", ["directory", "bytes", "expression"])
def test_a_list_that_cannot_be_read_allows_nothing(call, conf, container, allowlist, broken):
    before = state(container)
    if broken == "directory":
        allowlist.mkdir()
    elif broken == "bytes":
        allowlist.write_bytes(b"net.*\n\xff")
    else:
        allowlist.write_text("net.(\n")

    document = call("ADD", {**conf, "sysctl": SYSCTLS}).document

    assert str(allowlist) in document["msg"]
    assert state(container) == before


def test_check_and_del_do_not_look_at_the_list(call, conf, container, allowlist):
    conf = {**conf, "sysctl": SYSCTLS}
    call.add(conf)
    allowlist.write_text("")

    assert call("CHECK", conf).text == ""
    assert call("DEL", conf).text == ""
    assert container.sysctls["net/core/somaxconn"] == "4096"


# --- ADD


def test_add_sets_everything_and_passes_the_result_on(call, conf, container):
    document = call.add({**conf, **ALL})

    link = container.by_name["eth0"]
    assert (link.mac, link.mtu, link.queue_length) == ("0a:00:00:00:00:07", 1400, 500)
    assert (link.is_promiscuous, link.takes_all_multicast) == (True, True)
    assert container.sysctls["net/ipv4/conf/eth0/arp_filter"] == "1"
    assert container.sysctls["net/core/somaxconn"] == "500"
    host, own, other = RESULT["interfaces"]
    assert document == {
        **RESULT,
        "interfaces": [host, {**own, "mac": "0a:00:00:00:00:07"}, other],
    }


def test_what_is_not_configured_is_not_touched(call, conf, container, data_dir, fake_kernel):
    for keys in ({}, {"promisc": False, "mtu": 0}, {"allmulti": None, "sysctl": {}}):
        fake_kernel.calls.clear()
        assert call.add({**conf, **keys}) == RESULT
        assert [call[1] for call in fake_kernel.calls] == ["open", "open"]
    assert files(data_dir) == []


def test_sysctls_are_set_without_an_interface(call, conf, container):
    container.delete_link("eth0")

    call.add({**conf, "sysctl": {"net.core.somaxconn": "5"}})
    message = call("ADD", {**conf, "mtu": 1400}).document["msg"]

    assert container.sysctls["net/core/somaxconn"] == "5"
    assert message == 'Link not found: there is no interface "eth0"'


def test_the_backup_is_the_references_with_members_more(call, conf, container, data_dir):
    call.add({**conf, **ALL})

    assert (data_dir / "c1_eth0.json").read_text() == (
        "{\n"
        f' "mac": "{MAC}",\n'
        ' "promisc": false,\n'
        ' "mtu": 1500,\n'
        ' "allmulti": false,\n'
        ' "txQLen": 1000,\n'
        ' "owner": "cni:net/c1/eth0",\n'
        ' "sysctl": {\n'
        '  "net/ipv4/conf/eth0/arp_filter": "0",\n'
        '  "net/core/somaxconn": "4096"\n'
        " }\n"
        "}"
    )
    assert (data_dir / "c1_eth0.json").stat().st_mode & 0o777 == 0o600
    assert data_dir.stat().st_mode & 0o777 == 0o700
    assert files(data_dir) == ["c1_eth0.json"]


@pytest.mark.parametrize("key", ATTRIBUTES)
def test_the_backup_has_what_is_changed_only(call, conf, container, data_dir, key):
    call.add({**conf, key: ATTRIBUTES[key]})

    assert saved(data_dir).keys() == {key, "owner"}


@pytest.mark.parametrize("keys", [ATTRIBUTES, {"sysctl": SYSCTLS}, ALL], ids=["link", "net", "all"])
def test_add_that_fails_at_any_call_puts_everything_back(
    call, conf, container, data_dir, fake_kernel, keys
):
    before = state(container)
    failures = 0
    for number in range(1, 60):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", {**conf, **keys})
        if outcome.status == 0:
            break
        failures += 1
        where = fake_kernel.calls[number - 1]
        assert (state(container), files(data_dir)) == (before, []), where
    assert outcome.status == 0
    assert failures >= 6


def test_a_second_add_that_fails_leaves_what_the_first_one_made(
    call, conf, container, data_dir, fake_kernel
):
    call.add({**conf, **ALL})
    before = state(container), saved(data_dir)
    for number in range(1, 60):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        if call("ADD", {**conf, **ALL, "mtu": 1200}).status == 0:
            break
        assert (state(container), saved(data_dir)) == before
    assert container.by_name["eth0"].mtu == 1200


def test_a_directory_that_cannot_be_made_is_named_and_nothing_is_changed(
    call, conf, container, tmp_path
):
    (tmp_path / "file").touch()
    before = state(container)

    message = call("ADD", {**conf, **ALL, "dataDir": str(tmp_path / "file" / "x")}).document["msg"]

    assert message.startswith(f"could not write {tmp_path}/file/x/c1_eth0.json, which remembers")
    assert state(container) == before


def test_a_second_add_keeps_what_was_there_before_the_first(call, conf, container, data_dir):
    before = state(container)
    call.add({**conf, **ALL})
    first = saved(data_dir)

    call.add({**conf, **ALL, "mtu": 1300})
    assert saved(data_dir) == first
    assert container.by_name["eth0"].mtu == 1300

    assert call("DEL", conf).text == ""
    assert state(container) == before


def test_two_tunings_in_one_chain_share_the_backup(call, conf, container, data_dir):
    before = state(container)
    call.add({**conf, "mtu": 1400})
    call.add({**conf, "mtu": 1300, "txQLen": 5, "sysctl": SYSCTLS})
    assert saved(data_dir)["mtu"] == 1500

    for _ in range(2):
        assert call("DEL", conf).text == ""
    assert (state(container), files(data_dir)) == (before, [])


def test_a_file_that_is_torn_is_replaced(call, conf, container, data_dir):
    data_dir.mkdir(parents=True)
    for content in ("", '{"mac": "02', "[]", '{"mtu": "x", "promisc": 1}'):
        (data_dir / "c1_eth0.json").write_text(content)
        container.set_mtu("eth0", 1500)

        call.add({**conf, "mtu": 1400})

        assert saved(data_dir) == {"mtu": 1500, "owner": "cni:net/c1/eth0"}


def test_the_backup_of_another_interface_is_left_alone(call, conf, container, data_dir):
    """Names with "_" can give two interfaces one file."""
    other = dataclasses.replace(call, container_id="c1_x", ifname="eth0")
    other.add({**conf, "mtu": 1400})
    container._add_link(Link(0, "x_eth0", mtu=1500))
    before = saved(data_dir, "c1_x_eth0.json")

    message = call("ADD", {**conf, "mtu": 1300}, CNI_IFNAME="x_eth0").document["msg"]
    assert call("DEL", conf, CNI_IFNAME="x_eth0").text == ""

    assert "is the backup of another interface, cni:net/c1_x/eth0" in message
    assert container.by_name["x_eth0"].mtu == 1500
    assert saved(data_dir, "c1_x_eth0.json") == before


def test_the_backup_has_what_was_there_before_the_first_interface(call, conf, container, data_dir):
    first, second = ({**conf, "sysctl": {"net.core.somaxconn": one}} for one in ("500", "600"))
    call.add(first)
    call.add(second, CNI_IFNAME="eth1")

    assert saved(data_dir, "c1_eth1.json")["sysctl"] == {"net/core/somaxconn": "4096"}


def test_another_interfaces_value_is_there_again_after_an_add_that_fails(
    call, conf, container, data_dir, fake_kernel
):
    call.add({**conf, "sysctl": {"net.core.somaxconn": "500"}})
    container._add_link(Link(0, "eth1", mtu=1500))
    keys = {"mtu": 1400, "sysctl": {"net.core.somaxconn": "600"}}
    for number in range(1, 30):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        if call("ADD", {**conf, **keys}, CNI_IFNAME="eth1").status == 0:
            break
        assert container.sysctls["net/core/somaxconn"] == "500"
        assert files(data_dir) == ["c1_eth0.json"]
    assert number > 4


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_the_directory_is_locked_while_something_is_changed(
    call, conf, container, data_dir, monkeypatch, verb
):
    call.add({**conf, "mtu": 1400})
    refused = []

    def set_mtu(name, mtu):
        handle = os.open(data_dir, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            refused.append(mtu)
        finally:
            os.close(handle)

    monkeypatch.setattr(container, "set_mtu", set_mtu)

    assert call(verb, {**conf, "mtu": 1300}).status == 0

    assert refused == [{"ADD": 1300, "DEL": 1500}[verb]]


def test_interfaces_of_other_containers_have_sysctls_of_their_own(call, conf, container, data_dir):
    keys = {"sysctl": {"net.core.somaxconn": "500"}}
    call.add({**conf, **keys}, CNI_CONTAINERID="c1_x")  # its file's name starts like those of c1
    call.add({**conf, **keys})
    assert saved(data_dir)["sysctl"] == {"net/core/somaxconn": "500"}
    container.sysctls["net/core/somaxconn"] = "7"

    assert call("DEL", conf).text == ""

    assert container.sysctls["net/core/somaxconn"] == "500"


# --- DEL


@pytest.mark.parametrize("order", [("eth0", "eth1"), ("eth1", "eth0")])
@pytest.mark.parametrize("values", [("500", "500"), ("500", "600")])
def test_the_last_interface_that_goes_restores_a_sysctl_of_several(
    call, conf, container, data_dir, order, values
):
    for ifname, value in zip(("eth0", "eth1"), values, strict=True):
        call.add({**conf, "sysctl": {"net.core.somaxconn": value}}, CNI_IFNAME=ifname)

    assert call("DEL", conf, CNI_IFNAME=order[0]).text == ""
    assert container.sysctls["net/core/somaxconn"] == values[1]
    assert call("DEL", conf, CNI_IFNAME=order[1]).text == ""

    assert container.sysctls["net/core/somaxconn"] == "4096"
    assert files(data_dir) == []


def test_del_and_gc_remove_what_a_crash_left(call, conf, container, data_dir):
    data_dir.mkdir(parents=True)
    left = [data_dir / name for name in ("c1_eth0.json.new", "c2_eth0.json.new")]
    for path in left:
        path.write_text("{")

    assert call("DEL", conf).text == ""
    assert files(data_dir) == ["c2_eth0.json.new"]
    assert call("GC", {**conf, "cni.dev/valid-attachments": []}).text == ""
    assert files(data_dir) == []


def test_del_with_names_too_long_for_a_file_or_below_no_directory_succeeds(call, conf, tmp_path):
    (tmp_path / "file").touch()

    assert call("DEL", conf, CNI_CONTAINERID="c" * 300).text == ""
    assert call("DEL", {**conf, "dataDir": str(tmp_path / "file" / "x")}).text == ""


@pytest.mark.parametrize(
    "member",
    [{"mac": "zz"}, {"mac": "01:00:00:00:00:01"}, {"mtu": -5}, {"mtu": 10**11}, {"txQLen": 2**32}],
    ids=str,
)
def test_del_leaves_out_what_no_interface_can_have(call, conf, container, data_dir, capsys, member):
    data_dir.mkdir(parents=True)
    (data_dir / "c1_eth0.json").write_text(json.dumps({"promisc": True, **member}))
    before = container.by_name["eth0"]

    assert call("DEL", conf).text == ""

    after = container.by_name["eth0"]
    assert (after.mac, after.mtu, after.queue_length) == (MAC, 1500, before.queue_length)
    assert after.is_promiscuous
    assert files(data_dir) == []
    assert f"backup: {next(iter(member))} was" in capsys.readouterr().err


@pytest.mark.parametrize("prev_result", [RESULT, None])
def test_del_restores_everything(call, conf, container, data_dir, prev_result):
    before = state(container)
    call.add({**conf, **ALL})

    for _ in range(2):
        assert call("DEL", {**conf, "prevResult": prev_result}).text == ""
        assert (state(container), files(data_dir)) == (before, [])


@pytest.mark.parametrize("netns", ["", "/run/netns/gone"])
def test_del_without_the_namespace_removes_the_backup(call, conf, container, data_dir, netns):
    call.add({**conf, **ALL})

    for _ in range(2):
        assert call("DEL", conf, CNI_NETNS=netns).text == ""
        assert files(data_dir) == []


def test_del_after_the_interface_is_gone_restores_the_sysctls(call, conf, container, data_dir):
    call.add({**conf, **ALL})
    container.delete_link("eth0")

    assert call("DEL", conf).text == ""

    assert container.sysctls["net/core/somaxconn"] == "4096"
    assert files(data_dir) == []


def test_del_restores_what_the_reference_saved(call, conf, container, data_dir):
    data_dir.mkdir(parents=True)
    (data_dir / "c1_eth0.json").write_text(
        '{\n "mac": "02:00:00:00:00:55",\n "promisc": false,\n "mtu": 1500,\n "allmulti": false\n}'
    )
    container.change(
        "eth0", mac=MAC, mtu=1400, is_promiscuous=True, takes_all_multicast=True, promiscuity=1
    )

    assert call("DEL", conf).text == ""

    link = container.by_name["eth0"]
    assert (link.mac, link.mtu) == ("02:00:00:00:00:55", 1500)
    assert (link.is_promiscuous, link.takes_all_multicast) == (False, False)
    assert files(data_dir) == []


@pytest.mark.parametrize(
    "content",
    ["", "{", "null", '{"mtu": "1500", "sysctl": []}', '{"readings": {"net/x": ["1", 2]}}'],
)
def test_del_removes_a_backup_that_says_nothing(call, conf, container, data_dir, content):
    data_dir.mkdir(parents=True)
    (data_dir / "c1_eth0.json").write_text(content)
    before = state(container)

    assert call("DEL", conf).text == ""

    assert (state(container), files(data_dir)) == (before, [])


@pytest.mark.parametrize(
    "path", ["kernel/core_pattern", "net/../kernel/core_pattern", "/kernel/x", "net", "net//x"]
)
def test_del_writes_no_parameter_of_the_host_whatever_the_file_says(
    call, conf, container, data_dir, path
):
    data_dir.mkdir(parents=True)
    (data_dir / "c1_eth0.json").write_text(json.dumps({"sysctl": {path: "x"}}))
    before = state(container)

    assert call("DEL", conf).text == ""

    assert (state(container), files(data_dir)) == (before, [])


def test_del_that_fails_tries_the_rest_and_the_next_one_ends_it(
    call, conf, container, data_dir, fake_kernel
):
    before = state(container)
    for number in range(1, 30):
        call.add({**conf, **ALL})
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("DEL", conf)
        fake_kernel.fail_at = 0
        if outcome.status == 0:
            break
        assert files(data_dir) == ["c1_eth0.json"]
        assert call("DEL", conf).text == ""
        assert (state(container), files(data_dir)) == (before, [])
    assert number > 8


def test_del_of_a_configuration_that_add_refuses_succeeds(call, conf, container):
    for keys in ({"mac": "x"}, {"mtu": -1}, {"sysctl": {"kernel.x": "1"}}, {"txQLen": -1}):
        assert call("DEL", {**conf, **keys}).text == ""


# --- CHECK


TAMPERING = {
    "mac": lambda ns: ns.set_mac("eth0", MAC),
    "promisc": lambda ns: ns.set_promiscuity("eth0", on=False),
    "mtu": lambda ns: ns.set_mtu("eth0", 1500),
    "allmulti": lambda ns: ns.set_all_multicast("eth0", on=False),
    "txQLen": lambda ns: ns.set_queue_length("eth0", 1000),
    "net/core/somaxconn": lambda ns: ns.write_sysctl("net/core/somaxconn", "501"),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_check_fails_after_tampering_and_not_before(call, conf, container, what):
    conf = {**conf, **ALL}
    attached = {**conf, "prevResult": call.add(conf)}
    assert call("CHECK", attached).text == ""

    TAMPERING[what](container)

    message = call("CHECK", attached).document["msg"]
    assert what in message
    assert message.endswith("delete the attachment and add it again")


def test_check_does_not_ask_for_what_is_not_configured(call, conf, container):
    call.add({**conf, "mtu": 1400})
    container.change("eth0", promiscuity=1, is_promiscuous=True, mac="02:00:00:00:00:77")

    assert call("CHECK", {**conf, "mtu": 1400}).text == ""
    container.delete_link("eth0")
    assert "Link not found" in call("CHECK", {**conf, "mtu": 1400}).document["msg"]
    assert call("CHECK", conf).text == ""


def test_check_compares_addresses_not_texts(call, conf, container):
    conf = {**conf, "mac": "0A-00-00-00-00-FF"}
    call.add(conf)

    assert call("CHECK", conf).text == ""


@pytest.mark.parametrize(
    ("configured", "actual", "same"),
    [
        ("32768 60999", "32768\t60999", True),
        (" 1 ", "1", True),
        ("0x10", "16", True),
        ("010", "8", True),
        ("-1", "-1", True),
        ("8000-8002,80", "80,8000-8002", True),
        ("1,2,3,5", "1-3,5", True),
        ("1-3", "1-4", False),
        ("1 2", "1", False),
        ("cubic", "cubic", True),
        ("cubic", "reno", False),
        ("", "", True),
        ("0", "", False),
        ("1-4294967295", "1", False),
        ("1 2", "1\t2\t3", True),
        ("1 3", "1\t2\t3", False),
        ("1 2 3 4", "1\t2\t3", False),
        ("reno", "reno cubic", False),
        ("reno 1", "reno 1 2", False),
        ("2001:DB8::1", "2001:0db8:0000:0000:0000:0000:0000:0001", True),
        ("2001:db8::1", "2001:0db8:0000:0000:0000:0000:0000:0002", False),
        ("1-2-3-A", "00000001-00000002-00000003-0000000a", True),
        ("1-2-3-4", "00000001-00000002-00000003-00000005", False),
        ("1-2-3-4", "00000001-00000002-00000003-00000004,00000000-0-0-0", False),
    ],
)
def test_values_are_compared_as_the_kernel_means_them(
    call, conf, container, configured, actual, same
):
    container.sysctls["net/x"] = actual

    outcome = call("CHECK", {**conf, "sysctl": {"net.x": configured}})

    assert (outcome.status == 0) == same


def test_check_needs_the_result_of_the_add(call, conf, container):
    assert "prevResult missing" in call("CHECK", {**conf, "prevResult": None}).document["msg"]


# --- GC and STATUS


def test_gc_removes_the_backups_of_what_is_not_valid(call, conf, container, data_dir):
    call.add({**conf, "mtu": 1400})
    call.add({**conf, "mtu": 1400}, CNI_CONTAINERID="c2")
    call.add({**conf, "name": "other", "mtu": 1400}, CNI_CONTAINERID="c3")
    (data_dir / "c4_eth0.json").write_text('{"mtu": 1500}')
    (data_dir / "c5_eth0.json").write_text("{")
    (data_dir / "c6_eth0.json").mkdir()
    others = ["c3_eth0.json", "c4_eth0.json", "c5_eth0.json", "c6_eth0.json"]
    keep = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}

    assert call("GC", conf).text == ""
    assert files(data_dir) == ["c1_eth0.json", "c2_eth0.json", *others]
    for _ in range(2):
        assert call("GC", {**conf, **keep}).text == ""
        assert files(data_dir) == ["c1_eth0.json", *others]
    assert call("GC", {**conf, "cni.dev/valid-attachments": []}).text == ""
    assert files(data_dir) == others


def test_gc_without_a_directory_succeeds(call, conf, data_dir):
    assert call("GC", {**conf, "cni.dev/valid-attachments": []}).text == ""


def test_status_changes_nothing(call, conf, data_dir):
    for keys in ({}, ALL):
        assert call("STATUS", {**conf, **keys}).text == ""
    assert not data_dir.exists()


def test_status_reports_a_directory_that_cannot_be_written_to(call, conf, tmp_path):
    (tmp_path / "file").touch()

    document = call("STATUS", {**conf, "dataDir": str(tmp_path / "file" / "x")}).document

    assert document["code"] == 50
    assert f"dataDir: {tmp_path}/file is no directory that can be written to" in document["msg"]


def test_status_reports_a_wrong_configuration(call, conf):
    assert call("STATUS", {**conf, "mac": "x"}).document["code"] == 7
