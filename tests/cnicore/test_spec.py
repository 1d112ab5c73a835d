"""Versions and names as the specification has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnicore import spec
from cnicore.errors import CniError, InvalidEnvironment


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", (0, 1, 0)),
        ("1", (1, 0, 0)),
        ("0.4", (0, 4, 0)),
        ("1.1.0", (1, 1, 0)),
        ("010.0.0", (10, 0, 0)),
    ],
)
def test_a_version_has_three_numbers_and_absent_ones_are_zero(text, numbers):
    assert spec.parse_version(text) == numbers


@pytest.mark.parametrize("text", ["banana", "1.2.3.4", "1.", "1.-2", "1.0.0\n", " 1.0.0", "1.٢"])
def test_what_is_no_version_is_refused(text):
    with pytest.raises(ValueError, match="is no version"):
        spec.parse_version(text)


@given(st.tuples(*[st.integers(0, 10**9)] * 3))
def test_parsing_undoes_writing(version):
    assert spec.parse_version(".".join(map(str, version))) == version


@pytest.mark.parametrize("text", ["a", "0", "a.b_c-d", "A" * 300])
def test_names_of_letters_digits_dot_underscore_and_dash_are_identifiers(text):
    assert spec.is_identifier(text)
    spec.require_container_id(text)


@pytest.mark.parametrize("text", ["", ".a", "-a", "_a", "a/b", "../a", "a b", "a\n", "ä"])
def test_other_names_are_no_identifiers(text):
    assert not spec.is_identifier(text)
    with pytest.raises(InvalidEnvironment) as caught:
        spec.require_container_id(text)
    assert (caught.value.msg, caught.value.details) == ("invalid characters in containerID", text)


@pytest.mark.parametrize("text", ["eth0", "fifteen-bytes-x", "a.b", "ä" * 7])
def test_the_kernel_takes_up_to_fifteen_bytes_as_a_name(text):
    assert spec.interface_name_problem(text) == ""
    spec.require_ifname(text)


@pytest.mark.parametrize(
    ("text", "msg"),
    [
        ("", "interface name is empty"),
        ("sixteen-bytes-xy", "interface name is too long"),
        ("ä" * 8, "interface name is too long"),
        (".", "interface name is . or .."),
        ("..", "interface name is . or .."),
        ("a/b", "interface name contains / or : or whitespace characters"),
        ("a:b", "interface name contains / or : or whitespace characters"),
        ("a b", "interface name contains / or : or whitespace characters"),
        ("a\u00a0b", "interface name contains / or : or whitespace characters"),
        ("eth%d", "interface name contains %"),
        ("50%", "interface name contains %"),
        ("b\0c", "interface name contains a NUL character"),
        ("\ud800", "interface name is not UTF-8"),
        ("\udcff\udcfe", "interface name is not UTF-8"),
        ("\udcff" * 16, "interface name is too long"),
    ],
)
def test_other_interface_names_are_refused(text, msg):
    assert spec.interface_name_problem(text) == msg
    with pytest.raises(InvalidEnvironment) as caught:
        spec.require_ifname(text)
    assert (caught.value.code, caught.value.msg) == (4, msg)


@given(st.text(st.characters(), max_size=16))
def test_any_text_is_a_name_that_can_be_encoded_or_has_a_problem(text):
    if not spec.interface_name_problem(text):
        assert len(text.encode()) <= 15


@pytest.mark.parametrize("text", ["bridge", "host-local", "..."])
def test_a_plugin_type_is_a_file_name(text):
    spec.require_plugin_type(text)


@pytest.mark.parametrize("text", ["../bridge", "/bin/sh", "a/b", "..", ".", "a\0"])
def test_a_plugin_type_with_a_separator_is_refused(text):
    with pytest.raises(CniError, match="invalid plugin name"):
        spec.require_plugin_type(text)


def test_a_plugin_without_a_type_is_refused():
    with pytest.raises(CniError, match="no plugin name provided"):
        spec.require_plugin_type("")
