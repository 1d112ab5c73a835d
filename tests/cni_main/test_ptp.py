"""ptp, on the kernel in memory with real host-local."""

import pytest

from cnicore.addresses import parse_cidr

CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "ptp",
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    },
}


@pytest.fixture
def conf(tmp_path):
    return {**CONF, "ipam": {**CONF["ipam"], "dataDir": str(tmp_path / "leases")}}


@pytest.fixture
def container(fake_kernel):
    return fake_kernel.namespaces["/run/netns/c1"]


@pytest.fixture
def host(fake_kernel):
    return fake_kernel.namespaces[""]


def leases(tmp_path):
    directory = tmp_path / "leases" / "net"
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    return sorted(name for name in names if name != "lock")


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"mtu": "1500"}, 7, "mtu: input should be a valid integer, not '1500'"),
        ({"mtu": 1.5}, 7, "mtu: "),
        ({"mtu": 2**40}, 7, "mtu: 1099511627776 is too large, a veth takes at most 65535"),
        ({"ipMasq": "yes"}, 7, "ipMasq: "),
        ({"ipMasqBackend": "pf"}, 7, "ipMasqBackend: "),
        ({"ipam": []}, 7, "ipam: "),
        ({"ipam": {}}, 7, "ipam.type: no plugin name provided"),
        ({"ipam": {"type": "../bin/sh"}}, 999, "invalid plugin name: ../bin/sh"),
        ({"ipam": {"type": "no-such"}}, 999, 'failed to find plugin "no-such" in path ['),
        ({"dns": {"nameservers": "1.1.1.1"}}, 7, "dns.nameservers: "),
        (
            {"ipam": {"type": "static", "addresses": []}},
            7,
            "IPAM plugin returned missing IP config",
        ),
        (
            {"ipam": {"type": "static", "addresses": [{"address": "10.1.0.2/24"}]}},
            7,
            "address 10.1.0.2/24 has no gateway: ptp needs one",
        ),
    ],
)
def test_a_bad_configuration_is_refused_and_leaves_nothing(
    call, fake_kernel, conf, change, code, message
):
    before = fake_kernel.snapshot()

    outcome = call("ADD", {**conf, **change})

    assert (outcome.status, outcome.document["code"]) == (1, code)
    assert message in outcome.document["msg"]
    assert fake_kernel.snapshot() == before


