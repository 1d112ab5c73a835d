"""The benchmark reports what it says it reports, and leaves nothing. No figure is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import imports, mappings, report, scale, started, tables
from benchmarks.cases import CASES, PORTS, SIDES, VERBS, WITHOUT_CHECK, Case
from benchmarks.places import Namespaces, parse, placed
from benchmarks.process import CallFailed, Spawner
from benchmarks.rounds import Sample, Samples
from benchmarks.traced import LOADED
from cnicore.testing.sandbox import sandboxed
from conformance.stage import PLUGINS, REFERENCE, environment

ROOT = Path(__file__).parents[2]
RUN = ROOT / "tests/benchmarks/run.py"
PAGE = ROOT / "docs/explanation/performance.md"
CASES_PLAYED = {"pairs", "seconds", "calls", "parts", "imports", "modules", "started"}
SCALE = {"scale", "connections", "memory"}
DOCUMENT = {"machine", "load", *CASES_PLAYED, *SCALE, "guest"}
SIDE = {"min_ms", "median_ms", "p90_ms", "cpu_ms", "peak_mib"}
PART = {"case", "process_ms", "interpreter_ms", "imports_ms", "work_ms", "add_ms"}
GROUP = {"name", "modules", "own_ms", "cumulative_ms"}
ON_A_HOST = {"calls", "min_ms", "median_ms", "p90_ms", "cpu_ms", "to_empty"}
ROW = {"mappings", "per_second", "peak_mib", "to_empty"}
IMPORTED = """\
import time: self [us] | cumulative | imported package
import time:       100 |        100 |   io
import time:       200 |        200 |     missing
import time:      3000 |       3200 |   pydantic.main
import time:       400 |       3700 | cnicore.config
{"cniVersion": "1.0.0"}

""" + (f"{LOADED}io pydantic.main cnicore.config sys\n")


STRACE = """\
71 execve("/run/cni-bin/portmap", ["/run/cni-bin/portmap"], 0x7ffd5 /* 8 vars */) = 0
73 execve("/usr/sbin/iptables", ["/usr/sbin/iptables", "--version"], 0xc0 /* 8 vars */) = 0
75 execveat(3, "iptables", ["iptables", "-w"], 0xc0 /* 8 vars */, 0) = 0
"""


def needs_both_sides(test):
    for mark in (
        pytest.mark.conformance,
        pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces of its own"),
        pytest.mark.skipif(
            not (REFERENCE / "bridge").is_file(),
            reason="needs the reference plugins: Debian's package containernetworking-plugins",
        ),
    ):
        test = mark(test)
    return test


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


def run_in_sandbox(temporary, *arguments):
    """The benchmark's stdout, after it has left nothing."""
    temporary.mkdir()
    with sandboxed():
        Path("/var/lib/cni").mkdir(parents=True, exist_ok=True)
        before = remains()
        done = benchmark(*arguments, TMPDIR=str(temporary))
        assert done.returncode == 0, done.stderr
        assert remains() == before
    assert list(temporary.iterdir()) == []
    return done.stdout


PLAYED = {"bridge": VERBS, "loopback": VERBS, "ptp+portmap+sbr": WITHOUT_CHECK}
CALLS = [(case, verb) for case, verbs in PLAYED.items() for verb in verbs]


@needs_both_sides
def test_two_pairs_of_some_cases_give_their_whole_report_and_leave_nothing(tmp_path):
    page, document = tmp_path / "page.md", tmp_path / "report.json"
    page.write_text(f"above\n{tables.BEGIN}\nold\n{tables.END}\nbelow\n")
    arguments = ["--pairs", "2", "--json", document, "--update", page]
    arguments += ["calls", "programs", *PLAYED]

    text = run_in_sandbox(tmp_path / "tmp", *arguments).rstrip()

    assert page.read_text() == f"above\n{tables.BEGIN}\n\n{text}\n\n{tables.END}\nbelow\n"
    assert set(CALLS) <= rows(text)
    assert "containernetworking-plugins" in text
    assert "pairs: 2 of each call" in text
    report = json.loads(document.read_text())
    require_calls(report)
    require_programs(report["started"])
    assert [report[key] for key in sorted(SCALE)] == [[], [], []]
    assert report["guest"] == {}


def rows(text):
    """The first two cells of each line of a table."""
    return {tuple(cell.strip() for cell in line.split("|")[1:3]) for line in text.splitlines()}


