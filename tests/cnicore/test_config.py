"""How configurations are parsed."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from pydantic import Field

from cnicore.config import (
    ConfModel,
    DnsConf,
    IpAddress,
    ListOf,
    MasqueradeConf,
    NetConf,
    RouteConf,
    parse_config,
)
from cnicore.errors import InvalidNetworkConfig
from cnicore.result import Dns


class RangeConf(ConfModel):
    gateway: IpAddress | None = None


class SampleConf(NetConf):
    is_gateway: bool = False
    mtu: int = Field(default=0, ge=0)
    ranges: ListOf[ListOf[RangeConf]] = ()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, (False, 0, "")),
        ({"isGateway": True}, (True, 0, "")),
        ({"ISGATEWAY": True}, (True, 0, "")),
        ({"isGateway": None, "mtu": None, "ipam": None}, (False, 0, "")),
        ({"unknown": {"a": 1}}, (False, 0, "")),
        ({"is_gateway": True}, (False, 0, "")),
    ],
)
def test_keys_are_camel_case_in_any_case_and_null_is_the_default(document, expected):
    conf = parse_config(SampleConf, document)
    assert (conf.is_gateway, conf.mtu, conf.ipam.type) == expected


def test_nested_keys_match_in_any_case_too():
    conf = parse_config(SampleConf, {"RANGES": [[{"GateWay": "::ffff:10.0.0.1"}]]})
    assert conf.ranges[0][0].gateway == ip_address("10.0.0.1")


@pytest.mark.parametrize(
    ("document", "msg"),
    [
        ({"mtu": "1500"}, "mtu: input should be a valid integer, not '1500'"),
        ({"mtu": 1.5}, "mtu: input should be a valid integer, not 1.5"),
        ({"mtu": True}, "mtu: input should be a valid integer, not true"),
        ({"mtu": -1}, "mtu: input should be greater than or equal to 0"),
        ({"isGateway": 1}, "isGateway: input should be a valid boolean, not 1"),
        ({"ipam": {"type": 5}}, "ipam.type: input should be a valid string, not 5"),
        ({"ipam": {"type": [5]}}, "ipam.type: input should be a valid string, not a list"),
        ({"ipam": []}, "ipam: input should be an object, not a list"),
        ({"ipam": "x" * 100}, f"ipam: input should be an object, not '{'x' * 60}...'"),
        ({"ranges": {}}, "ranges: input should be a list, not an object"),
        ({"ranges": [[None]]}, "ranges[0][0]: input should be an object, not null"),
        (
            {"ranges": [[{}, {"gateway": "10.0.0.256"}]]},
            "ranges[0][1].gateway: invalid IP address: 10.0.0.256",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_the_path_of_its_key(document, msg):
    with pytest.raises(InvalidNetworkConfig) as caught:
        parse_config(SampleConf, document)
    assert caught.value.msg == msg


def test_further_wrong_keys_are_the_details():
    with pytest.raises(InvalidNetworkConfig) as caught:
        parse_config(SampleConf, {"mtu": -1, "isGateway": "yes", "ipam": []})
    assert caught.value.msg.startswith("ipam: ")
    assert caught.value.details == (
        "isGateway: input should be a valid boolean, not 'yes';"
        " mtu: input should be greater than or equal to 0"
    )


def test_a_part_of_a_document_is_named_by_its_place():
    with pytest.raises(InvalidNetworkConfig) as caught:
        parse_config(RangeConf, {"gateway": "x"}, "ipam")
    assert caught.value.msg == "ipam.gateway: invalid IP address: x"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, Dns(domain="leased")),
        ({"domain": ""}, Dns(domain="leased")),
        ({"domain": "own"}, Dns(domain="own")),
        ({"nameservers": []}, Dns()),
    ],
)
def test_configured_dns_is_preferred_to_leased_if_it_says_anything(document, expected):
    assert parse_config(DnsConf, document).or_leased(Dns(domain="leased")) == expected


def test_a_route_needs_a_destination():
    with pytest.raises(InvalidNetworkConfig, match="dst: Field required"):
        parse_config(RouteConf, {"gw": "10.0.0.1"})


class RoutesConf(ConfModel):
    routes: ListOf[RouteConf] = ()


@pytest.mark.parametrize("key", ["mtu", "advmss", "priority", "table"])
def test_a_number_that_the_kernel_has_no_room_for_is_refused(key):
    for value in (2**32, 2**40, 2**70):
        with pytest.raises(InvalidNetworkConfig) as caught:
            parse_config(RoutesConf, {"routes": [{"dst": "::/0", key: value}]}, "ipam")
        assert caught.value.msg == (
            f"ipam.routes[0].{key}: input should be less than or equal to 4294967295"
        )
    parse_config(RoutesConf, {"routes": [{"dst": "::/0", key: 2**32 - 1}]})


@pytest.mark.parametrize(
    ("dst", "gw", "version"), [("10.0.0.0/8", "fd00::1", 4), ("::/0", "10.0.0.1", 6)]
)
def test_a_route_and_its_gateway_are_of_one_family(dst, gw, version):
    with pytest.raises(InvalidNetworkConfig) as caught:
        parse_config(RoutesConf, {"routes": [{"dst": "10.0.0.0/8"}, {"dst": dst, "gw": gw}]})
    assert caught.value.msg == (
        f"routes[1].gw: {gw} cannot be the gateway of {dst}: write an IPv{version} address"
    )


@pytest.mark.parametrize("key", ["dst", "gw"])
def test_a_zone_is_no_part_of_an_address(key):
    route = {
        "dst": "fe80::/64",
        "gw": "fe80::1",
        key: {"dst": "fe80::%a/64", "gw": "fe80::1%a"}[key],
    }
    with pytest.raises(InvalidNetworkConfig, match=rf"routes\[0\].{key}: invalid"):
        parse_config(RoutesConf, {"routes": [route]})


def test_a_masquerading_backend_is_one_of_two():
    with pytest.raises(InvalidNetworkConfig, match="ipMasqBackend: input should be"):
        parse_config(MasqueradeConf, {"ipMasqBackend": "pf"})
