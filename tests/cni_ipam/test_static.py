"""static, called as a main plugin calls it."""

import json

import pytest

from cni_ipam.static import StaticConf


def network(version="1.1.0", **ipam):
    section = {"type": "static", **ipam}
    return {"cniVersion": version, "name": "mynet", "type": "static", "ipam": section}


def addresses(*texts):
    return [{"address": text} for text in texts]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ipam": None}, "IPAM config missing 'ipam' key"),
        ({"ipam": []}, "ipam: input should be an object, not a list"),
        ({"ipam": {"addresses": "x"}}, "ipam.addresses: input should be a list, not 'x'"),
        ({"ipam": {"addresses": [{}]}}, "ipam.addresses[0].address: Field required"),
        (
            {"ipam": {"addresses": addresses("10.1.0.5/24", "10.1.0.6")}},
            (
                "ipam.addresses[1].address: the 'address' field is expected to be in CIDR notation,"
                " got: '10.1.0.6': add the prefix length"
            ),
        ),
        (
            {"ipam": {"addresses": [{"address": "10.1.0.5/24", "gateway": "x"}]}},
            "ipam.addresses[0].gateway: invalid IP address: x",
        ),
        (
            {"ipam": {"addresses": [{"address": "10.1.0.5/24", "gateway": "fd00::1"}]}},
            (
                "ipam.addresses[0].gateway: fd00::1 cannot be the gateway of 10.1.0.5/24:"
                " write an IPv4 address"
            ),
        ),
        (
            {"ipam": {"addresses": addresses("fe80::5%eth0/64")}},
            "ipam.addresses[0].address: the 'address' field is expected to be in CIDR notation",
        ),
        (
            {"runtimeConfig": {"ips": ["fe80::5%eth0/64"]}},
            "an entry in the 'ips' field is NOT in CIDR notation, got: 'fe80::5%eth0/64'",
        ),
        (
            {"ipam": {"routes": [{"dst": "::/0", "gw": "10.1.0.1"}]}},
            "ipam.routes[0].gw: 10.1.0.1 cannot be the gateway of ::/0: write an IPv6 address",
        ),
        ({"ipam": {"routes": [{"gw": "10.1.0.1"}]}}, "ipam.routes[0].dst: Field required"),
        ({"ipam": {"dns": {"search": "a"}}}, "ipam.dns.search: input should be a list, not 'a'"),
        ({"runtimeConfig": {"ips": 3}}, "runtimeConfig.ips: input should be a list, not 3"),
        (
            {"runtimeConfig": {"ips": ["10.1.0.5"]}},
            (
                "an entry in the 'ips' field is NOT in CIDR notation, got: '10.1.0.5': add the"
                " prefix length in runtimeConfig.ips"
            ),
        ),
        (
            {"args": {"cni": {"ips": ["10.1.0.5/24", "x"]}}},
            (
                "an entry in the 'ips' field is NOT in CIDR notation, got: 'x': add the prefix"
                " length in args.cni.ips"
            ),
        ),
    ],
)
def test_a_bad_configuration_is_refused(call, change, message):
    outcome = call("ADD", {**network(), **change})

    assert (outcome.status, outcome.document["code"]) == (1, 7)
    assert outcome.document["msg"].startswith(message)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            "IP=10.1.0.5",
            "the 'ip' field is expected to be in CIDR notation, got: '10.1.0.5': add the prefix",
        ),
        ("IP=10.1.0.5/24,", "the 'ip' field is expected to be in CIDR notation, got: ''"),
        ("GATEWAY=10.1.0.1/24", "invalid gateway address: 10.1.0.1/24"),
        ("MAC=02:00:00:00:00:01", 'ARGS: unknown args ["MAC=02:00:00:00:00:01"]'),
    ],
)
def test_bad_arguments_are_refused(call, args, message):
    outcome = call("ADD", network(), CNI_ARGS=args)

    assert (outcome.status, outcome.document["code"]) == (1, 4)
    assert outcome.document["msg"].startswith(message)


