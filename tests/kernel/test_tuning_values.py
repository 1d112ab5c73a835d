"""tuning's CHECK on the real kernel: sysctls that are read back otherwise than they were written."""

import dataclasses
import json
from pathlib import Path

import pytest

from cnicore.testing.faults import failing_at_every_call

pytestmark = pytest.mark.kernel

BACKUP = Path("/run/cni/tuning/c1_eth0.json")
TUNING = {"cniVersion": "1.1.0", "name": "net", "type": "tuning"}
RESULT = {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": "/run/netns/c1"}]}
STABLE = "net/ipv6/conf/eth0/stable_secret"
KEYS = "net/ipv4/tcp_fastopen_key"
PORTS = "net/ipv4/ip_local_port_range"
RESERVED = "net/ipv4/ip_local_reserved_ports"
MEMORY = "net/ipv4/tcp_rmem"
BACKLOG = "net/core/somaxconn"
RETRANSMISSION = "net/ipv4/neigh/eth0/retrans_time_ms"
TOLD_BY_A_RULE = {  # by path, what was written and what somebody makes of it later
    PORTS: [
        ("1024 2048", "1024 2049"),
        ("1024\t2048", "1025 2048"),
        ("  0x400   2048\n", "1024 2049"),
    ],
    MEMORY: [
        ("4096 131072 6291456", "4096 131072 6291457"),
        ("4096\t131073", "4096 131074"),
        ("5000", "5001"),
    ],
    BACKLOG: [("0x100", "257"), ("0400", "400"), (" 500\n", "501"), ("00", "1")],
    RESERVED: [
        ("8002,8000,8001", "8000-8001"),
        ("80-82,81", "80-81,83"),
        ("0x50", "81"),
        ("80-80", "80-81"),
        ("80", "80,90"),
    ],
    STABLE: [
        ("2001:db8::1", "2001:db8::2"),
        ("2001:DB8::A", "2001:db8::b"),
        ("::1.2.3.4", "::1.2.3.5"),
    ],
    KEYS: [
        ("1-2-3-4", "1-2-3-5"),
        ("ABCDEF01-2-3-4", "abcdef02-2-3-4"),
        ("1-2-3-4,5-6-7-8", "1-2-3-4"),
        ("1-2-3-4", "1-2-3-4,5-6-7-8"),
        ("5-6-7-8,1-2-3-4", "1-2-3-4,5-6-7-8"),
    ],
}
ONLY_THE_KERNEL_KNOWS = {  # so that the file has what was read after the ADD
    RETRANSMISSION: [("30001", "30500"), ("1", "500")],  # rounded up to a tick
    "net/ipv4/neigh/eth0/locktime": [("7", "50")],  # rounded off
    "net/ipv4/ping_group_range": [("5 1", "0 100")],  # an empty range is printed as 1 0
    BACKLOG: [("5 6", "6"), ("5\n6", "7")],  # the surplus is left out
    RESERVED: [("80,", "81")],
    KEYS: [("123456789-1-1-1", "1-1-1-1")],  # cut off
}


def cases(values):
    return [(path, *pair) for path, pairs in values.items() for pair in pairs]


@pytest.fixture
def caller(sandbox, call):
    netns = sandbox.container()
    sandbox.shell("ip link add eth0 type veth peer name far && ip link set eth0 up", netns)
    return dataclasses.replace(call, netns=netns)


def conf_for(**sysctls):
    return {**TUNING, "sysctl": sysctls, "prevResult": RESULT}


def write(sandbox, path, value):
    sandbox.shell(f"printf '%s' '{value}' >/proc/sys/{path}", "c1")


def read(sandbox, path):
    return sandbox.shell(f"cat /proc/sys/{path}", "c1").strip()


@pytest.mark.parametrize(
    ("path", "written", "changed"), [*cases(TOLD_BY_A_RULE), *cases(ONLY_THE_KERNEL_KNOWS)]
)
def test_check_passes_until_somebody_changes_the_value(sandbox, caller, path, written, changed):
    conf = conf_for(**{path: written})
    caller.add(conf)
    assert caller("CHECK", conf).text == ""
    caller.add(conf)
    assert caller("CHECK", conf).text == ""
    write(sandbox, path, changed)

    outcome = caller("CHECK", conf)

    assert outcome.status == 1
    assert f"Tuning configured value of {path} is" in outcome.document["msg"]
    assert caller("DEL", conf).text == ""
    assert not BACKUP.exists()


@pytest.mark.parametrize(("path", "written", "_"), cases(TOLD_BY_A_RULE))
def test_the_file_has_no_reading_where_a_rule_tells_it(caller, path, written, _):
    caller.add(conf_for(**{path: written}))

    assert not BACKUP.exists() or "readings" not in json.loads(BACKUP.read_text())


def test_numbers_that_were_not_written_may_change(sandbox, caller):
    conf = conf_for(**{MEMORY: "4096 131073"})
    before = read(sandbox, MEMORY)
    caller.add(conf)

    write(sandbox, MEMORY, "4096 131073 5000000")

    assert caller("CHECK", conf).text == ""
    assert caller("DEL", conf).text == ""
    assert read(sandbox, MEMORY) == before


def test_a_reading_is_of_the_value_that_was_written(sandbox, caller):
    caller.add(conf_for(**{BACKLOG: "5 6"}))
    assert json.loads(BACKUP.read_text())["readings"] == {BACKLOG: ["5 6", "5"]}

    outcome = caller("CHECK", conf_for(**{BACKLOG: "6 5"}))

    assert "is 6 5, current value is 5: something changed it" in outcome.document["msg"]


@pytest.mark.parametrize("file", ["gone", "torn", "of another", "of another network namespace"])
def test_without_the_reading_check_tells_what_it_sees(sandbox, caller, file):
    conf = conf_for(**{BACKLOG: "5 6"})
    caller.add(conf)
    saved = json.loads(BACKUP.read_text())
    other = {"of another": {"owner": "cni:net/c1_x/eth0"}}.get(file, {"netns": 1})
    if file == "gone":
        BACKUP.unlink()
    else:
        BACKUP.write_text("{" if file == "torn" else json.dumps({**saved, **other}))

    assert "is 5 6, current value is 5:" in caller("CHECK", conf).document["msg"]


def test_of_two_interfaces_the_one_whose_value_is_gone_is_not_healthy(sandbox, caller):
    first, second = (conf_for(**{BACKLOG: value}) for value in ("5 6", "7 8"))
    other = dataclasses.replace(caller, ifname="far")
    caller.add(first)
    other.add(second)

    assert caller("CHECK", first).status == 1
    assert other("CHECK", second).text == ""


def test_keys_that_set_the_same_thing_leave_what_the_later_one_makes(sandbox, caller):
    """ip_forward sets the forwarding of every interface."""
    forwarding = "net/ipv4/conf/eth0/forwarding"
    conf = conf_for(**{forwarding: "0", "net/ipv4/ip_forward": "1"})
    caller.add(conf)
    assert caller("CHECK", conf).text == ""
    assert read(sandbox, forwarding) == "1"

    write(sandbox, "net/ipv4/ip_forward", "0")

    assert caller("CHECK", conf).status == 1


def test_add_that_fails_at_any_call_leaves_no_reading(sandbox, caller):
    conf = {**conf_for(**{RETRANSMISSION: "1", BACKLOG: "5 6"}), "mtu": 1400}
    before = [read(sandbox, path) for path in (RETRANSMISSION, BACKLOG)]
    outcomes = []

    for number in failing_at_every_call(lambda: outcomes.append(caller("ADD", conf).status)):
        assert [read(sandbox, path) for path in (RETRANSMISSION, BACKLOG)] == before, number
        assert not BACKUP.exists()

    assert outcomes[-1] == 0
    assert len(outcomes) > 9


def test_a_second_add_that_fails_leaves_the_reading_of_the_first(sandbox, caller):
    first, second = (conf_for(**{BACKLOG: value}) for value in ("5 6", "7 8"))
    caller.add(first)
    before = BACKUP.read_text()
    outcomes = []

    for number in failing_at_every_call(lambda: outcomes.append(caller("ADD", second).status)):
        assert BACKUP.read_text() == before, f"call {number}"
        assert caller("CHECK", first).text == "", f"call {number}"

    assert outcomes[-1] == 0


@pytest.mark.parametrize("value", ["5000 x", "5000 131072 0"])
def test_a_list_that_the_kernel_takes_in_part_and_refuses_is_as_it_was(sandbox, caller, value):
    before = read(sandbox, MEMORY)

    message = caller("ADD", conf_for(**{BACKLOG: "5 6", MEMORY: value})).document["msg"]

    assert f"could not write {value} to /proc/sys/net/ipv4/tcp_rmem" in message
    assert read(sandbox, MEMORY) == before
    assert not BACKUP.exists()
