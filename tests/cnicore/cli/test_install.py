"""`cni install`: the launcher, the symlinks, files of others, and what a runtime executes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnicore.cli.installation import Installation
from cnicore.cli.launcher import (
    MARKER,
    import_directories,
    is_launcher,
    launcher_text,
    real_interpreter,
)
from cnicore.errors import CniError

SCRIPT = f"#!/bin/true\n{MARKER}\n"


def listing(directory: Path) -> dict[str, str]:
    return {
        file.name: str(file.readlink()) if file.is_symlink() else "file"
        for file in sorted(directory.iterdir())
    }


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "opt" / "bin")


def test_the_program_and_a_relative_symlink_per_type_are_written(
    installation: Installation,
) -> None:
    assert installation.install(SCRIPT, ["bridge", "ptp"], ["bridge", "ptp"]) == []
    assert listing(installation.directory) == {"bridge": "cni", "cni": "file", "ptp": "cni"}
    assert installation.program.read_text() == SCRIPT
    assert os.access(installation.directory / "ptp", os.X_OK)


def test_it_may_be_repeated(installation: Installation) -> None:
    for _ in range(2):
        installation.install(SCRIPT, ["bridge"], ["bridge"])
    assert listing(installation.directory) == {"bridge": "cni", "cni": "file"}


def test_symlinks_to_types_that_are_gone_are_removed(installation: Installation) -> None:
    installation.install(SCRIPT, ["bridge", "ptp"], ["bridge", "ptp"])
    assert installation.install(SCRIPT, ["bridge"], ["bridge"]) == ["ptp"]
    assert listing(installation.directory) == {"bridge": "cni", "cni": "file"}


def test_symlinks_that_were_not_asked_for_again_stay(installation: Installation) -> None:
    installation.install(SCRIPT, ["bridge", "ptp"], ["bridge", "ptp"])
    assert installation.install(SCRIPT, ["bridge"], ["bridge", "ptp"]) == []
    assert listing(installation.directory) == {"bridge": "cni", "cni": "file", "ptp": "cni"}


def foreign(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "bridge").write_text("somebody else's")
    (directory / "ptp").symlink_to("multus")
    (directory / "tuning").write_text("not in the way")


def test_files_of_others_are_all_named_and_nothing_is_changed(installation: Installation) -> None:
    foreign(installation.directory)
    with pytest.raises(CniError) as failure:
        installation.install(SCRIPT, ["bridge", "loopback", "ptp"], ["bridge", "loopback", "ptp"])
    directory = installation.directory
    assert str(failure.value) == (
        f"these files are not of this program: {directory}/bridge, {directory}/ptp:"
        " remove them, or replace them with --force"
    )
    assert listing(directory) == {"bridge": "file", "ptp": "multus", "tuning": "file"}


def test_files_of_others_are_replaced_if_forced(installation: Installation) -> None:
    foreign(installation.directory)
    installation.install(SCRIPT, ["bridge", "ptp"], ["bridge", "ptp"], force=True)
    assert listing(installation.directory) == {
        "bridge": "cni", "cni": "file", "ptp": "cni", "tuning": "file",
    }  # fmt: skip
    assert (installation.directory / "tuning").read_text() == "not in the way"


def test_a_directory_is_never_replaced(installation: Installation) -> None:
    (installation.directory / "bridge").mkdir(parents=True)
    with pytest.raises(CniError, match="/bridge: remove them first"):
        installation.install(SCRIPT, ["bridge"], ["bridge"], force=True)


@pytest.mark.parametrize("name", ["../evil", "a/b", "..", ""])
def test_a_type_that_is_no_file_name_is_refused(installation: Installation, name: str) -> None:
    with pytest.raises(CniError):
        installation.install(SCRIPT, [name], [name], force=True)
    assert not installation.directory.exists()


def test_the_program_of_somebody_else_and_its_symlinks_are_foreign(
    installation: Installation,
) -> None:
    installation.directory.mkdir(parents=True)
    installation.program.write_text("somebody else's multicall program")
    (installation.directory / "bridge").symlink_to("cni")
    with pytest.raises(CniError, match=r"/cni, .*/bridge: remove them"):
        installation.install(SCRIPT, ["bridge"], ["bridge"])
    assert installation.uninstall() == []


def test_a_failed_write_leaves_the_old_program_and_no_other_file(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.install(SCRIPT, ["bridge"], ["bridge"])

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(CniError, match=r"could not install into .*: No space left on device"):
        installation.install(SCRIPT + "new", ["bridge"], ["bridge"])
    assert installation.program.read_text() == SCRIPT
    assert listing(installation.directory) == {"bridge": "cni", "cni": "file"}


def test_uninstall_removes_what_is_ours_and_nothing_else(installation: Installation) -> None:
    installation.install(SCRIPT, ["loopback"], ["loopback"])
    (installation.directory / "bridge").write_text("somebody else's")
    (installation.directory / "ptp").symlink_to("/elsewhere/cni")
    assert installation.uninstall() == ["loopback", "cni"]
    assert listing(installation.directory) == {"bridge": "file", "ptp": "/elsewhere/cni"}
    assert installation.uninstall() == []


def test_uninstall_from_a_directory_that_is_not_there_is_nothing(
    installation: Installation,
) -> None:
    assert installation.uninstall() == []


def test_an_interpreter_that_the_kernel_could_not_start_is_refused() -> None:
    for interpreter in ("/opt/my python/bin/python3", "/" + "x" * 260):
        with pytest.raises(CniError, match="too long for a #! line or has a space"):
            launcher_text(interpreter, [])


def test_only_directories_with_distributions_and_those_they_name_are_imported_from(
    tmp_path: Path,
) -> None:
    site, source, here = tmp_path / "site", tmp_path / "src", tmp_path / "here"
    for directory in (site / "x-1.dist-info", source, here):
        directory.mkdir(parents=True)
    (site / "a.pth").write_text(
        f"# comment\nimport os\n{source}\n{tmp_path}/absent\nx-1.dist-info\n\n"
    )
    path = ["", str(here), str(site), str(tmp_path / "absent"), str(site)]
    assert import_directories(path) == [str(site), str(source), str(site / "x-1.dist-info")]


def test_the_interpreter_is_the_real_one() -> None:
    assert Path(real_interpreter()).is_absolute()
    assert not Path(real_interpreter()).is_symlink()


@pytest.fixture
def installed(run_cni, node: Path) -> Path:
    directory = node / "opt"
    done = run_cni("install", str(directory))
    assert (done.exit_code, done.stderr) == (0, "")
    return directory


def execute(file: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [file, *arguments], env=environ, input="", capture_output=True, text=True, check=False
    )


def test_every_installed_type_answers_version_in_an_empty_environment(installed: Path) -> None:
    done = execute(installed / "loopback", CNI_COMMAND="VERSION")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["supportedVersions"][-1] == "1.1.0"
    assert set(listing(installed)) >= {"bridge", "cni", "host-local", "loopback", "ptp", "static"}


def test_the_installed_program_finds_the_plugins_beside_it(installed: Path, node: Path) -> None:
    (installed / "fake").write_text((node / "bin" / "fake").read_text())
    (installed / "fake").chmod(0o755)
    done = execute(installed / "cni", "status", "dbnet", NETCONFPATH=str(node / "net.d"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert f"CNI_PATH={installed}\n" in (installed / "environ").read_text()


def test_a_link_to_the_installed_program_is_the_program(installed: Path, node: Path) -> None:
    (node / "elsewhere").mkdir()
    link = node / "elsewhere" / "cni"
    link.symlink_to(installed / "cni")
    assert execute(link, "install", str(node / "second")).returncode == 0
    assert (node / "second" / "cni").read_text() == (installed / "cni").read_text()


def test_only_some_types_may_be_installed(run_cni, node: Path) -> None:
    done = run_cni("install", str(node / "opt"), "--only", "loopback")
    assert done.stdout == f"installed in {node}/opt: cni, loopback\n"
    done = run_cni("install", str(node / "opt"), "--only", "nonsense")
    assert (done.exit_code, done.stderr) == (
        1,
        "Error: no plugin nonsense is installed: see `cni plugins`\n",
    )


def test_uninstall_says_what_it_removed(run_cni, node: Path) -> None:
    run_cni("install", str(node / "opt"), "--only", "loopback")
    assert (
        run_cni("uninstall", str(node / "opt")).stdout
        == f"removed from {node}/opt: loopback, cni\n"
    )
    assert run_cni("uninstall", str(node / "opt")).stdout == (
        f"removed from {node}/opt: nothing, nothing is ours\n"
    )


def test_a_file_without_the_marker_is_no_launcher(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x7fELF\xff" * 100)
    (tmp_path / "b").write_text("#!/bin/sh\nx\n" + MARKER)
    assert not any(is_launcher(tmp_path / name) for name in ("a", "b", "absent"))


PROBE = """
import sys
before = set(sys.modules)
from cnicore.main import answer_as
answer = answer_as("loopback", {environ!r}, lambda: b'{stdin}')
print(*sorted(name for name in set(sys.modules) - before if name.startswith({forbidden!r})))
"""


def loaded(environ: dict[str, str], stdin: str, forbidden: tuple[str, ...]) -> str:
    text = PROBE.format(environ=environ, stdin=stdin, forbidden=forbidden)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return done.stdout


def test_version_loads_nothing_that_it_does_not_need() -> None:
    forbidden = (
        "cnicore.cli",
        "cnicore.runtime",
        "click",
        "importlib.metadata",
        "pydantic",
        "pluggy",
    )
    assert loaded({"CNI_COMMAND": "VERSION"}, "", forbidden) == "\n"


def test_no_plugin_loads_the_command_line_or_the_runtime_library() -> None:
    environ = {"CNI_COMMAND": "STATUS", "CNI_PATH": "/nonexistent"}
    stdin = '{"cniVersion":"1.1.0","name":"n","type":"loopback"}'
    assert loaded(environ, stdin, ("cnicore.cli", "cnicore.runtime", "click")) == "\n"
