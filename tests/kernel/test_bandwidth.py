"""bandwidth on the real kernel: what arrives, counted at the receiver."""

import dataclasses
from contextlib import ExitStack, closing
from importlib import util
from pathlib import Path

import pytest

from cnicore.net.namespace import Namespace
from kernel.carrier import carried

pytestmark = pytest.mark.kernel

PTP = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "ptp",
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]],
    },
}
DOWN, UP = 16_000_000, 8_000_000  # bits per second to the container and from it
BANDWIDTH = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "bandwidth",
    "ingressRate": DOWN,
    "ingressBurst": DOWN // 10,
    "egressRate": UP,
    "egressBurst": UP // 10,
}
SPENT = 2  # rows: in the first half second the burst passes, and TCP finds its pace
SECONDS = 2
TOLERANCE = 0.15
ATTEMPTS = 3  # a machine that does something else can only make it look slower or burstier


def load(name):
    """A module of the examples, which are no package."""
    path = Path(__file__).parents[2] / "docs/examples" / f"{name}.py"
    spec = util.spec_from_file_location(name, path)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


throughput = load("throughput")


@pytest.fixture
def places(sandbox):
    """Opens handles on namespaces, by name; empty is the host's."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(
            closing(Namespace(f"/run/netns/{name}" if name else ""))
        )


@pytest.fixture
def attach(sandbox, call):
    """Makes a container, attaches it and shapes it unless told not to; returns ptp's result."""

    def attach(name="c1", *, shaping=BANDWIDTH, mtu=0):
        caller = dataclasses.replace(call, netns=sandbox.container(name), container_id=name)
        result = caller.add({**PTP, "mtu": mtu})
        if shaping:
            caller.add({**shaping, "prevResult": result})
        return result

    return attach


def closest(expected, transfer):
    """The rate that comes closest to the expected one, of a few transfers at most."""
    found = []
    for _ in range(ATTEMPTS):
        found.append(throughput.rate(transfer()[SPENT:]))
        if abs(found[-1] - expected) <= TOLERANCE * expected:
            break
    return min(found, key=lambda rate: abs(rate - expected))


def is_kept(rate, expected):
    return abs(rate - expected) <= TOLERANCE * expected


@pytest.mark.parametrize(
    ("mtu", "udp"), [(1500, False), (1500, True), (9000, False)], ids=["tcp", "udp", "jumbo"]
)
@pytest.mark.parametrize("direction", ["down", "up"])
def test_the_rate_is_kept_within_15_percent(attach, places, mtu, direction, udp):
    attach(mtu=mtu)
    host, container = places(""), places("c1")
    way = {"down": (host, container, "10.1.0.2"), "up": (container, host, "10.1.0.1")}[direction]
    expected = {"down": DOWN, "up": UP}[direction]

    rate = closest(expected, lambda: throughput.measure(*way, seconds=SECONDS, udp=udp))

    assert is_kept(rate, expected), f"{rate / 1e6:.1f} Mbit/s"


@pytest.mark.parametrize("direction", ["down", "up"])
def test_ipv6_is_shaped_too(attach, places, direction):
    attach()
    host, container = places(""), places("c1")
    way = {"down": (host, container, "fd00:1::2"), "up": (container, host, "fd00:1::1")}[direction]
    expected = {"down": DOWN, "up": UP}[direction]

    rate = closest(expected, lambda: throughput.measure(*way, seconds=SECONDS))

    assert is_kept(rate, expected), f"{rate / 1e6:.1f} Mbit/s"


@pytest.fixture
def carried_link(sandbox, kind):
    """A container behind a process, and what the plugin that started it reports."""
    netns = sandbox.container("c1")
    with carried(kind, "vm0", netns, "eth0"):
        for where, name, host in (("", "vm0", 1), ("-n c1", "eth0", 2)):
            sandbox.shell(f"ip {where} addr add 10.1.0.{host}/24 dev {name}")
            sandbox.shell(f"ip {where} link set {name} up")
        interfaces = [{"name": "vm0"}, {"name": "eth0", "sandbox": netns}]
        yield {"cniVersion": "1.1.0", "interfaces": interfaces}


