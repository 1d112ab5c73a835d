"""flannel, with a delegate that writes down what it gets, and with bridge on the kernel in memory."""

import dataclasses
import json
import os
import stat

import pytest

from cni_meta.flannel import states

CONF = {"cniVersion": "1.1.0", "name": "f", "type": "flannel"}
ENV = """\
FLANNEL_NETWORK=10.40.0.0/16
FLANNEL_SUBNET=10.40.7.1/24
FLANNEL_IPV6_NETWORK=fd40::/48
FLANNEL_IPV6_SUBNET=fd40:0:0:7::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=false
"""
V4 = "\n".join(line for line in ENV.splitlines() if "IPV6" not in line)
V6 = "\n".join(
    line for line in ENV.splitlines() if "IPV6" in line or "MTU" in line or "MASQ" in line
)
IPAM = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.40.7.0/24"}], [{"subnet": "fd40:0:0:7::/64"}]],
    "routes": [{"dst": "10.40.0.0/16"}, {"dst": "fd40::/48"}],
}
DELEGATED = {
    "cniVersion": "1.1.0",
    "ipMasq": True,
    "ipam": IPAM,
    "isGateway": True,
    "mtu": 1450,
    "name": "f",
    "type": "bridge",
}
RECORDER = """\
#!/bin/sh
cat >{directory}/$CNI_COMMAND
env >{directory}/$CNI_COMMAND.env
if test -e {directory}/fails; then
    echo '{{"code": 42, "msg": "no luck"}}'
    exit 1
fi
test $CNI_COMMAND != ADD || echo '{{"ips": [{{"address": "10.40.7.2/24"}}], "ip4": {{"ip": "10.40.7.2/24"}}}}'
"""


@pytest.fixture
def subnet_file(tmp_path):
    file = tmp_path / "subnet.env"
    file.write_text(ENV)
    return file


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "flannel"


@pytest.fixture
def conf(subnet_file, data_dir):
    """Makes a configuration with files of the test's own."""

    def configuration(**keys):
        return {**CONF, "subnetFile": str(subnet_file), "dataDir": str(data_dir), **keys}

    return configuration


@pytest.fixture
def recorder(tmp_path, plugin_directory):
    """Somebody else's bridge; it keeps its stdin and environment in the directory returned."""
    directory = tmp_path / "recorded"
    directory.mkdir()
    (plugin_directory / "bridge").unlink()
    program = plugin_directory / "bridge"
    program.write_text(RECORDER.format(directory=directory))
    program.chmod(0o755)
    return directory


def recorded(directory, verb="ADD"):
    return json.loads((directory / verb).read_text())


def saved(data_dir, name="c1"):
    """The delegate's configuration in the file."""
    document = json.loads((data_dir / name).read_text())
    return {key: value for key, value in document.items() if key != "cni.flannel/ifname"}


def names(data_dir):
    return sorted(file.name for file in data_dir.iterdir()) if data_dir.exists() else []


# --- configurations


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"delegate": {"name": "x"}}, "delegate.name: 'delegate' dictionary must not have 'name'"),
        ({"delegate": {"ipam": {}}}, "delegate.ipam: 'delegate' dictionary must not have 'ipam'"),
        ({"delegate": {"type": 5}}, "delegate.type: 'delegate' dictionary, if present, must have"),
        ({"delegate": {"type": None}}, "delegate.type: "),
        ({"delegate": {"type": ""}}, "delegate.type is empty: name a plugin, or leave the key"),
        ({"subnetFile": ""}, "subnetFile is empty: write a path, or leave the key out"),
        ({"dataDir": ""}, "dataDir is empty: write a path, or leave the key out"),
        ({"delegate": []}, "delegate: input should be an object, not a list"),
        ({"delegate": "bridge"}, "delegate: input should be an object"),
        ({"ipam": []}, "ipam: "),
        ({"ipam": {"type": 5}}, "ipam.type: input should be a valid string, not 5"),
        ({"ipam": {"routes": {}}}, "ipam.routes: must be a list, not an object"),
        ({"ipam": {"routes": "10.0.0.0/8"}}, "ipam.routes: must be a list, not a string"),
        ({"subnetFile": 1}, "subnetFile: input should be a valid string, not 1"),
        ({"dataDir": 1}, "dataDir: input should be a valid string, not 1"),
        ({"runtimeConfig": []}, "runtimeConfig: input should be an object"),
    ],
)
def test_a_bad_configuration_is_refused_and_saves_nothing(call, conf, data_dir, keys, message):
    for verb in ("ADD", "STATUS"):
        outcome = call(verb, conf(**keys))

        assert (outcome.status, outcome.document["code"]) == (1, 7)
        assert outcome.document["msg"].startswith(message)
    assert names(data_dir) == []


