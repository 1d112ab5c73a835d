"""A system call of macvlan's process that is refused, or the last that it makes."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from conformance.cases_bridge import V6, host_local
from conformance.cases_macvlan import PARENT, macvlan
from conformance.stage import PLUGINS, environment
from conformance.test_system_faults import FAILURES, add, faults_in, problems, remains

pytestmark = pytest.mark.kernel

CONF = macvlan(ipam=host_local(V6, routes=[{"dst": "::/0"}]))
CHANGING = ("sendto", "openat", "link", "rename")


def test_an_add_that_the_kernel_refuses_leaves_nothing(our_stage, strace):
    our_stage.sandbox.shell(PARENT)
    done, lines = add(strace, CONF)
    assert done.returncode == 0, done.stdout
    our_stage.call("DEL", CONF)
    before = remains(our_stage)
    faults = list(faults_in(lines, FAILURES))
    assert faults

    wrong = [
        problem for fault in faults for problem in problems(our_stage, strace, CONF, fault, before)
    ]

    assert wrong == []


def test_what_an_add_that_was_killed_has_left_the_next_del_removes(our_stage, strace):
    """Killed before each call that changes something."""
    our_stage.sandbox.shell(PARENT)
    done, lines = add(strace, CONF)
    assert done.returncode == 0, done.stdout
    our_stage.call("DEL", CONF)
    before = remains(our_stage)
    faults = list(faults_in(lines, CHANGING))
    assert {fault.syscall for fault in faults} >= {"sendto", "openat"}

    for fault in faults:
        kill_at(fault, strace)
        deleted = our_stage.call("DEL", CONF)
        assert deleted.status == 0, f"{fault}: {deleted.stdout.decode()}"
        assert remains(our_stage) == before, fault


def kill_at(fault, strace):
    """ADD that gets SIGKILL at the call; with --seccomp-bpf strace delivers no signal."""
    injection = f"inject={fault.syscall}:signal=KILL:when={fault.number}"
    command = [strace[0], "-qq", "-f", "-e", f"trace={fault.syscall}", "-e", injection]
    done = subprocess.run(
        [*command, "-o", "/dev/null", PLUGINS / "macvlan"],
        input=json.dumps(CONF).encode(),
        env=environment("ADD", {}),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, fault
