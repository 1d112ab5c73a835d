"""The configuration of host-local: what is refused, in which words, and what is filled in."""

import json

import pytest

SUBNET = {"subnet": "10.1.2.0/24"}
DUAL_STACK = [[SUBNET], [{"subnet": "2001:db8:1::/64"}]]


def error_of(outcome):
    assert outcome.status == 1, outcome.text
    return outcome.document


@pytest.mark.parametrize(
    ("ipam", "message"),
    [
        ({"ranges": "x"}, "ipam.ranges: input should be a list, not 'x'"),
        ({"ranges": [{}]}, "ipam.ranges[0]: input should be a list, not an object"),
        ({"ranges": [[3]]}, "ipam.ranges[0][0]: input should be an object, not 3"),
        ({"ranges": []}, "no IP ranges specified: add ipam.ranges"),
        ({"ranges": [[]]}, "invalid range set 0: empty range set: give ipam.ranges[0] a range"),
        (
            {"ranges": [[SUBNET], [{}]]},
            "invalid range set 1: IP <nil> not v4 nor v6: add the subnet (in ipam.ranges[1][0])",
        ),
        (
            {"ranges": [[{"subnet": "10.1.2.0"}]]},
            "ipam.ranges[0][0].subnet: invalid CIDR address: 10.1.2.0",
        ),
        (
            {"ranges": [[{**SUBNET, "rangeStart": "10.01.2.3"}]]},
            "ipam.ranges[0][0].rangeStart: invalid IP address: 10.01.2.3",
        ),
        (
            {"ranges": [[{"subnet": "::ffff:10.1.2.0/120"}]]},
            "ipam.ranges[0][0].subnet: IPNet IP and Mask version mismatch: write the subnet as",
        ),
        (
            {"ranges": [[{"subnet": "10.1.2.0/31"}]]},
            "invalid range set 0: Network 10.1.2.0/31 too small to allocate from: use /30",
        ),
        (
            {"ranges": [[{"subnet": "fd00::/127"}]]},
            "invalid range set 0: Network fd00::/127 too small to allocate from: use /126",
        ),
        (
            {"ranges": [[{"subnet": "10.1.2.7/24"}]]},
            (
                "invalid range set 0: Network has host bits set. For a subnet mask of length 24"
                " the network address is 10.1.2.0"
            ),
        ),
        (
            {"ranges": [[{**SUBNET, "rangeStart": "10.1.3.1"}]]},
            "invalid range set 0: RangeStart 10.1.3.1 not in network 10.1.2.0/24",
        ),
        (
            {"ranges": [[{**SUBNET, "rangeEnd": "fd00::1"}]]},
            "invalid range set 0: RangeEnd fd00::1 not in network 10.1.2.0/24",
        ),
        (
            {"ranges": [[{**SUBNET, "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.8"}]]},
            (
                "invalid range set 0: RangeStart 10.1.2.9 not in network 10.1.2.0/24: the range"
                " 10.1.2.9-10.1.2.8 is empty"
            ),
        ),
        (
            {"ranges": [[{**SUBNET, "rangeEnd": "10.1.2.0"}]]},
            "invalid range set 0: RangeEnd 10.1.2.0 not in network 10.1.2.0/24",
        ),
        (
            {"ranges": [[SUBNET, {"subnet": "fd00::/64"}]]},
            "invalid range set 0: mixed address families",
        ),
        (
            {"ranges": [[SUBNET, {"subnet": "10.1.0.0/16"}]]},
            "invalid range set 0: subnets 10.1.2.1-10.1.2.254 and 10.1.0.1-10.1.255.254 overlap",
        ),
        ({"ranges": [[SUBNET], [SUBNET]]}, "range set 0 overlaps with 1"),
        ({"subnet": "10.1.2.128/25"}, "range set 0 overlaps with 1"),
        (
            {"subnet": "10.1.2.0/31"},
            (
                "invalid range set 0: Network 10.1.2.0/31 too small to allocate from: use /30 or a"
                " larger one (in ipam)"
            ),
        ),
        (
            {"ranges": [[{**SUBNET, "gateway": "fd00::1"}]]},
            (
                "ipam.ranges[0][0].gateway: fd00::1 cannot be the gateway of 10.1.2.0/24:"
                " write an IPv4 address"
            ),
        ),
        (
            {"subnet": "fd00::/64", "gateway": "10.1.2.1"},
            "ipam.gateway: 10.1.2.1 cannot be the gateway of fd00::/64: write an IPv6 address",
        ),
        (
            {"ranges": [[{"subnet": "fe80::/64", "gateway": "fe80::1%eth0"}]]},
            "ipam.ranges[0][0].gateway: invalid IP address: fe80::1%eth0",
        ),
        (
            {"ranges": [[{"subnet": "fe80::%eth0/64"}]]},
            "ipam.ranges[0][0].subnet: invalid CIDR address: fe80::%eth0/64",
        ),
        (
            {"routes": [{"dst": "10.0.0.0/8", "gw": "fd00::1"}]},
            "ipam.routes[0].gw: fd00::1 cannot be the gateway of 10.0.0.0/8",
        ),
        (
            {"routes": [{"dst": "10.0.0.0/8", "table": 2**40}]},
            "ipam.routes[0].table: input should be less than or equal to 4294967295",
        ),
        ({"routes": [{"gw": "10.1.2.1"}]}, "ipam.routes[0].dst: Field required"),
        ({"routes": [{"dst": "10.0.0.0"}]}, "ipam.routes[0].dst: invalid CIDR address: 10.0.0.0"),
        ({"dataDir": 3}, "ipam.dataDir: input should be a valid string, not 3"),
        ({"dataDir": "/a\0b"}, "ipam.dataDir: String should match pattern"),
        ({"resolvConf": "/no/such"}, "could not read /no/such (ipam.resolvConf): No such file"),
    ],
)
def test_a_bad_section_ipam_is_refused_before_anything_is_made(
    call, data_dir, ipam, message, network
):
    error = error_of(call("ADD", network(**ipam)))

    assert error["msg"].startswith(message)
    assert not data_dir.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ipam": None}, "IPAM config missing 'ipam' key"),
        ({"name": "../mynet"}, "invalid characters found in network name"),
        (
            {"runtimeConfig": {"ips": "10.1.2.9"}},
            "runtimeConfig.ips: input should be a list, not '10.1.2.9'",
        ),
        (
            {"runtimeConfig": {"ips": ["10.1.2.9", "ten"]}},
            "runtimeConfig.ips[1]: cannot understand ip: invalid IP address ten",
        ),
        (
            {"args": {"cni": {"ips": ["10.1.2.9/33"]}}},
            "args.cni.ips[0]: cannot understand ip: invalid CIDR address: 10.1.2.9/33",
        ),
        (
            {"runtimeConfig": {"ipRanges": [[{"subnet": "10.9.0.0/31"}]]}},
            (
                "invalid range set 0: Network 10.9.0.0/31 too small to allocate from: use /30 or a"
                " larger one (in runtimeConfig.ipRanges[0][0])"
            ),
        ),
    ],
)
def test_a_bad_configuration_is_refused_before_anything_is_made(
    call, data_dir, change, message, network
):
    error = error_of(call("ADD", {**network(), **change}))

    assert error["msg"].startswith(message)
    assert not data_dir.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            "IP=10.1.2.3,10.1.2.4",
            (
                'ARGS: error parsing value of pair "IP=10.1.2.3,10.1.2.4":'
                " invalid IP address 10.1.2.3,10.1.2.4"
            ),
        ),
        ("K8S_POD_NAME=p", 'ARGS: unknown args ["K8S_POD_NAME=p"]'),
        ("IP=10.1.2.3;", 'ARGS: invalid pair ""'),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_made(call, data_dir, args, message, network):
    error = error_of(call("ADD", network(), CNI_ARGS=args))

    assert error["msg"].startswith(message)
    assert not data_dir.exists()


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_old_versions_have_one_address_of_each_family(call, data_dir, version, network):
    two = [[SUBNET], [{"subnet": "10.1.3.0/24"}]]

    error = error_of(call("ADD", network(version, ranges=two)))

    assert error["msg"].startswith(
        f"CNI version {version} does not support more than 1 address per family"
    )
    assert not data_dir.exists()
    assert call.add(network(version, ranges=DUAL_STACK))["ip4"]["ip"] == "10.1.2.2/24"


