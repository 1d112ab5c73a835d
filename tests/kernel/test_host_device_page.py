"""The page of host-device says what happens on the real kernel."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

PAGE = (Path(__file__).parents[2] / "docs/reference/plugins/host-device.md").read_text()
CONF, RESULT = map(json.loads, re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
LINES = re.findall(r"^\| `(.*?)` \|", PAGE.partition("## When it fails")[2], re.MULTILINE)
DEVICE = """
ip link add hd0 address 02:00:5e:10:00:01 type veth peer name far0
ip link set hd0 alias 'rack 3'
ip link add hd1 address 02:00:5e:10:00:02 type veth peer name far1
"""


@pytest.fixture
def host(sandbox):
    sandbox.shell(DEVICE)
    sandbox.container("c2")
    return sandbox


@pytest.fixture
def caller(host, call):
    return dataclasses.replace(call, netns=host.container("c1"), ifname="net1")


def device(host, name, netns=""):
    (link,) = host.json(f"ip -json link show {name}", netns)
    return link


def test_the_example_gives_the_result_on_the_page(host, caller):
    result = caller.add(CONF)

    assert result == RESULT
    chained = {**CONF, "prevResult": result}
    for verb in ("CHECK", "STATUS", "DEL", "DEL"):
        assert caller(verb, chained).text == ""


def test_the_drawing_is_true(host, caller):
    caller.add(CONF)

    drawn = re.findall(r"(alias|altname) +([^ ]+) ", PAGE.partition("```json")[0])
    link = device(host, "net1", "c1")
    names = [re.sub(r"(?<=hd0:)[0-9i]+", "…", name) for name in link["altnames"]]
    assert drawn == [("alias", link["ifalias"]), *(("altname", name) for name in names)]
    assert "hd0:" not in host.shell("ip link")


@dataclasses.dataclass
class Call:
    """A call that fails: keys of the configuration, a command before it, and the verb."""

    keys: dict = dataclasses.field(default_factory=dict)
    before: str = ""
    verb: str = "ADD"


# for each line of "When it fails" how it begins, and what provokes it
NO_DEVICE = "device: failed to find host device: Link not found: there is no interface"
BAD_CALLS = {
    "specify either": Call({"device": ""}),
    f'{NO_DEVICE} "none"': Call({"device": "none"}),
    f'{NO_DEVICE} "hd0"': Call(),
    "hwaddr: failed to find": Call({"device": "", "hwaddr": "02:00:5e:10:00:99"}),
    "hwaddr: failed to parse": Call({"device": "", "hwaddr": "zz"}),
    "kernelpath: kernel device": Call({"device": "", "kernelpath": "/dev/hd0"}),
    "kernelpath: failed": Call({"device": "", "kernelpath": "/sys/devices/none"}),
    "pciBusID: error": Call({"device": "", "pciBusID": "0000:ff:1f.7"}),
    'pciBusID: "../x"': Call({"device": "", "pciBusID": "../x"}),
    "runtimeConfig.deviceID": Call({"device": "", "runtimeConfig": {"deviceID": "none"}}),
    "device, hwaddr": Call({"hwaddr": "02:00:5e:10:00:02"}),
    "host device": Call(before="ip link add br0 type bridge; ip link set hd0 master br0"),
    "cannot convert": Call({"cniVersion": "0.2.0"}),
    "container interface": Call(before="ip -n c1 link add net1 type veth peer name other"),
    "could not move lo": Call({"device": "lo"}),
    "Required prevResult": Call(verb="CHECK"),
}  # fmt: skip
WIPED = "ip link set net1 alias ''; ip link property del dev net1 $(ip link show net1 | sed -n 's/ *altname/altname/p')"
AFTERWARDS = {
    "failed to return": ("DEL", "ip link add hd0 type veth peer name far2", ""),
    "failed to find original": ("DEL", WIPED, "c1"),
    "net1 has lost": ("CHECK", "ip link set net1 alias ''", "c1"),
}


def require_listed(begin, message):
    """The line that begins so is the message."""
    (line,) = (line for line in LINES if line.startswith(begin))
    assert line == message


def test_every_message_on_the_page_is_provoked_here():
    begins = (*BAD_CALLS, *AFTERWARDS)

    assert [line for line in LINES if not line.startswith(begins)] == []


@pytest.mark.parametrize("begin", BAD_CALLS)
def test_a_bad_call_says_what_the_page_says_and_the_device_stays(host, caller, begin):
    bad = BAD_CALLS[begin]
    conf = {"cniVersion": "1.1.0", "name": "mynet", "type": "host-device", "device": "hd0"}
    if begin.endswith('"hd0"'):
        other = dataclasses.replace(caller, netns="/run/netns/c2", container_id="c2")
        other.add(conf)
    host.shell(bad.before or "true")

    outcome = caller(bad.verb, {**conf, **bad.keys})

    assert outcome.status == 1
    require_listed(begin, outcome.document["msg"])
    where = "c2" if begin.endswith('"hd0"') else ""
    assert device(host, "net1" if where else "hd0", where)["address"] == "02:00:5e:10:00:01"


@pytest.mark.parametrize("begin", AFTERWARDS)
def test_what_happened_meanwhile_is_told_in_the_words_of_the_page(host, caller, begin):
    verb, command, netns = AFTERWARDS[begin]
    keys = {"device": "", "hwaddr": "02:00:5e:10:00:01"} if "original" in begin else {}
    conf = {**CONF, **keys}
    result = caller.add(conf)
    host.shell(command, netns)

    outcome = caller(verb, {**conf, "prevResult": result})

    assert outcome.status == 1
    require_listed(begin, outcome.document["msg"])
    assert device(host, "net1", "c1")["address"] == "02:00:5e:10:00:01"