def require_calls(document):
    assert set(document) == DOCUMENT
    assert document["pairs"] == 2
    assert [(call["case"], call["verb"]) for call in document["calls"]] == CALLS
    for call in document["calls"]:
        assert set(call["sides"]) == {"ours", "reference"}
        assert set(call["ratios"]) == {"ours"}
        for figures in call["sides"].values():
            assert set(figures) == SIDE
            assert 0 < figures["min_ms"] <= figures["median_ms"] <= figures["p90_ms"]
            assert figures["cpu_ms"] > 0
    assert [(set(part), part["case"]) for part in document["parts"]] == [
        (PART, case) for case in ("bridge", "loopback")
    ]
    (version,) = document["imports"]
    assert set(version) == {"case", "verb", "modules", "ms", "groups"}
    assert all(set(group) == GROUP for group in version["groups"])
    assert (version["case"], version["verb"]) == ("bridge", "VERSION")
    assert version["modules"] == sum(group["modules"] for group in version["groups"])
    assert {one["case"]: tuple(one["modules"]) for one in document["modules"]} == PLAYED


def require_programs(counted):
    assert [(call["case"], call["verb"]) for call in counted] == CALLS
    assert [call["sides"]["ours"] for call in counted] == [{}] * len(CALLS)
    theirs = {(call["case"], call["verb"]): call["sides"]["reference"] for call in counted}
    assert theirs["loopback", "ADD"] == {}
    assert theirs["bridge", "ADD"] == {"host-local": 1}
    assert set(theirs["ptp+portmap+sbr", "DEL"]) == {"host-local", "iptables", "ip6tables"}


@needs_both_sides
def test_the_scale_of_portmap_is_a_report_of_its_own_and_leaves_nothing(tmp_path):
    document = tmp_path / "report.json"
    arguments = ["--pairs", "2", "--mappings", "20,0", "--json", document, "scale"]

    text = run_in_sandbox(tmp_path / "tmp", *arguments)

    assert {("ADD", "0"), ("ADD", "20"), ("DEL", "0"), ("DEL", "20")} <= rows(text)
    assert "pairs:" not in text
    report = json.loads(document.read_text())
    assert set(report) == DOCUMENT
    assert not any(report[key] for key in {*CASES_PLAYED, "guest"})
    assert [(row["verb"], row["mappings"]) for row in report["scale"]] == [
        (verb, count) for verb in ("ADD", "DEL") for count in (0, 20)
    ]
    for row in report["scale"]:
        assert set(row["ratios"]) == {"ours"}
        for figures in row["sides"].values():
            assert set(figures) == ON_A_HOST
            assert figures["calls"] == 2
            assert 0 < figures["min_ms"] <= figures["median_ms"] <= figures["p90_ms"]
    for key, figure in (("connections", "per_second"), ("memory", "peak_mib")):
        assert [row["mappings"] for row in report[key]] == [0, 20]
        for row in report[key]:
            assert set(row["sides"]) == {"ours", "reference"}
            assert all(set(one) == {figure, "to_empty"} for one in row["sides"].values())
            assert all(one[figure] > 0 for one in row["sides"].values())


@needs_both_sides
def test_programs_can_be_counted_without_any_timing(tmp_path):
    document = tmp_path / "report.json"

    run_in_sandbox(tmp_path / "tmp", "--here", "--json", document, "programs", "bridge")

    report = json.loads(document.read_text())
    assert not any(report[key] for key in DOCUMENT - {"machine", "load", "started"})
    assert [call["verb"] for call in report["started"]] == list(VERBS)


def test_a_case_that_is_not_there_is_refused_with_those_that_are():
    done = benchmark("brigde")

    assert done.returncode == 2
    assert "no such case or part: brigde; there are bridge, bridge-masquerade," in done.stderr
    assert ", sbr, and calls, programs, scale\n" in done.stderr


@pytest.mark.parametrize("counts", ["", "a", "-1", "0,50001", "1.5"])
def test_odd_numbers_of_mappings_are_refused(counts):
    done = benchmark(f"--mappings={counts}", "scale")

    assert done.returncode == 2
    assert "argument --mappings" in done.stderr


def test_programs_are_counted_by_name_the_plugin_too():
    assert started.programs_in(STRACE) == ["portmap", "iptables", "iptables"]


