"""Who dies in the middle: launcher, worker or server; nothing is left, doubled or wrong."""

import os
import signal
import threading

import pytest

from conformance.stage import TIMEOUT
from kernel.dhcp_servers import eventually
from kernel.warm_cases import ALONE, LEASED, NET, SLOW_PTP, begun, both, go, said, wait_for_begin
from kernel.warm_server import SLOW, SOCKET, answer_of, is_alive, serving

pytestmark = pytest.mark.kernel

BRIDGE = {**NET, "type": "bridge", "bridge": "br0", "ipam": SLOW_PTP["ipam"]}
PLAIN = {**NET, "type": "ptp", "ipam": LEASED}
NOT_IN_TIME = "not done after 1 seconds (--seconds of `cni serve`); what was made is taken back"
CLIENTS, ROUNDS = 8, 60


@pytest.fixture
def slow(host):
    """The host, with a foreign IPAM plugin whose ADD answers when it may."""
    host.slow()
    host.sandbox.shell("nft list ruleset")
    return host


def test_a_launcher_that_is_terminated_says_that_all_is_taken_back(slow):
    before = slow.left()

    def act():
        process = begun(slow)
        process.terminate()
        go()
        answer = answer_of(process)
        log = said()
        for name in ("log", "go"):
            (SLOW / name).unlink()
        return answer.status, answer.document, log, slow.left()

    with serving():
        cold, warm = both(slow, act)

    assert warm == cold
    assert warm[0] == 1
    assert "terminated by SIGTERM" in warm[1]["msg"]
    assert warm[2:] == (["ADD", "DEL"], before)


def test_what_a_killed_launcher_began_is_taken_back(slow):
    before = slow.left()
    with serving() as server:
        workers = server.workers
        process = begun(slow)
        process.kill()
        process.wait(TIMEOUT)
        go()
        answer_of(process)

        eventually(lambda: said() == ["ADD", "DEL"], lambda: str(said()))
        eventually(lambda: slow.left() == before, lambda: str(slow.left()))
        assert server.workers == workers


def test_what_a_killed_launcher_began_elsewhere_is_taken_back(slow):
    """A child of the worker does it, in the namespace of the caller."""
    slow.sandbox.container("other")
    before = slow.left("c1", "other")
    with serving():
        process = begun(slow, prefix=["nsenter", "--net=/run/netns/other"])
        process.kill()
        process.wait(TIMEOUT)
        go()
        answer_of(process)

        eventually(lambda: said() == ["ADD", "DEL"], lambda: str(said()))
        eventually(lambda: slow.left("c1", "other") == before)


def test_without_its_worker_a_launcher_does_the_work_itself(slow):
    with serving(workers=1) as server:
        (worker,) = server.workers
        process = begun(slow)
        os.kill(worker, signal.SIGKILL)
        wait_for_begin(2)  # the second attempt
        go()
        answer = answer_of(process)

        assert answer.status == 0, answer
        assert answer.document["ips"][0]["address"] == "10.9.0.2/24"
        assert said() == ["ADD", "DEL", "ADD"]
        server.wait_for_workers(1, worker)
        assert slow.left()["host"].count("veth") == 1
        assert slow("CHECK", {**SLOW_PTP, "prevResult": answer.document}).status == 0
        slow.use("strict")
        assert slow("DEL", SLOW_PTP).status == 0
    assert slow.left()["host"].count("veth") == 0
    assert slow.left()["files"] == ""


def test_a_call_of_a_server_that_is_killed_is_finished(slow):
    slow.use("strict")
    with serving() as server:
        workers = server.workers
        process = begun(slow)
        server.end(signal.SIGKILL)
        go()

        assert answer_of(process).status == 0
        eventually(lambda: not any(map(is_alive, workers)))
        slow.use("warm")
        assert slow("DEL", SLOW_PTP).status == 0  # there is no server, only its socket
        assert SOCKET.is_socket()


def test_a_call_of_a_server_that_is_terminated_is_finished(slow):
    slow.use("strict")
    with serving() as server:
        process = begun(slow)
        server.process.terminate()
        eventually(lambda: not SOCKET.exists())
        slow.use("warm")
        assert slow("VERSION", b"", plugin="ptp").status == 0  # by itself
        assert server.process.poll() is None
        go()

        assert answer_of(process).status == 0
        assert server.process.wait(TIMEOUT) == 0
        assert server.log == ""
    assert slow("DEL", SLOW_PTP).status == 0


@pytest.mark.parametrize("conf", [SLOW_PTP, BRIDGE], ids=lambda conf: conf["type"])
def test_what_takes_too_long_is_taken_back(slow, conf):
    slow.use("strict")
    before = slow.left()
    with serving("--seconds", "1"):
        process = slow.start("ADD", conf)
        timer = threading.Timer(1.5, go)
        timer.start()
        answer = answer_of(process)
        timer.join()

        assert (answer.status, answer.document["msg"]) == (1, NOT_IN_TIME)
        assert said() == ["ADD", "DEL"]
        left = slow.left()
        assert left["files"] == before["files"]
        assert left["c1"] == before["c1"]
        assert "veth" not in left["host"]
        assert slow("VERSION", b"", plugin="ptp").status == 0


def test_foreign_plugins_may_call_ours_while_all_workers_wait_for_them(slow):
    """For example somebody else's bridge with our host-local."""
    (SLOW / "slow").write_text('#!/bin/sh\nexec /run/cni-bin/host-local "$@"\n')
    conf = {**SLOW_PTP, "ipam": {**ALONE["ipam"], "type": "slow"}}
    with serving("--seconds", "20", workers=1):
        answer = slow("ADD", conf)

        assert answer.status == 0, answer
        assert slow("DEL", conf).status == 0


def attach(host, name, wrong):
    """Attach and detach the container again and again; `wrong` gets what is not as it should be."""
    for _ in range(ROUNDS // CLIENTS + 1):
        for verb in ("ADD", "DEL"):
            answer = host(verb, PLAIN, name=name)
            documents = [answer.document] if answer.stdout else []
            if answer.status or len(documents) != (verb == "ADD"):
                wrong.append((name, verb, answer))


def kill_workers(server, is_over, killed):
    while not is_over.wait(0.2):
        for worker in server.workers[:1]:
            killed.append(worker)
            os.kill(worker, signal.SIGKILL)


def test_nothing_fails_while_workers_are_killed(host):
    names = [f"c{number}" for number in range(2, 2 + CLIENTS)]
    host.sandbox.shell("\n".join(f"ip netns add {name}" for name in names))
    assert host("ADD", PLAIN).status == host("DEL", PLAIN).status == 0
    before = host.left(*names)
    wrong, killed, is_over = [], [], threading.Event()
    with serving(workers=4) as server:
        killer = threading.Thread(target=kill_workers, args=(server, is_over, killed))
        threads = [threading.Thread(target=attach, args=(host, name, wrong)) for name in names]
        for thread in (killer, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        is_over.set()
        killer.join()

    assert wrong == []
    assert len(killed) > 5
    assert host.left(*names) == before