@pytest.mark.parametrize(
    ("keys", "changes"),
    [
        ({}, {}),
        ({"delegate": None, "ipam": None, "runtimeConfig": None}, {}),
        ({"delegate": {"bridge": "br9"}}, {"bridge": "br9"}),
        ({"Delegate": {"bridge": "br9"}}, {"bridge": "br9"}),
        ({"delegate": {"mtu": 1400}}, {"mtu": 1400}),
        ({"delegate": {"ipMasq": False}}, {"ipMasq": False}),
        ({"delegate": {"ipMasq": None, "mtu": None}}, {"ipMasq": None, "mtu": None}),
        ({"delegate": {"isGateway": False}}, {"isGateway": False}),
        ({"delegate": {"isDefaultGateway": True}}, {"isDefaultGateway": True}),
        ({"delegate": {"cniVersion": "0.3.1"}}, {}),
        ({"runtimeConfig": {}}, {"runtimeConfig": {}}),
        (
            {"runtimeConfig": {"mac": "02:00:00:00:00:07"}, "capabilities": {"mac": True}},
            {"runtimeConfig": {"mac": "02:00:00:00:00:07"}},
        ),
        ({"dns": {"domain": "d"}, "prevResult": {"ips": []}, "unknown": 1}, {}),
        (
            {"ipam": {"dataDir": "/run/x", "ranges": [[{"subnet": "10.9.0.0/24"}]]}},
            {"ipam": {**IPAM, "dataDir": "/run/x"}},
        ),
        (
            {"ipam": {"routes": [{"dst": "10.0.0.0/8", "gw": "10.40.7.9"}]}},
            {
                "ipam": {
                    **IPAM,
                    "routes": [{"dst": "10.0.0.0/8", "gw": "10.40.7.9"}, *IPAM["routes"]],
                }
            },
        ),
        ({"ipam": {"type": "other"}}, {"ipam": {**IPAM, "type": "other"}}),
    ],
)
def test_the_delegate_gets_what_the_reference_would_give_it(
    call, conf, data_dir, recorder, keys, changes
):
    call.add(conf(**keys))

    assert recorded(recorder) == saved(data_dir) == {**DELEGATED, **changes}


def test_the_worked_example_of_the_reference(call, conf, recorder):
    call.add({**conf(delegate={"bridge": "br9"}), "cniVersion": "1.0.0"})

    assert (recorder / "ADD").read_text() == (
        '{"bridge":"br9","name":"f","type":"bridge","ipMasq":true,"mtu":1450,"isGateway":true,'
        '"cniVersion":"1.0.0","ipam":{"type":"host-local",'
        '"ranges":[[{"subnet":"10.40.7.0/24"}],[{"subnet":"fd40:0:0:7::/64"}]],'
        '"routes":[{"dst":"10.40.0.0/16"},{"dst":"fd40::/48"}]}}'
    )


def test_only_a_bridge_is_made_a_gateway(call, conf, recorder, plugin_directory):
    (plugin_directory / "other").symlink_to("bridge")

    call.add(conf(delegate={"type": "other"}))

    expected = {key: value for key, value in DELEGATED.items() if key != "isGateway"}
    assert recorded(recorder) == {**expected, "type": "other"}


def test_without_a_version_the_delegate_gets_none(call, conf, recorder):
    document = {key: value for key, value in conf().items() if key != "cniVersion"}

    assert call("ADD", document).status == 0

    assert "cniVersion" not in recorded(recorder)


def test_the_delegate_is_called_as_flannel_was(call, conf, recorder):
    call.add(conf(), CNI_ARGS="K=V")

    environ = (recorder / "ADD.env").read_text().splitlines()
    wanted = {"CNI_COMMAND": "ADD", "CNI_ARGS": "K=V", **call.environ}
    assert {f"{key}={value}" for key, value in wanted.items()} <= set(environ)


