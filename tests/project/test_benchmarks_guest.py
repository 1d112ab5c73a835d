"""The benchmark goes on under another kernel where this one cannot, and says what it leaves out."""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks import cases, guest, machine, selection, tables
from benchmarks.cases import CASES, THEIRS, Case
from benchmarks.process import CallFailed
from conformance.stage import REFERENCE
from lane.guest import BEGIN, END
from lane.kernels import Kernel
from lane.obstacles import obstacle
from lane.packages import CACHE

YOUNG = Case("young", ({"type": "bridge"}, {"type": "nonesuch"}))
OLD = Case("old", ({"type": "bridge"},))
FIGURES = {"min_ms": 100.0, "median_ms": 200.0, "p90_ms": 300.0, "cpu_ms": 1.0, "peak_mib": 2.0}
NOTHING = {
    "machine": {"kernel": "this one"},
    "load": [0.5, 0.6],
    "pairs": 0,
    "seconds": 0.0,
    **{key: [] for key in ("calls", "parts", "imports", "modules", "started", "scale")},
    "guest": {},
}
IN_GUEST = {
    **NOTHING,
    "machine": {"kernel": "another"},
    "pairs": 4,
    "calls": [
        {
            "case": "vlan",
            "verb": "ADD",
            "sides": {"ours": FIGURES, "reference": FIGURES},
            "ratios": {"ours": 1.0},
        }
    ],
    "modules": [{"case": "vlan", "modules": {"ADD": 276}}],
    "started": [
        {"case": "vlan", "verb": "ADD", "sides": {"ours": {}, "reference": {"host-local": 1}}}
    ],
}


@pytest.fixture
def usual(tmp_path, monkeypatch):
    """A reference that has bridge only, and none that is newer."""
    directory = tmp_path / "usual"
    directory.mkdir()
    (directory / "bridge").touch()
    monkeypatch.setattr(cases, "REFERENCE", directory)
    monkeypatch.setattr("conformance.newer.REFERENCE", directory)
    monkeypatch.setenv("CNI_NEWER_REFERENCE", str(tmp_path / "missing"))
    return directory


@pytest.fixture
def newer(usual, tmp_path, monkeypatch):
    """Debian's package of a release that has nonesuch, too."""
    directory = tmp_path / "package/usr/lib/cni"
    notes = tmp_path / "package/usr/share/doc/containernetworking-plugins"
    for place in (directory, notes):
        place.mkdir(parents=True)
    for plugin in ("bridge", "nonesuch"):
        (directory / plugin).touch()
    (notes / "changelog.Debian.gz").write_bytes(
        gzip.compress(b"plugins (2.0.1-3) sid; urgency=low")
    )
    monkeypatch.setenv("CNI_NEWER_REFERENCE", str(directory))
    return directory


def test_a_case_that_no_reference_can_play_is_left_out_with_the_way_to_one(usual, capsys):
    assert selection.comparable([OLD, YOUNG]) == [OLD]

    said = capsys.readouterr().err
    assert said.startswith("left out: young: needs a reference ")
    assert "that has nonesuch" in said
    assert "CNI_NEWER_REFERENCE" in said


def test_a_case_that_the_usual_reference_lacks_is_played_with_the_newer(usual, newer, capsys):
    assert selection.comparable([OLD, YOUNG]) == [OLD, YOUNG]

    assert capsys.readouterr().err == ""
    assert THEIRS.for_case(usual, OLD) == usual
    assert THEIRS.for_case(usual, YOUNG) == newer


def test_the_machine_names_the_newer_reference_of_what_is_played_with_it(newer):
    usual = machine.reference([OLD])

    assert usual.startswith("containernetworking-plugins ")
    assert ";" not in usual
    assert machine.reference([OLD, YOUNG]) == f"{usual}; nonesuch: 2.0.1"


def test_the_release_of_plugins_that_are_no_debian_package_is_not_guessed(tmp_path):
    assert machine.release_in(tmp_path / "bin") == "of unknown version"


@pytest.mark.kernel
def test_cases_are_divided_by_what_the_kernel_can_make():
    anywhere = Case("anywhere", ({"type": "bridge"},))
    nowhere = Case("nowhere", ({"type": "bridge"},), kind="nonesuch")

    assert selection.divided([nowhere, anywhere]) == ([anywhere], [nowhere])


def test_without_a_guest_the_cases_for_one_are_left_out_with_the_reason(monkeypatch, capsys):
    monkeypatch.setattr(guest, "obstacle", lambda: "this machine forbids ptrace")

    assert guest.play([YOUNG, OLD], [], 1.0) == {}

    assert capsys.readouterr().err == "left out: young, old: this machine forbids ptrace\n"


def told(output, status=""):
    """A kernel that says this and ends: what it writes down is what its command returned."""

    def command(place, processor):
        text = f"{BEGIN}\n{output}\n{END}"
        write = f"echo {status} >{place}/status" if status else "true"
        return ["sh", "-c", f"echo '{text}'; {write}"]

    return Kernel("nonesuch-linux", Path("/none"), Path("/none"), {}, command)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces of its own")
@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("1", "under nonesuch-linux: benchmark: vlan: ADD exits with 1"),
        ("", "under nonesuch-linux: The guest died."),
    ],
)
def test_a_benchmark_that_fails_in_the_guest_fails_here_with_what_was_said(
    tmp_path, monkeypatch, status, said
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with pytest.raises(CallFailed) as failure:
        guest.measure(told("benchmark: vlan: ADD exits with 1", status), ["vlan"], 60.0)

    assert str(failure.value).startswith(said)
    assert "ADD exits with 1" in str(failure.value)
    assert list(tmp_path.iterdir()) == []


def test_the_times_of_the_guest_are_a_section_of_their_own_and_its_counts_are_not():
    text = tables.markdown({**NOTHING, "guest": IN_GUEST})

    titles = [line for line in text.splitlines() if line.startswith("### ")]
    assert titles == [
        "### The machine",
        "### Under user-mode-linux",
        "### How many modules a call imports",
        "### How many programs a call starts",
    ]
    assert "- kernel: this one" in text
    assert "- kernel: another" in text
    assert "- pairs: 4 of each call" in text
    assert "| vlan | ADD  |    100.0 |" in text
    assert "1: host-local 1" in text


@pytest.mark.conformance
@pytest.mark.skipif(bool(obstacle()), reason=f"no guest can be started: {obstacle()}")
@pytest.mark.skipif(
    not (CACHE / "trixie/user-mode-linux").is_dir(),
    reason="needs the kernel that `make test-kernel` or `make bench` downloads",
)
@pytest.mark.skipif(
    not (REFERENCE / "vlan").is_file(),
    reason="needs the reference plugins: Debian's package containernetworking-plugins",
)
def test_a_guest_plays_what_needs_its_kernel_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (vlan,) = (case for case in CASES if case.name == "vlan")

    report = guest.play([vlan], ["--pairs", "1", "calls"], 60.0)

    assert [(call["case"], call["verb"]) for call in report["calls"]] == [
        ("vlan", verb) for verb in vlan.verbs
    ]
    assert all(set(call["sides"]) == {"ours", "reference"} for call in report["calls"])
    assert report["machine"]["processors"].startswith("1, ")
    assert report["machine"]["python"] == sys.version.split()[0]
    assert report["guest"] == {}
    assert "of the cases vlan; at most 1 pairs\n" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
