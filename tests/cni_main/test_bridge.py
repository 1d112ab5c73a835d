"""bridge, on the kernel in memory with real host-local."""

import dataclasses

import pytest

from cni_main.bridge import device
from cnicore.addresses import parse_cidr
from cnicore.net.link import Link

CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "bridge",
    "bridge": "br0",
    "isDefaultGateway": True,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "10.7.0.0/16"}],
    },
}
LAYER_2 = {"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0"}
NETNS = "/run/netns/c1"


def static(*addresses, **keys):
    gateways = {"10.1.0": "10.1.0.1", "10.2.0": "10.2.0.1"}
    items = [
        {"address": cidr, **({"gateway": gateways[cidr[:6]]} if cidr[:6] in gateways else {})}
        for cidr in addresses
    ]
    return {**CONF, "ipam": {"type": "static", "addresses": items, **keys}}


@pytest.fixture
def conf(tmp_path):
    return {**CONF, "ipam": {**CONF["ipam"], "dataDir": str(tmp_path / "leases")}}


@pytest.fixture
def container(fake_kernel):
    return fake_kernel.namespaces[NETNS]


@pytest.fixture
def host(fake_kernel):
    return fake_kernel.namespaces[""]


@pytest.fixture
def second(call, fake_kernel):
    fake_kernel.add_namespace("/run/netns/c2")
    return dataclasses.replace(call, netns="/run/netns/c2", container_id="c2")


def leases(tmp_path):
    directory = tmp_path / "leases" / "net"
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    return sorted(name for name in names if name != "lock" and not name.startswith("last_"))


def cidrs(namespace, link):
    return [str(cidr) for cidr in namespace.cidrs.get(link, [])]


def test_add_plugs_the_container_into_a_bridge_that_is_its_gateway(call, conf, host, container):
    document = call.add({**conf, "mtu": 1400})

    bridge, port = host.by_name
    assert document == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"mac": host.by_name["br0"].mac, "name": "br0"},
            {"mac": "02:00:00:00:00:01", "name": port},
            {"mac": "02:00:00:00:00:02", "name": "eth0", "sandbox": NETNS},
        ],
        "ips": [
            {"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 2},
            {"address": "fd00::2/64", "gateway": "fd00::1", "interface": 2},
        ],
        "routes": [
            {"dst": "10.7.0.0/16"},
            {"dst": "0.0.0.0/0", "gw": "10.1.0.1"},
            {"dst": "::/0", "gw": "fd00::1"},
        ],
    }
    assert host.by_name[port].alias == "cni:net/c1/eth0"
    assert host.by_name[port].master == host.by_name[bridge].index
    assert [host.by_name[name].mtu for name in (bridge, port)] == [1400, 1400]
    assert container.by_name["eth0"].mtu == 1400
    assert cidrs(host, "br0") == ["10.1.0.1/24", "fd00::1/64"]
    assert host.sysctls["net/ipv4/ip_forward"] == "1"
    assert host.sysctls["net/ipv6/conf/all/forwarding"] == "1"
    assert container.sysctls["net/ipv4/conf/eth0/arp_notify"] == "1"
    assert container.sysctls["net/ipv6/conf/eth0/ndisc_notify"] == "1"


def test_router_advertisements_are_refused_before_a_link_is_up(call, conf, fake_kernel, host):
    for key in ("br0", "vethx"):
        host.sysctls[f"net/ipv6/conf/{key}/accept_ra"] = "1"
    call.add(conf)

    steps = [made for made in fake_kernel.calls if "br0" in str(made)]
    refused = steps.index(("", "write_sysctl", "net/ipv6/conf/br0/accept_ra", "0"))
    assert refused < steps.index(("", "set_up", "br0"))


def test_duplicates_are_detected_only_if_asked_for(call, fake_kernel, container):
    conf = static("10.1.0.2/24", "fd00::2/64")
    container.sysctls["net/ipv6/conf/eth0/accept_dad"] = "1"
    call.add(conf)
    assert container.sysctls["net/ipv6/conf/eth0/accept_dad"] == "0"
    assert (NETNS, "add_address", "eth0", "fd00::2/64", False) in fake_kernel.calls

    call("DEL", conf)
    call.add({**conf, "enabledad": True})

    assert container.sysctls["net/ipv6/conf/eth0/accept_dad"] == "1"
    assert container.sysctls["net/ipv6/conf/eth0/enhanced_dad"] == "1"
    assert (NETNS, "add_address", "eth0", "fd00::2/64", True) in fake_kernel.calls
    wanted = ["10.1.0.2/24", "fd00::2/64"]
    assert (NETNS, "wait_until_settled", "eth0", wanted) in fake_kernel.calls