# --- subnet.env


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (V4, ([[{"subnet": "10.40.7.0/24"}]], ["10.40.0.0/16"])),
        (V6, ([[{"subnet": "fd40:0:0:7::/64"}]], ["fd40::/48"])),
        (
            V4.replace("10.40.0.0/16", "10.40.0.0/16,10.41.0.9/16,10.40.0.0/16"),
            ([[{"subnet": "10.40.7.0/24"}]], ["10.40.0.0/16", "10.41.0.0/16"]),
        ),
        (f"# comment\n\nOTHER\n{V4}\n", ([[{"subnet": "10.40.7.0/24"}]], ["10.40.0.0/16"])),
    ],
)
def test_networks_and_subnets_come_from_the_file(call, conf, recorder, subnet_file, env, expected):
    subnet_file.write_text(env)

    call.add(conf())

    ipam = recorded(recorder)["ipam"]
    assert (ipam["ranges"], [route["dst"] for route in ipam["routes"]]) == expected


@pytest.mark.parametrize(
    ("text", "masquerade"), [("true", False), ("false", True), ("TRUE", True), ("", True)]
)
def test_the_delegate_masquerades_if_flanneld_does_not(
    call, conf, recorder, subnet_file, text, masquerade
):
    subnet_file.write_text(ENV.replace("IPMASQ=false", f"IPMASQ={text}"))

    call.add(conf())

    assert recorded(recorder)["ipMasq"] is masquerade


ALL = (
    "FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU,"
    " FLANNEL_IPMASQ"
)


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        ("", f"is missing {ALL}: flanneld writes"),
        (V4.replace("FLANNEL_MTU", "MTU"), "is missing FLANNEL_MTU: flanneld writes"),
        (
            V4.replace("FLANNEL_SUBNET", "S"),
            "is missing FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET: flanneld",
        ),
        (V4.replace("/16", ""), "FLANNEL_NETWORK in "),
        (V4.replace("/16", ""), ": invalid CIDR address: 10.40.0.0: flanneld"),
        (V4.replace("10.40.7.1/24", ""), "FLANNEL_SUBNET in "),
        (V4.replace("10.40.0.0/16", "10.40.0.0/16,"), "invalid CIDR address: "),
        (V4.replace("1450", "-1"), 'subnet.env: "-1" is no number of bytes'),
        (V4.replace("1450", "4294967296"), 'subnet.env: "4294967296" is no number of bytes'),
        (V4.replace("1450", ""), 'subnet.env: "" is no number of bytes'),
        (V4.replace("FLANNEL_MTU=1450", "FLANNEL_MTU"), "has FLANNEL_MTU without a value"),
        (None, "subnet.env: No such file or directory: flanneld writes it as soon as it has a"),
    ],
)
def test_an_unusable_file_is_named_and_who_writes_it(
    call, conf, data_dir, subnet_file, env, complaint
):
    if env is None:
        subnet_file.unlink()
    else:
        subnet_file.write_text(env)

    added, status = call("ADD", conf()), call("STATUS", conf())

    assert (added.document["code"], status.document["code"]) == (11, 50)
    assert complaint in added.document["msg"]
    assert status.document["msg"] == added.document["msg"]
    assert str(subnet_file) in added.document["msg"]
    assert names(data_dir) == []


# --- state


def test_the_configuration_is_kept_for_del_as_the_reference_keeps_it(
    call, conf, data_dir, recorder
):
    call.add(conf())

    (file,) = data_dir.iterdir()
    assert file.name == "c1"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert list(json.loads(file.read_text())) == sorted([*DELEGATED, "cni.flannel/ifname"])


def test_del_gives_the_delegate_what_add_gave_it(call, conf, data_dir, recorder, subnet_file):
    call.add(conf(delegate={"bridge": "br9"}))
    subnet_file.unlink()

    for _ in range(2):
        assert call("DEL", conf(delegate={"name": "wrong"})).text == ""

    assert recorded(recorder, "DEL") == {**DELEGATED, "bridge": "br9"}
    assert names(data_dir) == []


def test_del_without_a_file_does_not_call_the_delegate(call, conf, recorder):
    assert call("DEL", conf()).text == ""
    assert not (recorder / "DEL").exists()


