"""ipvlan, vlan and dummy, on the kernel in memory with real host-local."""

import pytest

from cnicore.addresses import parse_cidr
from cnicore.net.link import Link
from cnicore.net.route import RT_TABLE_MAIN, KernelRoute

DUAL = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
    "routes": [{"dst": "0.0.0.0/0"}],
}
KEYS = {
    "ipvlan": {"master": "ens1"},
    "vlan": {"master": "ens1", "vlanId": 100},
    "dummy": {},
}
ON_A_PARENT = ("ipvlan", "vlan")


@pytest.fixture
def configure(tmp_path):
    """The configuration of a plugin, with changes."""

    def configure(plugin, **changes):
        ipam = {**DUAL, "dataDir": str(tmp_path / "leases")}
        document = {"cniVersion": "1.1.0", "name": "net", "type": plugin, "ipam": ipam}
        return {**document, **KEYS[plugin], **changes}

    return configure


@pytest.fixture
def container(fake_kernel):
    return fake_kernel.namespaces["/run/netns/c1"]


@pytest.fixture(autouse=True)
def host(fake_kernel):
    host = fake_kernel.namespaces[""]
    host._add_link(Link(0, "ens1", "", "02:00:00:00:00:aa", 1500, is_up=True))
    return host


@pytest.fixture
def leases(tmp_path):
    """Tells which addresses are leased."""
    directory = tmp_path / "leases" / "net"

    def leases():
        names = {path.name for path in directory.iterdir()} if directory.exists() else set()
        return sorted(name for name in names if name[0].isdigit() or name.startswith("fd"))

    return leases


