"""The administrator's chain: names that iptables takes, and those that it never would."""

import subprocess
from pathlib import Path

import pytest

from cni_meta.firewall import admin_chain
from kernel.firewall_hosts import host
from kernel.published import use_legacy

__all__ = ["host"]

pytestmark = pytest.mark.kernel

NAMES = [
    "A" * 28,
    "PREROUTING",
    "ERROR",
    "mark",
    "log",
    "#1",
    "a'b",
    "a\\b",
    "$(x)",
    "<*>",
    "+",
    "a-!",
]
REFUSED = ["A" * 29, "-A", "!A", "INPUT", "FORWARD", "OUTPUT", "ACCEPT", "DROP", "RETURN", "QUEUE"]


@pytest.fixture(params=["nft", "legacy"])
def variant(request, host):
    """What `iptables` is on the host."""
    if request.param == "legacy":
        use_legacy(host.sandbox)
    host.attach("c1")
    return request.param


def extensions():
    """Every name that a library of iptables has, be it a match or a target."""
    libraries = Path("/usr/lib").glob("*/xtables/lib*_*.so")
    found = sorted({path.stem.partition("_")[2] for path in libraries})
    assert len(found) > 50
    return found


def takes(program, name):
    """Whether the program makes a chain of that name; the chain is gone afterwards."""
    command = f"{program} -N '{name}' && {program} -X '{name}'"
    return subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode == 0


def test_every_name_that_iptables_refuses_is_refused_before_anything_is_made(host, variant):
    names = [*REFUSED, *extensions(), "standard"]
    refused = [
        name
        for name in names
        if not all(takes(f"{program}-{variant}", name) for program in ("iptables", "ip6tables"))
    ]
    assert len(refused) > 40
    before = host.ruleset()

    for name in refused:
        error = host.firewall("ADD", "c1", iptablesAdminChainName=name).document
        assert error["code"] == 7, name
        assert error["msg"].startswith(f'iptablesAdminChainName: "{name}" cannot be the chain')
    assert host.ruleset() == before


@pytest.mark.parametrize("name", NAMES)
def test_every_other_name_will_do(host, variant, name):
    keys = {"iptablesAdminChainName": name, "backend": "iptables"}
    host.add("c1", **keys)

    host.succeed("CHECK", "c1", **keys)
    saved = host.sandbox.shell(f"iptables-{variant}-save -t filter").splitlines()
    assert f"-j {name}" in next(line for line in saved if line.startswith("-A CNI-FORWARD "))
    host.succeed("DEL", "c1", **keys)


def test_a_target_that_only_this_host_has_is_refused_and_nothing_stays(host, variant, monkeypatch):
    monkeypatch.setattr(admin_chain, "TARGETS", set())
    host.sandbox.shell("iptables-save -t filter; ip6tables-save -t filter")  # makes a legacy table
    before = host.ruleset()

    error = host.firewall("ADD", "c1", iptablesAdminChainName="MARK").document

    assert error["code"] == 7
    assert error["msg"].startswith('iptablesAdminChainName: "MARK" cannot be the chain')
    assert host.ruleset() == before


@pytest.mark.parametrize("verb", ["CHECK", "STATUS"])
def test_the_other_verbs_say_so_too(host, variant, verb):
    error = host.firewall(verb, "c1", iptablesAdminChainName="MARK").document

    assert error["code"] == 7
    assert '"MARK" cannot be the chain' in error["msg"]


def test_del_and_gc_do_not_care(host, variant):
    host.add("c1", backend="iptables")

    host.succeed("DEL", "c1", iptablesAdminChainName="MARK")

    conf = {"cniVersion": "1.1.0", "name": "net", "type": "firewall"}
    collect = {**conf, "iptablesAdminChainName": "MARK", "cni.dev/valid-attachments": []}
    assert host.call("GC", collect).status == 0
    assert "10.1.0.2" not in "\n".join(host.ruleset())
