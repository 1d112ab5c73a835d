"""Where plugins of the reference come from that are newer than the machine's."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.newer import FETCHED, newer_directory, plugins_of, release_of, what_is_missing
from conformance.stage import REFERENCE

SETUP = Path(__file__).parents[2] / ".ci/setup"
NAME = "golang-github-containernetworking-plugins"


def unpacked(place, version):
    """What the package is when it is unpacked, as far as anybody looks."""
    package = place / "cache" / "sid" / "containernetworking-plugins"
    notes = package / "usr/share/doc/containernetworking-plugins"
    notes.mkdir(parents=True)
    text = f"{NAME} ({version}) unstable; urgency=medium\n\n  * Upload (1.9.0).\n"
    (notes / "changelog.Debian.gz").write_bytes(gzip.compress(text.encode()))
    return package


@pytest.mark.parametrize(
    ("version", "release", "is_compared"),
    [
        ("1.9.1+ds1-1", "1.9.1", True),
        ("1:1.9.3-2", "1.9.3", True),
        ("1.90.0-1", "1.90.0", False),
        ("1.10.0+ds1-1", "1.10.0", False),
        ("2.1.9-1", "2.1.9", False),
    ],
)
def test_only_the_release_that_the_tables_are_about_is_used(
    tmp_path, version, release, is_compared
):
    package = unpacked(tmp_path, version)

    assert release_of(package) == release
    assert plugins_of(package) == (package / "usr/lib/cni" if is_compared else None)


def test_who_has_another_release_is_told_which(tmp_path):
    told = what_is_missing("tap", unpacked(tmp_path, "1.10.0+ds1-1"))

    assert told == (
        "needs a reference 1.9 that has tap, and Debian has 1.10.0 by now, which is in cache:"
        " name the directory of an unpacked 1.9 in CNI_NEWER_REFERENCE"
    )


def test_who_has_none_is_told_how_to_get_it(tmp_path):
    told = what_is_missing("tap", tmp_path)

    assert told == (
        "needs a reference that has tap: `make setup-kernel` fetches one from Debian,"
        " or name the directory of an unpacked 1.9 in CNI_NEWER_REFERENCE"
    )


def test_a_directory_that_is_named_is_used(tmp_path, monkeypatch):
    (tmp_path / "nonesuch").touch()
    monkeypatch.setenv("CNI_NEWER_REFERENCE", str(tmp_path))

    assert newer_directory("nonesuch") == tmp_path
    assert newer_directory("other") is None


def test_the_machines_own_comes_first(tmp_path, monkeypatch):
    if not (REFERENCE / "bridge").is_file():
        pytest.skip("needs the reference plugins: Debian's package containernetworking-plugins")
    (tmp_path / "bridge").touch()
    monkeypatch.setenv("CNI_NEWER_REFERENCE", str(tmp_path))

    assert newer_directory("bridge") == REFERENCE


def test_setting_up_looks_for_it_where_the_tests_do():
    assert f"-d .kernels/{FETCHED.relative_to(FETCHED.parents[1])} ]" in SETUP.read_text()


def test_a_machine_that_is_no_debian_is_told_so(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lane.packages"],
        env={"PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "this is no Debian on amd64: its archive has the kernels\n"
