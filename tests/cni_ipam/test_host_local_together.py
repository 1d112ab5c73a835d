"""Many calls at once on one directory, and the reference's program beside ours."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

GO = Path("/usr/lib/cni/host-local")
OURS = """
import json, os, sys
from cnicore.main import answer_as
stdin = sys.stdin.buffer.read()
for name in sys.argv[2:]:
    environ = {"CNI_COMMAND": sys.argv[1], "CNI_CONTAINERID": name, "CNI_NETNS": "/run/netns/none",
               "CNI_IFNAME": "eth0", "CNI_PATH": "/none"}
    answer = answer_as("host-local", environ, lambda: stdin)
    print(json.dumps({"status": answer.status, "text": answer.text}))
"""


def call_ours(verb, conf, *names):
    """Call our plugin in a process of its own, once for each container; returns the answers."""
    done = subprocess.run(
        [sys.executable, "-c", OURS, verb, *names],
        input=json.dumps(conf).encode(),
        capture_output=True,
        check=True,
        timeout=120,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [(one["status"], json.loads(one["text"] or "null")) for one in answers]


def call_go(verb, conf, *names):
    """Call the reference's program, once for each container; returns the answers."""
    answers = []
    for name in names:
        environ = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": name,
            "CNI_NETNS": "/run/netns/none",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/none",
        }
        done = subprocess.run(
            [GO],
            input=json.dumps(conf).encode(),
            env=environ,
            capture_output=True,
            check=False,
            timeout=60,
        )
        answers.append((done.returncode, json.loads(done.stdout or "null")))
    return answers


def addresses_in(answers):
    return [ip["address"].partition("/")[0] for _, document in answers for ip in document["ips"]]


def test_32_threads_get_32_addresses(call, network, files):
    conf = network()

    with ThreadPoolExecutor(32) as pool:
        documents = list(
            pool.map(lambda number: call.add(conf, CNI_CONTAINERID=f"c{number}"), range(32))
        )

    addresses = sorted(int(one["ips"][0]["address"].split(".")[3][:-3]) for one in documents)
    assert addresses == list(range(2, 34))
    assert len(files()) == 32 + 2


def test_32_processes_get_32_addresses_and_give_them_back(call, network, files):
    """Forked, as the workers of the server are; starting 32 interpreters takes too long."""
    conf = network(ranges=[[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00::/64"}]])

    def in_processes(verb):
        children = []
        for number in range(32):
            child = os.fork()
            if child == 0:
                os._exit(call(verb, conf, CNI_CONTAINERID=f"c{number}").status)
            children.append(child)
        return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

    assert in_processes("ADD") == [0] * 32
    held = {name: data for name, data in files().items() if b"\r\n" in data}
    assert len(held) == 64
    assert sorted(held.values()) == sorted(2 * [f"c{n}\r\neth0".encode() for n in range(32)])

    assert in_processes("DEL") == [0] * 32
    assert sorted(files()) == ["last_reserved_ip.0", "last_reserved_ip.1", "lock"]


def test_when_16_ask_for_the_last_five_addresses_five_get_one(call, network):
    conf = network(ranges=[[{"subnet": "10.9.0.0/29"}]])

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(
            pool.map(lambda number: call("ADD", conf, CNI_CONTAINERID=f"c{number}"), range(16))
        )

    assert sorted(outcome.status for outcome in outcomes) == [0] * 5 + [1] * 11


conformance = [
    pytest.mark.conformance,
    pytest.mark.skipif(not GO.exists(), reason="needs Debian's containernetworking-plugins"),
]


class TestBesideTheReference:
    pytestmark = conformance

    @pytest.fixture
    def conf(self, network):
        ranges = [[{"subnet": "10.1.2.0/24"}], [{"subnet": "2001:db8:1::/64"}]]
        return network("1.0.0", ranges=ranges)

    def test_the_same_call_leaves_the_same_files_and_result(self, conf, data_dir, tmp_path):
        routes = [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16", "gw": "10.1.2.9"}]
        conf["ipam"]["routes"] = routes
        conf["cniVersion"] = (
            "0.4.0"  # since 1.0.0 an empty dns is left out; Debian's release prints it
        )
        other = {**conf, "ipam": {**conf["ipam"], "dataDir": str(tmp_path / "go")}}

        ours, theirs = call_ours("ADD", conf, "cid1"), call_go("ADD", other, "cid1")

        def look(directory):
            # Debian's release makes 0644 of what newer ones make 0600
            return {
                path.name: (path.stat().st_mode & 0o700, path.read_bytes())
                for path in directory.iterdir()
            }

        assert ours == theirs
        assert look(data_dir / "mynet") == look(tmp_path / "go" / "mynet")

    @pytest.mark.parametrize(("add", "delete"), [(call_ours, call_go), (call_go, call_ours)])
    def test_each_gives_back_and_checks_what_the_other_reserved(self, conf, files, add, delete):
        add("ADD", conf, "cid1", "cid2")

        assert delete("CHECK", conf, "cid1", "cid2") == [(0, None), (0, None)]
        assert delete("ADD", conf, "cid1")[0][0] == 1
        assert delete("DEL", conf, "cid1", "cid1") == [(0, None), (0, None)]

        assert addresses_in(delete("ADD", conf, "cid3")) == ["10.1.2.4", "2001:db8:1::4"]
        held = {name for name, data in files().items() if data.endswith(b"eth0")}
        assert held == {"10.1.2.3", "2001:db8:1::3", "10.1.2.4", "2001:db8:1::4"}

    def test_both_at_once_give_no_address_twice(self, conf, files):
        ours = [[f"ours-{batch}-{n}" for n in range(10)] for batch in range(3)]
        theirs = [[f"go-{batch}-{n}" for n in range(10)] for batch in range(3)]

        with ThreadPoolExecutor(6) as pool:
            answers = [pool.submit(call_ours, "ADD", conf, *names) for names in ours]
            answers += [pool.submit(call_go, "ADD", conf, *names) for names in theirs]
            given = [address for one in answers for address in addresses_in(one.result())]

        assert len(given) == len(set(given)) == 120
        assert len([name for name, data in files().items() if data.endswith(b"eth0")]) == 120

        call_go("DEL", conf, *(name for names in ours for name in names))
        call_ours("DEL", conf, *(name for names in theirs for name in names))
        assert sorted(files()) == ["last_reserved_ip.0", "last_reserved_ip.1", "lock"]
