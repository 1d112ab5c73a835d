"""bandwidth, on the kernel in memory."""

import dataclasses

import pytest

from cnicore.net.qdisc import Filter, TokenBucket

CONF = {"cniVersion": "1.1.0", "name": "mynet", "type": "bandwidth"}
INGRESS = {"ingressRate": 1_000_000, "ingressBurst": 2_000_000}
EGRESS = {"egressRate": 100_000_000, "egressBurst": 10_000_000}
BOTH = {**INGRESS, **EGRESS}
INGRESS_BUCKET = TokenBucket(125_000, 253_125, 31_250_000)
EGRESS_BUCKET = TokenBucket(12_500_000, 1_562_500, 1_562_500)
IFB = "bwp70a29d9dc18b"  # of network mynet and container abc123, as the reference names it


@pytest.fixture
def call(call):
    return dataclasses.replace(call, container_id="abc123")


@pytest.fixture
def host(fake_kernel):
    return fake_kernel.namespaces[""]


@pytest.fixture
def container(fake_kernel):
    return fake_kernel.namespaces["/run/netns/c1"]


@pytest.fixture
def attach(host, container):
    """Makes a veth pair as a plugin before bandwidth would, and its prevResult."""

    def attach(ifname="eth0", veth="veth1", mtu=0):
        host.add_veth(veth, peer=ifname, peer_in=container, mtu=mtu)
        host.set_alias(veth, f"cni:mynet/abc123/{ifname}")
        interfaces = [
            {"name": "cni0", "mac": "02:00:00:00:00:b0"},
            {"name": veth, "mac": "02:00:00:00:00:01"},
            {"name": ifname, "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/c1"},
        ]
        return {"cniVersion": "1.1.0", "interfaces": interfaces}

    return attach


@pytest.fixture
def conf(attach):
    return {**CONF, **BOTH, "prevResult": attach()}


def buckets(host):
    """Token buckets by the link's name."""
    return {
        link.name: host.buckets[link.index]
        for link in host.by_name.values()
        if link.index in host.buckets
    }


def redirected(host):
    """Names of the links that what arrives at others is redirected to, by those."""
    names = {link.index: name for name, link in host.by_name.items()}
    return {
        name: [names.get(one.target) for one in host.filters(link)]
        for name, link in host.by_name.items()
        if link.index in host.arriving
    }


# --- configurations

GIB = 1 << 30


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"ingressRate": 1000}, "ingressBurst is missing: if rate is set, burst must also be set"),
        ({"ingressBurst": 1000}, "ingressRate is missing: if burst is set, rate must also be set"),
        ({"egressRate": 1000}, "egressBurst is missing: if rate is set, burst must also be set"),
        ({"egressBurst": 1000}, "egressRate is missing: if burst is set, rate must also be set"),
        (
            {"runtimeConfig": {"bandwidth": {"egressRate": 1000}}},
            "runtimeConfig.bandwidth.egressBurst is missing: if rate is set, burst must",
        ),
        (
            {"ingressRate": 1000, "ingressBurst": 4 * GIB * 8 - 8},
            "ingressBurst: burst cannot be more than 4GB",
        ),
        ({"egressRate": 7, "egressBurst": 1000}, "egressRate: 7 is less than a byte"),
        ({"egressRate": 1000, "egressBurst": 1}, "egressBurst: 1 is less than a byte"),
        ({"ingressRate": -1}, "ingressRate: input should be greater than or equal to 0"),
        ({"egressBurst": -8}, "egressBurst: input should be greater than or equal to 0"),
        ({"ingressRate": 8, "egressBurst": -8}, "egressBurst: input should be greater than"),
        (
            {"ingressRate": 2**64},
            "ingressRate: input should be less than or equal to 18446744073709551615",
        ),
        ({"ingressRate": "1M"}, "ingressRate: input should be a valid integer, not '1M'"),
        ({"ingressRate": 1.5}, "ingressRate: "),
        (
            {"runtimeConfig": {"bandwidth": {"ingressRate": -1}}},
            "runtimeConfig.bandwidth.ingressRate: input should be greater than or equal to 0",
        ),
        (
            {"ingressRate": 0, "runtimeConfig": {"bandwidth": {"ingressBurst": 2**64}}},
            "runtimeConfig.bandwidth.ingressBurst: input should be less than or equal to",
        ),
        ({"runtimeConfig": {"bandwidth": []}}, "runtimeConfig.bandwidth: "),
    ],
)
def test_a_bad_configuration_is_refused_and_leaves_nothing(
    call, fake_kernel, attach, keys, message
):
    conf = {**CONF, **keys, "prevResult": attach()}
    before = fake_kernel.snapshot()

    for verb in ("ADD", "CHECK", "STATUS"):
        outcome = call(verb, conf)

        assert (outcome.status, outcome.document["code"]) == (1, 7)
        assert outcome.document["msg"].startswith(message)
    assert fake_kernel.snapshot() == before


