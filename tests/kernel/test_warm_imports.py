"""A server has imported all that calls need: elsewhere there might be no such file."""

import json
import subprocess
import sys

import pytest

from kernel.warm_cases import ALONE, BRIDGE, FIREWALL, LOOPBACK, NET, PORTMAP, PREVIOUS, PTP

pytestmark = pytest.mark.kernel

CALL_ALL = """
import json, sys
from pathlib import Path
from cnicore.testing.calls import Caller
from cnicore.warm.installation import import_all

problems = import_all()
before = {*sys.modules}
directory, confs = json.load(sys.stdin)
call = Caller(Path(directory), netns="/run/netns/c1")
statuses = []
for conf in confs:
    added = call("ADD", conf)
    statuses.append(added.status)
    more = {} if "prevResult" in conf or added.status else {"prevResult": added.document}
    for verb in ("CHECK", "STATUS", "GC", "DEL"):
        call(verb, {**conf, **more})
print(json.dumps([problems, statuses, sorted({*sys.modules} - before)]))
"""
UP = [PTP, BRIDGE, PORTMAP, FIREWALL, LOOPBACK, ALONE]
STATIC = {"type": "static", "addresses": [{"address": "10.2.0.2/24"}]}
OTHERS = [
    {**PTP, "ipMasqBackend": "iptables"},
    {**PORTMAP, "backend": "iptables"},
    {**FIREWALL, "backend": "iptables"},
    {**FIREWALL, "backend": "firewalld"},
    {**NET, "type": "static", "ipam": STATIC},
    {**NET, "type": "dummy", "ipam": STATIC},
    {**NET, "type": "macvlan", "master": "br0", "ipam": STATIC},
    {**NET, "type": "ipvlan", "master": "br0", "ipam": STATIC},
    {**NET, "type": "vlan", "master": "br0", "vlanId": 5, "ipam": STATIC},
    {**NET, "type": "tap", "ipam": STATIC},
    {**NET, "type": "host-device", "device": "none"},
    {**NET, "type": "ptp", "ipam": {"type": "dhcp"}},
    {**NET, "type": "flannel"},
    {**NET, "type": "tuning", "sysctl": {"net.core.somaxconn": "500"}, "prevResult": PREVIOUS},
    {**NET, "type": "bandwidth", "ingressRate": 1000, "prevResult": PREVIOUS},
    {**NET, "type": "sbr", "prevResult": PREVIOUS},
    {**NET, "type": "vrf", "vrfname": "blue", "prevResult": PREVIOUS},
]


def test_after_it_calls_import_nothing(host, installed):
    done = subprocess.run(
        [sys.executable, "-c", CALL_ALL],
        input=json.dumps([str(installed), [*UP, *OTHERS]]),
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    problems, statuses, imported = json.loads(done.stdout)
    assert problems == []
    assert {conf["type"] for conf in (*UP, *OTHERS)} == {*host.types} - {"dhcp"}
    assert statuses[: len(UP)] == [0] * len(UP)
    assert imported == []