def test_del_keeps_the_file_until_the_delegate_has_succeeded(call, conf, data_dir, recorder):
    call.add(conf())
    (recorder / "fails").touch()

    outcome = call("DEL", conf())

    assert outcome.document == {"code": 42, "msg": "no luck"}
    assert names(data_dir) == ["c1"]
    (recorder / "fails").unlink()
    assert call("DEL", conf()).text == ""
    assert names(data_dir) == []


def test_del_takes_a_file_of_the_reference(call, conf, data_dir, recorder):
    data_dir.mkdir()
    (data_dir / "c1").write_text(json.dumps({**DELEGATED, "mtu": 1234}))

    assert call("DEL", conf()).text == ""

    assert recorded(recorder, "DEL")["mtu"] == 1234
    assert names(data_dir) == []


@pytest.mark.parametrize("content", ["", '{"name": "f", "ty', "[]", '{"name": "f"}', '{"type": 1}'])
def test_del_with_a_torn_file_uses_the_configuration_of_now(
    call, conf, data_dir, recorder, subnet_file, content
):
    data_dir.mkdir()
    (data_dir / "c1").write_text(content)
    subnet_file.rename(subnet_file.with_suffix(".gone"))

    assert call("DEL", conf()).text == ""
    assert names(data_dir) == ["c1"]
    assert not (recorder / "DEL").exists()

    subnet_file.with_suffix(".gone").rename(subnet_file)
    assert call("DEL", conf()).text == ""
    assert recorded(recorder, "DEL") == DELEGATED
    assert names(data_dir) == []


def test_add_heals_a_torn_file(call, conf, data_dir, recorder):
    data_dir.mkdir()
    (data_dir / "c1").touch()

    call.add(conf())

    assert names(data_dir) == ["c1"]
    assert saved(data_dir) == DELEGATED


def test_two_interfaces_of_a_container_keep_their_configurations_apart(
    call, conf, data_dir, recorder
):
    second = dataclasses.replace(call, ifname="eth1")
    call.add(conf())
    second.add(conf(name="g", delegate={"bridge": "br9"}))
    assert names(data_dir) == ["c1", "c1:eth1"]

    assert second("DEL", conf(name="g")).text == ""

    assert recorded(recorder, "DEL") == {**DELEGATED, "name": "g", "bridge": "br9"}
    assert second("DEL", conf(name="g")).text == ""
    assert second("DEL", conf()).text == ""
    assert names(data_dir) == ["c1"]
    assert call("DEL", conf()).text == ""
    assert recorded(recorder, "DEL") == DELEGATED
    assert names(data_dir) == []


def test_the_second_interface_keeps_its_file_when_the_first_one_is_gone(
    call, conf, data_dir, recorder
):
    second = dataclasses.replace(call, ifname="eth1")
    call.add(conf())
    second.add(conf())
    call("DEL", conf())

    second.add(conf(delegate={"bridge": "br9"}))

    assert names(data_dir) == ["c1:eth1"]
    assert second("CHECK", conf()).text == ""
    assert recorded(recorder, "CHECK")["bridge"] == "br9"


def test_a_file_of_the_reference_is_not_overwritten(call, conf, data_dir, recorder):
    """It may be of another interface."""
    data_dir.mkdir()
    (data_dir / "c1").write_text(json.dumps(DELEGATED))

    call.add(conf(delegate={"bridge": "br9"}))

    assert names(data_dir) == ["c1", "c1:eth0"]
    assert json.loads((data_dir / "c1").read_text()) == DELEGATED


def test_what_another_network_saved_for_the_container_is_not_used(call, conf, data_dir, recorder):
    call.add(conf())

    assert call("DEL", conf(name="g")).text == ""

    assert not (recorder / "DEL").exists()
    assert names(data_dir) == ["c1"]


@pytest.mark.parametrize("verb", ["DEL", "CHECK"])
def test_a_file_that_cannot_be_read_is_named(call, conf, data_dir, recorder, verb):
    (data_dir / "c1").mkdir(parents=True)

    outcome = call(verb, conf())

    assert outcome.document["msg"] == f"could not read {data_dir}/c1: Is a directory"


def test_a_data_directory_that_is_none_is_named(call, conf, data_dir, recorder):
    data_dir.touch()

    outcome = call("ADD", conf())

    assert outcome.document["msg"].startswith(
        f"could not save the delegate's configuration in {data_dir}: "
    )
    assert not (recorder / "ADD").exists()


