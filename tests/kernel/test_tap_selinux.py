"""tap under SELinux: the label of the device decides which processes may attach to it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.stage import environment, install
from kernel.tap_peer import IFF_NO_PI, IFF_TAP

pytestmark = [pytest.mark.kernel, pytest.mark.full_kernel]

HERE = Path(__file__).parent
SELINUX = Path("/sys/fs/selinux")
RUNTIME, GUEST, OTHER, WITHOUT = (
    f"system_u:system_r:{name}_t" for name in ("runtime", "guest", "other", "no_such")
)
# the program that follows, with a context of its own
ENTER = """
import os, sys
with open("/proc/self/attr/exec", "w") as own:
    own.write(sys.argv[1])
os.execvp(sys.argv[2], sys.argv[2:])
"""
CONF = {"cniVersion": "1.1.0", "name": "net", "type": "tap"}


@pytest.fixture
def enforced(sandbox):
    """A policy that is enforced until the end of the test. It stays loaded: the kernel must be ours alone."""
    if "User Mode Linux" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("needs a kernel of its own, whose policy it replaces: user-mode-linux")
    sandbox.shell(f"mount -t selinuxfs none {SELINUX}")
    (SELINUX / "load").write_bytes((HERE / "tap_selinux.policy").read_bytes())
    (SELINUX / "enforce").write_text("1")
    yield
    (SELINUX / "enforce").write_text("0")


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    return install(tmp_path_factory.mktemp("plugins"), sys.executable)


def run(context, *command, stdin="", environ=None):
    return subprocess.run(
        [sys.executable, "-c", ENTER, context, *map(str, command)],
        input=stdin,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def add(plugins, netns, **keys):
    """ADD by a runtime that has a context of its own."""
    environ = environment("ADD", {"CNI_NETNS": netns, "CNI_PATH": str(plugins)})
    return run(RUNTIME, plugins / "tap", stdin=json.dumps({**CONF, **keys}), environ=environ)


def attach(context):
    """What a process with that context says when it attaches."""
    order = json.dumps({"name": "eth0", "flags": IFF_TAP | IFF_NO_PI, "serve": True})
    program = [sys.executable, "-I", "-S", HERE / "tap_peer.py", order]
    done = run(context, "ip", "netns", "exec", "c1", *program, environ=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[0])


@pytest.mark.parametrize(
    ("keys", "allowed", "refused"),
    [
        ({"selinuxContext": GUEST, "mtu": 1400}, GUEST, RUNTIME),
        ({"selinuxContext": GUEST, "owner": 0, "group": 0, "bridge": "br0"}, GUEST, OTHER),
        ({}, RUNTIME, GUEST),
    ],
)
def test_only_who_has_the_devices_context_may_attach(
    sandbox, enforced, plugins, keys, allowed, refused
):
    netns = sandbox.container()
    sandbox.shell("ip link add br0 type bridge", "c1")

    added = add(plugins, netns, **keys)

    assert added.returncode == 0, added.stdout
    assert attach(refused) == {"error": "EACCES"}
    assert attach(allowed) == "attached"


@pytest.mark.parametrize(
    ("context", "why"),
    [(OTHER, "Permission denied"), (WITHOUT, "Invalid argument")],
)
def test_a_context_that_the_policy_refuses_is_named(sandbox, enforced, plugins, context, why):
    added = add(plugins, sandbox.container(), selinuxContext=context)

    assert json.loads(added.stdout)["msg"] == (
        f'could not enter the selinuxContext "{context}" to create the tap eth0: {why}'
    )
    assert [link["ifname"] for link in sandbox.json("ip -json link", "c1")] == ["lo"]
