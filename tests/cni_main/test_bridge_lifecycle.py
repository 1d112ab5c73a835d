"""bridge: what a failed ADD leaves, and DEL, CHECK, GC and STATUS, on the kernel in memory."""

import dataclasses

import pytest

from cnicore import masquerade
from cnicore.addresses import parse_cidr

CONF = {
    "cniVersion": "1.1.0",
    "name": "net",
    "type": "bridge",
    "bridge": "br0",
    "isDefaultGateway": True,
    "promiscMode": True,
    "portIsolation": True,
    "ipMasq": True,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]],
        "routes": [{"dst": "10.7.0.0/16"}],
    },
}
LAYER_2 = {"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0"}


@pytest.fixture
def firewall(fake_kernel):
    return fake_kernel.firewall


@pytest.fixture
def conf(tmp_path):
    return {**CONF, "ipam": {**CONF["ipam"], "dataDir": str(tmp_path / "leases")}}


@pytest.fixture
def container(fake_kernel):
    return fake_kernel.namespaces["/run/netns/c1"]


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


@pytest.mark.parametrize(
    "change", [{}, {"vlan": 100}, {"ipam": None}, {"enabledad": True}], ids=str
)
def test_add_that_fails_at_any_call_leaves_nothing_not_even_the_bridge(
    call, conf, fake_kernel, firewall, tmp_path, change
):
    before = fake_kernel.snapshot()
    for number in range(1, 200):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", {**conf, **change})
        if outcome.status == 0:
            break
        assert fake_kernel.snapshot() == before, fake_kernel.calls[number - 1]
        assert (leases(tmp_path), firewall.masqueraded) == ([], {})
    assert outcome.status == 0
    assert number > 10


def test_add_that_fails_at_any_call_restores_a_replaced_address(call, conf, fake_kernel, host):
    host.add_bridge("br0")
    host.add_address("br0", parse_cidr("10.9.0.1/16"))
    host.set_up("br0")
    host.set_promiscuous("br0")
    before = fake_kernel.snapshot()
    for number in range(1, 200):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", {**conf, "forceAddress": True})
        if outcome.status == 0:
            break
        assert fake_kernel.snapshot() == before, fake_kernel.calls[number - 1]
    assert [str(cidr) for cidr in host.cidrs["br0"]] == ["10.1.0.1/24", "fd00::1/64"]


def test_add_that_fails_takes_nothing_from_another_container(
    call, second, conf, fake_kernel, firewall
):
    """The other one came while this one was under way, and relies on the gateway it made."""
    firewall.fails_late = True
    others = [second]

    def come_between(name):
        if others:
            others.pop().add({**conf, "ipMasq": False})
        return firewall

    token = masquerade.loader.set(come_between)
    outcome = call("ADD", conf)
    masquerade.loader.reset(token)

    assert outcome.document["msg"] == "the firewall failed after it had masqueraded"
    host = fake_kernel.namespaces[""]
    assert [str(cidr) for cidr in host.cidrs["br0"]] == ["10.1.0.1/24", "fd00::1/64"]
    assert [link.alias for link in host.by_name.values()] == ["", "cni:net/c2/eth0"]


def test_a_second_add_fails_and_leaves_the_first_as_it_was(call, conf, fake_kernel, tmp_path):
    call.add(conf)
    before, held = fake_kernel.snapshot(), leases(tmp_path)

    outcome = call("ADD", conf)

    assert 'interface "eth0" already exists' in outcome.document["msg"]
    assert (fake_kernel.snapshot(), leases(tmp_path)) == (before, held)


def test_what_an_old_version_could_not_say_is_refused_before_anything_is_made(call, fake_kernel):
    outcome = call("ADD", {**LAYER_2, "cniVersion": "0.2.0"})

    assert outcome.document["msg"] == (
        "cannot convert: no valid IP addresses:"
        " a bridge without ipam needs cniVersion 0.3.0 or newer, not 0.2.0"
    )
    assert [made for made in fake_kernel.calls if made[1] != "open"] == []
    assert call("ADD", {**LAYER_2, "cniVersion": "0.3.0"}).status == 0


@pytest.mark.parametrize("variables", [{}, {"CNI_NETNS": ""}, {"CNI_NETNS": "/run/netns/gone"}])
def test_del_leaves_the_bridge_and_nothing_else_twice_and_without_a_namespace(
    call, conf, fake_kernel, firewall, tmp_path, variables
):
    host = fake_kernel.namespaces[""]
    result = call.add(conf)

    for _ in range(2):
        assert call("DEL", {**conf, "prevResult": result}, **variables).status == 0

    assert list(host.by_name) == ["br0"]
    assert [str(cidr) for cidr in host.cidrs["br0"]] == ["10.1.0.1/24", "fd00::1/64"]
    assert fake_kernel.namespaces["/run/netns/c1"].by_name == {}
    assert (leases(tmp_path), firewall.masqueraded) == ([], {})


