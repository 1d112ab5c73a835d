"""JSON in and out."""

from __future__ import annotations

import pytest

from cnicore.documents import decode_object, encode, fold_keys, kind_of
from cnicore.errors import DecodingFailure


def test_an_object_is_decoded_and_null_is_an_empty_one():
    assert decode_object(b'{"a": 1}', "conf") == {"a": 1}
    assert decode_object(b"null", "conf") == {}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"{} {}", "Extra data"),
        (b"[]", "expected a JSON object, not a list"),
        (b'"a"', "expected a JSON object, not a string"),
        (b"true", "expected a JSON object, not a boolean"),
        (b"1", "expected a JSON object, not a number"),
        (b'{"a": NaN}', "NaN"),
        (b"\xff\xfe", ""),
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
        ('{"a": 1}'.encode("utf-16"), "utf-8"),
        ('{"a": 1}'.encode("utf-16-le"), ""),
        (b'{"a": "\xed\xa0\x80"}', "utf-8"),
        (b"[" * 100_000, ""),
    ],
)
def test_what_is_no_object_is_a_decoding_failure(data, problem):
    with pytest.raises(DecodingFailure) as caught:
        decode_object(data, "conf")
    assert caught.value.msg.startswith("conf: ")
    assert problem in caught.value.msg


def test_numbers_keep_their_digits():
    assert encode(decode_object(b'{"a": 12345678901234567890}', ""), indent=None) == (
        '{"a":12345678901234567890}'
    )


def test_documents_are_printed_with_four_spaces_and_without_escapes():
    assert encode({"ä": [1]}) == '{\n    "ä": [\n        1\n    ]\n}'
    assert encode({"a": 1, "b": []}, indent=None) == '{"a":1,"b":[]}'


@pytest.mark.parametrize(
    ("document", "folded"),
    [
        ({"MTU": 1}, {"mtu": 1}),
        ({"MTU": 1, "mtu": 2}, {"mtu": 2}),
        ({"mtu": 2, "MTU": 1}, {"mtu": 2}),
        ({"MTU": 1, "Mtu": 2}, {"mtu": 2}),
        ({"MTU": 1, "mtu": None}, {}),
        ({"other": 1}, {}),
    ],
)
def test_keys_match_in_any_case_and_the_exact_spelling_wins(document, folded):
    assert fold_keys(document, ["mtu"]) == folded


def test_kinds_are_named_as_a_json_author_would():
    values = [{}, [], "", True, None, 1, 1.5]
    assert [kind_of(value) for value in values] == [
        "an object",
        "a list",
        "a string",
        "a boolean",
        "null",
        "a number",
        "a number",
    ]
