"""Plugins as programs: how they fail, how long they may take, what they print."""

from __future__ import annotations

import errno
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from cnicore import execute
from cnicore.errors import CniError
from cnicore.runtime import Network, Runtime


class TestPrograms:
    @pytest.mark.parametrize(("answer", "message"), [
        ({"status": 1}, "netplugin failed with no error message: exit status 1"),
        ({"status": 2, "stderr": "oh\n"}, r'netplugin failed: "oh\n": exit status 2'),
        ({"status": 1, "stdout": "oh"},
         'netplugin failed but error parsing its diagnostic message "oh": '),
        ({"status": 1, "stdout": '{"code": 1234, "msg": "m"}', "stderr": "noise"}, "m"),
    ])  # fmt: skip
    def test_a_failed_program_is_reported_in_the_references_words(
        self, runtime: Runtime, plugins: Any, network: Network, answer: Any, message: str
    ) -> None:
        plugins.answer("first", "STATUS", **answer)
        with pytest.raises(CniError) as failure:
            runtime.status(network)
        assert str(failure.value).startswith(message)
        assert failure.value.code == (1234 if message == "m" else 0)

    def test_stderr_of_a_program_that_succeeds_is_passed_on(
        self, runtime: Runtime, plugins: Any, network: Network, capsys: pytest.CaptureFixture[str]
    ) -> None:
        plugins.answer("first", "STATUS", stderr="for your information\n")
        runtime.status(network)
        assert capsys.readouterr().err == "for your information\n"

    def test_a_file_that_is_no_program_is_reported(
        self, runtime: Runtime, plugins: Any, make_network: Any
    ) -> None:
        (plugins.directory / "text").write_text("no program")
        with pytest.raises(CniError, match=r"no error message: exec .*Permission denied"):
            runtime.status(make_network({"type": "text"}))

    def test_a_program_that_takes_too_long_is_ended(
        self, runtime: Runtime, plugins: Any, make_network: Any
    ) -> None:
        (plugins.directory / "slow").write_text("#!/bin/sh\nexec sleep 3600\n")
        (plugins.directory / "slow").chmod(0o755)
        with pytest.raises(CniError) as failure:
            replace(runtime, timeout=0.05).status(make_network({"type": "slow"}))
        assert str(failure.value).startswith(
            "netplugin failed with no error message: signal: terminated"
        )

    def test_a_program_that_is_being_written_is_tried_again(
        self, runtime: Runtime, plugins: Any, network: Network, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(execute, "BUSY_PAUSE", 0.0)
        real, failures = subprocess.Popen, [OSError(errno.ETXTBSY, "Text file busy")] * 5

        def busy_at_first(*args: Any, **kwargs: Any) -> Any:
            if failures:
                raise failures.pop()
            return real(*args, **kwargs)

        monkeypatch.setattr(subprocess, "Popen", busy_at_first)
        runtime.status(network)
        assert failures == []
        assert plugins.sequence == ["STATUS first", "STATUS second"]

    def test_a_program_that_stays_busy_is_a_failure(
        self, runtime: Runtime, plugins: Any, make_network: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(execute, "BUSY_PAUSE", 0.0)
        file = plugins.directory / "first"
        with file.open("a"), pytest.raises(CniError, match="Text file busy"):
            runtime.status(make_network({"type": "first"}))
