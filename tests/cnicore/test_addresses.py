"""Addresses and prefixes."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from cnicore.addresses import (
    any_cidr,
    host_cidr,
    is_default,
    parse_address,
    parse_cidr,
    parse_mac,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [("10.0.0.1", "10.0.0.1"), ("FD00::1", "fd00::1"), ("::ffff:10.0.0.1", "10.0.0.1")],
)
def test_an_address_is_parsed_and_a_mapped_one_is_ipv4(text, address):
    assert parse_address(text) == ip_address(address)


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "10.0.0.256", "010.0.0.1", "10.0.0.1/24", "fe80::1%eth0", 10, None]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="invalid IP address"):
        parse_address(text)


@pytest.mark.parametrize("text", ["10.0.0.5/24", "0.0.0.0/0", "fd00::5/64", "10.0.0.5/32"])
def test_a_prefix_keeps_its_host_bits(text):
    assert str(parse_cidr(text)) == text


@pytest.mark.parametrize(
    ("text", "cidr"), [("::ffff:10.7.0.5/120", "10.7.0.5/24"), ("::ffff:0:0/96", "0.0.0.0/0")]
)
def test_a_mapped_prefix_is_ipv4(text, cidr):
    assert parse_cidr(text) == ip_interface(cidr)


@pytest.mark.parametrize(
    "text",
    [
        *("10.0.0.5", "10.0.0.5/", "10.0.0.5/33", "10.0.0.5/255.0.0.0", "fd00::/129", 5, None),
        *("10.0.0.5/\u0662\u0664", "fe80::1%eth0/64", "::ffff:10.7.0.5/95"),
    ],
)
def test_what_is_no_prefix_is_refused(text):
    with pytest.raises(ValueError, match="invalid CIDR address"):
        parse_cidr(text)


def test_prefixes_of_one_address_and_of_all():
    assert host_cidr(ip_address("10.0.0.1")) == ip_interface("10.0.0.1/32")
    assert host_cidr(ip_address("fd00::1")) == ip_interface("fd00::1/128")
    assert [str(any_cidr(version)) for version in (4, 6)] == ["0.0.0.0/0", "::/0"]
    assert is_default(any_cidr(6))
    assert not is_default(ip_interface("10.0.0.0/8"))


@pytest.mark.parametrize("text", ["02:00:5E:10:00:01", "02-00-5e-10-00-01", "0200.5e10.0001"])
def test_a_mac_may_be_separated_in_three_ways(text):
    assert parse_mac(text) == "02:00:5e:10:00:01"


@pytest.mark.parametrize(
    "text", ["", "zz", "02:00:5e:10:00", "02:00-5e:10:00:01", "02005e100001", "02:00:5e:10:00:01\n"]
)
def test_what_is_no_mac_is_refused(text):
    with pytest.raises(ValueError, match="invalid MAC address"):
        parse_mac(text)
