"""What a server knows of the installation that it serves for."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from cnicore.warm.client import identity
from cnicore.warm.installation import Snapshot, modules_below

SCRIPT = """
import json, sys
sys.path[:0] = {path!r}
from cnicore import registry
from cnicore.warm.installation import import_all
problems = import_all()
before = len(sys.modules)
for plugin in registry.installed().values():
    try:
        plugin.load()
    except Exception:
        pass
print(json.dumps([problems, sorted(registry.installed()), len(sys.modules) - before]))
"""


def import_all(*path):
    """What another process makes of it: problems, plugins, and modules that calls load later."""
    words = [sys.executable, "-c", SCRIPT.format(path=[str(one) for one in path])]
    done = subprocess.run(words, capture_output=True, check=True, timeout=60)
    return json.loads(done.stdout)


@pytest.fixture
def site(distribute):
    folder = distribute("[cni.plugins]\nacme = acme\n", acme="")
    os.utime(folder, (1, 1))  # the clock of files is coarse
    return folder


def test_it_is_current_until_something_is_installed(site):
    snapshot = Snapshot.taken()
    assert snapshot.is_current()

    (site / "other-1.0.dist-info").mkdir()

    assert not snapshot.is_current()


def test_it_is_current_until_something_is_removed(site):
    snapshot = Snapshot.taken()
    for file in (info := site / "acme_plugins-1.2.3.dist-info").iterdir():
        file.unlink()
    assert snapshot.is_current()

    info.rmdir()

    assert not snapshot.is_current()


def test_it_is_current_until_a_directory_comes_goes_or_is_another(site, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path / "missing")
    snapshot = Snapshot.taken()
    assert snapshot.is_current()
    (tmp_path / "missing").mkdir()
    assert not snapshot.is_current()

    snapshot = Snapshot.taken()
    site.rename(tmp_path / "elsewhere")
    assert not snapshot.is_current()

    (tmp_path / "new").mkdir()
    (tmp_path / "new").rename(site)
    assert not snapshot.is_current()


def test_its_identity_is_that_of_a_launcher_with_the_same_path(monkeypatch):
    before = Snapshot.taken().identity
    assert before == identity()

    monkeypatch.syspath_prepend("/opt/\udcff")

    assert identity() not in {before, b""}


def test_everything_is_imported(distribute, minimal):
    site = distribute("[cni.plugins]\nacme = acme_plugin\n", acme_plugin=minimal)

    problems, plugins, later = import_all(site)

    assert problems == []
    assert {"acme", "bridge", "host-local", "portmap"} <= {*plugins}
    assert later == 0


@pytest.mark.parametrize(
    "source",
    [
        "import nowhere_to_be_found",
        "1 / 0",
        "import pluggy\n@pluggy.HookimplMarker('cni')\ndef cni_ad(): pass",
    ],
    ids=["missing", "fails", "no plugin"],
)
def test_what_cannot_be_imported_is_said_and_keeps_nothing_else_away(distribute, source):
    site = distribute("[cni.plugins]\nacme = acme_broken\n", acme_broken=source)

    problems, plugins, _ = import_all(site)

    assert len(problems) == 1
    assert problems[0].startswith("acme: ")
    assert "acme-plugins" in problems[0]
    assert "bridge" in plugins


def test_what_no_call_needs_is_not_among_the_modules():
    found = {*modules_below("cnicore")}

    assert {"cnicore.net.links", "cnicore.dispatch"} & found
    assert not any(name.startswith(("cnicore.cli", "cnicore.testing")) for name in found)
    assert [*modules_below("json.decoder")] == []
