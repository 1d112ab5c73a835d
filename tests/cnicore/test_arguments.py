"""CNI_ARGS."""

from __future__ import annotations

import pytest

from cnicore.arguments import parse_arguments
from cnicore.errors import InvalidEnvironment


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("IP=10.0.0.1", {"IP": "10.0.0.1"}),
        ("IP=1;IP=2", {"IP": "2"}),
        ("IP=", {"IP": ""}),
        ("IgnoreUnknown=1;K8S_POD=a;IP=1", {"IP": "1"}),
        ("K8S_POD=a;IgnoreUnknown=True", {}),
        ("IgnoreUnknown=false;IP=1", {"IP": "1"}),
    ],
)
def test_known_keys_are_returned(text, values):
    assert parse_arguments(text, ["IP"]) == values


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("IP", 'invalid pair "IP"'),
        ("IP=1;", 'invalid pair ""'),
        ("IP=a=b", 'invalid pair "IP=a=b"'),
        ("K=v", 'unknown args ["K=v"]'),
        ("ip=1", 'unknown args ["ip=1"]'),
        ("K=v;L=w;IgnoreUnknown=0", 'unknown args ["K=v" "L=w"]'),
        ("IgnoreUnknown=yes", "boolean unmarshal error: invalid input yes"),
    ],
)
def test_a_malformed_or_unknown_piece_is_refused(text, problem):
    with pytest.raises(InvalidEnvironment) as caught:
        parse_arguments(text, ["IP"])
    assert caught.value.msg.startswith("ARGS: ")
    assert problem in caught.value.msg
