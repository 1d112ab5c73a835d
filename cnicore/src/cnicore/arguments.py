"""CNI_ARGS: the `K=V;K2=V2` that a runtime hands to plugins."""

from __future__ import annotations

from collections.abc import Iterable

from cnicore.errors import InvalidEnvironment

IGNORE_UNKNOWN = "IgnoreUnknown"
BOOLEANS = {"1": True, "true": True, "0": False, "false": False}


def parse_arguments(text: str, known: Iterable[str]) -> dict[str, str]:
    """The values of the known keys; keys are case-sensitive and the last of equal ones wins.

    Raises InvalidEnvironment for a piece that is not exactly `key=value`, and for an unknown key
    unless IgnoreUnknown is true, wherever it stands.
    """
    if not text:
        return {}
    pairs = [parse_pair(piece) for piece in text.split(";")]
    values = dict(pairs)
    ignore_unknown = parse_boolean(values.pop(IGNORE_UNKNOWN, "0"))
    names = {*known, IGNORE_UNKNOWN}
    unknown = [f'"{key}={value}"' for key, value in pairs if key not in names]
    if unknown and not ignore_unknown:
        raise InvalidEnvironment(
            f"ARGS: unknown args [{' '.join(unknown)}]:"
            f" remove them or add {IGNORE_UNKNOWN}=1 to CNI_ARGS"
        )
    return {key: value for key, value in values.items() if key in names}


def parse_pair(piece: str) -> tuple[str, str]:
    parts = piece.split("=")
    if len(parts) != len(("key", "value")):
        raise InvalidEnvironment(f'ARGS: invalid pair "{piece}": write key=value')
    return parts[0], parts[1]


def parse_boolean(text: str) -> bool:
    try:
        return BOOLEANS[text.lower()]
    except KeyError:
        raise InvalidEnvironment(
            f'ARGS: error parsing value of pair "{IGNORE_UNKNOWN}={text}":'
            f" boolean unmarshal error: invalid input {text}"
        ) from None
