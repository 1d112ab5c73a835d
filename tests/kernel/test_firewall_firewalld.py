"""firewall with a real firewalld, on a bus and in namespaces of the test's own."""

import re
import shutil
import socket
import subprocess
import time

import pytest

from cni_meta.firewall.firewalld import runs
from kernel.firewall_hosts import FIREWALL, OTHER_BRIDGE, POLICE, host

__all__ = ["host"]

pytestmark = pytest.mark.kernel

BUS_CONF = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"""
ZONE = '<?xml version="1.0" encoding="utf-8"?>\n<zone><short>Public</short></zone>\n'
"""As the default zone, but what it forwards is rejected; newer firewalld forwards within a zone."""


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)


@pytest.fixture
def start(tmp_path):
    """Starts programs that end with the test."""
    started = []

    def run(*command, **environ):
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environ}
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        started.append(process)
        return process

    yield run
    for process in reversed(started):
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture
def bus(host, start, tmp_path, monkeypatch):
    """The address of a bus on which nobody is yet; it may take its time to answer."""
    monkeypatch.setattr("cni_meta.firewall.bus.SECONDS_TO_CONNECT", 20)
    for program, package in (("dbus-daemon", "dbus"), ("firewalld", "firewalld")):
        if not shutil.which(program, path="/usr/sbin:/usr/bin"):
            pytest.skip(f"needs {program}: Debian's package {package}")
    path = tmp_path / "bus"
    (tmp_path / "bus.conf").write_text(BUS_CONF.format(socket=path))
    start("dbus-daemon", "--nofork", f"--config-file={tmp_path / 'bus.conf'}")
    wait_until(path.exists)
    return f"unix:path={path}"


@pytest.fixture
def start_firewalld(host, bus, start, tmp_path):
    """Starts firewalld and waits until it answers; returns its process."""
    (tmp_path / "etc" / "zones").mkdir(parents=True)
    (tmp_path / "etc" / "zones" / "public.xml").write_text(ZONE)

    def run():
        process = start(
            "firewalld",
            "--nofork",
            "--nopid",
            "--log-target=console",
            f"--system-config={tmp_path / 'etc'}",
            DBUS_SYSTEM_BUS_ADDRESS=bus,
        )
        # it has its name before it has written its rules
        wait_until(lambda: process.poll() is not None or runs(bus))
        wait_until(lambda: process.poll() is not None or is_running(host, bus))
        assert process.poll() is None, (tmp_path / "log").read_text()
        return process

    return run


@pytest.fixture
def guarded(host, bus, start_firewalld):
    """A host with firewalld and the containers c1 and c2; every call knows the bus."""
    host.process = start_firewalld()
    host.variables = {"DBUS_SYSTEM_BUS_ADDRESS": bus}
    host.sandbox.shell(
        "sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0"
    )
    host.attach("c1")
    host.attach("c2")
    return host


def is_running(host, bus):
    state = f"DBUS_SYSTEM_BUS_ADDRESS={bus} firewall-cmd --state 2>&1 || true"
    return host.sandbox.shell(state).strip() == "running"


def sources(host, zone="trusted"):
    environ = " ".join(f"{key}={value}" for key, value in host.variables.items())
    return host.sandbox.shell(f"{environ} firewall-cmd --zone={zone} --list-sources").split()


def firewall_cmd(host, arguments):
    environ = " ".join(f"{key}={value}" for key, value in host.variables.items())
    host.sandbox.shell(f"{environ} firewall-cmd {arguments}")


@pytest.mark.parametrize("version", [4, 6])
def test_the_host_passes_the_container_after_add_and_not_after_del(guarded, version):
    assert guarded.is_kept_from("c1", "outside", version)

    guarded.add("c1")
    assert guarded.reaches("c1", "outside", version)
    assert guarded.is_kept_from("c2", "outside", version)
    guarded.succeed("CHECK", "c1")
    assert (
        guarded.call(
            "STATUS",
            {"cniVersion": "1.1.0", "name": "net", "type": "firewall"},
            **guarded.variables,
        ).status
        == 0
    )

    guarded.succeed("DEL", "c1")
    assert guarded.is_kept_from("c1", "outside", version)


def test_the_addresses_are_sources_of_the_zone_as_the_reference_writes_them(guarded):
    guarded.add("c1")
    assert sources(guarded) == ["10.1.0.2/32", "fd01::2/128"]
    guarded.add("c1")
    assert sources(guarded) == ["10.1.0.2/32", "fd01::2/128"]

    guarded.succeed("DEL", "c1")
    guarded.succeed("DEL", "c1")
    assert sources(guarded) == []


def test_another_zone(guarded):
    guarded.add("c1", firewalldZone="home")

    assert sources(guarded, "home") == ["10.1.0.2/32", "fd01::2/128"]
    assert guarded.firewall("CHECK", "c1").status == 1
    guarded.succeed("CHECK", "c1", firewalldZone="home")
    guarded.succeed("DEL", "c1", firewalldZone="home")
    assert sources(guarded, "home") == []


def test_a_zone_that_does_not_exist_is_refused_before_anything_is_made(guarded):
    before = guarded.ruleset()

    error = guarded.firewall("ADD", "c1", firewalldZone="nowhere").document

    assert (error["code"], error["msg"]) == (
        7,
        'firewalldZone: firewalld has no zone "nowhere":'
        " name one that firewall-cmd --get-zones lists",
    )
    assert guarded.ruleset() == before
    status = guarded.call("STATUS", {**FIREWALL, "firewalldZone": "nowhere"}, **guarded.variables)
    assert status.document["code"] == 50
    guarded.succeed("DEL", "c1", firewalldZone="nowhere")


def test_an_address_that_is_in_another_zone_fails_the_add_and_nothing_stays(guarded):
    firewall_cmd(guarded, "--zone=drop --add-source=fd01::2/128")

    error = guarded.firewall("ADD", "c1").document

    assert "ZONE_CONFLICT" in error["msg"]
    assert sources(guarded) == []
    assert sources(guarded, "drop") == ["fd01::2/128"]


def test_what_the_reference_added_is_removed_without_a_record(guarded):
    firewall_cmd(guarded, "--zone=trusted --add-source=10.1.0.2/32")

    guarded.succeed("DEL", "c1")

    assert sources(guarded) == []


def test_del_without_a_result_or_a_namespace_finds_the_addresses(guarded):
    guarded.add("c1")
    guarded.add("c2")
    conf = {"cniVersion": "1.1.0", "name": "net", "type": "firewall"}

    assert guarded.caller("c1")("DEL", conf, CNI_NETNS="", **guarded.variables).status == 0

    assert sources(guarded) == ["10.1.0.3/32", "fd01::3/128"]


def test_del_leaves_an_address_that_is_another_containers_by_now(guarded):
    guarded.add("c1")
    guarded.results["c2"] = guarded.results["c1"]
    guarded.add("c2")

    guarded.succeed("DEL", "c1")

    guarded.succeed("CHECK", "c2")


def test_gc_removes_the_sources_of_what_is_not_valid(guarded):
    guarded.add("c1")
    guarded.add("c2")
    valid = [{"containerID": "c2", "ifname": "eth0"}]
    conf = {"cniVersion": "1.1.0", "name": "net", "type": "firewall"}

    outcome = guarded.call("GC", {**conf, "cni.dev/valid-attachments": valid}, **guarded.variables)

    assert outcome.status == 0
    assert sources(guarded) == ["10.1.0.3/32", "fd01::3/128"]


def test_check_fails_after_a_reload_and_add_mends_it(guarded):
    guarded.add("c1")
    firewall_cmd(guarded, "--reload")

    error = guarded.firewall("CHECK", "c1").document
    assert "firewalld has 10.1.0.2/32 of cni:net/c1/eth0 no longer in zone trusted" in error["msg"]

    guarded.add("c1")
    guarded.succeed("CHECK", "c1")


def test_del_and_gc_do_without_firewalld(guarded):
    guarded.add("c1")
    guarded.add("c2")
    guarded.process.terminate()
    guarded.process.wait(timeout=60)

    guarded.succeed("DEL", "c1")
    conf = {"cniVersion": "1.1.0", "name": "net", "type": "firewall", "backend": "firewalld"}
    collect = {**conf, "cni.dev/valid-attachments": []}
    assert guarded.call("GC", collect, **guarded.variables).status == 0
    assert "cni:net" not in "\n".join(guarded.ruleset())

    status = guarded.call("STATUS", conf, **guarded.variables).document
    assert status["code"] == 50
    assert "firewalld is not reached" in status["msg"]
    assert guarded.firewall("ADD", "c1", backend="firewalld").status == 1


@pytest.mark.parametrize("policy", ["same-bridge", "isolated"])
def test_policies(guarded, policy):
    guarded.attach("d1", OTHER_BRIDGE)
    names = ("c1", "c2", "d1")
    for name in names:
        guarded.add(name)
    assert guarded.reaches("c1", "d1")
    for name in names:
        guarded.add(name, ingressPolicy=policy)

    assert guarded.reaches("c1", "outside")
    if policy == "same-bridge":
        assert guarded.reaches("c1", "c2")
    else:
        assert guarded.is_kept_from("c1", "c2")
    assert guarded.is_kept_from("c1", "d1")
    assert guarded.is_kept_from("d1", "c1", 6)
    guarded.succeed("CHECK", "c1", ingressPolicy=policy)

    for name in names:
        guarded.succeed("DEL", name, ingressPolicy=policy)
    assert "br0" not in "\n".join(line for line in guarded.ruleset() if "cni" in line)
    assert guarded.reaches("c1", "c2")


@pytest.fixture(
    params=["nobody on the bus", "no bus", "a dead socket", "a silent one", "tcp", "nonsense"]
)
def unreached(request, host, tmp_path, monkeypatch):
    """A host whose firewalld cannot be reached, with the container c1; the reason, a pattern."""
    path = tmp_path / "socket"
    address, reason = {
        "nobody on the bus": ("", "nobody is org.fedoraproject.FirewallD1 there"),
        "no bus": ("unix:path=/run/nobody", "No such file or directory"),
        "a dead socket": (f"unix:path={path}", "Connection refused"),
        "a silent one": (f"unix:path={path}", "Did not authenticate in"),
        "tcp": ("tcp:host=127.0.0.1,port=1", "."),
        "nonsense": ("nonsense", "."),
    }[request.param]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        if request.param == "a silent one":
            listener.listen()
            monkeypatch.setattr("cni_meta.firewall.bus.SECONDS_TO_CONNECT", 0.2)
        address = address or request.getfixturevalue("bus")
        host.variables = {"DBUS_SYSTEM_BUS_ADDRESS": address}
        host.attach("c1")
        yield host, address, reason


def test_where_it_is_not_reached_add_says_what_to_do_and_makes_nothing(unreached):
    host, address, reason = unreached
    before = host.ruleset()

    for keys in ({}, {"ingressPolicy": "isolated"}):
        error = host.firewall("ADD", "c1", backend="firewalld", **keys).document

        assert error["msg"] == (
            f"backend: firewalld is not reached on the system bus {address}:"
            " start firewalld, or set backend to nftables or iptables"
        )
        assert re.search(reason, error["details"])
        assert host.ruleset() == before


def test_where_it_is_not_reached_status_is_50_and_check_fails(unreached):
    host, address, _ = unreached

    status = host.call("STATUS", {**FIREWALL, "backend": "firewalld"}, **host.variables).document

    assert status["code"] == 50
    assert f"backend: firewalld is not reached on the system bus {address}" in status["msg"]
    assert "start firewalld" in host.firewall("CHECK", "c1", backend="firewalld").document["msg"]


def test_where_it_is_not_reached_del_and_gc_succeed(unreached):
    host, _, _ = unreached
    before = host.ruleset()
    conf = {**FIREWALL, "backend": "firewalld"}

    for changes in ({}, {}, {"prevResult": None}):
        outcome = host.firewall("DEL", "c1", backend="firewalld", **changes)
        assert (outcome.status, outcome.text) == (0, "")
    assert host.caller("c1")("DEL", conf, CNI_NETNS="", **host.variables).status == 0
    collect = {**conf, "cni.dev/valid-attachments": []}
    assert host.call("GC", collect, **host.variables).status == 0
    assert host.ruleset() == before


def test_where_it_is_not_reached_and_not_asked_for_there_is_simply_none(unreached):
    host, _, _ = unreached
    host.sandbox.shell(POLICE["nftables inet"])

    host.add("c1")

    assert host.reaches("c1", "outside")
    host.succeed("CHECK", "c1")
    host.succeed("DEL", "c1")
