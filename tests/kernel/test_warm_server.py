"""The life of the server: its socket, its workers, its successor, and who knocks at its door."""

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from cnicore.warm import client
from conformance.minimal import MINIMAL
from conformance.stage import TIMEOUT
from kernel.dhcp_servers import eventually
from kernel.warm_cases import ALONE, SLOW_PTP, begun, go
from kernel.warm_server import IMPORT, NO_WAY_BACK, SOCKET, Launcher, answer_of, connected, serving

pytestmark = pytest.mark.kernel

SITE = Path("/run/site")
ACTIVATE = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
os.makedirs("/run/cni", 0o700)
listener.bind("/run/cni/cni.sock")
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
environ = {**os.environ, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execve(sys.argv[1], sys.argv[1:], environ)
"""
ACTIVATED = ["python3", "-c", ACTIVATE]
HEAD = client.MAGIC + client.number(4)


@pytest.fixture
def strict(host):
    """The host, where the server has to answer."""
    host.use("strict")
    return host


@pytest.fixture
def site(host):
    """The host, whose plugins may also come from a directory of the test's."""
    SITE.mkdir()
    path = f"sys.path += [{str(SITE)!r}]\n"
    host.write("site", {IMPORT: path + IMPORT})
    host.write("strict site", {IMPORT: path + NO_WAY_BACK + IMPORT})
    return host


def install(host, plugin):
    """Put a distribution with one plugin into the site, as an installer does."""
    (SITE / f"{plugin}.py").write_text(MINIMAL)
    info = SITE / f"{plugin}-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(f"[cni.plugins]\n{plugin} = {plugin}\n")
    for suite in ("site", "strict site"):
        Path("/run/suites", suite, plugin).symlink_to("cni")


def is_served(host, plugin):
    host.use("strict site")
    conf = {"cniVersion": "1.1.0", "name": "net", "type": plugin}
    return host("ADD", conf).status == 0


@pytest.mark.parametrize("prefix", [[], ACTIVATED], ids=["own socket", "systemd's socket"])
def test_it_notices_what_is_installed_again_and_again(site, prefix):
    with serving(suite="site", prefix=prefix) as server:
        for plugin in ("acme1", "acme2", "acme3"):
            workers = server.workers
            install(site, plugin)
            site.use("site")
            assert site("ADD", ALONE, name=plugin).status == 0  # by itself
            server.wait_for_workers(2, *workers)
            assert is_served(site, plugin), server.log
        assert server.end() == 0, server.log
        assert SOCKET.exists() == bool(prefix)


def test_a_request_goes_on_while_it_begins_again(site):
    site.slow()
    site.use("strict site")
    with serving(suite="site") as server:
        workers = server.workers
        process = begun(site)
        install(site, "acme1")
        site.use("site")
        assert site("ADD", ALONE).status == 0
        eventually(lambda: is_served(site, "acme1"))
        go()
        assert answer_of(process).status == 0
        eventually(lambda: not {*workers} & {*server.workers})
        for _ in range(6):  # both new workers still take calls
            assert is_served(site, "acme1"), server.log


def test_a_successor_takes_over_after_it_has_begun_again(site):
    with serving(suite="site") as first:
        workers = first.workers
        install(site, "acme1")
        site.use("site")
        assert site("ADD", ALONE).status == 0
        first.wait_for_workers(2, *workers)
        with serving(suite="site"):
            assert first.process.wait(TIMEOUT) == 0
            assert is_served(site, "acme1")


def test_a_successor_takes_over_and_no_call_fails(strict):
    statuses, is_over = [], threading.Event()

    def call():
        while not is_over.is_set() and len(statuses) < 1000:
            answer = strict("VERSION", b"", plugin="ptp")
            statuses.append(answer.status or 0)

    threads = [threading.Thread(target=call) for _ in range(2)]
    with serving() as first:
        for thread in threads:
            thread.start()
        with serving():
            assert first.process.wait(TIMEOUT) == 0
            count = len(statuses)
            eventually(lambda: len(statuses) > count + 5)
            is_over.set()
            for thread in threads:
                thread.join()
        assert first.log == ""

    assert set(statuses) == {0}


def test_a_successor_waits_for_what_has_begun(strict):
    strict.slow()
    with serving() as first:
        process = begun(strict)
        with serving():
            assert strict("VERSION", b"", plugin="ptp").status == 0
            assert first.process.poll() is None
            go()
            assert answer_of(process).status == 0
            assert first.process.wait(TIMEOUT) == 0
            assert strict("DEL", SLOW_PTP).status == 0


def test_it_does_not_take_a_socket_from_others(host):
    SOCKET.parent.mkdir()
    SOCKET.write_text("")
    done = host.sandbox.shell("/run/suites/warm/cni serve 2>&1 || echo $?")

    assert done == f"Error: {SOCKET} is no socket: remove it, or choose another --socket\n1\n"
    assert SOCKET.read_text() == ""


def test_systemd_makes_its_socket_and_hears_of_it(strict):
    news = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    news.settimeout(TIMEOUT)
    with news:
        news.bind("/run/notify")
        with serving(prefix=ACTIVATED, environ={"NOTIFY_SOCKET": "/run/notify"}) as server:
            assert news.recv(99) == b"READY=1"
            assert strict("ADD", ALONE).status == 0
            refused = strict.sandbox.shell("/run/suites/warm/cni serve 2>&1 || echo $?")
            assert refused.startswith(f"Error: systemd listens on {SOCKET}: use `systemctl")
            assert server.end() == 0
            assert news.recv(99) == b"STOPPING=1"
    assert SOCKET.is_socket()  # it is systemd's


STRANGE = [
    (b"", 0),
    (b"junk of nobody", 4),
    (client.MAGIC + client.number(client.LARGEST + 1), 4),
    (HEAD + b"abcd", 0),
    (HEAD + b"abcd", 3),
    (HEAD + b"abcd", 4),
    (HEAD + b"ab", 4),
    (client.sections(b"x", b"y", b"z"), 4),
    (client.sections(b"x", b"y", b"z", b"", b""), 4),
]


def test_strange_guests_harm_nobody(strict):
    with serving() as server:
        workers = server.workers
        for data, files in STRANGE:
            with connected() as guest:
                if data:
                    socket.send_fds(guest, [data], [2] * files)
                guest.shutdown(socket.SHUT_WR)
                with suppress(ConnectionResetError):  # not all of it was read
                    assert guest.recv(99) == b""
        with connected():  # and one that says nothing
            for _ in range(4):
                assert strict("VERSION", b"", plugin="ptp").status == 0
        assert server.workers == workers
        assert server.log == ""


def test_callers_wait_for_their_turn(strict):
    with serving(workers=2):
        names = [f"c{number}" for number in range(16)]
        answers = [answer_of(one) for one in [strict.start("ADD", ALONE, name=n) for n in names]]

    assert {answer.status for answer in answers} == {0}
    assert len({answer.document["ips"][0]["address"] for answer in answers}) == 16


def test_workers_are_replaced_after_some_calls(strict):
    seen = set()
    with serving("--calls", "3", workers=1) as server:
        for _ in range(7):
            assert strict("VERSION", b"", plugin="ptp").status == 0
            seen.update(server.workers)
        eventually(lambda: seen.update(server.workers) or len(seen) >= 3)
        assert len(seen) == 3
        assert server.log == ""


def test_workers_are_replaced_when_they_need_much(strict):
    with serving("--memory", "64", workers=1):
        assert strict("ADD", ALONE).status == 0


def test_workers_do_not_grow(host):
    launcher = Launcher(host.identity())
    with serving(workers=1) as server:
        (worker,) = server.workers

        def rounds(count):
            for _ in range(count):
                assert launcher("ADD", ALONE)[0] == launcher("DEL", ALONE)[0] == 0
            return memory(worker)

        before = rounds(100)
        after = rounds(200)
        assert server.workers == [worker]

    assert after < before + (1 << 20)


def memory(process):
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
