"""The benchmark reports what it says it reports, and leaves nothing. No figure is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import imports, report, tables
from benchmarks.cases import CASES, VERBS, Case
from benchmarks.places import parse
from benchmarks.process import CallFailed, Spawner
from benchmarks.rounds import Sample, Samples
from benchmarks.traced import LOADED
from cnicore.testing.sandbox import sandboxed
from conformance.stage import REFERENCE

ROOT = Path(__file__).parents[2]
RUN = ROOT / "tests/benchmarks/run.py"
PAGE = ROOT / "docs/explanation/performance.md"
DOCUMENT = {"machine", "load", "pairs", "seconds", "calls", "parts", "imports", "modules"}
SIDE = {"min_ms", "median_ms", "p90_ms", "cpu_ms", "peak_mib"}
PART = {"case", "process_ms", "interpreter_ms", "imports_ms", "work_ms", "add_ms"}
GROUP = {"name", "modules", "own_ms", "cumulative_ms"}
IMPORTED = """\
import time: self [us] | cumulative | imported package
import time:       100 |        100 |   io
import time:       200 |        200 |     missing
import time:      3000 |       3200 |   pydantic.main
import time:       400 |       3700 | cnicore.config
{"cniVersion": "1.0.0"}

""" + (f"{LOADED}io pydantic.main cnicore.config sys\n")


@pytest.fixture
def spawner():
    with closing(Spawner()) as spawner:
        yield spawner


def benchmark(*arguments, **environ):
    return subprocess.run(
        [sys.executable, RUN, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **environ},
    )


def remains():
    """What a benchmark could leave where this process stands."""
    commands = (["ip", "-o", "link"], ["nft", "list", "ruleset"], ["find", "/run", "/var/lib/cni"])
    texts = [
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        for command in commands
    ]
    return [*texts, Path("/proc/self/mountinfo").read_text()]


@pytest.mark.conformance
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces of its own")
@pytest.mark.skipif(
    not (REFERENCE / "bridge").is_file(),
    reason="needs the reference plugins: Debian's package containernetworking-plugins",
)
def test_two_pairs_of_two_cases_give_the_whole_report_and_leave_nothing(tmp_path):
    temporary, page, document = (tmp_path / name for name in ("tmp", "page.md", "report.json"))
    temporary.mkdir()
    page.write_text(f"above\n{tables.BEGIN}\nold\n{tables.END}\nbelow\n")
    arguments = ["--pairs", "2", "--json", document, "--update", page, "bridge", "loopback"]
    with sandboxed():
        Path("/var/lib/cni").mkdir(parents=True, exist_ok=True)
        before = remains()

        done = benchmark(*arguments, TMPDIR=str(temporary))

        assert done.returncode == 0, done.stderr
        assert remains() == before
    assert list(temporary.iterdir()) == []
    text = done.stdout.rstrip()
    assert page.read_text() == f"above\n{tables.BEGIN}\n\n{text}\n\n{tables.END}\nbelow\n"
    require_rows(text)
    require_shape(json.loads(document.read_text()))


def rows(text):
    """The first two cells of each line of a table."""
    return {tuple(cell.strip() for cell in line.split("|")[1:3]) for line in text.splitlines()}


def require_rows(text):
    assert {(case, verb) for case in ("bridge", "loopback") for verb in VERBS} <= rows(text)
    assert "containernetworking-plugins" in text
    assert "pairs: 2 of each call" in text


def require_shape(document):
    assert set(document) == DOCUMENT
    assert document["pairs"] == 2
    assert [(call["case"], call["verb"]) for call in document["calls"]] == [
        (case, verb) for case in ("bridge", "loopback") for verb in VERBS
    ]
    for call in document["calls"]:
        assert set(call["sides"]) == {"ours", "reference"}
        assert set(call["ratios"]) == {"ours"}
        for figures in call["sides"].values():
            assert set(figures) == SIDE
            assert 0 < figures["min_ms"] <= figures["median_ms"] <= figures["p90_ms"]
            assert figures["cpu_ms"] > 0
    assert [set(part) for part in document["parts"]] == [PART, PART]
    (version,) = document["imports"]
    assert set(version) == {"case", "verb", "modules", "ms", "groups"}
    assert all(set(group) == GROUP for group in version["groups"])
    assert (version["case"], version["verb"]) == ("bridge", "VERSION")
    assert version["modules"] == sum(group["modules"] for group in version["groups"])
    assert [one["case"] for one in document["modules"]] == ["bridge", "loopback"]
    for one in document["modules"]:
        assert set(one["modules"]) == set(VERBS)


def test_a_case_that_is_not_there_is_refused_with_those_that_are():
    done = benchmark("brigde")

    assert done.returncode == 2
    assert "no such case: brigde; there are bridge, bridge-masquerade," in done.stderr


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo '{\"code\": 11}'; echo why >&2; exit 3", 'ADD exits with 3: {"code": 11}\nwhy'),
        ("echo fine", "ADD does not answer with JSON: fine"),
        ("echo []", "ADD answers what it should not: []"),
        ("echo why >&2", "ADD does not answer with JSON: why"),
    ],
)
def test_a_failing_call_ends_the_benchmark_with_what_it_said(spawner, script, said):
    done = spawner.run(["/bin/sh", "-c", script], {})

    with pytest.raises(CallFailed) as failure:
        parse(done, "ADD")

    assert str(failure.value) == said


def test_a_process_gets_its_stdin_and_is_accounted_for(spawner):
    for text in (b"a longer text\n", b"short\n"):
        done = spawner.run(["/bin/sh", "-c", "cat; sleep 0.2"], {"PATH": "/bin"}, text, watch=True)

        assert (done.status, done.stdout, done.stderr) == (0, text, b"")
        assert done.wall >= 200
        assert 0 < done.processor < done.wall
        assert 0 < done.peak < 50


def test_ratios_are_of_pairs_and_differences_of_rounds():
    samples = Samples()
    for what, side, walls in [
        ("ADD", "ours", (40.0, 90.0, 20.0)),
        ("ADD", "reference", (10.0, 30.0, 10.0)),
        ("true", "ours", (1.0, 2.0, 1.0)),
        ("interpreter", "ours", (6.0, 12.0, 6.0)),
        ("imports", "ours", (36.0, 72.0, 16.0)),
    ]:
        samples.taken["one", what, side] = [Sample(wall, wall / 2) for wall in walls]
    cases = [Case("one", ({"type": "one"},), ("ADD",))]

    (call,) = report.calls(cases, samples, ["ours", "reference"])
    (part,) = report.parts(cases, samples)

    assert call["ratios"] == {"ours": 3.0}
    assert call["sides"]["ours"] == {
        "min_ms": 20.0,
        "median_ms": 40.0,
        "p90_ms": 90.0,
        "cpu_ms": 20.0,
        "peak_mib": 0.0,
    }
    assert part == {
        "case": "one",
        "process_ms": 1.0,
        "interpreter_ms": 5.0,
        "imports_ms": 30.0,
        "work_ms": 4.0,
        "add_ms": 40.0,
    }


def test_each_modules_own_time_is_in_one_group_and_what_it_pulls_in_is_with_it():
    groups = {group.name: group for group in imports.grouped(list(imports.parse(IMPORTED)))}

    assert groups["cnicore"] == imports.Group("cnicore", 1, 0.4, 3.7)
    assert groups["pydantic and what it is made of"].cumulative == 3.2
    assert groups["standard library"] == imports.Group("standard library", 1, 0.1, 0.1)
    assert groups["pluggy"].modules == 0


def test_a_page_without_marks_is_not_touched(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text")

    with pytest.raises(ValueError, match="there is no"):
        tables.update(page, "figures")

    assert page.read_text() == "text"


def test_the_page_has_figures_of_every_case():
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(tables.BEGIN)
    figures, end, _ = rest.partition(tables.END)

    assert end
    assert {(case.name, verb) for case in CASES for verb in case.verbs} <= rows(figures)


def test_the_page_documents_every_key_of_the_report():
    _, heading, section = PAGE.read_text(encoding="utf-8").partition("## The report for a program")

    assert heading
    assert [
        key for key in sorted(DOCUMENT | SIDE | PART | GROUP) if f"`{key}`" not in section
    ] == []