@pytest.mark.parametrize(
    ("rate", "burst", "expected"),
    [
        (8, 8, TokenBucket(1, 1, 15_625_000)),
        (16, 8, TokenBucket(2, 1, 7_812_500)),
        (8_000, 80, TokenBucket(1_000, 35, 156_250)),
        (8_000, 16_000, TokenBucket(1_000, 2_025, 31_250_000)),
        (800, 200, TokenBucket(100, 27, 3_906_250)),
        (1_000_000, 2_000_000, TokenBucket(125_000, 253_125, 31_250_000)),
        (100_000_000, 10_000_000, TokenBucket(12_500_000, 1_562_500, 1_562_500)),
        (40_000_000_000, 100_000_000, TokenBucket(5_000_000_000, 137_500_000, 39_062)),
        # what containerd sends for a pod that has a rate only: more ticks than 32 bits hold
        (1_000_000, 4_294_967_295, TokenBucket(125_000, 536_874_036, 4_294_967_295)),
        (10**12, 4 * GIB * 8 - 16, TokenBucket(125 * 10**9, 4_294_967_295, 536_859)),
    ],
)
def test_the_kernel_is_told_what_the_reference_tells_it(call, attach, host, rate, burst, expected):
    call.add({**CONF, "ingressRate": rate, "ingressBurst": burst, "prevResult": attach()})

    assert buckets(host) == {"veth1": expected}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"runtimeConfig": {"bandwidth": INGRESS}}, {"veth1": INGRESS_BUCKET}),
        ({"RuntimeConfig": {"bandWidth": {"IngressRate": 8000, "IngressBurst": 80}}}, 1_000),
        ({**INGRESS, "runtimeConfig": {"bandwidth": EGRESS}}, {"veth1": INGRESS_BUCKET}),
        ({"egressRate": 0, "runtimeConfig": {"bandwidth": INGRESS}}, {}),
        ({"egressRate": None, "runtimeConfig": {"bandwidth": INGRESS}}, {"veth1": INGRESS_BUCKET}),
        ({"runtimeConfig": {"bandwidth": None}}, {}),
        ({"shapedSubnets": ["10.0.0.0/8"]}, {}),
    ],
)
def test_the_networks_own_keys_win_over_the_runtimes(call, attach, host, keys, expected):
    call.add({**CONF, **keys, "prevResult": attach()})

    found = buckets(host)
    assert (found["veth1"].rate if isinstance(expected, int) else found) == expected


def test_every_number_that_is_impossible_is_told(call, attach):
    keys = {"ingressRate": -1, "egressBurst": 2**64, "runtimeConfig": {"bandwidth": {}}}

    document = call("ADD", {**CONF, **keys, "prevResult": attach()}).document

    assert document["msg"] == "ingressRate: input should be greater than or equal to 0"
    assert document["details"].startswith("egressBurst: input should be less than or equal to")


# --- ADD


def test_add_shapes_both_directions_and_reports_the_ifb_last(call, conf, attach, host):
    document = call.add(conf)

    assert document["interfaces"] == [
        *conf["prevResult"]["interfaces"],
        {"name": IFB, "mac": "02:00:00:00:00:1f"},
    ]
    assert buckets(host) == {"veth1": INGRESS_BUCKET, IFB: EGRESS_BUCKET}
    assert redirected(host) == {"veth1": [IFB]}
    ifb = host.by_name[IFB]
    assert (ifb.kind, ifb.mtu, ifb.is_up, ifb.alias) == (
        "ifb",
        1500,
        True,
        "cni:mynet/abc123/eth0",
    )


def test_each_direction_alone(call, attach, host):
    result = attach(mtu=9000)

    assert call.add({**CONF, **INGRESS, "prevResult": result}) == result
    assert (buckets(host), redirected(host)) == ({"veth1": INGRESS_BUCKET}, {})
    assert call("DEL", {**CONF, **INGRESS}).status == 0

    assert len(call.add({**CONF, **EGRESS, "prevResult": result})["interfaces"]) == 4
    assert (buckets(host), redirected(host)) == ({IFB: EGRESS_BUCKET}, {"veth1": [IFB]})
    assert host.by_name[IFB].mtu == 9000


@pytest.mark.parametrize("keys", [{}, {"ingressRate": 0, "egressRate": 0}])
def test_without_a_rate_the_result_is_passed_on_and_nothing_is_opened(
    call, fake_kernel, attach, keys
):
    result = attach()
    fake_kernel.calls.clear()

    assert call.add({**CONF, **keys, "prevResult": result}) == result
    assert call("CHECK", {**CONF, **keys, "prevResult": result}).text == ""
    assert fake_kernel.calls == []


@pytest.mark.parametrize("keys", [{}, BOTH])
def test_it_must_be_chained(call, fake_kernel, keys):
    outcome = call("ADD", {**CONF, **keys})

    assert outcome.document["code"] == 7
    assert "bandwidth must be called as chained plugin" in outcome.document["msg"]