PARENTED_ERRORS = [
    ({"master": "gone"}, 999, 'master: Link not found: there is no interface "gone" on the host'),
    (
        {"master": "gone", "linkInContainer": True},
        999,
        'there is no interface "gone" in the container',
    ),
    ({"mtu": 1600}, 7, "mtu: invalid MTU 1600, must be [0, master MTU(1500)]"),
    ({"mtu": -100}, 7, "mtu: invalid MTU -100, must be [0, master MTU(1500)]"),
    ({"mtu": "1400"}, 7, "mtu: input should be a valid integer"),
    ({"linkInContainer": "yes"}, 7, "linkInContainer: "),
    ({"ipam": {}}, 7, "ipam.type: no plugin name provided"),
    ({"ipam": {"type": "static", "addresses": []}}, 7, "IPAM plugin returned missing IP config"),
    ({"ipam": {"type": "no-such"}}, 999, 'failed to find plugin "no-such" in path ['),
]
ERRORS = [
    *[(plugin, *error) for plugin in ON_A_PARENT for error in PARENTED_ERRORS],
    ("ipvlan", {"mode": "l4"}, 7, 'mode: unknown ipvlan mode: "l4": set it to l2, l3, l3s'),
    ("ipvlan", {"master": ""}, 999, "master: no default route interface found on the host"),
    ("vlan", {"master": ""}, 7, 'master: "master" field is required.'),
    (
        "vlan",
        {"vlanId": 4095},
        7,
        "vlanId: invalid VLAN ID 4095 (must be between 0 and 4094 inclusive)",
    ),
    ("vlan", {"vlanId": -1}, 7, "vlanId: invalid VLAN ID -1"),
    ("vlan", {"vlanId": "5"}, 7, "vlanId: input should be a valid integer"),
    ("dummy", {"ipam": {}}, 7, "dummy interface requires an IPAM configuration"),
    ("dummy", {"ipam": {"type": "static", "addresses": []}}, 7, "missing IP config"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_a_bad_configuration_is_refused_and_leaves_nothing(call, fake_kernel, configure, error):
    plugin, change, code, message = error
    before = fake_kernel.snapshot()

    outcome = call("ADD", configure(plugin, **change))

    assert (outcome.status, outcome.document["code"]) == (1, code)
    assert message in outcome.document["msg"]
    assert fake_kernel.snapshot() == before


READABLE = [
    (plugin, change)
    for plugin, change, _, message in ERRORS
    if "ipam" not in change and "input should" not in message and "yes" not in change.values()
]


@pytest.mark.parametrize(("plugin", "change"), READABLE)
def test_del_cleans_under_a_configuration_that_no_add_would_accept(
    call, container, configure, leases, plugin, change
):
    call.add(configure(plugin))

    assert call("DEL", configure(plugin, **change)).status == 0

    assert (list(container.by_name), leases()) == ([], [])


@pytest.mark.parametrize("plugin", KEYS)
def test_add_makes_the_interface_and_gives_it_what_was_leased(call, container, configure, plugin):
    document = call.add(configure(plugin))

    link = container.by_name["eth0"]
    assert (link.kind, link.is_up) == (plugin, True)
    assert document["interfaces"] == [{"mac": link.mac, "name": "eth0", "sandbox": "/run/netns/c1"}]
    assert document["ips"] == [
        {"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 0},
        {"address": "fd00::2/64", "gateway": "fd00::1", "interface": 0},
    ]
    assert document["routes"] == [{"dst": "0.0.0.0/0"}]
    assert [str(cidr) for cidr in container.cidrs["eth0"]] == ["10.1.0.2/24", "fd00::2/64"]
    assert {(str(r.dst), " ".join(map(str, r.gateways))) for r in container.table} == {
        ("0.0.0.0/0", "10.1.0.1"),
        ("10.1.0.2/24", ""),
        ("fd00::2/64", ""),
    }


def test_the_keys_reach_the_kernel(call, host, container, configure):
    call.add(configure("vlan", vlanId=4094, mtu=1400))
    call.add(configure("ipvlan", mode="l3s", mtu=1300), CNI_IFNAME="eth1")

    vlan, ipvlan = container.by_name["eth0"], container.by_name["eth1"]
    parent = host.by_name["ens1"]
    assert (vlan.vlan, vlan.mtu, vlan.peer) == (4094, 1400, parent.index)
    assert (ipvlan.mode, ipvlan.mtu, ipvlan.mac) == ("l3s", 1300, parent.mac)
    assert container.sysctls["net/ipv4/conf/eth1/arp_notify"] == "1"
    assert container.sysctls["net/ipv6/conf/eth1/ndisc_notify"] == "1"


@pytest.mark.parametrize("plugin", ON_A_PARENT)
def test_the_parent_may_be_in_the_container(call, container, configure, plugin):
    container._add_link(Link(0, "up0", "veth", "02:00:00:00:00:bb", 1500, is_up=True))

    call.add(configure(plugin, master="up0", linkInContainer=True))

    assert container.by_name["eth0"].peer == container.by_name["up0"].index


def test_without_a_master_it_is_the_interface_of_the_default_route(
    call, host, container, configure
):
    index = host.by_name["ens1"].index
    host.table.append(KernelRoute(parse_cidr("10.0.0.0/8"), RT_TABLE_MAIN, 99))
    host.table.append(KernelRoute(parse_cidr("0.0.0.0/0"), 7, 99))
    host.table.append(KernelRoute(parse_cidr("::/0"), RT_TABLE_MAIN, index))

    call.add(configure("ipvlan", master=""))

    assert container.by_name["eth0"].peer == index


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [("ipvlan", {"domain": "a.example"}), ("vlan", {"domain": "a.example"}), ("dummy", None)],
)
def test_dns_is_the_configurations_but_for_dummy(call, configure, plugin, expected):
    document = call.add(configure(plugin, dns={"domain": "a.example"}))

    assert document.get("dns") == expected


@pytest.mark.parametrize("plugin", KEYS)
def test_a_second_add_fails_and_leaves_the_first_as_it_was(
    call, fake_kernel, configure, leases, plugin
):
    call.add(configure(plugin))
    before, held = fake_kernel.snapshot(), leases()

    outcome = call("ADD", configure(plugin))

    assert 'interface "eth0" already exists' in outcome.document["msg"]
    assert (fake_kernel.snapshot(), leases()) == (before, held)


@pytest.mark.parametrize("plugin", KEYS)
def test_add_that_fails_at_any_call_leaves_nothing(call, fake_kernel, configure, leases, plugin):
    before = fake_kernel.snapshot()
    for number in range(1, 100):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", configure(plugin))
        if outcome.status == 0:
            break
        fake_kernel.fail_at = 0
        assert (fake_kernel.snapshot(), leases()) == (before, []), fake_kernel.calls
    assert number > 8


@pytest.mark.parametrize("netns", ["/run/netns/c1", "/run/netns/gone", ""])
@pytest.mark.parametrize("plugin", KEYS)
def test_del_needs_neither_result_nor_namespace_nor_parent(
    call, fake_kernel, configure, leases, plugin, netns
):
    call.add(configure(plugin))
    fake_kernel.namespaces[""]._forget("ens1")

    for _ in range(2):
        assert call("DEL", configure(plugin), CNI_NETNS=netns).status == 0

    assert leases() == []
    left = fake_kernel.namespaces["/run/netns/c1"].by_name
    assert ("eth0" in left) == (netns != "/run/netns/c1")


@pytest.mark.parametrize("plugin", KEYS)
def test_a_failing_deletion_does_not_keep_the_lease(call, fake_kernel, configure, leases, plugin):
    call.add(configure(plugin))
    fake_kernel.calls.clear()
    fake_kernel.fail_at = 3  # after opening both namespaces: the deletion

    assert call("DEL", configure(plugin)).status == 1
    assert leases() == []


TAMPERED = [
    (lambda c: c._forget("eth0"), "Interface eth0 not found"),
    (lambda c: c.change("eth0", kind="veth"), "is of type veth, not of type"),
    (lambda c: c.change("eth0", mac="02:00:00:00:00:99"), "doesn't match prevResult"),
    (lambda c: c.change("eth0", is_up=False), "Interface eth0 is down"),
    (lambda c: c.cidrs["eth0"].pop(), "Failed to match addr fd00::2/64"),
    (lambda c: c.table.pop(), "Expected Route 0.0.0.0/0 via 10.1.0.1 not found"),
]
TAMPERED_PARENTED = [
    (lambda c: c.change("eth0", peer=77), "does not stand on ens1"),
    (lambda c: c.change("eth0", mode="l3", vlan=5), "eth0|mode l3"),
]


@pytest.mark.parametrize(
    ("plugin", "tamper", "message"),
    [
        *[(plugin, *one) for plugin in KEYS for one in TAMPERED],
        *[(plugin, *one) for plugin in ON_A_PARENT for one in TAMPERED_PARENTED],
    ],
)
def test_check_passes_untouched_and_fails_after_tampering(
    call, container, configure, plugin, tamper, message
):
    conf = configure(plugin)
    checked = {**conf, "prevResult": call.add(conf)}
    assert call("CHECK", checked).status == 0

    tamper(container)
    outcome = call("CHECK", checked)

    assert outcome.status == 1
    assert any(words in outcome.document["msg"] for words in message.split("|"))


def test_check_does_not_need_a_master_of_ipvlan(call, host, configure):
    host.table.append(
        KernelRoute(parse_cidr("0.0.0.0/0"), RT_TABLE_MAIN, host.by_name["ens1"].index)
    )
    conf = configure("ipvlan", master="")
    result = call.add(conf)
    host.table.clear()

    assert call("CHECK", {**conf, "prevResult": result}).status == 0


@pytest.mark.parametrize("plugin", KEYS)
def test_gc_gives_back_what_no_valid_attachment_leased(call, configure, leases, plugin):
    call.add(configure(plugin))

    assert call("GC", configure(plugin)).status == 0
    assert leases() == ["10.1.0.2", "fd00::2"]
    assert call("GC", {**configure(plugin), "cni.dev/valid-attachments": []}).status == 0
    assert leases() == []


@pytest.mark.parametrize(
    "status",
    [
        ("ipvlan", {}, {"ipvlan"}, 0, ""),
        ("vlan", {}, {"vlan"}, 0, ""),
        ("dummy", {}, {"dummy"}, 0, ""),
        ("ipvlan", {}, set(), 50, "the kernel has no ipvlan links: load its module ipvlan"),
        ("vlan", {}, set(), 50, "the kernel has no vlan links: load its module 8021q"),
        ("dummy", {}, set(), 50, "the kernel has no dummy links: load its module dummy"),
        ("ipvlan", {"master": "gone"}, {"ipvlan"}, 50, 'there is no interface "gone"'),
        ("vlan", {"master": "gone"}, {"vlan"}, 50, 'there is no interface "gone"'),
        ("vlan", {"master": "gone", "linkInContainer": True}, {"vlan"}, 0, ""),
        ("vlan", {"vlanId": 5000}, {"vlan"}, 7, "vlanId"),
        ("ipvlan", {"mode": "l9"}, {"ipvlan"}, 7, "mode"),
        ("dummy", {"ipam": {}}, {"dummy"}, 7, "ipam.type"),
        ("dummy", {"ipam": {"type": "nope"}}, {"dummy"}, 50, "ipam.type"),
    ],
)
def test_status(call, host, configure, status):
    plugin, change, parts, code, message = status
    host.parts = frozenset(parts)

    outcome = call("STATUS", configure(plugin, **change))

    assert outcome.status == bool(code)
    if code:
        assert (outcome.document["code"], message in outcome.document["msg"]) == (code, True)


EARLIER = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "ens1"}],
    "ips": [{"address": "10.5.0.9/24", "gateway": "10.5.0.1", "interface": 0}],
    "routes": [{"dst": "0.0.0.0/0"}],
}


