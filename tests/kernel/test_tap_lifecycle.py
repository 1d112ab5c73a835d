"""tap on the real kernel: what is there already, what goes wrong, and the way back."""

import os
import subprocess
import sys
from fcntl import ioctl

import pytest

from cnicore.errors import Terminated
from cnicore.net import tuntap
from cnicore.testing.faults import failing_at_every_call
from kernel.test_tap import CONF, DUAL, MULTI, PEER, anybody, caller, peer, said, tun_of

__all__ = ["anybody", "caller"]
pytestmark = pytest.mark.kernel

FRAME = "ffffffffffff02005e10009988b5" + "00" * 46


STATE = """
ip -json addr; ip -json route show table all; ip -json -6 route show table all
ls /proc/sys/net/ipv4/conf
"""
LEASES = "find /var/lib/cni -type f ! -name lock ! -name 'last_reserved_ip.*'"


def state(sandbox):
    """Everything that an attachment could leave in the container, and the leases."""
    return sandbox.shell(STATE, "c1"), sandbox.shell(LEASES)


def links(sandbox):
    return {link["ifname"] for link in sandbox.json("ip -json link", "c1")}


@pytest.mark.parametrize("variables", [{}, {"CNI_NETNS": ""}, {"CNI_NETNS": "/run/netns/gone"}])
@pytest.mark.parametrize("with_result", [False, True])
def test_del_leaves_nothing_twice_and_without_a_result(sandbox, caller, variables, with_result):
    result = caller.add(DUAL)
    conf = {**DUAL, "prevResult": result} if with_result else DUAL
    assert state(sandbox)[1]

    for _ in range(2):
        assert caller("DEL", conf, **variables).text == ""

    assert state(sandbox)[1] == ""
    assert caller("DEL", conf).text == ""
    assert links(sandbox) == {"lo"}


def test_del_needs_no_possible_configuration(sandbox, caller):
    caller.add(DUAL)
    bad = {"mtu": 5, "owner": -1, "mac": "zz", "bridge": "gone", "selinuxContext": "a:b:c"}

    assert caller("DEL", {**DUAL, **bad}, CNI_ARGS="no pair").text == ""

    assert links(sandbox) == {"lo"}
    assert state(sandbox)[1] == ""


@pytest.mark.parametrize(("keys", "order"), [({}, {}), ({"multiQueue": True}, {"flags": MULTI})])
def test_del_takes_the_device_from_the_process_that_holds_it(sandbox, caller, keys, order):
    conf = {**DUAL, **keys}
    result = caller.add(conf)

    with peer({"read": True, "files": 2 if keys else 1, **order}) as process:
        assert caller("DEL", {**conf, "prevResult": result}).text == ""
        assert links(sandbox) == {"lo"}
        line = said(process)
        while "frame" in line:
            line = said(process)
        assert line == {"error": "EBADFD"}
        again = caller.add(conf)  # although the process still has its files

    assert caller("CHECK", {**conf, "prevResult": again}).text == ""


def test_del_while_the_process_sends(sandbox, caller):
    for _ in range(3):
        caller.add(DUAL)
        with peer({"write": FRAME}) as process:
            assert caller("DEL", DUAL).text == ""
            assert said(process) == {"error": "EBADFD"}
        assert links(sandbox) == {"lo"}
        assert state(sandbox)[1] == ""


def test_the_device_stays_when_its_process_goes(sandbox, caller):
    result = caller.add(DUAL)
    with peer({**PEER, "serve": True}):
        assert caller("CHECK", {**DUAL, "prevResult": result}).text == ""

    assert caller("CHECK", {**DUAL, "prevResult": result}).text == ""
    with peer({**PEER, "ping": "10.1.0.2"}) as process:
        assert said(process)["reply"] == "from the other end"


TAKEN = {
    "our own": None,
    "a veth": "ip link add eth0 type veth peer name other",
    "a bridge": "ip link add eth0 type bridge",
    "somebody's tap": "ip tuntap add mode tap name eth0",
    "somebody's multi-queue tap": "ip tuntap add mode tap name eth0 multi_queue",
    "a tun": "ip tuntap add mode tun name eth0",
}