def test_of_several_links_of_the_host_the_true_peer_is_shaped(call, conf, attach, host):
    host.add_veth("veth0", peer="veth2", peer_in=host)
    others = [{"name": "veth0"}, {"name": "veth2"}]
    result = conf["prevResult"]

    call.add({**conf, "prevResult": {**result, "interfaces": [*others, *result["interfaces"]]}})

    assert buckets(host).keys() == {"veth1", IFB}


def test_an_interface_without_an_end_on_the_host_is_refused_by_its_kind(
    call, conf, container, fake_kernel
):
    for kind, words in (("macvlan", "of kind macvlan"), ("", "a device of the host itself")):
        container.change("eth0", kind=kind)
        before = fake_kernel.snapshot()

        document = call("ADD", conf).document

        assert document["code"] == 7
        assert f"eth0 is {words} and has no other end on the host" in document["msg"]
        assert "(cni0 is not there, veth1 " in document["msg"]
        assert fake_kernel.snapshot() == before


def point_elsewhere(host, container):
    host.add_veth("veth0", peer="veth2", peer_in=host)
    container.change("eth0", peer=host.by_name["veth2"].index)


OBSTACLES = {
    "no such interface": (
        lambda host, container: container.delete_link("eth0"),
        'container interface "eth0" not found in netns /run/netns/c1',
    ),
    "no peer": (
        lambda host, container: container.change("eth0", peer=0),
        "the other end of eth0 (index 0) is not on the host",
    ),
    "the index is another link's": (point_elsewhere, "is not on the host"),
    "the link of that index is no veth": (
        lambda host, container: host.change("veth1", kind="dummy"),
        "is not on the host",
    ),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_add_says_why_there_is_nothing_to_shape(call, conf, host, container, fake_kernel, obstacle):
    prepare, message = OBSTACLES[obstacle]
    prepare(host, container)
    before = fake_kernel.snapshot()

    assert message in call("ADD", conf).document["msg"]
    assert fake_kernel.snapshot() == before


@pytest.mark.parametrize(
    "interfaces",
    [[], [{"name": "eth0", "sandbox": "/run/netns/c1"}], [{"name": "veth1", "sandbox": "/x"}]],
)
def test_the_hosts_end_must_be_in_the_result(call, conf, fake_kernel, interfaces):
    before = fake_kernel.snapshot()
    result = {"cniVersion": "1.1.0", "interfaces": interfaces}

    document = call("ADD", {**conf, "prevResult": result}).document

    assert "no interface of the host in prevResult is veth1" in document["msg"]
    assert fake_kernel.snapshot() == before


def test_add_that_fails_at_any_call_leaves_nothing(call, conf, fake_kernel):
    before = fake_kernel.snapshot()
    failures = 0
    for number in range(1, 100):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", conf)
        if outcome.status == 0:
            break
        failures += 1
        assert fake_kernel.snapshot() == before, fake_kernel.calls[number - 1]
    assert outcome.status == 0
    assert failures > 15


def test_a_second_add_replaces_what_the_first_made(call, conf, host, fake_kernel):
    call.add(conf)

    call.add({**conf, "egressRate": 0, "egressBurst": 0, "ingressRate": 2_000_000})

    assert {name: one.rate for name, one in buckets(host).items()} == {"veth1": 250_000}
    assert (IFB in host.by_name, redirected(host)) == (False, {})


def test_the_qdisc_of_somebody_else_is_left_alone_and_named(call, conf, host, fake_kernel):
    veth = host.by_name["veth1"]
    host.foreign[veth.index] = "htb"
    before = fake_kernel.snapshot()

    message = call("ADD", conf).document["msg"]

    assert message.endswith("remove it with tc qdisc delete dev veth1 root")
    assert fake_kernel.snapshot() == before
    host.foreign.clear()
    host.arriving[veth.index] = [Filter("flower")]
    before = fake_kernel.snapshot()
    message = call("ADD", conf).document["msg"]
    assert message.endswith("remove it with tc qdisc delete dev veth1 ingress")
    assert fake_kernel.snapshot() == before


@pytest.mark.parametrize(
    ("rate", "burst", "largest"),
    [
        (8_000, 1514, None),
        (8_000, 1513, 1513),
        (16_000_000, 1516, None),
        (16_000_000, 1514, 1513),  # of which the kernel's clock cannot count the last nanosecond
    ],
)
def test_a_burst_that_does_not_hold_a_packet_is_warned_of(
    call, attach, capfd, rate, burst, largest
):
    call.add({**CONF, "ingressRate": rate, "ingressBurst": burst * 8, "prevResult": attach()})

    warning = (
        f"bandwidth: ingressBurst lets {largest} bytes pass at once, but veth1 has packets of up"
        " to 1514: the larger ones are dropped\n"
    )
    assert capfd.readouterr().err == (warning if largest else "")