def test_del_goes_on_when_the_ipam_plugin_is_gone(call, conf, host, firewall):
    call.add(conf)

    outcome = call("DEL", {**conf, "ipam": {"type": "gone"}})

    assert 'failed to find plugin "gone"' in outcome.document["msg"]
    assert (list(host.by_name), firewall.masqueraded) == (["br0"], {})


def port_of(host):
    return next(name for name in host.by_name if name.startswith("veth"))


TAMPERING = {
    "the interface is gone": lambda host, container: container.delete_link("eth0"),
    "the interface is down": lambda host, container: container.set_down("eth0"),
    "its MAC address is another": lambda host, container: container.set_mac("eth0", "02::99"),
    "an address is gone": lambda host, container: container.cidrs["eth0"].pop(),
    "the routes are gone": lambda host, container: container.table.clear(),
    "the port left the bridge": lambda host, container: host.change(port_of(host), master=0),
    "the port is down": lambda host, container: host.set_down(port_of(host)),
    "the port is not isolated": lambda host, container: host.set_bridge_port(
        port_of(host), hairpin=False, isolated=False
    ),
    "the bridge is gone": lambda host, container: host.delete_link("br0"),
    "the bridge is down": lambda host, container: host.set_down("br0"),
    "the bridge is of another kind": lambda host, container: host.change("br0", kind="dummy"),
    "the bridge's MAC address is another": lambda host, container: host.set_mac("br0", "02::98"),
    "the bridge is not promiscuous": lambda host, container: host.change("br0", promiscuity=0),
    "the gateway's address is gone": lambda host, container: host.cidrs["br0"].pop(),
}


@pytest.mark.parametrize("tamper", TAMPERING.values(), ids=TAMPERING)
def test_check_fails_after_tampering_and_not_before(call, conf, host, container, tamper):
    attached = {**conf, "prevResult": call.add(conf)}
    assert call("CHECK", attached).text == ""

    tamper(host, container)

    assert call("CHECK", attached).status == 1


def test_check_of_a_vlan_looks_at_the_port_and_the_gateway_device(call, conf, host):
    conf = {**conf, "vlan": 100, "vlanTrunk": [{"id": 7}]}
    attached = {**conf, "prevResult": call.add(conf)}
    port = port_of(host)
    assert call("CHECK", attached).text == ""

    host.delete_port_vlan(port, 7)
    assert call("CHECK", attached).document["msg"] == (
        f"bridge port {port} is no longer in VLAN 7: delete the attachment and add it again"
    )
    host.add_port_vlan(port, 7)
    host.delete_link("br0.100")
    assert "br0.100" in call("CHECK", attached).document["msg"]


def test_check_fails_without_masquerading_lease_or_prev_result(
    call, conf, fake_kernel, firewall, tmp_path
):
    attached = {**conf, "prevResult": call.add(conf)}

    assert "prevResult missing" in call("CHECK", conf).document["msg"]
    firewall.masqueraded.clear()
    assert "is not masqueraded" in call("CHECK", attached).document["details"]
    (tmp_path / "leases" / "net" / "10.1.0.2").unlink()
    assert call("CHECK", {**attached, "ipMasq": False}).status == 1


def test_check_of_a_healthy_layer_2_attachment_minds_no_stranger(call, host):
    attached = {**LAYER_2, "prevResult": call.add(LAYER_2)}
    host.set_promiscuous("br0")
    host.set_mac("br0", "02:00:00:00:00:97")

    assert call("CHECK", attached).text == ""


def test_gc_removes_what_is_not_valid_any_more(call, conf, host, firewall, tmp_path):
    call.add(conf)
    keep = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
    assert call("GC", conf).status == 0
    assert call("GC", {**conf, **keep}).status == 0
    assert (len(host.by_name), len(firewall.masqueraded)) == (2, 1)

    # under a configuration that no ADD would accept
    assert call("GC", {**conf, "vlan": 9999, "cni.dev/valid-attachments": None}).status == 0

    assert (list(host.by_name), firewall.masqueraded, leases(tmp_path)) == (["br0"], {}, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ipam": {"type": "nope"}, "ipMasq": False}, 'failed to find plugin "nope" in path ['),
        ({}, "ipMasq cannot work: "),
    ],
)
def test_status_says_what_an_add_would_lack(call, conf, fake_kernel, change, message):
    fake_kernel.firewall.is_missing = True
    assert call("STATUS", {**conf, "ipMasq": False}).status == 0
    assert call("STATUS", {**conf, "ipam": None}).status == 0  # nothing to masquerade

    document = call("STATUS", {**conf, **change}).document

    assert document["code"] == 50
    assert message in document["msg"]


@pytest.mark.parametrize(
    ("change", "code"),
    [({}, None), ({"vlan": 9999}, 7), ({"ipam": None}, None)],
)
def test_status_is_about_the_configuration_and_the_ipam_plugin(
    call, conf, fake_kernel, tmp_path, change, code
):
    assert (call("STATUS", {**conf, **change}).document or {}).get("code") == code

    (tmp_path / "leases").write_text("not a directory")
    assert call("STATUS", conf).document["code"] == 50
