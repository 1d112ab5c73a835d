"""`cni networks`, `cni plugins`, `cni schema`: what is there, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

GOOD = '''"""A plugin."""
from pydantic import Field
from cnicore.config import NetConf
from cnicore.hookspecs import hookimpl
from cnicore.result import Result
class GoodConf(NetConf):
    queue_length: int = Field(default=0, description="Packets.")
@hookimpl
def cni_config(): return GoodConf
@hookimpl
def cni_add(): return Result()
@hookimpl
def cni_del(): pass
'''
ENTRY_POINTS = """[cni.plugins]
test-good = cni_test_good
test-broken = cni_test_broken
test-empty = cni_test_empty
[cni.versions]
test-good = cnicore.spec:SINCE_0_4_0
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with a good plugin, one that cannot be imported, and one that is none."""
    site = tmp_path / "site"
    (site / "cni_tests-3.2.dist-info").mkdir(parents=True)
    (site / "cni_tests-3.2.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "cni_test_good.py").write_text(GOOD)
    (site / "cni_test_broken.py").write_text("raise RuntimeError('no such kernel')\n")
    (site / "cni_test_empty.py").write_text("")
    monkeypatch.syspath_prepend(str(site))


def test_networks_are_listed_with_the_problems_of_each_file(run_cni, node) -> None:
    directory = node / "net.d"
    (directory / "20-broken.conflist").write_text("{")
    (directory / "30-dbnet.conf").write_text('{"name": "dbnet", "type": "ptp"}')
    (directory / "40-other.conf").write_text(
        '{"name": "other", "cniVersion": "0.4.0", "type": "ptp"}'
    )
    done = run_cni("networks", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found[0] == {
        "name": "dbnet", "cniVersion": "1.1.0", "plugins": ["fake"],
        "file": "10-dbnet.conflist", "problem": "",
    }  # fmt: skip
    assert [one["file"] for one in found] == [
        "10-dbnet.conflist",
        "20-broken.conflist",
        "30-dbnet.conf",
        "40-other.conf",
    ]
    assert found[1]["problem"].startswith("error parsing configuration list: ")
    assert found[2]["problem"] == "never used: 10-dbnet.conflist has the same name and comes first"
    assert found[3]["problem"] == ""


def test_networks_are_shown_as_a_table(run_cni) -> None:
    assert run_cni("networks").stdout.splitlines() == [
        "NAME   VERSION  PLUGINS  FILE               PROBLEM",
        "dbnet  1.1.0    fake     10-dbnet.conflist",
    ]


def test_without_networks_the_table_is_empty(run_cni, node) -> None:
    done = run_cni("networks", "--config-dir", str(node / "absent"))
    assert (done.exit_code, done.stdout) == (0, "NAME  VERSION  PLUGINS  FILE  PROBLEM\n")


def test_plugins_that_cannot_be_used_are_listed_with_the_reason(run_cni, third_party) -> None:
    done = run_cni("plugins", "--json")
    assert done.exit_code == 0
    found = {one["type"]: one for one in json.loads(done.stdout)}
    assert found["test-good"] == {
        "type": "test-good",
        "distribution": "cni-tests",
        "version": "3.2",
        "verbs": ["ADD", "DEL"],
        "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
        "problem": "",
    }
    assert found["test-broken"]["problem"] == (
        'cannot import plugin "test-broken" (cni_test_broken of cni-tests 3.2);'
        " RuntimeError: no such kernel"
    )
    assert found["test-empty"]["problem"] == "cni_test_empty has no hook cni_add"
    assert set(found) > {"bridge", "host-local", "loopback", "ptp", "static"}


def test_plugins_are_shown_as_a_table(run_cni, third_party) -> None:
    lines = [line.split() for line in run_cni("plugins").stdout.splitlines()]
    assert ["test-good", "cni-tests", "3.2", "ADD,DEL", "0.4.0-1.1.0"] in lines


def test_a_schema_uses_the_names_that_configurations_use(run_cni, third_party) -> None:
    done = run_cni("schema", "test-good")
    assert done.exit_code == 0
    schema = json.loads(done.stdout)
    assert schema["properties"]["queueLength"] == {
        "default": 0, "description": "Packets.", "title": "Queuelength", "type": "integer",
    }  # fmt: skip
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_a_schema_of_an_unknown_type_is_an_error_that_lists_the_known(run_cni) -> None:
    done = run_cni("schema", "nonsense")
    assert done.exit_code == 1
    assert done.stderr.startswith('Error: no plugin "nonsense" is installed: known types are ')
