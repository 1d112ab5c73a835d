"""The owner's tag and the reference's chain names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnicore.owner import Owner, network_prefix, stale

IDENTIFIERS = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", fullmatch=True)


def test_a_tag_names_network_container_and_interface():
    assert Owner("mynet", "abc123", "eth0").tag == "cni:mynet/abc123/eth0"


def test_long_names_are_hashed_and_stay_apart():
    tags = {Owner("n" * 200, "c" * 200 + last, "fifteen-bytes-x").tag for last in "ab"}
    assert len(tags) == 2
    assert {len(tag) for tag in tags} == {125}


@given(IDENTIFIERS, IDENTIFIERS)
def test_a_tag_fits_into_the_comment_of_an_element(network, container_id):
    owner = Owner(network, container_id, "fifteen-bytes-x")
    assert len(owner.tag.encode()) <= 127
    assert owner.tag.startswith(network_prefix(network))


@pytest.mark.parametrize(
    ("network", "container_id", "prefix", "chain"),
    [
        ("mynet", "abc123", "CNI-", "CNI-70a29d9dc18bc4d652ea5d59"),
        ("mynet", "abc123", "CNI-DN-", "CNI-DN-70a29d9dc18bc4d652ea5"),
        ("dbnet", "cnitool-77383ca0a0715733ca6f", "CNI-", "CNI-cd3fed99a2da5e8c646d13af"),
    ],
)
def test_chains_are_named_as_the_reference_names_them(network, container_id, prefix, chain):
    assert Owner(network, container_id, "eth0").chain(prefix) == chain


def test_stale_is_what_has_the_networks_tag_and_no_valid_owner():
    kept, gone, other = Owner("n", "a", "eth0"), Owner("n", "b", "eth0"), Owner("n2", "b", "eth0")
    tags = [kept.tag, gone.tag, other.tag, "somebody's own comment", ""]
    assert stale(tags, "n", [kept]) == {gone.tag}
    assert stale(tags, "n", []) == {kept.tag, gone.tag}