@pytest.mark.parametrize(
    ("version", "own", "status"),
    [
        ("0.2.0", ["10.1.0.5/24", "fd00::5/64"], 0),
        ("0.2.0", ["10.1.0.5/24", "10.2.0.5/24"], 1),
        ("0.1.0", ["fd00::5/64", "fd01::5/64"], 1),
        ("0.3.0", ["10.1.0.5/24", "10.2.0.5/24"], 0),
    ],
)
def test_old_versions_have_one_address_of_each_family(call, version, own, status):
    outcome = call("ADD", network(version, addresses=addresses(*own)))

    assert outcome.status == status
    if status:
        assert outcome.document["msg"].startswith(
            f"CNI version {version} does not support more than 1 address per family"
        )


def test_the_limit_counts_what_is_left_after_merging(call):
    conf = network("0.2.0", addresses=addresses("10.1.0.5/24", "10.2.0.5/24"))
    conf["runtimeConfig"] = {"ips": ["10.3.0.5/24"]}

    assert call.add(conf)["ip4"] == {"ip": "10.3.0.5/24"}


def test_add_returns_what_is_configured_in_its_order(call):
    ipam = {
        "addresses": [
            {"address": "10.1.0.5/24", "gateway": "10.1.0.254"},
            {"address": "3ffe:ffff:0:01ff::0010/64", "gateway": ""},
        ],
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "10.1.0.254"},
            {"dst": "0.0.0.0/0", "gw": "10.1.0.253", "priority": 5, "table": 7, "scope": 0},
            {"dst": "192.168.5.1/16", "mtu": 1400, "advmss": 1300},
        ],
        "dns": {"nameservers": ["192.0.2.3"], "domain": "d", "search": ["s"], "options": ["o"]},
    }

    assert call.add(network(**ipam)) == {
        "cniVersion": "1.1.0",
        "dns": ipam["dns"],
        "ips": [
            {"address": "10.1.0.5/24", "gateway": "10.1.0.254"},
            {"address": "3ffe:ffff:0:1ff::10/64"},
        ],
        "routes": ipam["routes"],
    }


def test_without_any_address_the_result_is_nearly_empty(call):
    assert call.add(network()) == {"cniVersion": "1.1.0"}


@pytest.mark.parametrize(
    ("by_args", "by_runtime", "expected"),
    [
        ([], [], ["10.1.0.5/24", "10.2.0.5/24"]),
        (["10.3.0.5/24"], [], ["10.3.0.5/24"]),
        ([], ["10.4.0.5/24"], ["10.4.0.5/24"]),
        (["10.3.0.5/24"], ["10.4.0.5/24", "fd00::5/64"], ["10.4.0.5/24", "fd00::5/64"]),
    ],
)
def test_the_runtimes_addresses_replace_those_of_args_which_replace_the_others(
    call, by_args, by_runtime, expected
):
    conf = network(addresses=[{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}])
    conf["args"] = {"cni": {"ips": by_args}}
    conf["runtimeConfig"] = {"ips": by_runtime}

    document = call.add(conf, CNI_ARGS="IP=10.2.0.5/24")

    assert [ip["address"] for ip in document["ips"]] == expected
    assert ["gateway" in ip for ip in document["ips"]] == [ip == "10.1.0.5/24" for ip in expected]


def gateways_of(document):
    return [(ip["address"], ip.get("gateway")) for ip in document["ips"]]


def test_gateways_in_the_arguments_go_to_the_addresses_of_their_subnets(call):
    args = "IP=10.2.0.5/24, fd00::5/64 ;GATEWAY=10.1.0.9,fd00::1 , 192.0.2.1"
    conf = network(
        addresses=[
            {"address": "10.1.0.5/24"},
            {"address": "10.1.0.6/24", "gateway": "10.1.0.1"},
        ]
    )

    assert gateways_of(call.add(conf, CNI_ARGS=args)) == [
        ("10.1.0.5/24", "10.1.0.9"),
        ("10.1.0.6/24", "10.1.0.1"),
        ("10.2.0.5/24", None),
        ("fd00::5/64", "fd00::1"),
    ]


