"""What the conformance tests share: both sets of plugins, and cases that are played side by side."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from conformance.scenario import Case
from conformance.snapshot import Table
from conformance.stage import REFERENCE, Stage, install, staged

TESTS = Path(__file__).parent.parent
Played = dict[str, dict[str, Table]]


@pytest.fixture(scope="session")
def ours(tmp_path_factory) -> Path:
    """Our plugins, installed as a user installs them."""
    return install(tmp_path_factory.mktemp("plugins"), sys.executable)


@pytest.fixture(scope="session")
def suites(ours) -> dict[str, Path]:
    """The directories of both sets of plugins; skips where the reference is not installed."""
    if os.geteuid() != 0:
        pytest.skip("needs root for namespaces of its own")
    if not (REFERENCE / "bridge").is_file():
        pytest.skip("needs the reference plugins: Debian's package containernetworking-plugins")
    missing = [name for name in ("ip", "nft", "iptables-save") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    return {"reference": REFERENCE, "ours": ours}


@pytest.fixture
def stage(suites) -> Iterator[Stage]:
    """A fresh sandbox with the container c1, for both sets of plugins."""
    with staged(suites) as stage:
        yield stage


@pytest.fixture
def our_stage(ours) -> Iterator[Stage]:
    """A fresh sandbox with the container c1, for our plugins alone."""
    if os.geteuid() != 0:
        pytest.skip("needs root for namespaces of its own")
    with staged({"ours": ours}) as stage:
        stage.use("ours")
        yield stage


@pytest.fixture(scope="session")
def play(suites, request) -> Iterator[Callable[[Case], Played]]:
    """Gives what both sets did with a case; all cases that were selected start with the first."""
    items = request.session.items
    parameters = [getattr(getattr(item, "callspec", None), "params", {}) for item in items]
    cases = [one["case"] for one in parameters if isinstance(one.get("case"), Case)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        played: dict[str, Future[Played]] = {
            case.name: pool.submit(play_both, case, suites) for case in cases
        }
        yield lambda case: played[case.name].result()
        pool.shutdown(cancel_futures=True)


def play_both(case: Case, suites: dict[str, Path]) -> Played:
    return {suite: play_in_process(case, suites, suite) for suite in suites}


def play_in_process(case: Case, suites: dict[str, Path], suite: str) -> dict[str, Table]:
    """Namespaces belong to a process, so each play has its own."""
    order = {
        "case": asdict(case),
        "suites": {name: str(directory) for name, directory in suites.items()},
        "suite": suite,
    }
    done = subprocess.run(
        [sys.executable, "-m", "conformance.scenario"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    assert done.returncode == 0, f"{case.name} with {suite}: {done.stderr}"
    seen: dict[str, Table] = json.loads(done.stdout)
    return seen


@pytest.fixture(scope="session")
def strace() -> list[str]:
    """The beginning of a command that runs a program under strace."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("needs strace: Debian's package strace")
    command = [program, "-qq", "-f", "--seccomp-bpf"]  # stops at the traced calls only
    tried = subprocess.run([*command, "true"], capture_output=True, check=False, timeout=60)
    if tried.returncode:
        pytest.skip(f"needs ptrace: {tried.stderr.decode().strip()}")
    return command
