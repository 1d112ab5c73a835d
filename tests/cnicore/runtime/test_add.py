"""ADD along a chain of real programs: what is handed on, what is remembered, how it fails."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest

from cnicore.errors import CniError
from cnicore.runtime import Attachment, Network, Runtime

ADD_FIRST = 'plugin type="first" failed (add): '


class TestAdd:
    def test_each_plugin_gets_the_result_of_the_one_before(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        added = runtime.add(network, attachment)
        first, second = plugins.calls
        assert first.stdin == {"type": "first", "name": "dbnet", "cniVersion": "1.1.0"}
        assert second.stdin["prevResult"] == {
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "eth0"}],
        }
        assert added.document["ips"] == [{"address": "10.1.0.5/24", "interface": 0}]
        assert added.result.ips[0].address == ip_interface("10.1.0.5/24")

    def test_plugins_see_the_environment_and_the_six_variables(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        environ = {"HOME": "/h", "CNI_COMMAND": "DEL", "TRACEPARENT": "t"}
        replace(runtime, environ=environ).add(network, attachment)
        seen = {key: value for key, value in plugins.calls[0].environ.items() if key != "LC_CTYPE"}
        assert seen == {
            "HOME": "/h",
            "TRACEPARENT": "t",
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "abc123",
            "CNI_NETNS": "/run/netns/blue",
            "CNI_ARGS": "K=v;L=w",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(plugins.directory),
        }

    def test_without_an_environment_plugins_inherit_that_of_the_process(
        self,
        runtime: Runtime,
        plugins: Any,
        network: Network,
        attachment: Attachment,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("OURS", "yes")
        replace(runtime, environ=None).add(network, attachment)
        assert plugins.calls[0].environ["OURS"] == "yes"

    def test_the_result_is_remembered_in_the_version_the_plugin_chose(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        plugins.answer("second", "ADD", '{"cniVersion": "1.0.0"}')
        assert runtime.add(network, attachment).document == {"cniVersion": "1.0.0"}
        cached = runtime.cached_result(network, attachment)
        assert cached is not None
        assert cached.document["cniVersion"] == "1.1.0"

    @pytest.mark.parametrize(
        "stdout", ['{"dns": {}}', '{"cniVersion": "", "dns": {}}', '{"cniVersion": 7, "dns": {}}']
    )
    def test_a_result_without_a_version_has_the_configurations(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment, stdout: str
    ) -> None:
        plugins.answer("second", "ADD", stdout)
        assert runtime.add(network, attachment).document == {"cniVersion": "1.1.0", "dns": {}}

    @pytest.mark.parametrize(("stdout", "message"), [
        ("", "failed to unmarshal raw result"),
        ("{", "failed to unmarshal raw result"),
        ("[]", "failed to unmarshal raw result: expected a JSON object"),
        ('{"cniVersion": "9.9.9"}', 'unsupported CNI result version "9.9.9"'),
        ('{"cniVersion": "1.1.0", "ips": [{"address": 1}]}', "ips[0].address"),
    ])  # fmt: skip
    def test_a_result_that_nobody_can_read_is_a_failure(
        self,
        runtime: Runtime,
        plugins: Any,
        network: Network,
        attachment: Attachment,
        stdout: str,
        message: str,
    ) -> None:
        plugins.answer("first", "ADD", stdout)
        with pytest.raises(CniError) as failure:
            runtime.add(network, attachment)
        assert str(failure.value).startswith('plugin type="first" failed (add): ')
        assert message in str(failure.value)

    def test_a_failure_says_which_plugin_keeps_the_code_and_takes_the_chain_back(
        self,
        runtime: Runtime,
        plugins: Any,
        network: Network,
        attachment: Attachment,
        cache_file: Path,
    ) -> None:
        plugins.answer("second", "ADD", '{"code": 11, "msg": "later", "details": "busy"}', status=1)
        with pytest.raises(CniError) as failure:
            runtime.add(network, attachment)
        assert str(failure.value) == 'plugin type="second" name="two" failed (add): later; busy'
        assert (failure.value.code, failure.value.details) == (11, "busy")
        assert plugins.sequence == ["ADD first", "ADD second", "DEL second", "DEL first"]
        assert not cache_file.exists()

    def test_what_the_first_plugin_refuses_is_not_taken_back_it_may_be_attached_already(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        plugins.answer("first", "ADD", '{"code": 999, "msg": "eth0 already exists"}', status=1)
        with pytest.raises(CniError, match="already exists"):
            runtime.add(network, attachment)
        assert plugins.sequence == ["ADD first"]

    @pytest.mark.parametrize("stdout", ["garbage", "{", '{"cniVersion": "9.9.9"}'])
    def test_what_the_first_plugin_made_and_nobody_can_read_is_taken_back(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment, stdout: str
    ) -> None:
        plugins.answer("first", "ADD", stdout)
        with pytest.raises(CniError):
            runtime.add(network, attachment)
        assert plugins.sequence == ["ADD first", "DEL first"]
        assert "prevResult" not in plugins.calls[1].stdin

    def test_what_is_taken_back_gets_the_result_so_far(
        self, runtime: Runtime, plugins: Any, make_network: Any, attachment: Attachment
    ) -> None:
        plugins.fail("third", "ADD", 999, "no")
        chain = [{"type": name} for name in ("first", "second", "third")]
        with pytest.raises(CniError, match="no"):
            runtime.add(make_network(*chain), attachment)
        assert plugins.sequence[3:] == ["DEL third", "DEL second", "DEL first"]
        assert [len(call.stdin["prevResult"]["ips"]) for call in plugins.calls[3:]] == [1, 1, 1]

    def test_a_first_plugin_that_takes_too_long_is_taken_back(
        self, runtime: Runtime, plugins: Any, make_network: Any, attachment: Attachment
    ) -> None:
        slow = plugins.directory / "slow"
        slow.write_text(
            f'#!/bin/sh\necho $CNI_COMMAND >> "{slow}.verbs"\n'
            "test $CNI_COMMAND = DEL || exec sleep 3600\n"
        )
        slow.chmod(0o755)
        with pytest.raises(CniError, match=r"slow.*signal: terminated after 0\.5 s"):
            replace(runtime, timeout=0.5).add(make_network({"type": "slow"}), attachment)
        assert Path(f"{slow}.verbs").read_text().split() == ["ADD", "DEL"]

    @pytest.mark.parametrize(("attachment", "name", "refusal"), [
        (Attachment(""), "n", (3, "missing containerID")),
        (Attachment("a/b"), "n", (4, "invalid characters in containerID")),
        (Attachment("a"), "", (7, "missing network name")),
        (Attachment("a"), "a b", (7, "invalid characters found in network name")),
        (Attachment("a", ifname=""), "n", (4, "interface name is empty")),
        (Attachment("a", ifname="sixteen-bytes-xx"), "n", (4, "interface name is too long")),
    ])  # fmt: skip
    def test_what_plugins_would_refuse_is_refused_before_they_run(
        self,
        runtime: Runtime,
        plugins: Any,
        make_network: Any,
        attachment: Attachment,
        name: str,
        refusal: tuple[int, str],
    ) -> None:
        with pytest.raises(CniError) as failure:
            runtime.add(make_network(name=name), attachment)
        assert (failure.value.code, failure.value.msg.removeprefix(ADD_FIRST)) == refusal
        assert plugins.calls == []

    def test_a_missing_plugin_is_named_with_the_places_searched(
        self, runtime: Runtime, plugins: Any, make_network: Any, attachment: Attachment
    ) -> None:
        with pytest.raises(CniError) as failure:
            runtime.add(make_network({"type": "absent"}), attachment)
        assert str(failure.value) == (
            'plugin type="absent" failed (add): failed to find plugin "absent"'
            f" in path [{plugins.directory}]"
        )

    def test_a_type_with_a_separator_runs_nothing(
        self, runtime: Runtime, make_network: Any, attachment: Attachment
    ) -> None:
        with pytest.raises(CniError, match=r"invalid plugin name: \.\./evil"):
            runtime.add(make_network({"type": "../evil"}), attachment)

    def test_a_result_that_cannot_be_remembered_fails_the_add(
        self, runtime: Runtime, network: Network, attachment: Attachment, tmp_path: Path
    ) -> None:
        (tmp_path / "cache").write_text("a file, no directory")
        with pytest.raises(
            CniError, match='failed to set network "dbnet" cached result: could not'
        ):
            runtime.add(network, attachment)

    def test_a_single_plugin_reports_its_error_without_a_prefix(
        self, runtime: Runtime, plugins: Any, attachment: Attachment
    ) -> None:
        plugins.fail("first", "ADD", 999, "broken")
        single = Network.from_plugin(b'{"cniVersion": "1.1.0", "name": "dbnet", "type": "first"}')
        with pytest.raises(CniError) as failure:
            runtime.add(single, attachment)
        assert str(failure.value) == "broken"

    def test_a_list_without_plugins_is_an_error(
        self, runtime: Runtime, attachment: Attachment
    ) -> None:
        with pytest.raises(CniError, match="no plugin configs found"):
            runtime.add(Network.from_bytes(b'{"name": "dbnet"}'), attachment)


class TestAddAgain:
    """ADD of an attachment that is remembered: DEL would take the one that is there."""

    @pytest.fixture(autouse=True)
    def attached(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        runtime.add(network, attachment)
        plugins.forget()

    @pytest.fixture
    def remembered(self, cache_file: Path) -> bytes:
        return cache_file.read_bytes()

    def test_a_failure_leaves_the_first_attachment_alone(
        self,
        runtime: Runtime,
        plugins: Any,
        network: Network,
        attachment: Attachment,
        cache_file: Path,
        remembered: bytes,
    ) -> None:
        plugins.fail("second", "ADD", 999, "eth0 already exists")
        with pytest.raises(CniError, match="eth0 already exists"):
            runtime.add(network, attachment)
        assert plugins.sequence == ["ADD first", "ADD second"]
        assert cache_file.read_bytes() == remembered

    def test_so_does_a_result_that_nobody_can_read(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        plugins.answer("first", "ADD", "garbage")
        with pytest.raises(CniError):
            runtime.add(network, attachment)
        assert plugins.sequence == ["ADD first"]

    def test_so_does_a_failure_with_a_file_that_is_torn(
        self,
        runtime: Runtime,
        plugins: Any,
        network: Network,
        attachment: Attachment,
        cache_file: Path,
    ) -> None:
        cache_file.write_text("{")
        plugins.fail("second", "ADD", 999, "no")
        with pytest.raises(CniError):
            runtime.add(network, attachment)
        assert plugins.sequence == ["ADD first", "ADD second"]

    def test_it_succeeds_if_all_plugins_do_and_the_new_result_is_remembered(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        plugins.answer("second", "ADD", '{"cniVersion": "1.1.0", "dns": {"domain": "new"}}')
        added = runtime.add(network, attachment)
        assert runtime.cached_result(network, attachment) == added

    @pytest.mark.parametrize("other", [
        Attachment("abc123", ifname="net1"), Attachment("other"),
    ])  # fmt: skip
    def test_another_attachment_is_taken_back(
        self, runtime: Runtime, plugins: Any, network: Network, other: Attachment
    ) -> None:
        plugins.fail("second", "ADD", 999, "no")
        with pytest.raises(CniError):
            runtime.add(network, other)
        assert plugins.sequence[2:] == ["DEL second", "DEL first"]


def test_what_add_was_called_with_can_be_read_back(
    runtime: Runtime, network: Network, attachment: Attachment
) -> None:
    assert runtime.cached_attachment(network, attachment) is None
    assert runtime.cached_result(network, attachment) is None
    runtime.add(network, attachment)
    asked = Attachment("abc123", netns="/now", args=(("other", "x"),), capability_args={"mac": "x"})
    cached = runtime.cached_attachment(network, asked)
    assert cached is not None
    assert cached.config == network.raw
    assert cached.attachment == Attachment("abc123", netns="/now", args=(("K", "v"), ("L", "w")))
