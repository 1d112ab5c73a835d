"""bandwidth after the ADD, on the kernel in memory: several interfaces, DEL, CHECK, GC, STATUS."""

import dataclasses

import pytest

from cnicore.net.qdisc import Filter

CONF = {"cniVersion": "1.1.0", "name": "mynet", "type": "bandwidth"}
INGRESS = {"ingressRate": 1_000_000, "ingressBurst": 2_000_000}
EGRESS = {"egressRate": 100_000_000, "egressBurst": 10_000_000}
BOTH = {**INGRESS, **EGRESS}
IFB = "bwp70a29d9dc18b"  # of network mynet and container abc123, as the reference names it
SECOND_IFB = "bwp01e40d3cedb9"  # the same for eth1 where eth0 has that


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


def redirected(host):
    """Names of the links that what arrives at others is redirected to, by those."""
    names = {link.index: name for name, link in host.by_name.items()}
    return {
        name: [names.get(one.target) for one in host.filters(link)]
        for name, link in host.by_name.items()
        if link.index in host.arriving
    }


def test_a_second_interface_of_the_container_gets_an_ifb_of_its_own(
    call, conf, attach, host, fake_kernel
):
    second = {**CONF, **EGRESS, "prevResult": attach("eth1", "veth2")}
    before = fake_kernel.snapshot()
    call.add(conf)

    document = call.add(second, CNI_IFNAME="eth1")

    assert document["interfaces"][-1]["name"] == SECOND_IFB
    assert redirected(host) == {"veth1": [IFB], "veth2": [SECOND_IFB]}
    assert call("CHECK", conf).text == ""
    assert call("CHECK", second, CNI_IFNAME="eth1").text == ""

    for _ in range(2):
        assert call("DEL", conf).status == 0
        assert redirected(host) == {"veth2": [SECOND_IFB]}
    assert call("CHECK", second, CNI_IFNAME="eth1").text == ""
    assert call("DEL", second, CNI_IFNAME="eth1").status == 0
    assert fake_kernel.snapshot() == before


def test_the_ifb_that_the_reference_made_for_another_interface_is_not_touched(
    call, conf, attach, host, fake_kernel
):
    host.add_ifb(IFB, mtu=1500)
    host.add_ingress(host.by_name["veth1"])
    host.add_redirect(host.by_name["veth1"], host.by_name[IFB])
    second = {**CONF, **EGRESS, "prevResult": attach("eth1", "veth2")}
    before = fake_kernel.snapshot()

    call.add(second, CNI_IFNAME="eth1")

    assert redirected(host) == {"veth1": [IFB], "veth2": [SECOND_IFB]}
    for _ in range(2):
        assert call("DEL", second, CNI_IFNAME="eth1").status == 0
        assert fake_kernel.snapshot() == before
    assert call("DEL", conf).status == 0
    assert IFB not in host.by_name


def test_when_both_names_are_taken_add_says_by_whom(call, conf, host, fake_kernel):
    other = "bwp33e1aacb9b11"
    for name in (IFB, other):
        host.add_ifb(name, mtu=1500)
        host.set_alias(name, "mine")
    before = fake_kernel.snapshot()

    message = call("ADD", conf).document["msg"]

    assert f"{IFB} and {other} belong to others" in message
    assert fake_kernel.snapshot() == before


# --- DEL


@pytest.mark.parametrize(
    "variables", [{}, {"CNI_NETNS": ""}, {"CNI_NETNS": "/run/netns/gone"}], ids=str
)
@pytest.mark.parametrize(
    "keys",
    [
        {},
        BOTH,
        {"ingressRate": 8},
        {"egressBurst": -8},
        {"ingressRate": 2**64},
        {"runtimeConfig": {"bandwidth": {"egressRate": -1, "egressBurst": 10**30}}},
    ],
    ids=["none", "both", "no burst", "negative", "too large", "the runtime's"],
)
def test_del_needs_nothing_but_the_ids(call, conf, fake_kernel, variables, keys):
    before = fake_kernel.snapshot()
    call.add(conf)

    for _ in range(2):
        assert call("DEL", {**CONF, **keys}, **variables).text == ""

    assert fake_kernel.snapshot() == before


def test_del_after_the_pair_is_gone_removes_the_ifb(call, conf, container, host):
    call.add(conf)
    container.delete_link("eth0")

    assert call("DEL", {**CONF, **BOTH}).text == ""

    assert host.by_name == {}


def test_del_removes_what_the_reference_left_without_a_tag(call, host, fake_kernel):
    host.add_ifb(IFB, mtu=1500)

    assert call("DEL", {**CONF, **BOTH}).text == ""

    assert host.by_name == {}


