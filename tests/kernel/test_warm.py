"""Answers of the server: the same as without it, whoever calls and from wherever."""

import os
import shutil
import signal
from functools import partial

import pytest

from conformance.snapshot import Symbols, snapshot
from conformance.stage import DATA, PLUGINS
from kernel.warm_cases import (
    ALONE,
    BRIDGE,
    FIREWALL,
    LEASED,
    LOOPBACK,
    PORTMAP,
    PTP,
    SLOW_PTP,
    both,
)
from kernel.warm_server import SOCKET, answer_of, serving

pytestmark = pytest.mark.kernel

ATTACHMENTS = [{"containerID": "c1", "ifname": "eth0"}]


def play(host, conf):
    """An attachment's life: what was answered, and what was there meanwhile and afterwards."""
    symbols, answers = Symbols(""), []

    def call(verb, **keys):
        answer = host(verb, {**conf, **keys})
        texts = [symbols.apply(part.decode()) for part in (answer.stdout, answer.stderr)]
        answers.append((verb, answer.status, *texts))
        return answer

    added = host("ADD", conf)
    before = {} if "prevResult" in conf else {"prevResult": added.document}
    there = snapshot(host.sandbox, ["c1"], symbols)
    answers.append(("ADD", added.status, symbols.apply(added.stdout.decode())))
    call("CHECK", **before)
    call("STATUS")
    call("VERSION")
    call("GC", **{"cni.dev/valid-attachments": ATTACHMENTS})
    kept = snapshot(host.sandbox, ["c1"], symbols)
    call("GC", **{"cni.dev/valid-attachments": []})
    call("CHECK", **before)
    call("DEL", **before)
    call("DEL")
    gone = snapshot(host.sandbox, ["c1"], symbols)
    shutil.rmtree(DATA, ignore_errors=True)  # it remembers the last address
    return answers, there, kept, gone


@pytest.mark.parametrize(
    "conf", [PTP, BRIDGE, PORTMAP, FIREWALL, ALONE, LOOPBACK], ids=lambda conf: conf["type"]
)
def test_a_life_is_the_same(host, conf):
    with serving():
        cold, warm = both(host, lambda: play(host, conf))

    assert [answer[1] for answer in cold[0][:5]] == [0] * 5
    assert warm == cold


WRONG = [
    ("ADD", b"", {}),
    ("ADD", b'{"cniVersion": ', {}),
    ("ADD", b"\xff\x00", {}),
    ("ADD", {**PTP, "cniVersion": "9.9.9"}, {}),
    ("ADD", {**PTP, "mtu": -1, "ipMasq": 3}, {}),
    ("ADD", {**PTP, "ipam": {"type": "nobody"}}, {}),
    ("ADD", {**PTP, "ipam": {"type": "../cni"}}, {}),
    ("ADD", {**PTP, "ipam": {**LEASED, "ranges": [[{"subnet": "10.1.0.0/33"}]]}}, {}),
    ("ADD", PTP, {"CNI_NETNS": "/run/netns/none"}),
    ("ADD", PTP, {"CNI_NETNS": "/proc/self/ns/net"}),
    ("ADD", PTP, {"CNI_IFNAME": None}),
    ("ADD", PTP, {"CNI_IFNAME": "a name that is too long"}),
    ("ADD", PTP, {"CNI_CONTAINERID": "../c1"}),
    ("ADD", PTP, {"CNI_PATH": "/nowhere"}),
    ("ADD", PTP, {"CNI_ARGS": "no pair"}),
    ("CHECK", PTP, {}),
    ("SING", PTP, {}),
]


def test_what_fails_fails_in_the_same_words(host):
    before = {**host.left(), "rules": ""}

    def act():
        for verb, stdin, variables in WRONG:
            plugin = {} if isinstance(stdin, dict) else {"plugin": "ptp"}
            yield host(verb, stdin, variables=variables, **plugin)

    with serving() as server:
        workers = server.workers
        cold, warm = both(host, lambda: [*act()])
        assert server.workers == workers  # nobody had to be replaced

    assert [answer.status for answer in cold] == [1] * len(WRONG)
    assert warm == cold
    assert {**host.left(), "rules": ""} == before


def test_it_works_in_the_network_namespace_of_the_caller(host):
    host.sandbox.container("other")
    before = host.left()
    inside = ["nsenter", "--net=/run/netns/other"]
    with serving():
        host.use("strict")
        answer = host("ADD", BRIDGE, prefix=inside)

        assert answer.status == 0, answer
        assert "br0" in host.sandbox.shell("ip link", "other")
        assert host.left()["host"] == before["host"]
        assert host("DEL", BRIDGE, prefix=inside).status == 0
    assert host.left() == {**before, "rules": host.left()["rules"]}