@pytest.mark.parametrize(
    ("ipam", "address", "gateway"),
    [
        ({}, "10.1.2.2/24", "10.1.2.1"),
        ({"ranges": None, **SUBNET}, "10.1.2.2/24", "10.1.2.1"),
        ({"ranges": None, "SubNet": "10.3.0.0/16"}, "10.3.0.2/16", "10.3.0.1"),
        ({"ranges": [[{"subnet": "10.1.2.0/30"}]]}, "10.1.2.2/30", "10.1.2.1"),
        ({"ranges": [[{**SUBNET, "gateway": ""}]]}, "10.1.2.2/24", "10.1.2.1"),
        ({"ranges": [[{**SUBNET, "gateway": "10.1.2.254"}]]}, "10.1.2.1/24", "10.1.2.254"),
        ({"ranges": [[{**SUBNET, "gateway": "192.0.2.1"}]]}, "10.1.2.1/24", "192.0.2.1"),
        ({"ranges": [[{**SUBNET, "rangeStart": "10.1.2.0"}]]}, "10.1.2.0/24", "10.1.2.1"),
        ({"ranges": [[{**SUBNET, "rangeStart": "10.1.2.255"}]]}, None, None),
        (
            {"ranges": [[{**SUBNET, "rangeStart": "10.1.2.255", "rangeEnd": "10.1.2.255"}]]},
            "10.1.2.255/24",
            "10.1.2.1",
        ),
        ({"ranges": [[{"subnet": "fd00::/126"}]]}, "fd00::2/126", "fd00::1"),
    ],
)
def test_what_a_range_leaves_out_is_filled_in(call, ipam, address, gateway, network):
    outcome = call("ADD", network(**ipam))

    if address is None:
        assert "the range 10.1.2.255-10.1.2.254 is empty" in error_of(outcome)["msg"]
    else:
        assert outcome.document["ips"] == [{"address": address, "gateway": gateway}]


def test_the_schema_describes_every_key():
    from cni_ipam.host_local.conf import HostLocalConf

    schema = HostLocalConf.model_json_schema()

    assert sorted(schema["properties"]["ipam"]["properties"]) == [
        "dataDir", "gateway", "rangeEnd", "rangeStart", "ranges", "resolvConf", "routes",
        "subnet", "type",
    ]  # fmt: skip
    assert '"ipRanges"' in json.dumps(schema)
