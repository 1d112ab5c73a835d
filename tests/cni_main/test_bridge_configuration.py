"""bridge's keys, good and bad, on the kernel in memory."""

import pytest

CONF = {"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0"}
IPAM = {"type": "static", "addresses": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1"}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mtu": "1500"}, "mtu: input should be a valid integer, not '1500'"),
        ({"mtu": 2**40}, "mtu: 1099511627776 is too large, a veth takes at most 65535"),
        ({"isGateway": "yes"}, "isGateway: "),
        ({"portIsolation": "true"}, "portIsolation: "),
        ({"ipMasqBackend": "pf"}, "ipMasqBackend: "),
        ({"vlanTrunk": {}}, "vlanTrunk: "),
        ({"vlanTrunk": [{"id": "5"}]}, "vlanTrunk[0].id: "),
        ({"bridge": ""}, 'failed to create bridge "": bridge must not be empty'),
        ({"bridge": "a234567890123456"}, 'cannot be named "a234567890123456"'),
        ({"bridge": "br%d"}, 'cannot be named "br%d": interface name contains %'),
        ({"bridge": "b\0c"}, "interface name contains a NUL character"),
        ({"bridge": "\ud800"}, "interface name is not UTF-8"),
        ({"bridge": "b/c"}, "interface name contains / or : or whitespace"),
        ({"bridge": "b c"}, "interface name contains / or : or whitespace"),
        ({"bridge": ".."}, "interface name is . or .."),
        (
            {"bridge": "a23456789012", "vlan": 100, "isGateway": True},
            'cannot be named "a23456789012.100"',
        ),
        (
            {"hairpinMode": True, "promiscMode": True},
            "cannot set hairpin mode and promiscuous mode at the same time",
        ),
        (
            {"disableContainerInterface": True, "ipam": IPAM},
            "cannot use IPAM when DisableContainerInterface flag is set",
        ),
        ({"vlan": -100}, "invalid VLAN ID -100 (must be between 0 and 4094)"),
        ({"vlan": 4095}, "invalid VLAN ID 4095 (must be between 0 and 4094)"),
        ({"vlanTrunk": [{"minID": 0, "maxID": 9}]}, "incorrect trunk minID parameter"),
        ({"vlanTrunk": [{"minID": 9, "maxID": 4095}]}, "incorrect trunk maxID parameter"),
        ({"vlanTrunk": [{"minID": 9, "maxID": 8}]}, "minID is greater than maxID in trunk"),
        ({"vlanTrunk": [{"maxID": 8}]}, "configured simultaneously, minID is missing"),
        ({"vlanTrunk": [{"minID": 8}]}, "configured simultaneously, maxID is missing"),
        ({"vlanTrunk": [{"id": 4}, {"id": 0}]}, "vlanTrunk[1]: incorrect trunk id parameter"),
        ({"runtimeConfig": {"mac": "zz"}}, "address zz: invalid MAC address"),
        ({"args": {"cni": {"mac": "02:00:5e:10:00"}}}, "address 02:00:5e:10:00: invalid MAC"),
    ],
)
def test_a_bad_configuration_is_refused_and_leaves_nothing(call, fake_kernel, change, message):
    before = fake_kernel.snapshot()

    outcome = call("ADD", {**CONF, **change})

    assert (outcome.status, outcome.document["code"]) == (1, 7)
    assert message in outcome.document["msg"]
    assert fake_kernel.snapshot() == before


@pytest.mark.parametrize(
    "change",
    [
        {"vlan": 9999},
        {"vlanTrunk": [{"minID": 4}]},
        {"bridge": ""},
        {"hairpinMode": True, "promiscMode": True},
        {"runtimeConfig": {"mac": "zz"}},
    ],
)
def test_del_does_without_what_only_add_needs(call, fake_kernel, change):
    before = fake_kernel.snapshot()[""]["links"]
    call.add(CONF)

    outcome = call("DEL", {**CONF, **change}, CNI_ARGS="nonsense")

    assert outcome.status == 0
    assert [link for link in fake_kernel.namespaces[""].by_name if link not in before] == ["br0"]