@pytest.fixture
def leftover(call, conf, data_dir, recorder):
    """What two ADDs left that were killed before their file had its name."""
    for _ in range(2):
        pid = os.fork()
        if not pid:
            states.Path.rename = lambda *_: os._exit(9)
            call("ADD", conf())
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    return names(data_dir)


def test_killed_adds_leave_one_file_that_is_no_state(leftover):
    assert leftover == [".c1.new"]


@pytest.mark.parametrize("verbs", [["DEL"], ["GC"], ["ADD", "DEL"]], ids=str)
def test_what_a_killed_add_was_writing_goes(call, conf, data_dir, leftover, verbs):
    (data_dir / ".keep").touch()

    for verb in verbs:
        assert call(verb, conf(**{"cni.dev/valid-attachments": []})).status == 0

    assert names(data_dir) == [".keep"]


def test_del_leaves_what_was_written_for_other_containers(call, conf, data_dir, leftover):
    assert call("DEL", conf(), CNI_CONTAINERID="c2").text == ""

    assert names(data_dir) == leftover


# --- ADD that fails


def test_what_another_plugin_may_have_left_is_for_del(call, conf, data_dir, recorder):
    (recorder / "fails").touch()

    assert call("ADD", conf()).document == {"code": 42, "msg": "no luck"}

    assert names(data_dir) == ["c1"]


def test_a_delegate_that_is_not_there_saves_nothing(call, conf, data_dir, plugin_directory):
    (plugin_directory / "bridge").unlink()

    outcome = call("ADD", conf())

    assert outcome.document["msg"].startswith('failed to find plugin "bridge" in path [')
    assert names(data_dir) == []


@pytest.fixture
def bridged(conf, tmp_path):
    """Our own bridge, on the kernel in memory, which has no firewall."""
    ipam = {"dataDir": str(tmp_path / "leases")}
    return conf(delegate={"ipMasq": False}, ipam=ipam)


def test_our_own_bridge_is_called_in_this_process(call, bridged, data_dir, fake_kernel):
    document = call.add(bridged)

    assert [ip["address"] for ip in document["ips"]] == ["10.40.7.2/24", "fd40:0:0:7::2/64"]
    assert document["routes"] == IPAM["routes"]
    assert fake_kernel.namespaces[""].by_name["cni0"].mtu == 1450
    attached = {**bridged, "prevResult": document}
    for verb in ("CHECK", "STATUS", "DEL", "DEL"):
        assert call(verb, attached).text == "", verb
    assert "eth0" not in fake_kernel.namespaces["/run/netns/c1"].by_name
    assert names(data_dir) == []


def leases(tmp_path):
    return sorted(file.name for file in (tmp_path / "leases" / "f").glob("*[.:]*[0-9]"))


@pytest.mark.parametrize("again", [False, True])
def test_add_that_fails_at_any_step_leaves_nothing(
    call, bridged, data_dir, fake_kernel, tmp_path, again
):
    if again:
        call.add(bridged)
    before = fake_kernel.snapshot(), leases(tmp_path), saved_texts(data_dir)
    for number in range(1, 12):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", {**bridged, "delegate": {"ipMasq": False, "mtu": 1300}})
        fake_kernel.fail_at = 0

        assert outcome.status == 1
        now = fake_kernel.snapshot(), [one for one in leases(tmp_path) if "last" not in one]
        assert now == (before[0], [one for one in before[1] if "last" not in one])
        assert saved_texts(data_dir) == before[2]


def saved_texts(data_dir):
    return {name: (data_dir / name).read_text() for name in names(data_dir)}


# --- CHECK, GC, STATUS


def test_check_asks_the_delegate_with_its_configuration_and_the_result(
    call, conf, recorder, subnet_file
):
    result = {"cniVersion": "1.1.0", "ips": [{"address": "10.40.7.2/24"}]}
    call.add(conf())
    subnet_file.unlink()

    assert call("CHECK", conf(prevResult=result)).text == ""

    assert recorded(recorder, "CHECK") == {**DELEGATED, "prevResult": result}
    (recorder / "fails").touch()
    assert call("CHECK", conf(prevResult=result)).document["code"] == 42


@pytest.mark.parametrize("content", [None, ""])
def test_check_fails_if_del_could_not_work(call, conf, data_dir, recorder, content):
    call.add(conf())
    (data_dir / "c1").unlink()
    if content is not None:
        (data_dir / "c1").write_text(content)

    outcome = call("CHECK", conf())

    assert (
        f"the delegate's configuration of eth0 is gone from {data_dir}" in (outcome.document["msg"])
    )


