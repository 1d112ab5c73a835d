"""CHECK and DEL along a chain of real programs, with a remembered result or without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cnicore.errors import CniError
from cnicore.runtime import Attachment, Network, Runtime


class TestCheck:
    def test_plugins_run_in_order_with_the_remembered_result(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        added = runtime.add(network, attachment)
        plugins.forget()
        runtime.check(network, attachment)
        assert plugins.sequence == ["CHECK first", "CHECK second"]
        assert [call.stdin["prevResult"] for call in plugins.calls] == [added.document] * 2

    def test_the_first_failure_is_passed_on_as_it_is(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        plugins.fail("first", "CHECK", 999, "eth0 is gone")
        with pytest.raises(CniError) as failure:
            runtime.check(network, attachment)
        assert str(failure.value) == "eth0 is gone"
        assert plugins.sequence == ["CHECK first"]

    def test_without_a_remembered_result_plugins_get_none(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        runtime.check(network, attachment)
        assert "prevResult" not in plugins.calls[0].stdin

    @pytest.mark.parametrize("version", ["", "0.1.0", "0.3.1"])
    def test_versions_before_0_4_0_have_no_check_even_if_it_is_disabled(
        self, runtime: Runtime, make_network: Any, attachment: Attachment, version: str
    ) -> None:
        with pytest.raises(CniError) as failure:
            runtime.check(make_network(version=version, disableCheck=True), attachment)
        assert str(failure.value) == (
            f'configuration version "{version}" does not support the CHECK command'
        )

    def test_a_disabled_check_runs_nothing(
        self, runtime: Runtime, plugins: Any, make_network: Any, attachment: Attachment
    ) -> None:
        runtime.check(make_network(disableCheck=True), attachment)
        assert plugins.calls == []

    @pytest.mark.parametrize("content", ["", "{", '{"cniVersion": "7.0.0"}'])
    def test_a_torn_or_inconvertible_result_is_an_error(
        self,
        runtime: Runtime,
        network: Network,
        attachment: Attachment,
        cache_file: Path,
        content: str,
    ) -> None:
        runtime.add(network, attachment)
        cache_file.write_text(content)
        with pytest.raises(CniError, match='failed to get network "dbnet" cached result: '):
            runtime.check(network, attachment)


class TestDelete:
    def test_plugins_run_in_reverse_order_with_the_remembered_result(
        self,
        runtime: Runtime,
        plugins: Any,
        network: Network,
        attachment: Attachment,
        cache_file: Path,
    ) -> None:
        added = runtime.add(network, attachment)
        plugins.forget()
        runtime.delete(network, attachment)
        assert plugins.sequence == ["DEL second", "DEL first"]
        assert [call.stdin["prevResult"] for call in plugins.calls] == [added.document] * 2
        assert not cache_file.exists()

    def test_it_may_be_repeated(
        self, runtime: Runtime, plugins: Any, network: Network, attachment: Attachment
    ) -> None:
        runtime.add(network, attachment)
        runtime.delete(network, attachment)
        plugins.forget()
        runtime.delete(network, attachment)
        assert "prevResult" not in plugins.calls[0].stdin

    def test_versions_before_0_4_0_get_no_previous_result(
        self, runtime: Runtime, plugins: Any, make_network: Any, attachment: Attachment
    ) -> None:
        network = make_network(version="0.3.1")
        plugins.answer("second", "ADD", '{"cniVersion": "0.3.1"}')
        plugins.answer("first", "ADD", '{"cniVersion": "0.3.1"}')
        runtime.add(network, attachment)
        plugins.forget()
        runtime.delete(network, attachment)
        assert ["prevResult" in call.stdin for call in plugins.calls] == [False, False]

    @pytest.mark.parametrize("content", ["", "{", '{"cniVersion": "7.0.0"}'])
    def test_a_torn_or_inconvertible_result_does_not_stop_it(
        self,
        runtime: Runtime,
        plugins: Any,
        network: Network,
        attachment: Attachment,
        cache_file: Path,
        content: str,
    ) -> None:
        runtime.add(network, attachment)
        cache_file.write_text(content)
        plugins.forget()
        runtime.delete(network, attachment)
        assert plugins.sequence == ["DEL second", "DEL first"]
        assert "prevResult" not in plugins.calls[0].stdin
        assert not cache_file.exists()

    def test_the_first_failure_stops_it_and_the_result_is_kept(
        self,
        runtime: Runtime,
        plugins: Any,
        network: Network,
        attachment: Attachment,
        cache_file: Path,
    ) -> None:
        runtime.add(network, attachment)
        plugins.fail("second", "DEL", 11, "later")
        with pytest.raises(CniError) as failure:
            runtime.delete(network, attachment)
        assert str(failure.value) == 'plugin type="second" name="two" failed (delete): later'
        assert failure.value.code == 11
        assert cache_file.exists()
        assert "DEL first" not in plugins.sequence