@pytest.mark.parametrize(
    ("leased", "expected"),
    [
        ([], [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]),
        ([{"dst": "0.0.0.0/0"}], [{"dst": "0.0.0.0/0"}]),
        (
            [{"dst": "0.0.0.0/0", "gw": "10.1.0.9"}],
            [{"dst": "0.0.0.0/0", "gw": "10.1.0.9"}],
        ),
        (
            [{"dst": "0.0.0.0/0", "table": 300}],
            [{"dst": "0.0.0.0/0", "table": 300}, {"dst": "0.0.0.0/0", "gw": "10.1.0.1"}],
        ),
    ],
)
def test_a_default_route_is_added_unless_the_family_has_one(call, container, leased, expected):
    document = call.add(static("10.1.0.2/24", routes=leased))

    assert document["routes"] == expected
    in_main = [r for r in container.table if str(r.dst) == "0.0.0.0/0" and r.table == 254]
    assert len(in_main) == 1


def test_no_gateway_can_stand_after_the_last_address(call, host):
    ipam = {"type": "static", "addresses": [{"address": "255.255.255.255/32"}]}

    outcome = call("ADD", {**LAYER_2, "isGateway": True, "ipam": ipam})

    assert outcome.document["code"] == 7
    assert "255.255.255.255/32" in outcome.document["msg"]
    assert host.by_name == {}


@pytest.mark.parametrize(
    ("keys", "gateway"),
    [({}, None), ({"isGateway": True}, "10.9.0.1"), ({"isDefaultGateway": True}, "10.9.0.1")],
)
def test_a_gateway_stands_in_where_none_was_leased(call, host, keys, gateway):
    conf = {**static("10.9.0.2/16"), "isDefaultGateway": False, **keys}

    (ip,) = call.add(conf)["ips"]

    assert ip.get("gateway") == gateway
    assert cidrs(host, "br0") == ([f"{gateway}/16"] if gateway else [])


@pytest.mark.parametrize(
    ("present", "wanted", "fails"),
    [
        ("10.1.0.1/24", "10.1.0.2/24", False),
        ("10.1.0.9/24", "10.1.0.2/24", True),
        ("10.2.0.1/24", "10.1.0.2/24", True),
        ("fd00::1/64", "fd00::2/64", False),
        ("fd00::9/64", "fd00::2/64", True),
        ("fd00::9/48", "fd00::2/64", True),
        ("fd99::1/64", "fd00::2/64", False),
        ("fd00::1/64", "10.1.0.2/24", False),
    ],
)
def test_a_conflicting_address_of_the_bridge_is_an_error_or_replaced(
    call, fake_kernel, host, present, wanted, fails
):
    host.add_bridge("br0")
    host.add_address("br0", parse_cidr(present))
    before = fake_kernel.snapshot()

    outcome = call("ADD", static(wanted))

    assert (outcome.status == 1) is fails
    if fails:
        assert '"br0" already has an IP address different from' in outcome.document["msg"]
        assert cidrs(host, "br0") == [present]
        assert fake_kernel.snapshot()[NETNS] == before[NETNS]
        call.add({**static(wanted), "forceAddress": True})
        assert present not in cidrs(host, "br0")


def test_two_ipv4_subnets_conflict_on_one_bridge(call, fake_kernel, host):
    before = fake_kernel.snapshot()

    outcome = call("ADD", static("10.1.0.2/24", "10.2.0.2/24"))

    assert "already has an IP address different from 10.2.0.1/24" in outcome.document["msg"]
    assert fake_kernel.snapshot() == before


def test_a_vlan_gets_a_gateway_device_of_its_own_which_all_containers_share(
    call, second, conf, host
):
    first = call.add({**conf, "vlan": 100})
    links = len(host.by_name)

    document = second.add({**conf, "vlan": 100})

    device = {"mac": host.by_name["br0.100"].mac, "name": "br0.100"}
    assert (first["interfaces"][3], document["interfaces"][3]) == (device, device)
    assert cidrs(host, "br0.100") == ["10.1.0.1/24", "fd00::1/64"]
    assert cidrs(host, "br0") == []
    end = host.find_link_by_index(host.by_name["br0.100"].peer)
    assert (end.master, host.vlans[end.name]) == (host.by_name["br0"].index, [100])
    assert len(host.by_name) == links + 1


