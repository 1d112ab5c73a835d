"""The lane's part of pytest: on the machine it lists the tests, in a guest it runs its share of them.

A test with a mark of the lane may not skip in a guest, which is there to run it. One without a mark
runs under the faster kernel first, and under the other if it did not pass there. The files are shared
out among guests as they go, so that they end at the same time however long a file takes.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest

UML, QEMU = "user-mode-linux", "QEMU"
MARKS = {"full_kernel_nft": QEMU, "full_kernel": UML}
"""Which kernel a test is for, by its mark."""
EITHER = "either"
"""In the place of a kernel, for tests without a mark."""
TESTS, RAN, TAKEN = "tests.json", "ran", "taken"
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
Wrapping = Generator[None, pytest.TestReport, pytest.TestReport]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kernel lane")
    group.addoption("--lane-list", type=Path, metavar="FILE", help="write the tests there")
    group.addoption("--lane-share", type=Path, metavar="PLACE", help="run what is listed there")


def pytest_configure(config: pytest.Config) -> None:
    if file := config.getoption("lane_list"):
        config.pluginmanager.register(Listing(file))
    if place := config.getoption("lane_share"):
        config.pluginmanager.register(Share(config.rootpath, place))


class Listing:
    """Writes the selected tests, by kernel, and runs none."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        tests: dict[str, list[str]] = {kernel: [] for kernel in (*MARKS.values(), EITHER)}
        for item in session.items:
            tests[kernel_of(item)].append(item.nodeid)
        self.file.write_text(json.dumps(tests))

    def pytest_runtestloop(self) -> bool:
        return True


class Share:
    """Runs those of the listed tests whose files no other guest has taken yet.

    `place` is the guest's own directory: it has the list, and gets a line for each test that was
    run. Beside it, where all guests look, a directory shows which files are taken.
    """

    def __init__(self, root: Path, place: Path) -> None:
        self.root = root
        self.tests = frozenset(json.loads((place / TESTS).read_text()))
        self.files = {root / file_of(test) for test in self.tests}
        self.taken = place.parent / TAKEN
        self.ran = place / RAN
        self.own: dict[Path, bool] = {}
        self.ends: dict[str, str] = {}

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Other files need not be read, which takes longest."""
        return True if collection_path.is_file() and collection_path not in self.files else None

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        others = [item for item in items if item.nodeid not in self.tests]
        items[:] = [item for item in items if item.nodeid in self.tests]
        config.hook.pytest_deselected(items=others)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """As pytest's own, over the tests of files that this guest takes.

        A test is told which one comes next, to keep what both need; so the next file is taken then.
        """
        if session.testsfailed:
            raise session.Interrupted(f"{session.testsfailed} errors during collection")
        own = (item for item in session.items if self.is_own(item.path))
        item = next(own, None)
        while item is not None:
            following = next(own, None)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
            item = following
        return True

    def is_own(self, path: Path) -> bool:
        if path not in self.own:
            self.own[path] = take(self.taken, path.relative_to(self.root))
        return self.own[path]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Wrapping:
        report = yield
        if report.skipped and is_marked(item) and not hasattr(report, "wasxfail"):
            report.outcome = "failed"
            report.longrepr = f"skipped, which a test of the lane may not be: {reason_of(report)}"
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or (report.skipped and not hasattr(report, "wasxfail")):
            self.ends[report.nodeid] = FAILED if report.failed else SKIPPED

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        with self.ran.open("a") as ran:
            ran.write(f"{self.ends.get(nodeid, PASSED)} {nodeid}\n")


def kernel_of(item: pytest.Item) -> str:
    return next((kernel for mark, kernel in MARKS.items() if item.get_closest_marker(mark)), EITHER)


def is_marked(item: pytest.Item) -> bool:
    return any(map(item.get_closest_marker, MARKS))


def reason_of(report: pytest.TestReport) -> str:
    """Why a test was skipped; pytest keeps it behind the place of the skip."""
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""


def file_of(test: str) -> str:
    return test.partition("::")[0]


def take(taken: Path, file: Path) -> bool:
    """Whether this guest is the first to take the file.

    The machine's file system decides, and about a directory: user-mode-linux does not ask it for a
    new file to be the first.
    """
    try:
        (taken / str(file).replace("/", "+")).mkdir()
    except FileExistsError:
        return False
    return True
