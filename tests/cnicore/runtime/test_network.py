"""The content of configurations: what is accepted or refused, and the version that is chosen."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnicore.errors import CniError
from cnicore.runtime import Network
from cnicore.runtime.stdin import attachment_stdin

BAD_LISTS = [
    ("{", "error parsing configuration list: Expecting property name"),
    ("[]", "error parsing configuration list: expected a JSON object, not a list"),
    ("null", "error parsing configuration list: no name"),
    ('{"Name": "n"}', "error parsing configuration list: no name"),
    ('{"name": 5}', "error parsing configuration list: invalid name type a number"),
    ('{"name": "n", "cniVersion": 1}', "invalid cniVersion type a number"),
    ('{"name": "n", "disableCheck": "yes"}', 'invalid value "yes" for disableCheck'),
    ('{"name": "n", "disableCheck": 1}', "invalid type a number for disableCheck"),
    ('{"name": "n", "disableGC": null}', "invalid type null for disableGC"),
    ('{"name": "n", "loadOnlyInlinedPlugins": "maybe"}',
     'invalid value "maybe" for loadOnlyInlinedPlugins'),
    ('{"name": "n", "loadOnlyInlinedPlugins": true}', "no 'plugins' key"),
    ('{"name": "n", "plugins": {}}', "invalid plugins type an object"),
    ('{"name": "n", "plugins": []}', "no plugins in list"),
    ('{"name": "n", "plugins": [{"type": "a"}, {}]}',
     "failed to parse plugin config 1: error parsing configuration: missing 'type'"),
    ('{"name": "n", "plugins": [{"type": ""}]}', "missing 'type'"),
    ('{"name": "n", "plugins": [7]}', "expected an object, not a number"),
    ('{"name": "n", "plugins": [{"type": "a", "ipam": "x"}]}', "invalid ipam type a string"),
    ('{"name": "n", "plugins": [{"type": "a", "ipam": {"type": 1}}]}',
     "invalid ipam.type type a number"),
    ('{"name": "n", "plugins": [{"type": "a", "dns": []}]}', "invalid dns type a list"),
    ('{"name": "n", "plugins": [{"type": "a", "dns": {"search": "x"}}]}',
     "search: expected a list"),
    ('{"name": "n", "plugins": [{"type": "a", "capabilities": {"mac": "yes"}}]}',
     "invalid capabilities.mac type a string"),
    ('{"name": "n", "cniVersions": "1.0.0"}', "invalid cniVersions type a string"),
    ('{"name": "n", "cniVersions": [1]}', "invalid cniVersions type a number"),
    ('{"name": "n", "cniVersions": ["1.0.0", "banana"]}', 'invalid cniVersions entry: "banana"'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD_LISTS)
def test_a_wrong_list_is_refused_and_the_message_names_what_is_wrong(
    text: str, message: str
) -> None:
    with pytest.raises(CniError) as failure:
        Network.from_bytes(text.encode())
    assert message in str(failure.value)
    assert str(failure.value).startswith("error parsing configuration list")


@pytest.mark.parametrize(("text", "expected"), [
    ("true", True), ("false", False), ('"true"', True), ('"TRUE"', True), ('"False"', False),
])  # fmt: skip
def test_booleans_of_a_list_may_be_texts(text: str, *, expected: bool) -> None:
    network = Network.from_bytes(
        f'{{"name": "n", "disableCheck": {text}, "disableGC": {text}}}'.encode()
    )
    assert (network.disable_check, network.disable_gc) == (expected, expected)


@pytest.mark.parametrize(("members", "chosen"), [
    ("", ""),
    ('"cniVersion": "0.4.0"', "0.4.0"),
    ('"cniVersion": "1.2.3"', "1.2.3"),
    ('"cniVersions": ["0.4.0", "1.1.0", "1.0.0"]', "1.1.0"),
    ('"cniVersions": ["1.0.0", "9.9.9"]', "1.0.0"),
    ('"cniVersion": "1.1.0", "cniVersions": ["0.4.0"]', "1.1.0"),
    ('"cniVersion": "1.2.0", "cniVersions": ["0.4.0", "1.0.0"]', "1.0.0"),
    ('"cniVersion": "2.0.0", "cniVersions": ["3.0.0"]', "2.0.0"),
    ('"cniVersions": ["9.9.9"]', ""),
    ('"cniVersions": []', ""),
    ('"cniVersion": "0.3.1", "cniVersions": []', "0.3.1"),
    ('"cniVersions": ["0.10.0", "0.9.0"]', "0.10.0"),
])  # fmt: skip
def test_the_highest_known_version_is_chosen(members: str, chosen: str) -> None:
    document = f'{{"name": "n"{", " if members else ""}{members}}}'
    assert Network.from_bytes(document.encode()).cni_version == chosen


def test_members_of_a_plugin_match_in_any_case_and_members_of_a_list_do_not() -> None:
    network = Network.from_bytes(
        b'{"name": "n", "Plugins": [],'
        b' "plugins": [{"Type": "a", "CAPABILITIES": {"mac": true, "ips": false}}]}'
    )
    assert network.plugins[0].type == "a"
    assert network.plugins[0].capabilities == ("mac",)


def test_a_single_plugin_becomes_a_list_of_one_with_its_name_and_version() -> None:
    single = Network.from_plugin(b'{"cniVersion": "0.4.0", "name": "n", "type": "a", "x": 1}')
    assert single.is_list is False
    network = single.as_list()
    assert network.is_list is True
    assert network.raw == (
        b'{"cniVersion":"0.4.0","name":"n","plugins":[{"cniVersion":"0.4.0","name":"n","type":"a","x":1}]}'
    )


def stdin_of(
    plugin: str, capability_args: dict[str, object], prev: object = None
) -> dict[str, object]:
    network = Network.from_bytes(
        f'{{"name": "n", "cniVersion": "1.0.0", "plugins": [{plugin}]}}'.encode()
    )
    data = attachment_stdin(network, network.plugins[0], capability_args, prev)  # type: ignore[arg-type]
    result: dict[str, object] = json.loads(data)
    return result


def test_stdin_is_the_plugins_object_with_the_lists_name_and_version() -> None:
    stdin = stdin_of('{"type": "a", "name": "own", "cniVersion": "0.1.0", "weird": [1]}', {})
    assert stdin == {"type": "a", "name": "n", "cniVersion": "1.0.0", "weird": [1]}


def test_only_capabilities_that_are_enabled_and_given_reach_the_plugin() -> None:
    plugin = '{"type": "a", "capabilities": {"mac": true, "ips": false, "bandwidth": true}}'
    stdin = stdin_of(plugin, {"mac": "02:00:00:00:00:01", "ips": ["10.0.0.1"], "other": 1})
    assert stdin["runtimeConfig"] == {"mac": "02:00:00:00:00:01"}
    assert stdin["capabilities"] == {"mac": True, "ips": False, "bandwidth": True}


def test_without_a_capability_there_is_no_runtime_config() -> None:
    assert "runtimeConfig" not in stdin_of('{"type": "a"}', {"mac": "02:00:00:00:00:01"})


def test_a_static_runtime_config_stays_unless_a_capability_replaces_it() -> None:
    plugin = (
        '{"type": "a", "capabilities": {"mac": true}, "runtimeConfig": {"mac": "x", "ips": []}}'
    )
    assert stdin_of(plugin, {})["runtimeConfig"] == {"mac": "x", "ips": []}
    assert stdin_of(plugin, {"mac": "y"})["runtimeConfig"] == {"mac": "y"}


@settings(deadline=None)
@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_of_a_configuration_reach_the_plugin_exactly(number: float) -> None:
    assert repr(stdin_of(f'{{"type": "a", "n": {json.dumps(number)}}}', {})["n"]) == repr(number)


def test_half_a_character_becomes_a_question_mark_as_no_bytes_can_say_it() -> None:
    assert stdin_of(r'{"type": "a", "x": "\ud800"}', {})["x"] == "?"


SCALARS = st.sampled_from([None, True, 0, 1.5, "", "x", "1.0.0", "true"])
INNER_KEYS = st.sampled_from(["type", "capabilities", "ipam", "dns", "search", "x"])
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(INNER_KEYS, inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["name", "cniVersion", "cniVersions", "plugins", "disableGC", "type", "dns"])


@settings(deadline=None)  # a shared machine pauses at times
@given(st.dictionaries(KEYS, JSON, max_size=5))
def test_any_json_object_is_a_network_or_a_cni_error(document: dict[str, object]) -> None:
    for parse in (Network.from_bytes, Network.from_plugin):
        with suppress(CniError):
            assert isinstance(parse(json.dumps(document).encode()).name, str)
