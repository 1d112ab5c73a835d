"""The gates before a plugin's own code."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cnicore import registry, spec
from cnicore.dispatch import dispatch, require_allowed, require_other_netns
from cnicore.errors import (
    DecodingFailure,
    IncompatibleCniVersion,
    InvalidEnvironment,
    InvalidNetns,
    InvalidNetworkConfig,
)
from cnicore.registry import EntryPoint, Plugin
from cnicore.request import Request
from cnicore.result import Result

PLUGIN = Plugin(EntryPoint(registry.PLUGINS, "acme", "acme_plugin", "acme", "1"))


def request_for(verb, version):
    return Request(verb, document={"name": "net", "cniVersion": version}, environ={})


ALLOWED = [
    ("ADD", "0.4.0"),
    ("CHECK", "0.4.0"),
    ("DEL", "1.0.0"),
    ("CHECK", "1.0.0"),
    *((verb, "1.1.0") for verb in ("ADD", "DEL", "CHECK", "GC", "STATUS")),
]
REFUSED = [
    ("ADD", "", 1, 'config is "0.1.0"'),
    ("ADD", "0.3.1", 1, 'config is "0.3.1"'),
    ("ADD", "0.4", 1, 'config is "0.4"'),
    ("ADD", "1.2.0", 1, 'config is "1.2.0"'),
    ("ADD", "banana", 1, 'config is "banana"'),
    ("CHECK", "", 1, "config version does not allow CHECK"),
    ("CHECK", "0.3.1", 1, "config version does not allow CHECK"),
    ("CHECK", "0.4", 1, "incompatible CNI versions"),
    ("CHECK", "1.2.0", 1, "plugin version does not allow CHECK"),
    ("CHECK", "banana", 6, "is no version"),
    ("GC", "0.4.0", 1, "config version does not allow GC"),
    ("GC", "1.0.0", 1, "config version does not allow GC"),
    ("GC", "1.2.0", 1, "plugin version does not allow GC"),
    ("STATUS", "1.0.0", 1, "config version does not allow STATUS"),
    ("STATUS", "banana", 6, "is no version"),
    ("REMOVE", "1.1.0", 4, "unknown CNI_COMMAND: REMOVE"),
    ("add", "1.1.0", 4, "unknown CNI_COMMAND: add"),
]


@pytest.fixture
def since_0_4_0(distribute):
    distribute(
        "[cni.plugins]\nacme = acme_plugin\n[cni.versions]\nacme = cnicore.spec:SINCE_0_4_0\n"
    )
    return registry.find("acme")


@pytest.mark.parametrize(("verb", "version"), ALLOWED)
def test_verbs_that_both_versions_know_are_allowed(since_0_4_0, verb, version):
    require_allowed(request_for(verb, version), since_0_4_0)


@pytest.mark.parametrize(("verb", "version", "code", "text"), REFUSED)
def test_verbs_that_one_version_does_not_know_are_refused(since_0_4_0, verb, version, code, text):
    with pytest.raises((IncompatibleCniVersion, DecodingFailure, InvalidEnvironment)) as caught:
        require_allowed(request_for(verb, version), since_0_4_0)
    assert caught.value.code == code
    assert text in f"{caught.value}"


def test_the_refusal_lists_what_the_plugin_supports(since_0_4_0):
    with pytest.raises(IncompatibleCniVersion) as caught:
        require_allowed(request_for("ADD", "0.2.0"), since_0_4_0)
    assert caught.value.details == ('config is "0.2.0", plugin supports ["0.4.0" "1.0.0" "1.1.0"]')


@pytest.mark.parametrize("version", spec.SINCE_0_1_0)
def test_a_plugin_that_says_nothing_supports_every_version(version):
    require_allowed(request_for("ADD", version), PLUGIN)


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_the_own_namespace_is_refused_before_anything_is_done(verb):
    request = replace(request_for(verb, "1.1.0"), netns="/proc/self/ns/net")
    with pytest.raises(InvalidNetns, match="should not be the same"):
        require_other_netns(request)
    require_other_netns(replace(request, netns_override=True))
    require_other_netns(replace(request, netns="/run/netns/gone"))
    require_other_netns(replace(request, netns=""))


def test_a_verb_that_the_plugin_does_not_implement_succeeds(distribute, minimal):
    distribute("[cni.plugins]\nacme = acme_plugin\n", acme_plugin=minimal)
    plugin = registry.find("acme")
    assert dispatch(request_for("ADD", "1.1.0"), plugin) == Result()
    assert [dispatch(request_for(verb, "1.1.0"), plugin) for verb in ("DEL", "GC", "STATUS")] == [
        None,
        None,
        None,
    ]


def test_the_configuration_is_parsed_before_the_plugins_code_runs(distribute, minimal):
    distribute(
        "[cni.plugins]\nacme = acme_plugin\n",
        acme_plugin=minimal.replace("return Result()", "raise AssertionError"),
    )
    request = replace(request_for("ADD", "1.1.0"), document={"ipam": 5})
    with pytest.raises(InvalidNetworkConfig, match="ipam: "):
        dispatch(request, registry.find("acme"))
