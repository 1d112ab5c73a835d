"""What a plugin's process imports: every module costs each pod's start."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from benchmarks import traced
from cnicore import registry
from cnicore.lean import PYDANTIC_PLUGIN_LOADER
from conformance.stage import PLUGINS, environment, install, staged

NEVER = {"importlib.metadata", "asyncio", "click", "cnicore.cli", "cnicore.runtime", "pyroute2.ndb"}
"""Modules that no call of a plugin may import; with their submodules."""

PARSED = {"pydantic", "pydantic_core", "pyroute2", "pluggy"}
"""Modules that are for a configuration and a kernel to work on, which VERSION has not."""

MOST = {"VERSION": 100, "ADD": 310}
"""Modules loaded, the interpreter's own and those of the tracer included; measured 88 and 297."""

LOOPBACK = {"cniVersion": "1.0.0", "name": "n1", "type": "loopback"}
HOST_LOCAL = {"type": "host-local", "ranges": [[{"subnet": "10.7.0.0/24"}]]}

CHAINED = {
    "bandwidth": {"egressRate": 8_000_000, "egressBurst": 800_000},
    "firewall": {},
    "portmap": {
        "runtimeConfig": {
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
        }
    },
    "sbr": {},
    "tuning": {"mtu": 1400},
}


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    return install(tmp_path_factory.mktemp("plugins"), sys.executable)


def imported(program, verb, conf, status=0, **variables):
    """Names of the modules that the plugin's process has when it is called and ends."""
    script = program.resolve()
    interpreter = script.read_text().splitlines()[0].removeprefix("#!").split()
    done = subprocess.run(
        [*interpreter, traced.__file__, program],
        input=json.dumps(conf),
        env={**environment(verb, variables), "CNI_PATH": str(program.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(traced.LOADED)]
    stand_in = PYDANTIC_PLUGIN_LOADER  # an empty module that is put there to load less
    return [name for name in line.removeprefix(traced.LOADED).split() if name != stand_in]


def those_of(packages, modules):
    return sorted(
        module
        for module in modules
        if any(module == package or module.startswith(f"{package}.") for package in packages)
    )


@pytest.mark.parametrize("plugin", sorted(registry.installed()))
def test_version_loads_neither_validator_nor_netlink_nor_plugins(plugins, plugin):
    modules = imported(plugins / plugin, "VERSION", {})

    assert those_of(NEVER | PARSED | {"cni_main", "cni_ipam", "cni_meta"}, modules) == []
    assert len(modules) <= MOST["VERSION"]


def test_a_wrong_environment_is_reported_without_them_too(plugins):
    modules = imported(plugins / "bridge", "ADD", {}, status=1, CNI_IFNAME="")

    assert those_of(NEVER | PARSED, modules) == []


@pytest.mark.parametrize(
    ("plugin", "conf"),
    [
        ("static", {"ipam": {"type": "static", "addresses": [{"address": "10.7.0.5/24"}]}}),
        ("host-local", {"ipam": HOST_LOCAL}),
    ],
)
def test_leasing_an_address_loads_no_netlink(plugins, tmp_path, plugin, conf):
    conf = {**LOOPBACK, **conf, "type": plugin}
    conf["ipam"] = {**conf["ipam"], "dataDir": str(tmp_path)}

    for verb in ("ADD", "DEL"):
        modules = imported(plugins / plugin, verb, conf)

        assert those_of(NEVER | {"pyroute2", "subprocess"}, modules) == []


@pytest.mark.parametrize(("verb", "status"), [("ADD", 1), ("CHECK", 1), ("STATUS", 1), ("DEL", 0)])
def test_asking_the_dhcp_daemon_loads_nothing_of_it(plugins, tmp_path, verb, status):
    ipam = {"type": "dhcp", "daemonSocketPath": f"{tmp_path}/nobody", "leaseDir": str(tmp_path)}
    conf = {**LOOPBACK, "cniVersion": "1.1.0", "type": "dhcp", "ipam": ipam, "prevResult": {}}
    netns = {"CNI_NETNS": "/proc/self/ns/net", "CNI_NETNS_OVERRIDE": "1"}

    modules = imported(plugins / "dhcp", verb, conf, status, **netns)

    daemons = {"cni_ipam.dhcp.daemon", "cni_ipam.dhcp.service", "logging"}
    assert those_of(NEVER | daemons | {"pyroute2", "subprocess"}, modules) == []
    assert "cni_ipam.dhcp.client" in modules


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces of its own")
@pytest.mark.parametrize(
    "conf",
    [
        LOOPBACK,
        {**LOOPBACK, "type": "ptp", "ipam": HOST_LOCAL},
        {**LOOPBACK, "type": "bridge", "ipam": HOST_LOCAL, "isGateway": True},
    ],
    ids=lambda conf: conf["type"],
)
def test_no_call_loads_what_plugins_do_without(plugins, conf):
    with staged({"ours": plugins}) as stage:
        stage.use("ours")
        program = PLUGINS / conf["type"]
        ipam = {**conf["ipam"], "dataDir": "/run/cni-data"} if "ipam" in conf else {}
        for verb in ("ADD", "DEL"):
            modules = imported(program, verb, {**conf, "ipam": ipam})

            assert those_of(NEVER | {"subprocess"}, modules) == []
            assert len(modules) <= MOST["ADD"]


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces of its own")
@pytest.mark.parametrize("plugin", CHAINED)
def test_no_chained_plugin_loads_what_it_does_without(plugins, plugin):
    ptp = {**LOOPBACK, "type": "ptp", "ipam": {**HOST_LOCAL, "dataDir": "/run/cni-data"}}
    with staged({"ours": plugins}) as stage:
        stage.use("ours")
        conf = {**LOOPBACK, **CHAINED[plugin], "type": plugin}
        conf["prevResult"] = stage.call("ADD", ptp).document
        for verb in ("ADD", "DEL"):
            modules = imported(PLUGINS / plugin, verb, conf)

            assert those_of(NEVER | {"subprocess", "jeepney"}, modules) == []
            assert len(modules) <= MOST["ADD"]


def test_a_process_that_has_pydantic_keeps_its_plugins():
    code = (
        "import pydantic\n"
        "class Model(pydantic.BaseModel): pass\n"
        "from pydantic.plugin import _loader\n"
        "from cnicore.lean import without_pydantic_plugins\n"
        "without_pydantic_plugins()\n"
        "import sys\n"
        "assert sys.modules['pydantic.plugin._loader'] is _loader\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
