"""bridge on the real kernel: a failed ADD takes back what it made, while another ADD comes."""

import dataclasses
import errno
import os
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from cnicore.net.bridges import DIRECTORY
from cnicore.net.netlink import KernelError
from cnicore.testing.faults import FaultyKernel

pytestmark = pytest.mark.kernel

LAYER_2 = {"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0"}
GATEWAY = {
    **LAYER_2,
    "isGateway": True,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
    },
}
REFUSED = {**GATEWAY["ipam"], "routes": [{"dst": "1.0.0.0/8", "scope": 254}]}
PATIENCE = 60  # seconds, on a loaded machine
ROUNDS = 15


class StagedKernel(FaultyKernel):
    """Does something before some calls: `scenes` has, by the call's name, what is played once.

    None stands for a failure.
    """

    def __init__(self, scenes):
        super().__init__()
        self.scenes = dict(scenes)

    def note(self, act):
        super().note(act)
        if act in self.scenes:
            scene = self.scenes.pop(act)
            if scene is None:
                raise KernelError(act, errno.EIO, "injected")
            scene()


class Attempt:
    """An ADD in a thread of its own."""

    def __init__(self, caller, conf, scenes=None):
        self.caller, self.conf = caller, conf
        self.kernel = StagedKernel(scenes or {})
        self.outcome = None
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        with self.kernel.in_place():
            self.outcome = self.caller("ADD", self.conf)

    def start_and_get_stuck(self):
        """Start it, and return when it waits for the lock, or is done without."""
        self.thread.start()
        self.get_stuck()

    def get_stuck(self):
        wait_until(lambda: not self.thread.is_alive() or somebody_waits())

    def end(self):
        self.thread.join(PATIENCE)
        return self.outcome


def somebody_waits():
    """Whether the kernel lists a waiter for the lock."""
    status = DIRECTORY.stat()
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    locks = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and place in line.split() for line in locks)


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing happens"
        time.sleep(0.002)


@pytest.fixture
def container(sandbox, call):
    """Makes a container and gives the caller for its attachments."""
    sandbox.shell("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad")

    def make(name):
        return dataclasses.replace(call, netns=sandbox.container(name), container_id=name)

    return make


def require_healthy(caller, attempt):
    outcome = attempt.end()
    assert outcome is not None
    assert outcome.status == 0, outcome.text
    assert caller("CHECK", {**attempt.conf, "prevResult": outcome.document}).text == ""
    assert caller("DEL", attempt.conf).text == ""


def links(sandbox):
    return [link["ifname"] for link in sandbox.json("ip -json link")]


@pytest.mark.parametrize("conf", [LAYER_2, GATEWAY], ids=["layer 2", "gateway"])
@pytest.mark.parametrize("act", ["link", "links", "delete_link"])
def test_who_comes_while_a_bridge_is_found_unused_has_one(sandbox, container, conf, act):
    first, second = container("c1"), container("c2")
    other = Attempt(second, conf)
    kernel = StagedKernel({})

    def fail():
        # deleting the pair is the first thing that is undone, and then comes the bridge
        later = {act: other.start_and_get_stuck}
        kernel.scenes |= {"delete_link": lambda: kernel.scenes.update(later)}
        raise KernelError("configure the port", errno.EIO, "injected")

    kernel.scenes["set_bridge_port"] = fail

    with kernel.in_place():
        assert first("ADD", conf).status == 1

    require_healthy(second, other)
    assert links(sandbox) == ["lo", "br0"]


def test_who_comes_while_a_gateway_is_found_unused_has_one(sandbox, container):
    first, second = container("c1"), container("c2")
    other = Attempt(second, GATEWAY)
    scenes = {"enable_forwarding": None, "delete_address": other.start_and_get_stuck}

    with StagedKernel(scenes).in_place():
        assert first("ADD", GATEWAY).status == 1

    require_healthy(second, other)


@pytest.mark.parametrize("conf", [LAYER_2, GATEWAY], ids=["layer 2", "gateway"])
def test_a_bridge_stays_for_who_has_found_it_and_has_no_port_yet(sandbox, container, conf):
    first, second = container("c1"), container("c2")
    connected, arrived = threading.Event(), threading.Event()

    def fail():
        connected.set()
        assert arrived.wait(PATIENCE)
        raise KernelError("configure the port", errno.EIO, "injected")

    creator = Attempt(first, conf, {"set_bridge_port": fail})
    creator.thread.start()
    assert connected.wait(PATIENCE)

    def let_the_creator_fail():
        arrived.set()
        creator.get_stuck()

    other = Attempt(second, conf, {"add_veth": let_the_creator_fail})
    other.thread.start()

    assert creator.end().status == 1
    require_healthy(second, other)
    assert links(sandbox) == ["lo", "br0"]


@pytest.mark.parametrize("conf", [LAYER_2, GATEWAY], ids=["layer 2", "gateway"])
def test_two_that_fail_one_in_the_others_undoing_leave_nothing(sandbox, container, conf):
    first, second = container("c1"), container("c2")
    other = Attempt(second, conf, {"set_bridge_port": None})
    kernel = StagedKernel({"set_bridge_port": None, "links": other.start_and_get_stuck})

    with kernel.in_place():
        assert first("ADD", conf).status == 1

    assert other.end().status == 1
    assert links(sandbox) == ["lo"]


def test_the_lock_is_roots_alone(sandbox, container):
    container("c1").add(LAYER_2)

    assert DIRECTORY.stat().st_mode & 0o777 == 0o700
    assert list(DIRECTORY.iterdir()) == []


def test_where_there_can_be_no_lock_add_works_all_the_same(sandbox, container, capsys):
    DIRECTORY.parent.mkdir()
    DIRECTORY.touch()
    caller = container("c1")

    result = caller.add(LAYER_2)

    assert "could not lock /run/cni/bridge, so that others" in capsys.readouterr().err
    assert caller("CHECK", {**LAYER_2, "prevResult": result}).text == ""
    assert caller("DEL", LAYER_2).text == ""


# --- many at once


def do_at_once(tasks):
    """Run each task in a process of its own; each must end well."""
    children = []
    for task in tasks:
        child = os.fork()
        if not child:
            status = 1
            try:
                status = 0 if task() else 1
            finally:
                os._exit(status)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert statuses == [0] * len(children)


def come_and_go(caller, conf):
    outcome = caller("ADD", conf)
    if outcome.status == 0:
        checked = caller("CHECK", {**conf, "prevResult": outcome.document})
        deleted = caller("DEL", conf)
        if not checked.text and not deleted.text:
            return True
        outcome = checked
    os.write(2, f"{caller.container_id}: {outcome.text}\n".encode())
    return False


def fail(caller, conf):
    return caller("ADD", conf).status == 1


def test_of_many_first_attachments_those_that_fail_take_nothing_from_the_others(sandbox, container):
    callers = [container(f"c{number}") for number in range(6)]
    failing = {**GATEWAY, "ipam": REFUSED}
    tasks = [partial(fail, caller, failing) for caller in callers[:3]]
    tasks += [partial(come_and_go, caller, GATEWAY) for caller in callers[3:]]
    for _ in range(ROUNDS):
        do_at_once(tasks)

        # without if one that had made it failed after all others were gone
        sandbox.shell("ip link delete br0 2>/dev/null || true")
        assert links(sandbox) == ["lo"]
        leases = sandbox.shell("find /var/lib/cni -type f -path '*/net/*' -name '*[:.]*'")
        assert [name for name in leases.split() if "last_reserved_ip" not in name] == []
        for caller in callers:
            assert sandbox.json("ip -json link", caller.netns)[1:] == []
