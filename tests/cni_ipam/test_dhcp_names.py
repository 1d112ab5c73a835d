"""Domain names in options: compressed or not, whole or broken, and what none should have."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni_ipam.dhcp.message4 import Malformed
from cni_ipam.dhcp.names import read_names, safe_name, write_names

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
labels = st.text("abcxyzABC019-_", min_size=1, max_size=63)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join).filter(lambda one: len(one) <= 253)

# As in the example of RFC 3397, section 2.
EXAMPLE = b"\3eng\5apple\3com\0\x09marketing\xc0\x04"


def test_compressed_names_are_those_of_the_example_in_rfc_3397():
    assert read_names(EXAMPLE, compressed=True) == ("eng.apple.com", "marketing.apple.com")


def test_a_pointer_may_lead_to_a_pointer():
    data = b"\3org\0" + b"\1a\xc0\0" + b"\1b\xc0\x05" + b"\xc0\x09"

    assert read_names(data, compressed=True) == ("org", "a.org", "b.a.org", "b.a.org")


def test_the_root_alone_is_no_name():
    assert read_names(b"\0\3org\0\0", compressed=False) == ("org",)


def test_no_bytes_are_no_names():
    assert read_names(b"", compressed=True) == ()


@pytest.mark.parametrize(
    "data",
    [
        b"\3or",
        b"\3org",
        b"\1a\xc0",
        b"\xc0\0",  # to itself
        b"\1a\xc0\0",  # to its own beginning, again and again
        b"\xc0\2\xc0\0",  # forwards
        b"\1a\0\xc0\xff",  # out of the option
        b"\x40a\0",  # kinds of labels that nobody has defined
        b"\xbfa\0",
    ],
    ids=range(9),
)
def test_names_that_lead_nowhere_are_malformed(data):
    with pytest.raises(Malformed, match="a domain name"):
        read_names(data, compressed=True)


def test_a_pointer_is_malformed_where_names_are_not_compressed():
    with pytest.raises(Malformed, match="a domain name points astray at byte 18"):
        read_names(b"\3eng\7example\3org\0\0\xc0\4", compressed=False)


def test_a_deep_ladder_of_pointers_ends_at_once():
    steps = b"".join(b"\xc0" + bytes([4 + 2 * step]) for step in range(100))
    ladder = b"\1a\0\0" + b"\xc0\0" + steps

    with pytest.raises(Malformed, match="points astray"):
        read_names(ladder, compressed=True)


def test_the_largest_option_full_of_pointers_is_no_work():
    data = b"\x3f" + b"a" * 63 + b"\0" + b"\xc0\0" * 32000
    begin = time.process_time()

    assert len(read_names(data, compressed=True)) == 32001
    assert time.process_time() - begin < 20


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("example.org", "example.org"),
        ("example.org.", "example.org"),
        ("_srv.a-1.org", "_srv.a-1.org"),
        ("", ""),
        (".", ""),
        ("a..b", ""),
        ("a b", ""),
        ("a\nnameserver 192.0.2.1", ""),
        ("example.org\n", ""),
        ("$(reboot)", ""),
        ("b\xfccher.de", ""),
        (".".join(["a" * 63] * 4), ""),
        ("a" * 253, "a" * 253),
    ],
)
def test_only_what_a_domain_can_be_called_is_a_name(name, safe):
    assert safe_name(name) == safe


def test_a_name_that_would_write_lines_of_its_own_is_left_out():
    data = write_names(("a.org", "b\nnameserver 192.0.2.1", "c.org"))

    assert read_names(data, compressed=False) == ("a.org", "c.org")


@patient
@given(st.lists(domains, max_size=5))
def test_what_is_written_is_read_again(names):
    assert read_names(write_names(names), compressed=False) == tuple(names)
    assert read_names(write_names(names), compressed=True) == tuple(names)


@patient
@given(st.lists(st.sampled_from(b"\0\1\2\3a.\xc0\xc1\x40\xff"), max_size=80).map(bytes))
def test_any_bytes_are_names_or_malformed(data):
    for compressed in (False, True):
        try:
            names = read_names(data, compressed=compressed)
        except Malformed:
            continue
        assert all(safe_name(name) == name for name in names)
