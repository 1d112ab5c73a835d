"""Many plugins at once on one network, each a process, as when a node starts."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from conformance.cases_bridge import V4, V6, bridge, host_local
from conformance.snapshot import Symbols, snapshot
from conformance.stage import DATA, PLUGINS, environment

pytestmark = pytest.mark.kernel

COUNT = 32
CONF = bridge(ipam=host_local(V4, V6), isDefaultGateway=True, ipMasq=True, ipMasqBackend="iptables")
NAMES = [f"c{number}" for number in range(2, COUNT + 2)]


def call_for_all(verb, conf):
    """The answers of one process for each container, all started at once."""
    processes = [
        subprocess.Popen(
            [PLUGINS / conf["type"]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(verb, {"CNI_CONTAINERID": name, "CNI_NETNS": f"/run/netns/{name}"}),
        )
        for name in NAMES
    ]
    stdin = json.dumps(conf).encode()
    with ThreadPoolExecutor(COUNT) as pool:
        outputs = list(pool.map(lambda process: process.communicate(stdin, timeout=120), processes))
    failed = [
        output for process, output in zip(processes, outputs, strict=True) if process.returncode
    ]
    assert failed == []
    return [json.loads(stdout) if stdout else None for stdout, _ in outputs]


def test_32_attachments_at_once_get_different_addresses_and_leave_nothing(our_stage):
    for name in NAMES:
        our_stage.sandbox.container(name)
    our_stage.call("ADD", CONF)  # what is shared (the bridge) exists from here on
    before = remains(our_stage)

    added = call_for_all("ADD", CONF)

    addresses = [ip["address"] for result in added for ip in result["ips"]]
    assert len(addresses) == 2 * COUNT
    assert len(set(addresses)) == 2 * COUNT
    assert len(list((DATA / "n1").glob("10.7.0.*"))) == COUNT + 1
    assert call_for_all("DEL", CONF) == [None] * COUNT
    assert remains(our_stage) == before


def test_32_first_attachments_agree_on_one_bridge(our_stage):
    conf = bridge(isGateway=True)
    for name in NAMES:
        our_stage.sandbox.container(name)

    added = call_for_all("ADD", conf)

    assert {result["interfaces"][0]["name"] for result in added} == {"br0"}
    assert len(our_stage.sandbox.json("ip -json link show master br0")) == COUNT
    addresses = our_stage.sandbox.json("ip -4 -json addr show dev br0")[0]["addr_info"]
    assert [address["local"] for address in addresses] == ["10.7.0.1"]


def remains(stage):
    state = snapshot(stage.sandbox, [], Symbols(""))
    return {key: value for key, value in state.items() if "last_reserved_ip" not in key}