def test_a_gateway_alone_in_the_arguments_has_effect(call):
    conf = network(addresses=addresses("10.1.0.5/24"))

    document = call.add(conf, CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=p;GATEWAY=10.1.0.1")

    assert gateways_of(document) == [("10.1.0.5/24", "10.1.0.1")]


@pytest.mark.parametrize("ipam", [None, [], "x", {"addresses": 3}, {"addresses": [{"gateway": 1}]}])
@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_del_and_gc_succeed_whatever_the_configuration_says(call, verb, ipam):
    conf = {**network(), "ipam": ipam, "args": 3, "runtimeConfig": "x"}

    for _ in range(2):
        assert call(verb, conf, CNI_ARGS="nonsense").status == 0


# --- CHECK


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
@pytest.mark.parametrize("args", ["", "IP=10.2.0.5/24;GATEWAY=10.2.0.1", "GATEWAY=10.1.0.9"])
@pytest.mark.parametrize("ips", [[], ["10.3.0.5/24"]])
def test_check_accepts_what_add_returned(call, version, args, ips):
    conf = network(version, addresses=addresses("10.1.0.5/24", "fd00::5/64"))
    conf["runtimeConfig"] = {"ips": ips}
    result = call.add(conf, CNI_ARGS=args)

    assert call("CHECK", {**conf, "prevResult": result}, CNI_ARGS=args).status == 0


def test_an_ipv4_address_in_ipv6_is_ipv4_in_add_and_check(call):
    conf = network(addresses=[{"address": "::ffff:10.7.0.5/120", "gateway": "::ffff:10.7.0.1"}])

    result = call.add(conf)

    assert result["ips"] == [{"address": "10.7.0.5/24", "gateway": "10.7.0.1"}]
    assert call("CHECK", {**conf, "prevResult": result}).status == 0


def test_check_accepts_what_others_added_to_the_result(call):
    conf = network(addresses=addresses("10.1.0.5/24"))
    ips = [
        {"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 2},
        {"address": "10.7.0.5/24"},
    ]

    assert call("CHECK", {**conf, "prevResult": {"ips": ips}}).status == 0


@pytest.mark.parametrize(
    ("ips", "message"),
    [
        (None, "Required prevResult missing"),
        ([], "static: Failed to find addr 10.1.0.5/24 on interface eth0"),
        (addresses("10.1.0.6/24"), "static: Failed to find addr 10.1.0.5/24 on interface eth0"),
        (
            addresses("10.1.0.5/24"),
            "static: Failed to match addr 10.1.0.5/24 on interface eth0: its gateway is None, not",
        ),
        (
            [{"address": "10.1.0.5/24", "gateway": "10.1.0.2"}],
            "static: Failed to match addr 10.1.0.5/24 on interface eth0: its gateway is 10.1.0.2",
        ),
    ],
)
def test_check_notices_that_the_result_is_another(call, ips, message):
    conf = network(addresses=[{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}])
    previous = {} if ips is None else {"prevResult": {"ips": ips}}

    outcome = call("CHECK", {**conf, **previous})

    assert outcome.status == 1
    assert outcome.document["msg"].startswith(message)


# --- STATUS


@pytest.mark.parametrize(
    ("ipam", "code"),
    [
        ({"addresses": [{"address": "10.1.0.5/24"}]}, None),
        ({}, None),
        ({"addresses": []}, 50),
        ({"addresses": [{"address": "10.1.0.5"}]}, 7),
    ],
)
def test_status_says_whether_an_add_can_succeed(call, ipam, code):
    outcome = call("STATUS", network(**ipam))

    assert (outcome.document or {}).get("code") == code


def test_the_schema_describes_every_key():
    properties = StaticConf.model_json_schema()["properties"]

    assert sorted(properties["ipam"]["properties"]) == ["addresses", "dns", "routes", "type"]
    assert '"cni"' in json.dumps(properties["args"])
