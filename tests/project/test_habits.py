"""The project's own machinery: make's list, fragments of the changelog, hooks, set-up."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
PRE_COMMIT = (ROOT / ".pre-commit-config.yaml").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
FRAGMENTS = sorted(path for path in (ROOT / "changelog.d").glob("*.md") if path.name != "README.md")

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def run(*command, folder=ROOT):
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def tool(name):
    return Path(sys.executable).with_name(name)


@needs_make
def test_make_alone_lists_every_target_with_a_sentence():
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)) - {
        "setup-test",
        "setup-kernel",
    }

    listed = dict(re.findall(r"^make (\S+) +(.+)$", run("make").stdout, re.MULTILINE))

    assert listed.keys() == targets
    assert all(sentence.endswith(".") for sentence in listed.values())


def test_the_targets_that_contributing_names_are_there():
    for target in re.findall(r"(?:^    |`)make ([a-z-]+)", CONTRIBUTING, re.MULTILINE):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize(
    ("name", "is_fragment"),
    [
        ("2.added.md", True),
        ("2.1.added.md", True),
        ("2.10.fixed.md", True),
        ("17.changed.md", True),
        ("17.removed.md", True),
        ("README.md", True),
        ("added.md", False),
        ("2.md", False),
        ("2.feature.md", False),
        ("2.added.rst", False),
        ("2.added.md~", False),
        ("2.1.1.added.md", False),
        ("+orphan.added.md", False),
    ],
)
def test_a_fragment_is_named_issue_kind(name, is_fragment):
    misnamed = runpy.run_path(str(ROOT / ".ci" / "fragments.py"))["misnamed"]

    assert misnamed([f"changelog.d/{name}"]) == ([] if is_fragment else [f"changelog.d/{name}"])


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_is_whole_sentences_without_a_bullet(fragment):
    text = fragment.read_text()

    assert re.fullmatch(r"[A-Z`](.|\n)*\.\n", text), text


def test_the_changelog_takes_every_fragment_under_its_kind(tmp_path):
    for name in ("pyproject.toml", "CHANGELOG.md", ".ci/changelog.jinja"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    fragments = tmp_path / "changelog.d"
    fragments.mkdir()
    shutil.copy(ROOT / "changelog.d" / "README.md", fragments)
    for name in ("2.1.added.md", "2.2.added.md", "3.fixed.md"):
        (fragments / name).write_text(f"Sentence of {name}.\n")

    build = [tool("towncrier"), "build", "--keep", "--date", "2026-01-02"]
    done = [
        run(*build, "--version", version, folder=tmp_path).returncode for version in ("1.0", "1.1")
    ]
    changelog = (tmp_path / "CHANGELOG.md").read_text()

    section = (
        "\n### Added\n\n- Sentence of 2.1.added.md.\n- Sentence of 2.2.added.md.\n"
        "\n### Fixed\n\n- Sentence of 3.fixed.md.\n"
    )
    assert done == [0, 0]
    assert changelog.startswith((ROOT / "CHANGELOG.md").read_text().partition("-->")[0])
    assert f"\n\n## 1.1 (2026-01-02)\n{section}\n## 1.0 (2026-01-02)\n{section}" in changelog


@pytest.mark.parametrize(
    "command",
    ["ruff check", "ruff format", "lint-imports", ".ci/sizes.py", ".ci/fragments.py", "mypy"],
)
def test_what_make_checks_is_checked_before_a_commit_too(command):
    assert f"$(BIN)/{command}" in MAKEFILE or f"$(BIN)/python {command}" in MAKEFILE
    assert re.search(rf"entry: \.venv/bin/(python )?{re.escape(command)}", PRE_COMMIT)


def test_ci_does_what_a_developer_does():
    *_, last = (ROOT / ".ci" / "run").read_text().splitlines()

    assert last == "exec make test"


@pytest.mark.parametrize("script", ["run", "setup"])
def test_the_shell_scripts_are_read_by_any_shell(script):
    assert (ROOT / ".ci" / script).read_text().startswith("#!/bin/sh\n")
    assert run("sh", "-n", f".ci/{script}").returncode == 0


@pytest.mark.parametrize("argument", ["nonsense", "--help"])
def test_setup_says_how_to_call_it(argument):
    done = run(".ci/setup", argument)

    assert (done.returncode, done.stderr) == (2, "setup: usage: .ci/setup run|test|kernel\n")
