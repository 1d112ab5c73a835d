"""The chains of docs/examples, whole: by the command line, and plugin by plugin as a runtime does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.stage import PLUGINS
from kernel.published import HOST, OUTSIDE, Host

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
CNI = Path(sys.executable).parent / "cni"
NETNS = "/run/netns/c1"
LIMIT = {"ingressRate": 10_000_000, "ingressBurst": 1_000_000}
WISHES = {
    "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
    "bandwidth": {**LIMIT, "egressRate": 10_000_000, "egressBurst": 1_000_000},
}
ADDRESSES = {"shop": "10.77.0.2/24", "edge": "10.78.0.2/24"}


class CommandLine:
    """`cni add`, `cni check`, `cni del`."""

    def __init__(self, stage, network):
        self.network = network

    def __call__(self, verb):
        done = subprocess.run(
            [CNI, verb.lower(), self.network, NETNS],
            env={
                "PATH": os.environ["PATH"],
                "CNI_PATH": str(PLUGINS),
                "NETCONFPATH": str(EXAMPLES),
                "CAP_ARGS": json.dumps(WISHES),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout else None


class Runtime:
    """Executes the plugins one by one, and keeps the result as a runtime has to."""

    def __init__(self, stage, network):
        self.stage, self.result = stage, None
        self.chain = json.loads((EXAMPLES / f"{network}.conflist").read_text())

    def __call__(self, verb):
        plugins = self.chain["plugins"]
        for plugin in reversed(plugins) if verb == "DEL" else plugins:
            conf = {**plugin, "name": self.chain["name"], "cniVersion": self.chain["cniVersion"]}
            wishes = {name: WISHES[name] for name in plugin.get("capabilities", {})}
            if wishes:
                conf["runtimeConfig"] = wishes
            if self.result and not (verb == "ADD" and plugin is plugins[0]):
                conf["prevResult"] = self.result
            answer = self.stage.call(verb, conf)
            assert answer.status == 0, answer.stdout
            self.result = answer.document or self.result
        return self.result


@pytest.fixture
def host(our_stage):
    """A host with `outside` beyond it, and the container c1 without any attachment."""
    host = Host(our_stage.sandbox, None)
    host.netns["c1"] = NETNS
    return host


@pytest.mark.parametrize("way", [CommandLine, Runtime])
@pytest.mark.parametrize("network", ADDRESSES)
def test_a_chain_works_and_leaves_nothing(our_stage, host, network, way):
    before = inventory(our_stage.sandbox)
    call = way(our_stage, network)

    result = call("ADD")
    assert result["ips"][0]["address"] == ADDRESSES[network]
    assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE
    source = ADDRESSES[network].partition("/")[0]
    our_stage.sandbox.shell(f"ping -c 1 -W 2 -I {source} {OUTSIDE}", "c1")

    call("CHECK")
    for _ in range(2):
        call("DEL")

    assert host.tcp("outside", HOST, 8080, "c1") == ""
    assert inventory(our_stage.sandbox) == before


@pytest.mark.parametrize("way", [CommandLine, Runtime])
def test_check_of_a_chain_finds_what_any_of_its_plugins_lost(our_stage, host, way):
    call = way(our_stage, "shop")
    call("ADD")
    our_stage.sandbox.shell("nft delete table inet cni")

    with pytest.raises(AssertionError, match="masquerade|published|port"):
        call("CHECK")

    call("DEL")
    assert host.tcp("outside", HOST, 8080, "c1") == ""


def inventory(sandbox):
    """What an attachment could leave, without what its network keeps for the next one."""
    container = sandbox.shell("ip -o link; ip rule; ip -6 rule; ip route show table all", "c1")
    links = {line.split(": ")[1] for line in sandbox.shell("ip -o link").splitlines()}
    rules = sandbox.shell("nft list ruleset; iptables-save; ip6tables-save").splitlines()
    files = sandbox.shell("find /run/cni /var/lib/cni -type f 2>/dev/null || true").splitlines()
    return {
        "container": [line for line in container.splitlines() if "lo:" not in line],
        "links": links - {"shop0"},
        "rules": [line for line in rules if "cni:" in line or "CNI-" in line],
        "files": [file for file in files if Path(file).name[:4] not in {"last", "lock"}],
    }
