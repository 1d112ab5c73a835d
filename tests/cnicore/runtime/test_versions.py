"""Asking plugins for their versions, and whether they fit a network."""

from __future__ import annotations

from typing import Any

import pytest

from cnicore.errors import CniError
from cnicore.runtime import Runtime


class TestVersions:
    def test_a_plugin_is_asked_with_the_references_placeholders(
        self, runtime: Runtime, plugins: Any
    ) -> None:
        plugins.answer(
            "first", "VERSION", '{"cniVersion": "1.1.0", "supportedVersions": ["0.4.0", "1.0.0"]}'
        )
        assert runtime.versions("first") == ("0.4.0", "1.0.0")
        call = plugins.calls[0]
        assert call.stdin == {"cniVersion": "1.1.0"}
        names = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"]
        assert [call.environ[name] for name in names] == ["", "dummy", "dummy", "", "dummy"]

    @pytest.mark.parametrize(("stdout", "status", "expected"), [
        ('{"code": 4, "msg": "unknown CNI_COMMAND: VERSION"}', 1, ("0.1.0",)),
        ('{"cniVersion": "0.2.0"}', 0, ("0.1.0", "0.2.0")),
        ('{"cniVersion": "0.2.0", "supportedVersions": []}', 0, ("0.1.0", "0.2.0")),
        ('{"CNIVersion": "1.0.0", "SupportedVersions": ["1.0.0"]}', 0, ("1.0.0",)),
    ])  # fmt: skip
    def test_old_plugins_are_understood(
        self, runtime: Runtime, plugins: Any, stdout: str, status: int, expected: tuple[str, ...]
    ) -> None:
        plugins.answer("first", "VERSION", stdout, status=status)
        assert runtime.versions("first") == expected

    @pytest.mark.parametrize(("stdout", "status", "message"), [
        ('{"code": 4, "msg": "unknown CNI_COMMAND: VERSION "}', 1, "unknown CNI_COMMAND: VERSION "),
        ("", 0, "decoding version info: "),
        ("{}", 0, "decoding version info: missing field cniVersion"),
        ('{"supportedVersions": ["1.0.0"]}', 0, "missing field cniVersion"),
        ('{"cniVersion": "1.0.0"}', 0, "missing field supportedVersions"),
        ('{"cniVersion": "1.0.0", "supportedVersions": [1]}', 0, "must be a list of strings"),
    ])  # fmt: skip
    def test_other_answers_are_errors(
        self, runtime: Runtime, plugins: Any, stdout: str, status: int, message: str
    ) -> None:
        plugins.answer("first", "VERSION", stdout, status=status)
        with pytest.raises(CniError, match=message):
            runtime.versions("first")


class TestValidate:
    def test_the_enabled_capabilities_of_all_plugins_are_listed_once(
        self, runtime: Runtime, plugins: Any, make_network: Any
    ) -> None:
        for name in ("first", "second"):
            plugins.answer(
                name, "VERSION", '{"cniVersion": "1.1.0", "supportedVersions": ["1.1.0"]}'
            )
        network = make_network(
            {"type": "first", "capabilities": {"mac": True, "ips": False}},
            {"type": "second", "capabilities": {"mac": True, "portMappings": True}},
        )
        assert runtime.validate(network) == ("mac", "portMappings")

    def test_all_problems_are_reported_together(
        self, runtime: Runtime, plugins: Any, make_network: Any
    ) -> None:
        plugins.answer(
            "first", "VERSION", '{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0"]}'
        )
        network = make_network({"type": "first"}, {"type": "absent"})
        with pytest.raises(CniError) as failure:
            runtime.validate(network)
        assert str(failure.value) == (
            '[plugin first does not support config version "1.1.0"'
            f' failed to find plugin "absent" in path [{plugins.directory}]]'
        )

    def test_no_version_means_0_1_0(
        self, runtime: Runtime, plugins: Any, make_network: Any
    ) -> None:
        plugins.answer("first", "VERSION", '{"cniVersion": "0.2.0"}')
        assert runtime.validate(make_network({"type": "first"}, version="")) == ()
