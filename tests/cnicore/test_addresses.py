"""Addresses and prefixes."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

import pytest

from cnicore.addresses import any_cidr, host_cidr, is_default, parse_address, parse_cidr


@pytest.mark.parametrize(
    ("text", "address"),
    [("10.0.0.1", "10.0.0.1"), ("FD00::1", "fd00::1"), ("::ffff:10.0.0.1", "10.0.0.1")],
)
def test_an_address_is_parsed_and_a_mapped_one_is_ipv4(text, address):
    assert parse_address(text) == ip_address(address)


@pytest.mark.parametrize("text", ["", "10.0.0", "10.0.0.256", "010.0.0.1", "10.0.0.1/24", 10, None])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="invalid IP address"):
        parse_address(text)


@pytest.mark.parametrize("text", ["10.0.0.5/24", "0.0.0.0/0", "fd00::5/64", "10.0.0.5/32"])
def test_a_prefix_keeps_its_host_bits(text):
    assert str(parse_cidr(text)) == text


@pytest.mark.parametrize(
    "text", ["10.0.0.5", "10.0.0.5/", "10.0.0.5/33", "10.0.0.5/255.0.0.0", "fd00::/129", 5, None]
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