@pytest.mark.parametrize("command", TAKEN.values(), ids=TAKEN)
@pytest.mark.parametrize("multi_queue", [False, True])
def test_a_name_that_is_taken_stays_whose_it_is(sandbox, caller, command, multi_queue):
    """The reference adopts the device that is there."""
    conf = {**DUAL, "multiQueue": multi_queue, "mtu": 1300, "mac": "02:00:5e:10:00:01"}
    if command:
        sandbox.shell(command, "c1")
    else:
        caller.add({**DUAL, "multiQueue": multi_queue})
    before = state(sandbox)

    outcome = caller("ADD", conf)

    assert outcome.document["msg"] == (
        'container interface "eth0" already exists: delete that attachment first'
    )
    assert state(sandbox) == before


@pytest.mark.parametrize("multi_queue", [False, True])
def test_a_name_that_is_taken_in_the_last_moment_too(sandbox, caller, monkeypatch, multi_queue):
    sandbox.shell("ip tuntap add mode tap name eth0 multi_queue", "c1")
    monkeypatch.setattr("cni_main.tap.require_free_name", lambda *_: None)
    before = state(sandbox)

    outcome = caller("ADD", {**DUAL, "multiQueue": multi_queue})

    assert outcome.document["msg"] == "could not create the tap eth0: Device or resource busy"
    assert state(sandbox) == before


BRIDGES = {
    "none": ("true", 999, "bridge: failed to get bridge br0: Link not found"),
    "a veth": ("ip link add br0 type veth peer name x", 7, 'bridge: "br0" in the container is not'),
    "a tap": ("ip tuntap add mode tap name br0", 7, 'bridge: "br0" in the container is not'),
}


@pytest.mark.parametrize(("command", "code", "message"), BRIDGES.values(), ids=BRIDGES)
def test_what_is_no_bridge_in_the_container_is_refused(sandbox, caller, command, code, message):
    sandbox.shell("ip link add br0 type bridge")  # the host's is no other one's
    sandbox.shell(command, "c1")
    before = state(sandbox)

    outcome = caller("ADD", {**DUAL, "bridge": "br0"})

    assert outcome.document["code"] == code
    assert outcome.document["msg"].startswith(message)
    assert state(sandbox) == before


@pytest.mark.parametrize("ending", [{}, {"ipam": {}}])
def test_add_that_fails_at_any_call_of_the_kernel_leaves_nothing(sandbox, caller, ending):
    sandbox.shell("ip link add br0 type bridge", "c1")
    keys = {"bridge": "br0", "mtu": 1400, "mac": "02:00:5e:10:00:01", "owner": 5, **ending}
    conf = {**DUAL, **keys}
    caller.add(conf)
    caller("DEL", conf)
    before = state(sandbox)
    outcomes = []

    def attempt():
        outcomes.append(caller("ADD", conf))

    for number in failing_at_every_call(attempt):
        if outcomes[-1].status == 0:
            assert caller("DEL", conf).status == 0
        assert state(sandbox) == before, f"call {number}: {outcomes[-1].text}"

    assert outcomes[-1].status == 0
    assert len([one for one in outcomes if one.status]) > 8


STEPS = ("TUNSETIFF", "TUNSETOWNER", "TUNSETGROUP", "TUNSETPERSIST")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("error", [OSError(5, "injected"), Terminated("a signal")])
def test_add_that_ends_at_any_step_of_the_driver_leaves_nothing(
    sandbox, caller, monkeypatch, step, is_done, error
):
    before = state(sandbox)

    def ending(file, request, argument):
        if request != getattr(tuntap, step):
            return ioctl(file, request, argument)
        if is_done:
            ioctl(file, request, argument)
        raise error

    monkeypatch.setattr(tuntap, "ioctl", ending)
    outcome = caller("ADD", {**DUAL, "owner": 5, "group": 6})

    assert outcome.status == 1
    assert state(sandbox) == before