def test_gc_forwards_the_list_and_drops_the_files_of_the_others(call, conf, data_dir, recorder):
    for container_id, ifname, network in (
        ("c1", "eth0", "f"),
        ("c1", "eth1", "f"),
        ("c2", "eth0", "f"),
        ("c3", "eth0", "g"),
    ):
        one = dataclasses.replace(call, container_id=container_id, ifname=ifname)
        one.add(conf(name=network))
    (data_dir / "go1").write_text(json.dumps(DELEGATED))
    (data_dir / "go2").write_text(json.dumps(DELEGATED))
    (data_dir / "torn").touch()
    valid = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "go1", "ifname": "eth7"}]

    assert call("GC", conf(**{"cni.dev/valid-attachments": valid})).text == ""

    assert recorded(recorder, "GC") == {**DELEGATED, "cni.dev/valid-attachments": valid}
    assert names(data_dir) == ["c1", "c3", "go1", "torn"]


def test_gc_lets_the_delegate_delete_what_its_own_gc_may_not_know(call, conf, data_dir, recorder):
    call.add(conf(delegate={"bridge": "br9"}), CNI_CONTAINERID="c2")

    assert call("GC", conf(**{"cni.dev/valid-attachments": []})).text == ""

    assert recorded(recorder, "DEL") == {**DELEGATED, "bridge": "br9"}
    environ = (recorder / "DEL.env").read_text().splitlines()
    wanted = {"CNI_COMMAND=DEL", "CNI_CONTAINERID=c2", "CNI_IFNAME=eth0", "CNI_NETNS="}
    assert wanted <= set(environ)


def test_gc_does_not_guess_the_interface_of_a_file_of_the_reference(call, conf, data_dir, recorder):
    data_dir.mkdir()
    (data_dir / "go1").write_text(json.dumps(DELEGATED))

    assert call("GC", conf(**{"cni.dev/valid-attachments": []})).text == ""

    assert not (recorder / "DEL").exists()
    assert names(data_dir) == []


def test_gc_keeps_the_file_of_what_the_delegate_cannot_delete(
    call, conf, data_dir, recorder, plugin_directory
):
    call.add(conf())
    plugin = plugin_directory / "bridge"
    plugin.write_text(plugin.read_text().replace("if test -e", "if test $CNI_COMMAND = DEL -o -e"))

    outcome = call("GC", conf(**{"cni.dev/valid-attachments": []}))

    assert outcome.document == {"code": 42, "msg": "no luck"}
    assert names(data_dir) == ["c1"]


def test_gc_without_a_list_removes_nothing(call, conf, data_dir, recorder):
    call.add(conf())

    assert call("GC", conf()).text == ""

    assert not (recorder / "GC").exists()
    assert names(data_dir) == ["c1"]


def test_gc_keeps_the_files_when_the_delegate_fails(call, conf, data_dir, recorder):
    call.add(conf())
    (recorder / "fails").touch()

    outcome = call("GC", conf(**{"cni.dev/valid-attachments": []}))

    assert outcome.document["code"] == 42
    assert names(data_dir) == ["c1"]


def test_status_is_the_delegates_when_flanneld_is_there(call, conf, recorder):
    assert call("STATUS", conf()).text == ""
    assert recorded(recorder, "STATUS") == DELEGATED

    (recorder / "fails").touch()
    assert call("STATUS", conf()).document["code"] == 42


def test_status_is_50_without_the_delegate(call, conf, plugin_directory):
    (plugin_directory / "bridge").unlink()

    document = call("STATUS", conf()).document

    assert document["code"] == 50
    assert document["msg"].startswith('failed to find plugin "bridge" in path [')
    assert document["msg"].endswith("]: install it into one of these, or correct delegate.type")


def test_with_an_empty_directory_there_is_nothing_to_delete(call, conf, recorder):
    assert call("DEL", conf(dataDir="")).text == ""
    assert call("CHECK", conf(dataDir="")).document["code"] == 7
    assert not (recorder / "DEL").exists()


def test_a_container_id_stays_in_the_directory(call, conf, recorder):
    assert call("ADD", conf(), CNI_CONTAINERID="../c1").document["code"] == 4
    assert list(recorder.iterdir()) == []
