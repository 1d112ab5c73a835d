"""JSON as the field reads it: keys match without regard to case, numbers keep their digits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cnicore.errors import DecodingFailure

Document = dict[str, Any]


def decode_object(data: bytes | str, what: str) -> Document:
    """The JSON object in `data`, which is UTF-8 without a byte order mark; null counts as empty.

    Raises DecodingFailure, with a message that starts with `what`.
    """
    try:
        text = data if isinstance(data, str) else data.decode()  # json would guess the encoding
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DecodingFailure(f"{what}: {error or type(error).__name__}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise DecodingFailure(f"{what}: expected a JSON object, not {kind_of(document)}")
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def encode(document: object, *, indent: int | None = 4) -> str:
    """JSON text without a trailing newline, as the reference prints its documents."""
    if indent is None:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return json.dumps(document, ensure_ascii=False, indent=indent)


def fold_keys(document: Mapping[str, Any], names: Iterable[str]) -> Document:
    """The members of `document` that spell one of `names` in any case, under that name.

    The exact spelling is preferred; among others the one that comes later in the document wins.
    Members that are null are left out: null means "leave the default".
    """
    known = {name.lower(): name for name in names}
    folded: Document = {}
    for key, value in document.items():
        name = known.get(key.lower())
        if name is not None and value is not None and (key == name or name not in document):
            folded[name] = value
    return folded


def kind_of(value: object) -> str:
    """What a JSON author would call the value."""
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else kinds.get(type(value), "a number")
