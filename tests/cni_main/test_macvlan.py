"""macvlan, on the kernel in memory with real host-local."""

import pytest

from cni_main.parent import making_child
from cnicore.addresses import parse_cidr
from cnicore.errors import Terminated
from cnicore.net.link import Link
from cnicore.result import Route
from cnicore.rollback import rollback

CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "macvlan",
    "master": "eth1",
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    },
}
ARGUMENT = {"CNI_ARGS": "IgnoreUnknown=1;MAC=02:00:5e:10:00:02"}


@pytest.fixture
def conf(tmp_path):
    return {**CONF, "ipam": {**CONF["ipam"], "dataDir": str(tmp_path / "leases")}}


@pytest.fixture
def container(fake_kernel):
    return fake_kernel.namespaces["/run/netns/c1"]


@pytest.fixture(autouse=True)
def host(fake_kernel):
    """With two links; the default route leads through the second."""
    host = fake_kernel.namespaces[""]
    give_links(host, "eth1", "eth2")
    host.parts = frozenset({"macvlan"})
    return host


def give_links(namespace, *names):
    for name in names:
        namespace._add_link(Link(0, name, "", "02:00:00:00:00:e1", 1500, is_up=True))
    namespace.add_route(names[-1], Route(parse_cidr("0.0.0.0/0")))


def leases(tmp_path):
    directory = tmp_path / "leases" / "net"
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    return sorted(name for name in names if name != "lock" and not name.startswith("last_"))


ERRORS = [
    ({"master": 5}, 7, "master: input should be a valid string, not 5"),
    ({"master": "eth9"}, 999, 'master: Link not found: there is no interface "eth9" on the'),
    ({"master": "eth1", "linkInContainer": True}, 999, '"eth1" in the container: set master'),
    (
        {"master": "", "linkInContainer": True},
        999,
        "master: no default route interface found in",
    ),
    ({"linkInContainer": "yes"}, 7, "linkInContainer: "),
    ({"mode": "source"}, 7, 'mode: unknown macvlan mode: "source": set it to private, vepa,'),
    ({"mode": "Bridge"}, 7, 'mode: unknown macvlan mode: "Bridge"'),
    ({"mode": 4}, 7, "mode: input should be a valid string, not 4"),
    ({"mtu": "1500"}, 7, "mtu: input should be a valid integer, not '1500'"),
    ({"mtu": -1}, 7, "mtu: invalid MTU -1, must be [0, master MTU(1500)]: lower mtu or raise"),
    ({"mtu": 1501}, 7, "mtu: invalid MTU 1501, must be [0, master MTU(1500)]"),
    ({"bcqueuelen": -1}, 7, "bcqueuelen: -1 is no number of packets: set 0 to 4294967295"),
    ({"bcqueuelen": 2**32}, 7, "bcqueuelen: 4294967296 is no number"),
    ({"bcqueuelen": True}, 7, "bcqueuelen: "),
    ({"mac": "zz"}, 7, "mac: invalid args zz for MAC addr: address zz: invalid MAC address"),
    ({"mac": "01:00:5e:10:00:01"}, 7, "no interface can have this address, choose a unicast"),
    ({"mac": "00:00:00:00:00:00"}, 7, "no interface can have this address"),
    ({"mac": "02:00:00:00:fe:80:00:01"}, 7, "mac: invalid args 02:00:00:00:fe:80:00:01"),
    ({"runtimeConfig": {"mac": "x"}}, 7, "runtimeConfig.mac: invalid args x for MAC addr"),
    ({"runtimeConfig": []}, 7, "runtimeConfig: "),
    ({"ipam": []}, 7, "ipam: "),
    ({"ipam": {"type": "../bin/sh"}}, 999, "invalid plugin name: ../bin/sh"),
    ({"ipam": {"type": "no-such"}}, 999, 'failed to find plugin "no-such" in path ['),
    ({"ipam": {"type": "static"}}, 7, "IPAM plugin returned missing IP config"),
    ({"dns": {"nameservers": "1.1.1.1"}}, 7, "dns.nameservers: "),
]