def test_add_routes_both_ends_to_each_other(call, conf, host, container):
    document = call.add({**conf, "mtu": 1400})

    (veth,) = host.by_name
    assert document["interfaces"] == [
        {"mac": "02:00:00:00:00:01", "name": veth},
        {"mac": "02:00:00:00:00:02", "name": "eth0", "sandbox": "/run/netns/c1"},
    ]
    assert document["ips"] == [
        {"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 1},
        {"address": "fd00::2/64", "gateway": "fd00::1", "interface": 1},
    ]
    assert document["routes"] == [{"dst": "0.0.0.0/0"}]
    assert (host.by_name[veth].mtu, container.by_name["eth0"].mtu) == (1400, 1400)
    assert host.by_name[veth].alias == "cni:net/c1/eth0"
    assert {(str(r.dst), r.gateways, r.scope) for r in host.table if r.scope} == {
        ("10.1.0.2/32", (), 254),
        ("fd00::2/128", (), 254),
    }
    assert [str(cidr) for cidr in host.cidrs[veth]] == ["10.1.0.1/32", "fd00::1/128"]
    assert host.sysctls["net/ipv4/ip_forward"] == "1"
    assert host.sysctls["net/ipv6/conf/all/forwarding"] == "1"
    assert {(str(r.dst), " ".join(map(str, r.gateways)), r.scope) for r in container.table} == {
        ("0.0.0.0/0", "10.1.0.1", 0),
        ("10.1.0.1/32", "", 253),
        ("10.1.0.2/24", "10.1.0.1", 0),
        ("fd00::1/128", "", 253),
        ("fd00::2/64", "fd00::1", 0),
    }


@pytest.mark.parametrize(
    ("dns", "expected"),
    [
        (None, {"nameservers": ["192.0.2.53"]}),
        ({}, {"nameservers": ["192.0.2.53"]}),
        ({"domain": ""}, {"nameservers": ["192.0.2.53"]}),
        ({"domain": "example.net"}, {"domain": "example.net"}),
        ({"search": []}, None),
    ],
)
def test_the_configurations_dns_replaces_the_leased_one_if_it_says_anything(
    call, fake_kernel, dns, expected
):
    ipam = {
        "type": "static",
        "addresses": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1"}],
        "dns": {"nameservers": ["192.0.2.53"]},
    }

    document = call.add({**CONF, "ipam": ipam, "dns": dns})

    assert document.get("dns") == expected


def test_a_second_add_fails_and_leaves_the_first_as_it_was(call, conf, fake_kernel, tmp_path):
    call.add(conf)
    before, held = fake_kernel.snapshot(), leases(tmp_path)

    outcome = call("ADD", conf)

    assert 'interface "eth0" already exists' in outcome.document["msg"]
    assert (fake_kernel.snapshot(), leases(tmp_path)) == (before, held)


def test_add_that_fails_at_any_call_leaves_nothing(call, conf, fake_kernel, tmp_path):
    before = fake_kernel.snapshot()
    failures = 0
    for number in range(1, 200):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", conf)
        if outcome.status == 0:
            break
        failures += 1
        assert fake_kernel.snapshot() == before, fake_kernel.calls[number - 1]
        assert not [name for name in leases(tmp_path) if not name.startswith("last_")], number
    assert outcome.status == 0
    assert failures > 20


def test_an_old_version_without_a_way_to_say_the_result_leaves_nothing(call, fake_kernel, tmp_path):
    before = fake_kernel.snapshot()
    two = [
        {"address": "10.1.0.2/24", "gateway": "10.1.0.1"},
        {"address": "10.2.0.2/24", "gateway": "10.2.0.1"},
    ]

    outcome = call(
        "ADD", {**CONF, "cniVersion": "0.2.0", "ipam": {"type": "static", "addresses": two}}
    )

    assert "does not support more than 1 address per family" in outcome.document["msg"]
    assert fake_kernel.snapshot() == before


def test_del_leaves_nothing_twice_and_without_a_namespace(call, conf, fake_kernel, tmp_path):
    before = fake_kernel.snapshot()
    for variables in ({}, {"CNI_NETNS": ""}, {"CNI_NETNS": "/run/netns/gone"}):
        call.add(conf)
        for _ in range(2):
            assert call("DEL", conf, **variables).status == 0
        assert fake_kernel.snapshot() == before
        assert [name for name in leases(tmp_path) if not name.startswith("last_")] == []


def test_del_cleans_the_link_although_the_ipam_plugin_is_gone(call, conf, fake_kernel):
    before = fake_kernel.snapshot()
    call.add(conf)

    outcome = call("DEL", {**conf, "ipam": {"type": "gone"}})

    assert 'failed to find plugin "gone"' in outcome.document["msg"]
    assert fake_kernel.snapshot() == before


TAMPERING = {
    "the interface is gone": lambda container: container.delete_link("eth0"),
    "the interface is down": lambda container: container.set_down("eth0"),
    "the MAC address is another": lambda container: container.set_mac("eth0", "02:00:00:00:00:99"),
    "an address is gone": lambda container: container.cidrs["eth0"].pop(),
    "a route is gone": lambda container: container.table.pop(
        [str(route.dst) for route in container.table].index("0.0.0.0/0")
    ),
}


@pytest.mark.parametrize("tamper", TAMPERING.values(), ids=TAMPERING)
def test_check_fails_after_tampering_and_not_before(call, conf, container, tamper):
    attached = {**conf, "prevResult": call.add(conf)}
    assert call("CHECK", attached).text == ""

    tamper(container)

    assert call("CHECK", attached).status == 1


def end_of(host):
    (name,) = host.by_name
    return name


HOST_TAMPERING = {
    "it is down": (
        lambda host: host.set_down(end_of(host)),
        "the host's end of eth0 is down or gone",
    ),
    "it belongs to another": (
        lambda host: host.change(end_of(host), peer=99),
        "the host's end of eth0 is down or gone",
    ),
    "the gateway is gone": (
        lambda host: host.cidrs[end_of(host)].pop(),
        "has lost the gateway fd00::1 or the route to fd00::2",
    ),
    "the route is gone": (
        lambda host: host.delete_route(end_of(host), parse_cidr("10.1.0.2/32")),
        "has lost the gateway 10.1.0.1 or the route to 10.1.0.2",
    ),
}


@pytest.mark.parametrize(("tamper", "message"), HOST_TAMPERING.values(), ids=HOST_TAMPERING)
def test_check_looks_at_the_hosts_end(call, conf, host, tamper, message):
    attached = {**conf, "prevResult": call.add(conf)}
    assert call("CHECK", attached).text == ""

    tamper(host)

    assert message in call("CHECK", attached).document["msg"]


def test_check_fails_when_the_lease_is_gone_or_the_result_is_of_another_namespace(
    call, conf, fake_kernel, tmp_path
):
    result = call.add(conf)
    foreign = [{**link, "sandbox": "/run/netns/c2"} for link in result["interfaces"]]

    assert "prevResult missing" in call("CHECK", conf).document["msg"]
    other = {**conf, "prevResult": {**result, "interfaces": foreign}}
    assert "doesn't match configured netns" in call("CHECK", other).document["msg"]
    (tmp_path / "leases" / "net" / "10.1.0.2").unlink()
    assert call("CHECK", {**conf, "prevResult": result}).status == 1


def test_gc_removes_what_is_not_valid_any_more(call, conf, fake_kernel, host, tmp_path):
    call.add(conf)
    keep = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}

    assert call("GC", conf).status == 0
    assert call("GC", {**conf, **keep}).status == 0
    assert call("GC", {**conf, "name": "other", "cni.dev/valid-attachments": []}).status == 0
    assert len(host.by_name) == 1

    assert call("GC", {**conf, "cni.dev/valid-attachments": None}).status == 0
    assert host.by_name == {}
    assert [name for name in leases(tmp_path) if not name.startswith("last_")] == []


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"ipam": {}}, 7, "ipam.type: no plugin name provided"),
        ({"ipam": {"type": "nope"}}, 50, 'ipam.type: failed to find plugin "nope" in path ['),
        ({"ipam": {"type": "../nope"}}, 999, "invalid plugin name: ../nope"),
        ({"ipMasq": True}, 50, "ipMasq cannot work: "),
    ],
)
def test_status_says_what_an_add_would_lack(call, conf, fake_kernel, change, code, message):
    fake_kernel.firewall.is_missing = True
    assert call("STATUS", conf).status == 0

    document = call("STATUS", {**conf, **change}).document

    assert document["code"] == code
    assert message in document["msg"]


def test_del_gives_the_address_back_after_the_link(call, conf, fake_kernel, tmp_path):
    """Who gets it next must not meet the previous owner."""
    call.add(conf)
    held = []
    host = fake_kernel.namespaces[""]
    note = fake_kernel.note

    def noting(*made):
        if made[1] == "delete_link":
            held.extend(leases(tmp_path))
        note(*made)

    fake_kernel.note = noting
    call("DEL", conf)

    assert "10.1.0.2" in held
    assert host.by_name == {}


def test_status_asks_the_ipam_plugin(call, conf, fake_kernel, tmp_path):
    assert call("STATUS", conf).status == 0

    (tmp_path / "leases").write_text("not a directory")

    assert call("STATUS", conf).document["code"] == 50