class TestChainedIpvlan:
    def test_it_takes_addresses_and_parent_of_the_plugin_before(
        self, call, host, container, configure
    ):
        conf = configure("ipvlan", master="", ipam={}, prevResult=EARLIER)

        document = call.add(conf)

        assert container.by_name["eth0"].peer == host.by_name["ens1"].index
        assert document["interfaces"] == [
            {"name": "eth0", "mac": "02:00:00:00:00:aa", "sandbox": "/run/netns/c1"}
        ]
        assert document["ips"] == EARLIER["ips"]
        assert document["routes"] == EARLIER["routes"]

    @pytest.mark.parametrize("interfaces", [[], [{"name": ""}], [{"name": "a"}, {"name": "b"}]])
    def test_it_wants_a_single_interface(self, call, configure, interfaces):
        earlier = {**EARLIER, "interfaces": interfaces, "ips": []}
        conf = configure("ipvlan", master="", prevResult=earlier)

        outcome = call("ADD", conf)

        assert outcome.document["code"] == 7
        assert "PrevResult lacks a single named interface" in outcome.document["msg"]

    def test_ipam_comes_before_the_addresses_of_the_plugin_before(self, call, configure):
        document = call.add(configure("ipvlan", prevResult=EARLIER))

        assert [ip["address"] for ip in document["ips"]] == ["10.1.0.2/24", "fd00::2/64"]

    def test_without_either_it_says_so(self, call, configure):
        earlier = {**EARLIER, "ips": []}

        outcome = call("ADD", configure("ipvlan", ipam={}, prevResult=earlier))

        assert outcome.document["code"] == 7
        assert "ipam.type" in outcome.document["msg"]


def test_a_vlan_that_the_parent_has_already_is_named(call, host, configure, monkeypatch):
    import errno

    from cnicore.net.netlink import KernelError

    def refuse(*_, **__):
        raise KernelError("create VLAN 100", errno.EEXIST)

    monkeypatch.setattr(host, "add_vlan", refuse)

    outcome = call("ADD", configure("vlan"))

    assert "ens1 has VLAN 100 already" in outcome.document["msg"]