def test_del_leaves_what_is_not_the_attachments(call, conf, host, fake_kernel):
    host.add_veth(IFB, peer="x", peer_in=host)
    host.add_ingress(host.by_name["veth1"])
    host.arriving[host.by_name["veth1"].index] = [Filter("flower"), Filter("u32", 0)]

    assert call("DEL", {**CONF, **BOTH}).text == ""

    assert IFB in host.by_name
    assert host.filters(host.by_name["veth1"]) == [Filter("flower")]


# --- CHECK, GC, STATUS

TAMPERING = {
    "the host's bucket is gone": lambda host: host.buckets.pop(host.by_name["veth1"].index),
    "the ifb's bucket is gone": lambda host: host.buckets.pop(host.by_name[IFB].index),
    "the host's bucket is another": lambda host: change_bucket(host, "veth1", rate=1),
    "the limit is another": lambda host: change_bucket(host, IFB, limit=1),
    "the buffer is another": lambda host: change_bucket(host, IFB, buffer=1),
    "the ifb is gone": lambda host: host.delete_link(IFB),
    "the ifb has another MTU": lambda host: host.change(IFB, mtu=1400),
    "the ifb is down": lambda host: host.set_down(IFB),
    "nothing is redirected": lambda host: host.delete_redirect(host.by_name["veth1"]),
    "there is no ingress": lambda host: host.delete_ingress(host.by_name["veth1"]),
    "another qdisc is at the root": lambda host: put_another(host, "veth1"),
}


def change_bucket(host, name, **changes):
    index = host.by_name[name].index
    host.buckets[index] = dataclasses.replace(host.buckets[index], **changes)


def put_another(host, name):
    index = host.by_name[name].index
    del host.buckets[index]
    host.foreign[index] = "fq_codel"


@pytest.mark.parametrize("tamper", TAMPERING.values(), ids=TAMPERING)
def test_check_fails_after_tampering_and_not_before(call, conf, host, tamper):
    attached = {**conf, "prevResult": call.add(conf)}
    assert call("CHECK", attached).text == ""

    tamper(host)

    outcome = call("CHECK", attached)
    assert outcome.status == 1
    remedies = ("set it up again", "delete the attachment and add it", f"set {IFB} mtu 1500")
    assert any(remedy in outcome.text for remedy in remedies)


def test_check_names_the_key_that_is_not_kept(call, conf, host):
    call.add(conf)
    put_another(host, "veth1")

    message = call("CHECK", conf).document["msg"]

    assert message.startswith("Failed to find qdisc: veth1 has no token bucket at its root")
    assert "(fq_codel), so that ingressRate is not kept" in message


def test_check_accepts_the_low_bits_that_the_reference_keeps_on_amd64(call, attach, host):
    conf = {**CONF, "ingressRate": 1_000_000, "ingressBurst": 4_294_967_295, "prevResult": attach()}
    call.add(conf)

    change_bucket(host, "veth1", buffer=2_684_354_435)
    assert call("CHECK", conf).text == ""
    change_bucket(host, "veth1", buffer=2_684_354_436)
    assert call("CHECK", conf).status == 1


def test_check_needs_the_result_of_the_add(call, fake_kernel):
    assert "prevResult missing" in call("CHECK", {**CONF, **BOTH}).document["msg"]


def test_gc_deletes_the_ifbs_that_are_not_valid_any_more(call, conf, host, fake_kernel):
    call.add(conf)
    host.add_ifb("bwpreference", mtu=1500)
    keep = {"cni.dev/valid-attachments": [{"containerID": "abc123", "ifname": "eth0"}]}

    assert call("GC", CONF).text == ""
    assert call("GC", {**CONF, **keep}).text == ""
    assert call("GC", {**CONF, "name": "other", "cni.dev/valid-attachments": []}).text == ""
    assert IFB in host.by_name

    assert call("GC", {**CONF, "cni.dev/valid-attachments": []}).text == ""
    assert set(host.by_name) == {"veth1", "bwpreference"}


@pytest.mark.parametrize("part", ["ifb", "tbf"])
def test_a_kernel_without_the_parts_is_reported_by_status_and_add(
    call, conf, host, fake_kernel, part
):
    assert call("STATUS", CONF).text == ""
    host.parts -= {part}
    before = fake_kernel.snapshot()

    status, added = call("STATUS", CONF).document, call("ADD", conf).document

    assert status["code"] == 50
    assert "load the modules ifb, sch_tbf" in status["msg"]
    assert "load the modules ifb, sch_tbf" in added["msg"]
    assert fake_kernel.snapshot() == before
