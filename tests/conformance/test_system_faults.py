"""A kernel that refuses one system call of the plugin's process: an ADD that fails leaves nothing.

A first run counts the calls that change something, then each of them fails once.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from dataclasses import dataclass

import pytest

from conformance.cases_bridge import bridge, host_local
from conformance.cases_ptp import loopback, ptp
from conformance.snapshot import Symbols, snapshot
from conformance.stage import DATA, PLUGINS, environment

pytestmark = pytest.mark.kernel

LEASE = {"cniVersion": "1.0.0", "name": "n1", "type": "host-local", "ipam": host_local()}
LOG = DATA.parent / "strace.log"
NFTABLES = ptp(ipMasq=True, ipMasqBackend="nftables")
IPTABLES = ptp(ipMasq=True, ipMasqBackend="iptables")
BRIDGE = bridge(isDefaultGateway=True, macspoofchk=True)
CALL = re.compile(r"^(\d+) +(\w+)\((.*)")
FAILURES = {
    "sendto": "ENOBUFS",
    "sendmsg": "ENOBUFS",
    "setns": "EPERM",
    "openat": "ENOSPC",
    "write": "ENOSPC",
    "pwrite64": "ENOSPC",
    "ftruncate": "ENOSPC",
    "link": "EIO",
    "linkat": "EIO",
    "rename": "EIO",
    "mkdir": "EROFS",
    "chmod": "EROFS",
    "fchmod": "EROFS",
    "fsync": "EIO",
    "flock": "ENOLCK",
    "vfork": "EAGAIN",
}
"""System calls that change something, and how each fails."""

HARMLESS = re.compile(r"O_RDONLY|/dev/null|__pycache__|^2, ")


@dataclass(frozen=True)
class Fault:
    """The call of that number of its kind; `text` is how it looked when it succeeded."""

    syscall: str
    number: int
    text: str

    @property
    def injection(self) -> list[str]:
        error = FAILURES[self.syscall]
        return ["-e", f"inject={self.syscall}:error={error}:when={self.number}"]


def add(strace, conf, fault=None):
    """ADD under strace; the lines of its log are the calls that change something."""
    options = ["-e", f"trace={','.join(FAILURES)}", *(fault.injection if fault else [])]
    done = subprocess.run(
        [*strace, *options, "-o", LOG, PLUGINS / conf["type"]],
        input=json.dumps(conf).encode(),
        env=environment("ADD", {}),
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done, LOG.read_text(errors="replace").splitlines()


def faults_in(lines, syscalls):
    """Every call of the plugin's own process that changes something."""
    numbers: Counter[str] = Counter()
    plugin = lines[0].split()[0]
    for line in lines:
        match = CALL.match(line)
        if match and match[1] == plugin and match[2] in syscalls:
            numbers[match[2]] += 1
            if not HARMLESS.search(match[3]):
                yield Fault(match[2], numbers[match[2]], line[:120])


@pytest.mark.parametrize(
    ("conf", "syscalls"),
    [
        pytest.param(loopback(), FAILURES, id="loopback"),
        pytest.param(LEASE, FAILURES, id="host-local"),
        pytest.param(NFTABLES, FAILURES, id="ptp with nftables"),
        # the same fault would hit the undo's iptables too, so only starting it fails
        pytest.param(IPTABLES, ["vfork"], id="ptp with iptables"),
        pytest.param(BRIDGE, FAILURES, id="bridge"),
    ],
)
def test_an_add_that_the_kernel_refuses_leaves_nothing(our_stage, strace, conf, syscalls):
    done, lines = add(strace, conf)
    assert done.returncode == 0, done.stdout
    our_stage.call("DEL", conf)
    before = remains(our_stage)
    faults = list(faults_in(lines, syscalls))
    assert faults

    wrong = [
        problem for fault in faults for problem in problems(our_stage, strace, conf, fault, before)
    ]

    assert wrong == []


def problems(stage, strace, conf, fault, before):
    """What is wrong after an ADD with the fault: no proper error, or something that is left."""
    done, _ = add(strace, conf, fault)
    error = done.stdout.decode()
    if (
        done.returncode == 0
    ):  # a failure that the plugin tolerates, for example of a sysctl that only tunes
        stage.call("DEL", conf)
    elif not error or not json.loads(error)["msg"]:
        yield f"{fault}: no error document, stderr {done.stderr.decode()!r}"
    after = remains(stage)
    if after != before:
        left = {key: value for key, value in after.items() if before.get(key) != value}
        lost = before.keys() - after.keys()
        yield f"{fault}: status {done.returncode}, {error}: left {left}, lost {lost}"
        stage.call("DEL", conf)


def remains(stage):
    """The state without host-local's memory and what is never taken back."""
    state = snapshot(stage.sandbox, ["c1"], Symbols(""))
    kept = ("forwarding", "ip_forward", "last_reserved_ip.0/content", "last_reserved_ip.0/mode")
    return {key: value for key, value in state.items() if not key.endswith(kept)}
