"""The plugin dhcp: what it says to the daemon, and what it does when nobody answers."""

import dataclasses
import json
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from cni_ipam.dhcp import client, marks, protocol
from cnicore.errors import InvalidNetworkConfig
from cnicore.owner import Owner
from dhcp.daemons import scripted

OWN_NETNS = "/proc/self/ns/net"
LEASED = {
    "cniVersion": "1.1.0",
    "ips": [{"address": "192.168.1.5/24", "gateway": "192.168.1.1"}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "192.168.1.1"}],
}


def line(**members):
    return json.dumps({"cni.dhcp": 1, **members}).encode() + b"\n"


ACCEPTED = line(accepted=True, seconds=20)
DONE = line(result=None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "dhcp.sock"


@pytest.fixture
def lease_dir(tmp_path):
    return tmp_path / "leases"


@pytest.fixture
def network(path, lease_dir):
    """A configuration of the plugin; its keyword arguments go into the section `ipam`."""

    def configuration(**ipam):
        section = {"type": "dhcp", "daemonSocketPath": str(path), "leaseDir": str(lease_dir)}
        document = {"cniVersion": "1.1.0", "name": "lan", "type": "dhcp"}
        return {**document, "ipam": {**section, **ipam}}

    return configuration


@pytest.fixture
def caller(call):
    """Calls for this process's own namespace, which is one that everybody has."""
    return dataclasses.replace(call, netns=OWN_NETNS)


def add(caller, conf, **variables):
    return caller("ADD", conf, CNI_NETNS_OVERRIDE="1", **variables)


def record(directory, owner):
    """What marks need to see of a record."""
    directory.mkdir(exist_ok=True)
    document = {
        "format": 1,
        "network": owner.network,
        "containerID": owner.container_id,
        "ifname": owner.ifname,
    }
    (directory / f"{marks.stem(owner)}.json").write_text(json.dumps(document))


def ended(directory):
    return marks.marked(str(directory))


class TestWithADaemon:
    def test_add_asks_for_the_lease_and_passes_the_namespace(self, caller, network, path):
        conf = network(provide=[{"option": "12", "fromArg": "POD"}])
        with scripted(path, ACCEPTED, line(result=LEASED)) as heard:
            outcome = add(caller, conf, CNI_ARGS="POD=web;IgnoreUnknown=1")

        asked = json.loads(heard["line"])
        assert outcome.status == 0, outcome.text
        assert outcome.document == LEASED
        assert heard["descriptors"] == 1
        assert (asked["verb"], asked["containerID"], asked["ifname"]) == ("ADD", "c1", "eth0")
        assert (asked["netns"], asked["args"]) == (OWN_NETNS, "POD=web;IgnoreUnknown=1")
        assert asked["config"] == conf

    @pytest.mark.parametrize(
        ("verb", "more"),
        [
            ("DEL", {}),
            ("CHECK", {"prevResult": LEASED}),
            ("GC", {"cni.dev/valid-attachments": []}),
            ("STATUS", {}),
        ],
    )
    def test_the_other_verbs_ask_without_a_namespace(self, call, network, path, verb, more):
        with scripted(path, DONE) as heard:
            outcome = call(verb, {**network(), **more})

        assert (outcome.status, outcome.text) == (0, "")
        assert json.loads(heard["line"])["verb"] == verb
        assert heard["descriptors"] == 0

    @pytest.mark.parametrize("verb", ["DEL", "CHECK", "STATUS"])
    def test_what_the_daemon_reports_is_passed_on(self, call, network, path, verb):
        error = {"code": 11, "msg": "no DHCP server answered on eth0", "details": "see the log"}
        with scripted(path, ACCEPTED, line(error=error)):
            outcome = call(verb, {**network(), "prevResult": LEASED})

        assert (outcome.status, outcome.document) == (1, error)

    def test_an_answer_may_come_in_pieces(self, caller, network, path):
        data = ACCEPTED + line(result=LEASED)
        with scripted(path, *(data[index : index + 7] for index in range(0, len(data), 7))):
            assert add(caller, network()).document == LEASED

    def test_a_relative_namespace_is_made_absolute(self, call, network, path, monkeypatch):
        monkeypatch.chdir("/proc/self")
        with scripted(path, DONE) as heard:
            call("CHECK", {**network(), "prevResult": LEASED}, CNI_NETNS="ns/../ns/net")

        # lexically, as the reference does it; where /proc/self leads is another question
        assert json.loads(heard["line"])["netns"] == f"{Path.cwd()}/ns/net"

    def test_a_lease_of_nothing_is_an_error(self, caller, network, path):
        with scripted(path, DONE):
            assert "reported no lease" in add(caller, network()).document["msg"]

    def test_gc_without_a_list_asks_nobody(self, call, network):
        assert call("GC", network()).status == 0


class TestWithoutADaemon:
    def test_add_and_check_say_how_to_start_it(self, caller, network, path):
        outcomes = [
            add(caller, network()),
            caller("CHECK", {**network(), "prevResult": LEASED}),
        ]

        for outcome in outcomes:
            assert outcome.document == {
                "code": 11,
                "msg": f"ipam.daemonSocketPath: cannot reach the DHCP daemon at {path}:"
                ' No such file or directory: start it with "dhcp daemon"',
            }

    def test_status_answers_50(self, call, network, path):
        assert call("STATUS", network()).document["code"] == 50
        with closing(socket.socket(socket.AF_UNIX)) as stale:
            stale.bind(str(path))

        outcome = call("STATUS", network())

        assert outcome.document["code"] == 50
        assert f"at {path}: Connection refused: start it" in outcome.document["msg"]

    @pytest.mark.parametrize(
        ("socket_path", "message"),
        [
            ("/dev/null", "Connection refused"),
            ("/dev/null/x", "Not a directory"),
            ("/" + "x" * 200, "path too long"),
        ],
    )
    def test_a_path_that_cannot_be_a_socket_is_named(self, call, network, socket_path, message):
        outcome = call("STATUS", network(daemonSocketPath=socket_path))

        assert outcome.document["code"] == 50
        assert socket_path in outcome.document["msg"]
        assert message in outcome.document["msg"]

    def test_del_marks_what_is_recorded_and_may_be_repeated(self, call, network, lease_dir):
        owner = Owner("lan", "c1", "eth0")
        record(lease_dir, owner)

        outcomes = [call("DEL", network(), CNI_NETNS="") for _ in range(2)]

        assert [outcome.status for outcome in outcomes] == [0, 0]
        assert ended(lease_dir) == {marks.stem(owner)}
        (mark,) = lease_dir.glob("*.ended")
        assert stat.S_IMODE(mark.stat().st_mode) == 0o600

    @pytest.mark.parametrize("ipam", [None, {"type": "dhcp"}, {"type": "dhcp", "leaseDir": 7}])
    def test_del_of_what_never_was_succeeds_whatever_the_configuration(
        self, call, network, lease_dir, ipam
    ):
        assert call("DEL", {**network(), "ipam": ipam}).status == 0
        assert call("DEL", network(provide="x", request=7)).status == 0
        assert not lease_dir.exists()

    def test_gc_marks_what_is_not_valid(self, call, network, lease_dir):
        keep, drop = Owner("lan", "c1", "eth0"), Owner("lan", "c2", "eth0")
        for owner in (keep, drop, Owner("other", "c2", "eth0")):
            record(lease_dir, owner)
        valid = [{"containerID": "c1", "ifname": "eth0"}]

        outcome = call("GC", {**network(), "cni.dev/valid-attachments": valid})

        assert outcome.status == 0
        assert ended(lease_dir) == {marks.stem(drop)}

    def test_a_directory_that_cannot_be_written_to_is_named(self, call, network, tmp_path):
        wrong = tmp_path / "file"
        wrong.write_text("")
        assert call("DEL", network(leaseDir=str(wrong))).status == 0  # no record is in it
        owner = Owner("lan", "c1", "eth0")
        record(tmp_path / "leases", owner)
        (tmp_path / "leases" / f"{marks.stem(owner)}.ended").mkdir()

        outcome = call("DEL", network())

        assert outcome.status == 1
        assert "could not mark the ended lease in" in outcome.document["msg"]
        assert "(ipam.leaseDir)" in outcome.document["msg"]


class TestWithSomethingElse:
    @pytest.mark.parametrize(
        ("parts", "message"),
        [
            ([], "does not answer: it closed the connection without an answer: see its log"),
            ([ACCEPTED], "does not answer: it closed the connection without an answer"),
            ([b'{"cni.dhcp": 1'], "does not answer: it closed the connection"),
            (
                [b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request"],
                (
                    "is a daemon that speaks HTTP, which is the Go suite's:"
                    ' stop it and start "dhcp daemon" of this suite'
                ),
            ),
        ],
    )
    def test_it_is_no_daemon_of_ours_and_del_goes_on_without(
        self, call, network, path, lease_dir, parts, message
    ):
        record(lease_dir, Owner("lan", "c1", "eth0"))
        with scripted(path, *parts):
            outcome = call("STATUS", network())
        path.unlink()
        with scripted(path, *parts):
            deleted = call("DEL", network())

        assert outcome.document["code"] == 50
        assert message in outcome.document["msg"]
        assert deleted.status == 0
        assert len(ended(lease_dir)) == 1

    def test_one_that_is_silent_is_not_waited_for(self, call, network, path, monkeypatch):
        monkeypatch.setattr(client, "PROMPT", 0.2)
        with scripted(path, close=False):
            outcome = call("STATUS", network())

        assert "does not answer: no answer within 0.2 s" in outcome.document["msg"]

    def test_one_that_breaks_its_promise_is_not_waited_for(self, call, network, path, monkeypatch):
        monkeypatch.setattr(client, "GRACE", 0.2)
        with scripted(path, line(accepted=True, seconds=0), close=False):
            outcome = call("STATUS", network())

        assert outcome.document["code"] == 50

    def test_one_of_another_release_is_named(self, call, network, path):
        with scripted(path, b'{"cni.dhcp": 2, "result": null}\n'):
            outcome = call("STATUS", network())

        assert outcome.document["code"] == 1
        assert "restart the daemon" in outcome.document["msg"]

    def test_one_that_never_ends_its_line_is_not_listened_to(self, call, network, path):
        with scripted(path, b"x" * (protocol.LONGEST_LINE + 1), b"\n"):
            outcome = call("STATUS", network())

        assert outcome.document["code"] == 6


class TestWrongCalls:
    def test_a_wrong_key_is_named_before_anybody_is_asked(self, caller, network):
        outcomes = [
            add(caller, network(request=[{"option": "nope"}])),
            caller("STATUS", network(request=[{"option": "nope"}])),
        ]

        for outcome in outcomes:
            assert outcome.document["code"] == InvalidNetworkConfig.code
            assert 'ipam.request[0].option: Can not parse option "nope"' in outcome.document["msg"]

    def test_a_namespace_that_is_none_is_named(self, call, network):
        outcome = call("ADD", network(), CNI_NETNS="/run/netns/none")

        assert 'failed to open netns "/run/netns/none"' in outcome.document["msg"]

    def test_check_needs_the_result_of_the_add(self, call, network):
        assert call("CHECK", network()).document["msg"].startswith("Required prevResult missing")

    def test_without_ipam_it_says_so(self, caller, network):
        outcome = add(caller, {**network(), "ipam": None})

        assert outcome.document["msg"].startswith("IPAM config missing 'ipam' key")