def test_keys_match_in_any_case_and_null_is_the_default(call, fake_kernel):
    conf = {"cniVersion": "1.1.0", "name": "net", "type": "bridge", "BRIDGE": "br9"}
    conf.update({"HairpinMode": True, "ipam": None, "mtu": None})

    document = call.add(conf)

    assert [link["name"] for link in document["interfaces"]][::2] == ["br9", "eth0"]
    assert ("", "set_bridge_port", document["interfaces"][1]["name"], True, False) in (
        fake_kernel.calls
    )


@pytest.mark.parametrize(
    ("runtime", "argument", "cni_args", "expected"),
    [
        ("02:00:00:00:0a:01", "02:00:00:00:0a:02", "MAC=02:00:00:00:0a:03", "02:00:00:00:0a:01"),
        ("", "02:00:00:00:0a:02", "MAC=02:00:00:00:0a:03", "02:00:00:00:0a:02"),
        ("", "", "MAC=02:00:00:00:0a:03", "02:00:00:00:0a:03"),
        ("", "", "IgnoreUnknown=1;K8S_POD_NAME=p", "02:00:00:00:00:02"),
        ("02-00-00-00-0A-01", "", "", "02:00:00:00:0a:01"),
        ("0200.0000.0a01", "", "", "02:00:00:00:0a:01"),
    ],
)
def test_the_runtimes_mac_comes_before_the_configurations_and_that_before_cni_args(
    call, fake_kernel, runtime, argument, cni_args, expected
):
    conf = {**CONF, "RuntimeConfig": {"mac": runtime}, "args": {"cni": {"mac": argument}}}

    document = call.add(conf, CNI_ARGS=cni_args)

    assert document["interfaces"][2]["mac"] == expected


def test_malformed_cni_args_are_refused(call, fake_kernel):
    outcome = call("ADD", CONF, CNI_ARGS="MAC=02:00:00:00:0a:03;")

    assert outcome.document["code"] == 4
    assert 'ARGS: invalid pair ""' in outcome.document["msg"]


VLANS = [
    ({"vlan": 0}, False, []),
    ({"vlanTrunk": []}, True, []),
    ({"vlan": 100}, True, ["-1", "100 native"]),
    ({"vlan": 100, "preserveDefaultVlan": True}, True, ["100 native"]),
    (
        {"vlanTrunk": [{"id": 101}, {"minID": 200, "maxID": 202}, {"id": 201}]},
        True,
        ["-1", "1 native", "101", "200", "201", "202"],
    ),
    (
        {"vlan": 100, "vlanTrunk": [{"minID": 99, "maxID": 101, "id": 5}]},
        True,
        ["-1", "100 native", "5", "99", "101"],
    ),
    ({"vlanTrunk": [{"id": 1}]}, True, ["-1", "1 native"]),
]


@pytest.mark.parametrize(("change", "filters", "expected"), VLANS)
def test_the_port_gets_exactly_its_vlans(call, fake_kernel, change, filters, expected):
    call.add({**CONF, **change})

    steps = {
        "add_port_vlan": lambda vid, native: f"{vid} native" if native else str(vid),
        "delete_port_vlan": lambda vid: f"-{vid}",
    }
    found = [steps[step](*values) for _, step, _, *values in named(fake_kernel.calls, steps)]
    assert found == expected
    assert fake_kernel.namespaces[""].by_name["br0"].filters_vlans is filters


def named(calls, steps):
    return [made for made in calls if made[1] in steps]


@pytest.mark.parametrize("change", [{"vlan": 100}, {"vlanTrunk": [{"id": 100}]}])
def test_a_bridge_that_does_not_filter_vlans_is_refused_where_they_matter(
    call, fake_kernel, change
):
    fake_kernel.namespaces[""].add_bridge("br0")

    outcome = call("ADD", {**CONF, **change})

    assert 'bridge "br0" does not filter VLANs' in outcome.document["msg"]
    assert call("STATUS", {**CONF, **change}).document["code"] == 50
    assert call("ADD", {**CONF, "vlanTrunk": []}).status == 0