def half_made(host, admitted):
    """What an ADD leaves that was killed while it made the gateway's device of VLAN 100."""
    host.add_bridge("br0", vlan_filtering=True)
    host.add_veth("veth0", peer="br0.100", peer_in=host, master="br0")
    host.vlans["veth0"] = [*admitted]


@pytest.mark.parametrize("admitted", [[1], [], [100]])
def test_a_gateway_device_that_was_left_half_made_is_finished(call, conf, host, admitted):
    half_made(host, admitted)

    call.add({**conf, "vlan": 100})

    assert host.vlans["veth0"] == [100]
    assert host.by_name["veth0"].is_up
    assert host.by_name["br0.100"].is_up
    assert host.sysctls.get("net/ipv6/conf/veth0/accept_ra", "0") == "0"


def test_a_gateway_device_that_works_is_not_touched(call, second, conf, fake_kernel):
    call.add({**conf, "vlan": 100})
    fake_kernel.calls.clear()

    second.add({**conf, "vlan": 100})

    (port,) = [
        link.name
        for link in fake_kernel.namespaces[""].by_name.values()
        if link.alias == "cni:net/c2/eth0"
    ]
    steps = [made for made in fake_kernel.calls if made[1].endswith("_port_vlan")]
    assert {made[2] for made in steps} == {port}


def test_the_loser_of_a_race_for_the_gateway_device_answers_when_it_works(
    call, conf, host, monkeypatch
):
    add_veth = host.add_veth

    def faster(name, *, peer, **keywords):
        if peer == "br0.100":  # the winner's, which it is still about to admit
            add_veth("veth0", peer=peer, peer_in=host, master="br0")
        add_veth(name, peer=peer, **keywords)

    monkeypatch.setattr(host, "add_veth", faster)
    call.add({**conf, "vlan": 100})

    assert host.vlans["veth0"] == [100]
    assert host.by_name["veth0"].is_up


def test_a_gateway_device_of_another_kind_is_left_to_its_owner(call, conf, host):
    host.add_bridge("br0", vlan_filtering=True)
    bridge = host.by_name["br0"]
    host.by_name["br0.100"] = Link(
        99, "br0.100", "vlan", "02:00:00:00:00:99", 1500, peer=bridge.index
    )

    call.add({**conf, "vlan": 100})

    assert "br0" not in host.vlans


def test_a_layer_2_attachment_is_up_and_has_no_address(call, host, container):
    document = call.add({**LAYER_2, "isGateway": True, "vlan": 5, "dns": {"domain": "example.net"}})

    assert list(document) == ["cniVersion", "dns", "interfaces"]
    assert len(document["interfaces"]) == 3
    assert container.by_name["eth0"].is_up
    assert (container.cidrs, host.cidrs) == ({}, {})


def test_a_disabled_interface_stays_down_and_passes_check(call, container):
    conf = {**LAYER_2, "disableContainerInterface": True}

    result = call.add(conf)

    assert not container.by_name["eth0"].is_up
    assert call("CHECK", {**conf, "prevResult": result}).text == ""


def test_a_port_without_carrier_fails_the_add(call, fake_kernel, host, monkeypatch):
    monkeypatch.setattr(device, "PORT_TIMEOUT", 0)
    monkeypatch.setattr(host, "set_up", lambda name: host.change(name, operstate="down"))
    before = fake_kernel.snapshot()

    outcome = call("ADD", LAYER_2)

    assert "bridge port in error state: down" in outcome.document["msg"]
    assert fake_kernel.snapshot() == before


def test_an_existing_bridge_keeps_what_it_is(call, conf, host):
    host.add_bridge("br0", mtu=9000)
    before = host.by_name["br0"]

    call.add({**conf, "mtu": 1400, "promiscMode": True})

    assert host.by_name["br0"] == dataclasses.replace(before, is_up=True, promiscuity=1)


def test_a_name_that_is_no_bridge_is_refused_by_add_and_status(call, conf, fake_kernel, host):
    host.by_name["br0"] = Link(99, "br0", "dummy")
    before = fake_kernel.snapshot()

    outcome = call("ADD", conf)

    assert '"br0" already exists but is not a bridge' in outcome.document["msg"]
    assert call("STATUS", conf).document["code"] == 50
    assert fake_kernel.snapshot() == before