@pytest.mark.parametrize(
    ("kind", "directions"), [("tap", "both"), ("tap", "down"), ("tap", "up"), ("tun", "both")]
)
def test_a_link_that_a_process_carries_is_shaped_too(carried_link, places, call, directions):
    caller = dataclasses.replace(call, netns="/run/netns/c1", container_id="c1")
    unlimited = {"both": {}, "down": {"egressRate": 0, "egressBurst": 0}}
    conf = {**BANDWIDTH, **unlimited.get(directions, {"ingressRate": 0, "ingressBurst": 0})}
    host, container = places(""), places("c1")
    ways = {
        "down": (DOWN, host, container, "10.1.0.2"),
        "up": (UP, container, host, "10.1.0.1"),
    }

    caller.add({**conf, "prevResult": carried_link})

    for direction, (expected, *way) in ways.items():
        if directions in {"both", direction}:
            rate = closest(expected, lambda way=way: throughput.measure(*way, seconds=SECONDS))
            assert is_kept(rate, expected), f"{direction}: {rate / 1e6:.1f} Mbit/s"
        else:
            assert throughput.rate(throughput.measure(*way, seconds=1)) > 2 * DOWN, direction
    assert caller("DEL", conf).text == ""
    for _, *way in ways.values():
        assert throughput.rate(throughput.measure(*way, seconds=1)) > 2 * DOWN


def test_containers_are_shaped_apart_at_the_same_time(attach, places):
    half = {**BANDWIDTH, "ingressRate": DOWN // 2, "ingressBurst": DOWN // 20}
    attach("c1")
    attach("c2", shaping=half)
    host = places("")

    for _ in range(ATTEMPTS):
        flows = [
            throughput.Flow(host, places(name), address)
            for name, address in (("c1", "10.1.0.2"), ("c2", "10.1.0.3"))
        ]
        throughput.run(flows, SECONDS)
        rates = [throughput.rate(flow.rows[SPENT:]) for flow in flows]
        if is_kept(rates[0], DOWN) and is_kept(rates[1], DOWN // 2):
            break

    assert is_kept(rates[0], DOWN), rates
    assert is_kept(rates[1], DOWN // 2), rates


def test_a_shaped_download_is_slower_than_an_unshaped_one_and_a_burst_is_not_delayed(
    attach, places, sandbox, call
):
    attach("c1")
    attach("c2", shaping=None)
    host = places("")

    shaped = throughput.measure(host, places("c1"), "10.1.0.2", seconds=1)
    unshaped = throughput.measure(host, places("c2"), "10.1.0.3", seconds=1)

    assert sum(unshaped) > 5 * sum(shaped)
    assert shaped[0] > 1.2 * shaped[-1]


def test_del_of_bandwidth_alone_ends_the_shaping(attach, places, sandbox, call):
    attach("c1")
    caller = dataclasses.replace(call, netns="/run/netns/c1", container_id="c1")
    host, container = places(""), places("c1")

    assert caller("DEL", BANDWIDTH).text == ""

    for way in ((host, container, "10.1.0.2"), (container, host, "10.1.0.1")):
        assert throughput.rate(throughput.measure(*way, seconds=1)) > 2 * DOWN


def test_a_transfer_can_be_drawn():
    assert throughput.plot([250_000, 500_000, 0]) == [
        " 0.25 s ████████████████████                          8.0 Mbit/s",
        " 0.50 s ████████████████████████████████████████     16.0 Mbit/s",
        " 0.75 s                                               0.0 Mbit/s",
    ]
    assert throughput.plot([250_000], full=80e6) == [
        " 0.25 s ████                                          8.0 Mbit/s"
    ]
