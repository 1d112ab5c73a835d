"""The page "Add a plugin" is true: its files are made, its commands typed, its outputs compared."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "add-a-plugin.md"
FILE = re.compile(
    r"^File `(?P<path>[^`]+)`:\n\n```\w+\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
END = "--end of the command--"
PLUGIN = "cni-label/src/cni_label/__init__.py"


def files() -> dict[str, str]:
    return {found["path"]: found["text"] for found in FILE.finditer(PAGE.read_text())}


def blocks(language: str) -> list[str]:
    return [
        found["text"] for found in BLOCK.finditer(PAGE.read_text()) if found["language"] == language
    ]


@dataclass(frozen=True)
class Desk:
    """A folder to work in, and an environment in which everything of ours is installed.

    The environment borrows the packages of the one that runs the tests, hatchling among them, so
    that pip needs no network; what it installs goes into the environment alone.
    """

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "venv" / "bin"

    def prepare(self) -> None:
        command = [sys.executable, "-m", "venv", "--without-pip", self.folder / "venv"]
        subprocess.run(command, check=True, timeout=60)
        (site,) = self.folder.glob("venv/lib/python3*/site-packages")
        borrowed = sysconfig.get_path("purelib")
        (site / "borrowed.pth").write_text(f"import site; site.addsitedir({borrowed!r})\n")
        python = self.bin / "python"
        offline = "--no-index --no-build-isolation"
        self._write_command("pip", f'{sys.executable} -m pip --python {python} "$@" {offline}')
        self._write_command("pytest", f'{python} -m pytest "$@"')
        (self.bin / "cni").write_text(f"#!{python}\nfrom cnicore.main import console\nconsole()\n")
        (self.bin / "cni").chmod(0o755)

    def _write_command(self, name: str, command: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\nexec {command}\n")
        (self.bin / name).chmod(0o755)

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def type(self, commands: list[str]) -> list[str]:
        """What each command prints, stderr included, all typed into one shell."""
        lines = [f"{command} 2>&1; echo '{END}'" for command in commands]
        done = subprocess.run(
            ["sh"],
            input="\n".join(lines),
            cwd=self.folder,
            env={"PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.stderr == ""
        return done.stdout.split(f"{END}\n")[:-1]


def require_outputs(desk: Desk, block: str) -> None:
    """Type the commands of a console block; fail where an output is not as the block shows it."""
    shown = [piece.partition("\n") for piece in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    printed = desk.type([command for command, _, _ in shown])
    checker = doctest.OutputChecker()
    for (command, _, wanted), got in zip(shown, printed, strict=True):
        is_as_shown = checker.check_output(wanted, got, doctest.ELLIPSIS)
        assert is_as_shown, f"{command}\nthe page shows:\n{wanted}\nit printed:\n{got}"


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Desk:
    """The files of the page, and the plugin installed and tested as its step 4 says."""
    desk = Desk(tmp_path_factory.mktemp("walkthrough"))
    desk.prepare()
    for path, text in files().items():
        desk.write(path, text)
    install, _ = blocks("console")
    require_outputs(desk, install)
    return desk


def test_the_distribution_is_built_installed_tested_and_found(desk):
    assert (desk.folder / "bin" / "label").readlink() == Path("cni")


def test_the_schema_has_the_plugins_key(desk):
    (schema,) = desk.type(["cni schema label"])

    assert '"description": "What the interfaces are for."' in schema


@pytest.mark.kernel
def test_the_plugin_works_in_a_chain(desk, sandbox):
    _, run = blocks("console")

    require_outputs(desk, run)


@pytest.mark.kernel
def test_the_plugin_works_behind_loopback_too(desk, sandbox):
    container = sandbox.container()
    plugins = '[{"type": "loopback"}, {"type": "label", "label": "this container"}]'
    desk.write(
        "net.d/20-lo.conflist", f'{{"cniVersion": "1.1.0", "name": "lo", "plugins": {plugins}}}'
    )
    options = "--config-dir net.d --plugin-path $PWD/bin --cache-dir cache --ifname lo"
    steps = [f"cni {verb} lo {container} {options} && echo done" for verb in ("check", "del")]

    added, _ = desk.type([f"cni add lo {container} {options}", "true"])
    (link,) = sandbox.json("ip -json link show lo", container)
    rest = desk.type(steps)
    (after,) = sandbox.json("ip -json link show lo", container)

    assert '"name": "lo"' in added
    assert link["ifalias"] == "this container"
    assert rest == ["done\n", "done\n"]
    assert "ifalias" not in after
    assert "UP" not in after["flags"]


def test_the_code_on_the_page_keeps_to_the_projects_style(desk):
    sources = [desk.folder / path for path in files() if path.endswith(".py")]
    ruff = [Path(sys.executable).with_name("ruff")]
    settings = ["--config", ROOT / "pyproject.toml", "--no-cache", "--quiet"]
    ignored = ["--ignore", "S101,ANN,D,INP001,PLR2004"]  # as for every test

    for command in (["format", "--check"], ["check", *ignored]):
        done = subprocess.run(
            [*ruff, *command, *settings, *sources],
            cwd=ROOT,  # where the settings' own paths begin
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_inside_the_suite_it_is_a_new_file_and_one_line(tmp_path):
    desk = Desk(tmp_path)
    desk.prepare()
    ignored = shutil.ignore_patterns("__pycache__")
    project = shutil.copytree(ROOT / "cni_meta", tmp_path / "cni_meta", ignore=ignored)
    (project / "src" / "cni_meta" / "label.py").write_text(files()[PLUGIN])
    configuration = project / "pyproject.toml"
    *_, entry_point = blocks("toml")
    table, _ = entry_point.split("\n", 1)
    text = configuration.read_text()
    configuration.write_text(
        text.replace(table, entry_point.strip()) if table in text else f"{text}\n{entry_point}"
    )

    quiet, listed = desk.type(["pip install --quiet ./cni_meta", "cni plugins | grep label"])

    assert re.fullmatch(r"label +cni-meta \S+ +ADD,DEL,CHECK +0\.1\.0-1\.1\.0 *\n", listed), quiet