@pytest.mark.parametrize("error", ERRORS)
def test_a_bad_configuration_is_refused_and_leaves_nothing(
    call, fake_kernel, conf, tmp_path, error
):
    change, code, message = error
    before = fake_kernel.snapshot()

    outcome = call("ADD", {**conf, **change})

    assert (outcome.status, outcome.document["code"]) == (1, code)
    assert message in outcome.document["msg"]
    assert (fake_kernel.snapshot(), leases(tmp_path)) == (before, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("MAC", 'ARGS: invalid pair "MAC": write key=value'),
        ("K8S_POD_NAME=x", 'ARGS: unknown args ["K8S_POD_NAME=x"]'),
        ("IgnoreUnknown=1;MAC=x", "MAC in CNI_ARGS: invalid args x for MAC addr"),
        ("IgnoreUnknown=1;MAC=ff:ff:ff:ff:ff:ff", "MAC in CNI_ARGS: invalid args ff:ff:ff"),
    ],
)
def test_bad_arguments_are_refused(call, fake_kernel, conf, arguments, message):
    before = fake_kernel.snapshot()

    assert message in call("ADD", conf, CNI_ARGS=arguments).document["msg"]

    assert fake_kernel.snapshot() == before


def test_add_makes_one_interface_and_announces_its_addresses(call, conf, host, container):
    before = host.snapshot()

    document = call.add(conf)

    assert document["interfaces"] == [
        {"mac": "02:00:00:00:00:03", "name": "eth0", "sandbox": "/run/netns/c1"}
    ]
    assert document["ips"] == [
        {"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 0},
        {"address": "fd00::2/64", "gateway": "fd00::1", "interface": 0},
    ]
    assert document["routes"] == [{"dst": "0.0.0.0/0"}]
    link = container.by_name["eth0"]
    assert (link.kind, link.mode, link.mtu, link.is_up) == ("macvlan", "bridge", 1500, True)
    assert container.sysctls["net/ipv4/conf/eth0/arp_notify"] == "1"
    assert container.sysctls["net/ipv6/conf/eth0/ndisc_notify"] == "1"
    assert host.snapshot() == before


@pytest.mark.parametrize("mode", ["private", "vepa", "bridge", "passthru", "", None])
def test_each_mode_is_what_the_kernel_is_asked_for(call, conf, container, mode):
    call.add({**conf, "mode": mode, "mtu": 1400, "bcqueuelen": 2**32 - 1})

    link = container.by_name["eth0"]
    assert (link.mode, link.mtu) == (mode or "bridge", 1400)
    (wanted,) = (one[-1] for one in container.kernel.calls if one[1] == "add_macvlan")
    assert wanted.queue_length == 2**32 - 1


@pytest.mark.parametrize(
    ("keys", "parent"),
    [
        ({"master": "eth1"}, "eth1"),
        ({"master": ""}, "eth2"),
        ({"master": None, "linkInContainer": None}, "eth2"),
    ],
)
def test_the_parent_is_the_master_or_the_link_of_the_default_route(
    call, conf, host, container, keys, parent
):
    call.add({**conf, **keys})

    assert container.by_name["eth0"].peer == host.by_name[parent].index


@pytest.mark.parametrize("master", ["net1", ""])
def test_the_parent_may_be_in_the_container(call, conf, container, master):
    give_links(container, "net1")
    wanted = {**conf, "master": master, "linkInContainer": True}

    result = call.add(wanted)

    assert container.by_name["eth0"].peer == container.by_name["net1"].index
    assert call("CHECK", {**wanted, "prevResult": result}).text == ""


@pytest.mark.parametrize("dst", ["0.0.0.0/0", "::/0"])
def test_a_default_route_of_either_family_shows_the_parent(call, conf, host, container, dst):
    host.table.clear()
    host.add_route("eth2", Route(parse_cidr("10.0.0.0/8")))
    host.add_route("eth2", Route(parse_cidr("0.0.0.0/0"), table=100))
    host.add_route("eth1", Route(parse_cidr(dst)))

    call.add({**conf, "master": ""})

    assert container.by_name["eth0"].peer == host.by_name["eth1"].index


def test_without_ipam_there_is_a_link_that_is_up_and_nothing_else(call, container, host):
    conf = {**CONF, "ipam": None, "dns": {"domain": "example.net"}}

    result = call.add(conf)

    assert result == {
        "cniVersion": "1.1.0",
        "interfaces": [{"mac": "02:00:00:00:00:03", "name": "eth0", "sandbox": "/run/netns/c1"}],
        "dns": {"domain": "example.net"},
    }
    assert container.by_name["eth0"].is_up
    assert container.sysctls == {}
    attached = {**conf, "prevResult": result}
    assert [call(verb, attached).text for verb in ("CHECK", "STATUS", "DEL", "DEL")] == [""] * 4
    assert container.by_name == {}


@pytest.mark.parametrize(
    ("runtime", "variables", "mac"),
    [
        ("02:00:5E:10:00:03", ARGUMENT, "02:00:5e:10:00:03"),
        ("", ARGUMENT, "02:00:5e:10:00:02"),
        (None, {"CNI_ARGS": "IgnoreUnknown=1;mac=zz"}, "02:00:5e:10:00:01"),
        (None, {}, "02:00:5e:10:00:01"),
    ],
)
def test_the_runtimes_mac_comes_before_the_arguments_and_these_before_the_configuration(
    call, conf, container, runtime, variables, mac
):
    document = call.add(
        {**conf, "mac": "0200.5e10.0001", "RuntimeConfig": {"MAC": runtime}}, **variables
    )

    assert document["interfaces"][0]["mac"] == mac
    assert container.by_name["eth0"].mac == mac


def test_a_bad_mac_that_another_one_comes_before_is_not_looked_at(call, conf):
    assert call("ADD", {**conf, "mac": "zz"}, **ARGUMENT).status == 0


@pytest.mark.parametrize("dns", [None, {}, {"domain": "example.net"}])
def test_the_dns_is_the_configurations_and_never_the_leased_one(call, dns):
    ipam = {
        "type": "static",
        "addresses": [{"address": "10.1.0.2/24"}],
        "dns": {"nameservers": ["192.0.2.53"]},
    }

    assert call.add({**CONF, "ipam": ipam, "dns": dns}).get("dns") == (dns or None)


def test_what_other_plugins_made_before_is_none_of_its_business(call, conf):
    previous = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "net7", "sandbox": "/run/netns/c1"}],
        "ips": [{"address": "10.9.0.2/24", "interface": 0}],
        "routes": [{"dst": "10.8.0.0/16"}],
    }

    document = call.add({**conf, "prevResult": previous})

    assert [link["name"] for link in document["interfaces"]] == ["eth0"]
    assert [ip["address"] for ip in document["ips"]] == ["10.1.0.2/24", "fd00::2/64"]
    assert document["routes"] == [{"dst": "0.0.0.0/0"}]


