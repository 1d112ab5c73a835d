"""host-device with a device that the kernel brings back when its namespace ends, as hardware is.

Only the initial namespace gets devices back, and there nothing may be changed on a real machine, so
these tests run under user-mode-linux. Their device is an Ethernet bridged over ATM (RFC 2684), which
the kernel makes without hardware and treats as such.
"""

import dataclasses
import fcntl
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cnicore.testing.sandbox import Sandbox

pytestmark = [pytest.mark.kernel, pytest.mark.full_kernel]

AF_ATMPVC, ATM_AAL5 = 8, 5
ATM_NEWBACKENDIF, ATM_BACKEND_BR2684 = 0x400261F3, 2  # linux/atmdev.h
NEW_INTERFACE = struct.Struct("=Hxxi16si")  # linux/atmbr2684.h: struct atm_newif_br2684
MAC = "02:00:00:00:0d:02"
CONF = {"cniVersion": "1.1.0", "name": "net", "type": "host-device"}
KEYS = {"device": {"device": "nic0"}, "hwaddr": {"hwaddr": MAC}}
BACK = 10.0  # seconds, for a slow machine


@pytest.fixture
def host(tmp_path):
    """The initial namespace, with nic0."""
    if "User Mode Linux" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("needs user-mode-linux: it changes the initial namespace")
    host = Sandbox()
    host.shell("modprobe br2684")
    make_device()
    host.shell(f"ip link set nic0 address {MAC}; ip link set nic0 alias 'rack 3'")
    yield host
    host.shell("for name in $(ls /run/netns); do ip netns delete $name; done")
    unload(host)


def make_device():
    with socket.socket(AF_ATMPVC, socket.SOCK_DGRAM, ATM_AAL5) as atm:
        request = NEW_INTERFACE.pack(ATM_BACKEND_BR2684, 0, b"nic0", 1500)
        fcntl.ioctl(atm, ATM_NEWBACKENDIF, request)


def unload(host):
    """Its devices go with it; the kernel frees the sockets behind our back."""
    deadline = time.monotonic() + BACK
    while time.monotonic() < deadline:
        with suppress(AssertionError):
            host.shell("modprobe -r br2684")
            return
        time.sleep(0.1)


@pytest.fixture
def caller(host, call):
    return dataclasses.replace(call, netns=host.container("c1"), ifname="net1")


@pytest.fixture(params=KEYS.values(), ids=KEYS)
def conf(request):
    return {**CONF, **request.param}


def names(host):
    return {link["ifname"]: link for link in host.json("ip -json link")}


def end_container(host, *, wait=True):
    """Delete the namespace, and wait until the device is back."""
    host.remove_container("c1")
    deadline = time.monotonic() + BACK
    while wait and not any(link.get("address") == MAC for link in names(host).values()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def require_home(host):
    link = names(host)["nic0"]
    assert (link["address"], link["ifalias"], "altnames" in link) == (MAC, "rack 3", False)


@pytest.mark.parametrize("netns", ["", "/run/netns/c1"])
@pytest.mark.parametrize("wait", [True, False], ids=["is back", "is coming back"])
def test_del_restores_a_device_whose_container_has_ended(host, caller, conf, netns, wait):
    result = caller.add(conf)
    end_container(host, wait=wait)

    for _ in range(2):
        assert caller("DEL", {**conf, "prevResult": result}, CNI_NETNS=netns).text == ""
        require_home(host)


def test_del_restores_a_device_whose_name_in_the_container_was_taken(host, caller, conf):
    caller.add(conf)
    host.shell("ip link add net1 type dummy")
    end_container(host)
    assert any(name.startswith("dev") for name in names(host))

    assert caller("DEL", conf).text == ""

    require_home(host)
    host.shell("ip link delete net1")


def test_del_restores_a_device_that_was_renamed_and_robbed_of_its_alias(host, caller, conf):
    caller.add(conf)
    host.shell("ip link set net1 alias ''; ip link set net1 down; ip link set net1 name lan", "c1")
    end_container(host)

    assert caller("DEL", conf).text == ""

    require_home(host)


def test_del_restores_what_the_reference_has_given(host, caller, conf):
    """It leaves the alias alone: here the marks are taken away."""
    caller.add(conf)
    (link,) = host.json("ip -json link show net1", "c1")
    for altname in link["altnames"]:
        host.shell(f"ip link property del dev net1 altname {altname}", "c1")
    host.shell("ip link set net1 down", "c1")
    end_container(host)

    outcome = caller("DEL", {**CONF, "device": "nic0"})

    assert outcome.text == ""
    link = names(host)["nic0"]
    assert (link["address"], "ifalias" in link) == (MAC, False)


def test_gc_restores_what_nobody_has_deleted(host, caller, conf):
    caller.add(conf)
    end_container(host)

    assert caller("GC", {**conf, "cni.dev/valid-attachments": []}).text == ""

    require_home(host)


def test_the_next_add_gets_the_device(host, caller, conf):
    caller.add(conf)
    end_container(host)
    other = dataclasses.replace(caller, netns=host.container("c2"), container_id="c2")

    result = other.add(conf)

    assert result["interfaces"][0]["mac"] == MAC
    assert caller("DEL", conf).text == ""
    (link,) = host.json("ip -json link show net1", "c2")
    assert link["ifalias"] == "nic0"
    assert other("DEL", conf).text == ""
    require_home(host)


def test_a_taken_name_is_said_and_nothing_is_lost(host, caller):
    conf = {**CONF, "device": "nic0"}
    caller.add(conf)
    end_container(host)
    host.shell("ip link add nic0 type dummy")

    assert 'the host has another interface "nic0"' in caller("DEL", conf).document["msg"]

    assert names(host)["net1"]["address"] == MAC
    host.shell("ip link delete nic0")
    assert caller("DEL", conf).text == ""
    require_home(host)