def test_it_works_in_the_mount_namespace_of_the_caller(host):
    host.use("strict")
    elsewhere = (
        "mount --make-rprivate / && mount -t tmpfs none /run/netns && ip netns add inner &&"
        ' mount -t tmpfs none /run/cni-data && "$0" && ip -n inner -4 addr >&2 &&'
        " ls /run/cni-data/net >&2"
    )
    DATA.mkdir()
    with serving():
        answer = host("ADD", PTP, name="inner", prefix=["unshare", "-m", "sh", "-c", elsewhere])

    assert answer.status == 0, answer
    assert answer.document["ips"][0]["address"] == "10.1.0.2/24"
    assert b"inet 10.1.0.2/24" in answer.stderr
    assert b"10.1.0.2\n" in answer.stderr
    assert host.left()["files"] == ""


def test_workers_are_at_home_again_after_a_call_from_elsewhere(host):
    host.sandbox.container("other")
    with serving(workers=1) as server:
        host.use("strict")
        workers = server.workers
        for prefix in (["nsenter", "--net=/run/netns/other"], []):
            assert host("ADD", PTP, prefix=prefix).status == 0
            assert host("DEL", PTP, prefix=prefix).status == 0
        assert server.workers == workers


def test_words_go_to_the_stderr_of_the_caller(host):
    host.slow()
    (PLUGINS.parent / "slow" / "go").touch()
    with serving() as server:
        cold, warm = both(host, lambda: [host(verb, SLOW_PTP).stderr for verb in ("ADD", "DEL")])

        assert warm == cold == [b"said by ADD\n", b"said by DEL\n"]
        assert server.log == ""


def test_the_program_may_be_called_by_a_relative_path(host):
    with serving():
        host.use("strict")
        process = host.start(
            "ADD", ALONE, prefix=["sh", "-c", f"cd {PLUGINS} && exec ./host-local"]
        )
        assert answer_of(process).status == 0


@pytest.mark.parametrize("verb", ["ADD", "DEL", "VERSION"])
def test_callers_that_close_standard_files_get_what_they_got(host, verb):
    def act(closed):
        answer = host(verb, ALONE, preexec_fn=lambda: [os.close(number) for number in closed])
        left = host.left()["files"]
        shutil.rmtree(DATA, ignore_errors=True)
        return answer.status, answer.stdout, left

    with serving():
        for closed in ((0,), (1,), (2,), (0, 1, 2)):
            host.use("cold")
            cold = act(closed)
            host.use("warm")
            assert act(closed) == cold


@pytest.mark.parametrize("stdout", ["full", "unread"])
def test_an_add_whose_answer_cannot_be_written_is_taken_back(host, stdout):
    def act(conf):
        if stdout == "full":
            file = os.open("/dev/full", os.O_WRONLY)
        else:
            reader, file = os.pipe()
            os.close(reader)
        try:
            answer = host("ADD", conf, stdout=file)
        finally:
            os.close(file)
        return answer.status, answer.stderr, {**host.left(), "rules": ""}

    before = {**host.left(), "rules": ""}
    with serving():
        for conf in (PTP, ALONE):
            cold, warm = both(host, partial(act, conf))
            assert warm == cold
            assert (warm[0], warm[2]) == (1, before)


def test_a_large_configuration_is_run_without_the_server(host):
    host.use("warm")
    with serving():
        answer = host("ADD", {**ALONE, "unknown": "x" * (5 << 20)})

    assert answer.status == 0, answer


@pytest.mark.parametrize("may_connect", [False, True])
def test_who_is_not_root_is_not_served(host, may_connect):
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with serving() as server:
        assert SOCKET.stat().st_mode & 0o777 == 0o600
        assert SOCKET.parent.stat().st_mode & 0o777 == 0o700
        if may_connect:
            SOCKET.parent.chmod(0o755)
            SOCKET.chmod(0o666)
        workers = server.workers
        cold, warm = [answer(host, suite, nobody) for suite in ("cold", "warm")]
        assert server.workers == workers

    assert warm == cold
    assert warm.status == 1
    assert host.left()["files"] == ""


def answer(host, suite, prefix):
    host.use(suite)
    return host("ADD", PTP, prefix=prefix)


def test_a_launcher_of_another_installation_does_the_work_itself(host):
    other = "sys.path += ['/run/other']\nfrom cnicore.warm.client import main\n"
    line = "from cnicore.warm.client import main\n"
    host.write("other", {line: other})
    host.write("other strict", {line: 'sys.modules["cnicore.main"] = None\n' + other})
    with serving():
        host.use("other strict")
        refused = host("VERSION", b"", plugin="ptp")
        host.use("other")
        served = host("ADD", ALONE)

    assert (refused.status, refused.stdout) == (1, b"")
    assert b"cnicore.main" in refused.stderr
    assert served.status == 0, served


def test_without_a_server_nobody_misses_it(host):
    with serving() as server:
        server.end(signal.SIGKILL)

    assert SOCKET.is_socket()
    assert host("ADD", ALONE).status == 0
    with serving():
        host.use("strict")
        assert host("DEL", ALONE).status == 0
    assert not SOCKET.exists()