def test_a_second_add_fails_and_leaves_the_first_as_it_was(call, conf, fake_kernel, tmp_path):
    call.add(conf)
    before, held = fake_kernel.snapshot(), leases(tmp_path)

    outcome = call("ADD", conf)

    assert 'interface "eth0" already exists' in outcome.document["msg"]
    assert (fake_kernel.snapshot(), leases(tmp_path)) == (before, held)


def test_an_add_that_comes_second_in_a_race_leaves_the_first_ones_link(
    call, conf, fake_kernel, host, container
):
    """Both found the name free; the kernel lets one of them have it."""
    note = fake_kernel.note

    def overtaken(*made):
        note(*made)
        if made[1] == "add_macvlan":
            fake_kernel.note = note
            host.add_macvlan("eth0", host.link("eth1"), container, made[-1])

    fake_kernel.note = overtaken

    assert "File exists" in call("ADD", conf).document["msg"]

    assert list(container.by_name) == ["eth0"]


@pytest.mark.parametrize("parent", ["eth1", "sibling"])
def test_a_signal_after_the_kernel_has_made_the_link_takes_it_back(host, container, parent):
    """A macvlan on a macvlan is one on the parent of that."""
    base = host.link("eth1")
    host._add_link(Link(0, "sibling", "macvlan", mtu=1500, peer=base.index))
    before = container.snapshot()

    with (
        pytest.raises(Terminated),
        rollback() as on_failure,
        making_child(on_failure, container, "eth0", host.link(parent)),
    ):
        container._add_link(Link(0, "eth0", "macvlan", peer=base.index))
        raise Terminated("now")

    assert container.snapshot() == before


def test_a_signal_before_that_takes_nothing_from_others(host, container):
    container._add_link(Link(0, "eth0", "veth", peer=99))

    with (
        pytest.raises(Terminated),
        rollback() as on_failure,
        making_child(on_failure, container, "eth0", host.link("eth1")),
    ):
        raise Terminated("now")

    assert list(container.by_name) == ["eth0"]


def test_add_that_fails_at_any_call_leaves_nothing(call, conf, fake_kernel, tmp_path):
    before = fake_kernel.snapshot()
    failures = 0
    for number in range(1, 200):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", {**conf, "master": ""})
        if outcome.status == 0:
            break
        failures += 1
        assert fake_kernel.snapshot() == before, fake_kernel.calls[number - 1]
        assert leases(tmp_path) == [], number
    assert outcome.status == 0
    assert failures > 10


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", None])
def test_an_old_version_without_a_way_to_say_the_result_leaves_nothing(call, fake_kernel, version):
    before = fake_kernel.snapshot()

    outcome = call("ADD", {**CONF, "cniVersion": version, "ipam": {}})

    assert "cannot convert: no valid IP addresses" in outcome.document["msg"]
    assert fake_kernel.snapshot() == before
