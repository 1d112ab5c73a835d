"""A kernel that refuses one system call of firewall's process: an ADD that fails leaves nothing."""

from __future__ import annotations

import pytest

from conformance.cases_firewall import firewall
from conformance.test_system_faults import FAILURES, add, faults_in, problems, remains

pytestmark = pytest.mark.kernel

RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [
        {"name": "br0"},
        {"name": "veth1"},
        {"name": "eth0", "sandbox": "/run/netns/c1"},
    ],
    "ips": [{"address": "10.7.0.2/24"}, {"address": "fd07::2/64"}],
}
DROPS = "nft 'table inet filter { chain f { type filter hook forward priority 0; policy drop; }; }'"


@pytest.mark.parametrize(
    ("backend", "policy", "syscalls"),
    [
        ("nftables", "open", FAILURES),
        ("nftables", "isolated", FAILURES),
        # the same fault would hit the undo's iptables too, so only starting it fails
        ("iptables", "isolated", ["vfork"]),
    ],
)
def test_an_add_that_the_kernel_refuses_leaves_nothing(
    our_stage, strace, backend, policy, syscalls
):
    conf = firewall(backend=backend, ingressPolicy=policy, prevResult=RESULT)
    our_stage.sandbox.shell(DROPS)
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