@pytest.mark.usefixtures("sandbox")
def test_an_owner_that_this_user_namespace_has_not_is_named(tmp_path):
    """Every number is a user's; but a process that sees few of them can name no other."""
    program = tmp_path / "add.py"
    program.write_text(
        "import sys, os\n"
        "from cnicore.testing.calls import Caller, plugin_directory\n"
        "from pathlib import Path\n"
        "caller = Caller(plugin_directory(Path(sys.argv[1])), netns='/proc/%s/ns/net' % sys.argv[2])\n"
        "for keys in ({'owner': 7}, {'group': 8}, {'owner': 0, 'group': 0}):\n"
        "    conf = {'cniVersion': '1.1.0', 'name': 'net', 'type': 'tap', **keys}\n"
        "    print(caller('ADD', conf).document.get('msg'))\n"
    )
    (tmp_path / "bin").mkdir()
    script = """
        unshare -n sleep 60 &
        while [ "$(readlink /proc/$!/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
        "$0" "$1" "$2" $!
        kill $!
    """

    done = subprocess.run(
        ["unshare", "-Urn", "sh", "-c", script, sys.executable, program, tmp_path / "bin"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.stdout.splitlines() == [
        "could not set the owner of eth0 to 7: Invalid argument",
        "could not set the group of eth0 to 8: Invalid argument",
        "None",
    ], done.stderr


def test_without_the_driver_add_and_status_say_so(sandbox, caller):
    assert caller("STATUS", CONF).text == ""
    sandbox.shell("mount -t tmpfs none /dev/net")

    added, status = caller("ADD", DUAL).document, caller("STATUS", DUAL).document

    message = "could not open /dev/net/tun: No such file or directory"
    assert (added["code"], added["msg"]) == (999, message)
    assert (status["code"], status["msg"]) == (50, message)
    assert status["details"] == "load the kernel's module tun"
    assert links(sandbox) == {"lo"}
    assert caller("DEL", DUAL).text == ""


@pytest.fixture
def without_selinux(tmp_path, monkeypatch):
    """This machine's kernel, or one that is told that it has no SELinux."""
    if tuntap.has_selinux():
        (tmp_path / "filesystems").write_text("nodev\tsysfs\n")
        monkeypatch.setattr(tuntap, "FILESYSTEMS", tmp_path / "filesystems")


@pytest.mark.usefixtures("without_selinux")
def test_a_context_without_selinux_is_refused(sandbox, caller):
    conf = {**DUAL, "selinuxContext": "system_u:system_r:container_t:s0"}
    message = (
        'selinuxContext: "system_u:system_r:container_t:s0" cannot be set: this kernel runs without'
        " SELinux: remove the key"
    )

    added, status = caller("ADD", conf).document, caller("STATUS", conf).document

    assert (added["code"], added["msg"]) == (7, message)
    assert (status["code"], status["msg"]) == (50, message)
    assert state(sandbox)[1] == ""
    assert links(sandbox) == {"lo"}


@pytest.fixture
def label(tmp_path, monkeypatch):
    """Where a task's context is written to on a kernel that has SELinux, as far as a file can be it."""
    (tmp_path / "filesystems").write_text("nodev\tsysfs\nnodev\tselinuxfs\n")
    (tmp_path / "current").write_text("system_u:system_r:container_runtime_t:s0\0")
    monkeypatch.setattr(tuntap, "FILESYSTEMS", tmp_path / "filesystems")
    monkeypatch.setattr(tuntap, "OWN_CONTEXT", tmp_path / "current")
    return tmp_path / "current"


def test_the_tap_is_made_by_a_process_that_has_the_context(sandbox, caller, label):
    conf = {**DUAL, "selinuxContext": "system_u:system_r:container_t:s0", "owner": 5}

    result = caller.add({**conf, "multiQueue": True, "mtu": 1400})

    assert label.read_text() == "system_u:system_r:container_t:s0"
    link, tun = tun_of(sandbox)
    assert (link["mtu"], tun["multi_queue"], tun["persist"]) == (1400, True, True)
    assert result["interfaces"][0]["mac"] == link["address"]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert caller("DEL", conf).text == ""
    assert state(sandbox)[1] == ""


def test_a_context_that_is_refused_is_named_and_leaves_nothing(sandbox, caller, label):
    has_context = label.read_text()
    before = state(sandbox)
    sandbox.shell(f"mount -t tmpfs none {label.parent} && mkdir {label.parent}/x")
    sandbox.shell(
        f"printf '%s' '{has_context.strip(chr(0))}' >{label}; printf 'nodev\\tselinuxfs\\n'"
        f" >{label.parent}/filesystems; mount -o remount,ro {label.parent}"
    )

    outcome = caller("ADD", {**DUAL, "selinuxContext": "a:b:c"})

    assert outcome.document["msg"] == (
        'could not enter the selinuxContext "a:b:c" to create the tap eth0: Read-only file system'
    )
    assert state(sandbox) == before