def firewall(place):
    """What mappings can be made of, whatever its order."""
    listing = "nft list table inet cni 2>/dev/null; iptables-save -t nat | grep -v ^#"
    return sorted(place.sandbox.shell(listing).split())


@needs_both_sides
@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_a_mapping_of_others_is_what_an_add_of_that_side_makes(tmp_path, spawner, side):
    ((other,),) = mappings.mappings(1)
    port = {"hostPort": other.port, "containerPort": 80, "protocol": "tcp"}
    previous = {"cniVersion": "1.0.0", "ips": [{"address": str(other.address)}]}
    conf = {**PORTS, "runtimeConfig": {"portMappings": [port]}, "prevResult": previous}

    def call(verb):
        variables = {"CNI_CONTAINERID": other.owner.container_id}
        done = spawner.run(
            [str(PLUGINS / "portmap")], environment(verb, variables), json.dumps(conf).encode()
        )
        assert done.status == 0, done.stdout

    with (
        closing(Namespaces()) as home,
        placed(
            scale.PUBLISHED, side, side.directory(tmp_path), home=home, spawner=spawner
        ) as place,
    ):
        place.namespaces.enter()
        before = firewall(place)
        scale.PUT[side.name](place, 1)
        made = firewall(place)
        assert made != before

        call("DEL")
        assert firewall(place) == before
        call("ADD")
        assert firewall(place) == made


@pytest.mark.kernel
def test_entering_namespaces_keeps_the_working_directory(sandbox, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with closing(Namespaces()) as here:
        here.enter()

    assert Path.cwd() == tmp_path


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


def host(side, count, adds, rates, peak):
    calls = {"ADD": [Sample(wall, wall / 2) for wall in adds], "DEL": [Sample(1.0, 1.0)]}
    return scale.Host(side, count, None, calls, rates, peak)


def test_many_mappings_are_compared_within_the_rounds_that_all_took_part_in():
    hosts = [
        host("ours", 0, [100.0, 110.0, 200.0], [9.0, 8.0, 7.0], 30.0),
        host("reference", 0, [10.0, 10.0, 20.0], [9.0, 8.0, 7.0], 4.0),
        host("ours", 5, [100.0, 220.0, 600.0], [9.0, 8.0, 14.0], 33.0),
        host("reference", 5, [1000.0, 2000.0], [0.9, 0.08], 40.0),
    ]

    found = scale.report(hosts)

    assert [(row["verb"], row["mappings"], row["ratios"]) for row in found["scale"]] == [
        ("ADD", 0, {"ours": 10.0}),
        ("ADD", 5, {"ours": pytest.approx(0.105)}),
        ("DEL", 0, {"ours": 1.0}),
        ("DEL", 5, {"ours": 1.0}),
    ]
    ours, theirs = (found["scale"][1]["sides"][side] for side in ("ours", "reference"))
    assert (ours["calls"], ours["median_ms"], ours["to_empty"]) == (3, 220.0, 2.0)
    assert (theirs["calls"], theirs["median_ms"], theirs["to_empty"]) == (2, 1500.0, 150.0)
    assert found["connections"][1]["sides"] == {
        "ours": {"per_second": 9.0, "to_empty": 1.0},
        "reference": {"per_second": pytest.approx(0.49), "to_empty": pytest.approx(0.055)},
    }
    assert found["memory"][1]["sides"]["ours"] == {"peak_mib": 33.0, "to_empty": 1.1}


def test_a_host_whose_calls_took_too_long_is_worn():
    assert not host("ours", 0, [24_000.0], [], 1.0).is_worn
    assert host("ours", 0, [13_000.0, 12_001.0], [], 1.0).is_worn


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
    timed = [section(figures, title) for title in ("Time of a call", "Under user-mode-linux")]
    assert {(case.name, verb) for case in CASES for verb in case.verbs} <= rows("".join(timed))


def section(figures, title):
    """What stands below the heading; empty if there is none."""
    _, _, rest = figures.partition(f"### {title}\n")
    return rest.partition("\n### ")[0]


def test_the_page_documents_every_key_of_the_report():
    _, heading, section = PAGE.read_text(encoding="utf-8").partition("## The report for a program")

    assert heading
    assert [
        key
        for key in sorted(DOCUMENT | SIDE | PART | GROUP | ON_A_HOST | ROW)
        if f"`{key}`" not in section
    ] == []
