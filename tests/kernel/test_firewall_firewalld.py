"""firewall with a real firewalld, on a bus and in namespaces of the test's own."""

import shutil
import subprocess
import time

import pytest

from cni_meta.firewall.firewalld import runs
from kernel.firewall_hosts import OTHER_BRIDGE, POLICE, host

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


def wait_until(condition, seconds=20):
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
        process.wait(timeout=20)


@pytest.fixture
def bus(host, start, tmp_path):
    """The address of a bus on which nobody is yet."""
    for program, package in (("dbus-daemon", "dbus"), ("firewalld", "firewalld")):
        if not shutil.which(program, path="/usr/sbin:/usr/bin"):
            pytest.skip(f"needs {program}: Debian's package {package}")
    socket = tmp_path / "bus"
    (tmp_path / "bus.conf").write_text(BUS_CONF.format(socket=socket))
    start("dbus-daemon", "--nofork", f"--config-file={tmp_path / 'bus.conf'}")
    wait_until(socket.exists)
    return f"unix:path={socket}"


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
    assert not guarded.reaches("c1", "outside", version)

    guarded.add("c1")
    assert guarded.reaches("c1", "outside", version)
    assert not guarded.reaches("c2", "outside", version)
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
    assert not guarded.reaches("c1", "outside", version)


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


def test_a_zone_that_does_not_exist_is_an_error_and_nothing_stays(guarded):
    before = guarded.ruleset()

    error = guarded.firewall("ADD", "c1", firewalldZone="nowhere").document

    assert "could not addSource 10.1.0.2/32 in zone nowhere: INVALID_ZONE" in error["msg"]
    assert without_frame(guarded.ruleset()) == before


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
    guarded.process.wait(timeout=20)

    guarded.succeed("DEL", "c1")
    conf = {"cniVersion": "1.1.0", "name": "net", "type": "firewall", "backend": "firewalld"}
    collect = {**conf, "cni.dev/valid-attachments": []}
    assert guarded.call("GC", collect, **guarded.variables).status == 0
    assert "cni:net" not in "\n".join(guarded.ruleset())

    status = guarded.call("STATUS", conf, **guarded.variables).document
    assert status["code"] == 50
    assert "firewalld does not run" in status["msg"]
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
    assert guarded.reaches("c1", "c2") == (policy == "same-bridge")
    assert not guarded.reaches("c1", "d1")
    assert not guarded.reaches("d1", "c1", 6)
    guarded.succeed("CHECK", "c1", ingressPolicy=policy)

    for name in names:
        guarded.succeed("DEL", name, ingressPolicy=policy)
    assert "br0" not in "\n".join(line for line in guarded.ruleset() if "cni" in line)
    assert guarded.reaches("c1", "c2")


def test_a_bus_without_firewalld_is_no_firewalld(host, bus):
    host.variables = {"DBUS_SYSTEM_BUS_ADDRESS": bus}
    host.sandbox.shell(POLICE["nftables inet"])
    host.attach("c1")

    host.add("c1")

    assert host.reaches("c1", "outside")
    host.succeed("CHECK", "c1")
    host.succeed("DEL", "c1")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("unix:path=/run/nobody", "cannot be reached"),
        ("tcp:host=127.0.0.1,port=1", "cannot be reached"),
        ("nonsense", "cannot be reached"),
    ],
)
def test_a_bus_that_is_not_there_is_named(host, address, words):
    host.variables = {"DBUS_SYSTEM_BUS_ADDRESS": address}
    host.attach("c1")

    error = host.firewall("ADD", "c1", backend="firewalld").document

    assert words in error["msg"]
    assert address in error["msg"]
    host.add("c1")  # without a backend in the configuration there is simply no firewalld
    host.succeed("DEL", "c1")


def without_frame(lines):
    """The lines without the empty sets that an ADD leaves for the next one."""
    text = "\n".join(lines)
    assert "10.1.0.2" not in text
    start = text.find("table inet cni {")
    end = text.find("\n}", start) + 2
    return (text[:start] + text[end:]).strip().splitlines() if start >= 0 else lines
