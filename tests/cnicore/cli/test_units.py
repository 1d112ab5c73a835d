"""`cni install --systemd`: the units of `cni serve`, files of others, and what systemd says of them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cnicore.cli.units import MARKER, NAMES, Units, is_unit, unit_texts
from cnicore.errors import CniError
from cnicore.warm.server import command

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLES = DOCS / "examples/systemd"
PAGE = DOCS / "how-to/run-the-server.md"
SOCKET = "/run/cni/cni.sock"


@pytest.fixture
def units(tmp_path):
    return Units(tmp_path / "units")


@pytest.fixture
def texts(tmp_path):
    return unit_texts(tmp_path / "bin" / "cni", SOCKET)


@pytest.fixture
def arguments(node, units):
    """What the options are for a node of the test's own."""
    return [f"{node}/opt", "--systemd", "--unit-directory", str(units.directory)]


def names(directory):
    return sorted(file.name for file in directory.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_are_what_is_written_for_opt_cni_bin(name):
    assert unit_texts(Path("/opt/cni/bin/cni"), SOCKET)[name] == (EXAMPLES / name).read_text()


def test_the_units_name_the_program_and_the_socket():
    texts = unit_texts(Path("/usr/lib/cni/cni"), "/run/other.sock")

    assert "\nExecStart=/usr/lib/cni/cni serve\n" in texts["cni.service"]
    assert "\nListenStream=/run/other.sock\n" in texts["cni.socket"]


@pytest.mark.parametrize(
    "path",
    [
        "bin/cni",
        "",
        "/a b/cni",
        "/a%n/cni",
        "/a$HOME/cni",
        '/a"/cni',
        "/a\nUser=x",
        "/a/../cni",
        "/ä",
    ],
)
def test_a_path_that_systemd_would_read_otherwise_is_refused(path):
    with pytest.raises(CniError, match=r"^DIR: systemd cannot take "):
        unit_texts(Path(path), SOCKET)
    with pytest.raises(CniError, match=r"^--socket: systemd cannot take "):
        unit_texts(Path("/opt/cni/bin/cni"), path)


def test_they_are_written_for_all_to_read_and_nothing_else_stays(units, texts):
    for _ in range(2):
        units.install(texts)

    assert names(units.directory) == sorted(NAMES)
    for name in NAMES:
        file = units.directory / name
        assert (file.read_text(), file.stat().st_mode & 0o777) == (texts[name], 0o644)


def test_units_of_others_are_all_named(units):
    units.directory.mkdir()
    (units.directory / "cni.service").write_text("[Service]\nExecStart=/usr/bin/theirs\n")
    (units.directory / "cni.socket").symlink_to(os.devnull)  # masked

    with pytest.raises(CniError) as failure:
        units.require_free()

    assert str(failure.value) == (
        f"these files are not of this program: {units.directory}/cni.socket,"
        f" {units.directory}/cni.service: remove them, or replace them with --force"
    )


def test_a_unit_of_others_is_replaced_if_forced_and_a_directory_never(units, texts):
    units.directory.mkdir()
    (units.directory / "cni.service").symlink_to(os.devnull)

    units.require_free(force=True)
    units.install(texts)
    assert all(map(is_unit, units.directory.iterdir()))

    (units.directory / "cni.socket").unlink()
    (units.directory / "cni.socket").mkdir()
    with pytest.raises(CniError, match=r"/cni\.socket: remove them first"):
        units.require_free(force=True)


def test_a_failed_write_leaves_the_old_unit_and_no_other_file(units, texts, monkeypatch):
    units.install(texts)

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(CniError, match=r"could not install units into .*: No space left"):
        units.install(dict.fromkeys(NAMES, "new"))

    assert {name: (units.directory / name).read_text() for name in names(units.directory)} == texts


@pytest.mark.parametrize("text", ["", "[Unit]\n", f"\n{MARKER}\n", f"{MARKER} not\n", "\udcff"])
def test_a_file_without_the_marker_in_its_first_line_is_no_unit_of_ours(tmp_path, text):
    (tmp_path / "cni.socket").write_text(text, errors="surrogateescape")
    (tmp_path / "link").symlink_to(tmp_path / "absent")

    assert not any(is_unit(tmp_path / name) for name in ("cni.socket", "link", "absent", "."))


def test_uninstall_removes_ours_and_nothing_else(units, texts):
    units.install(texts)
    (units.directory / "cni.service").write_text("theirs")
    (units.directory / "cni.service.d").mkdir()

    assert units.uninstall() == ["cni.socket"]
    assert names(units.directory) == ["cni.service", "cni.service.d"]
    assert Units(units.directory / "absent").uninstall() == []


def test_the_command_says_what_it_wrote_and_what_to_run(run_cni, arguments, node, units):
    done = run_cni("install", *arguments, "--only", "loopback", "--socket", "/run/other.sock")

    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        f"installed in {node}/opt: cni, loopback\n"
        f"installed in {units.directory}: cni.socket, cni.service\n"
        "to start the server:"
        " systemctl daemon-reload && systemctl enable --now cni.socket cni.service\n"
    )
    assert f"ExecStart={node}/opt/cni serve\n" in (units.directory / "cni.service").read_text()
    assert "/run/other.sock" in (units.directory / "cni.socket").read_text()
    assert "/run/other.sock" in (node / "opt" / "cni").read_text()


def test_a_directory_is_written_as_an_absolute_path(run_cni, arguments, node, units, monkeypatch):
    monkeypatch.chdir(node)

    assert run_cni("install", "opt", *arguments[1:], "--only", "loopback").exit_code == 0
    assert f"ExecStart={node}/opt/cni serve\n" in (units.directory / "cni.service").read_text()


def test_without_the_option_there_are_no_units(run_cni, arguments, node, units):
    words = [word for word in arguments if word != "--systemd"]
    for verb in ("install", "uninstall"):
        assert "unit" not in run_cni(verb, *words).stdout.replace(str(node), "")
    assert not units.directory.exists()


@pytest.mark.parametrize("problem", ["unit", "socket"])
def test_nothing_is_installed_if_the_units_cannot_be(run_cni, arguments, node, units, problem):
    units.directory.mkdir()
    (units.directory / "cni.socket").write_text("theirs" if problem == "unit" else f"{MARKER}\n")

    words = ["--socket", "relative"] if problem == "socket" else []
    done = run_cni("install", *arguments, *words)

    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert not (node / "opt").exists()
    assert names(units.directory) == ["cni.socket"]


def test_uninstall_says_what_it_removed(run_cni, arguments, node, units):
    run_cni("install", *arguments, "--only", "loopback")

    assert run_cni("uninstall", *arguments).stdout == (
        f"removed from {node}/opt: loopback, cni\n"
        f"removed from {units.directory}: cni.socket, cni.service\n"
        "to stop the server: systemctl stop cni.socket cni.service;"
        " systemctl disable cni.socket cni.service; systemctl daemon-reload\n"
    )
    assert run_cni("uninstall", *arguments).stdout == (
        f"removed from {node}/opt: nothing, nothing is ours\n"
        f"removed from {units.directory}: nothing, nothing is ours\n"
    )


def test_systemd_understands_the_units(run_cni, arguments, units):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    run_cni("install", *arguments, "--only", "loopback")

    done = subprocess.run(
        ["systemd-analyze", "verify", *(units.directory / name for name in NAMES)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_has_no_mount_namespace_of_its_own(texts):
    """Or each call would have to enter its caller's."""
    keys = [line.partition("=")[0] for line in texts["cni.service"].splitlines()]

    assert [key for key in keys if key.startswith(("Private", "Protect", "Root", "Bind"))] == []
    assert [key for key in keys if key.endswith(("Paths", "Directory", "FileSystem"))] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_the_units(name):
    assert f"```ini\n{(EXAMPLES / name).read_text()}```\n" in PAGE.read_text()


def test_the_page_shows_the_options_of_the_server_and_their_defaults():
    rows = re.findall(r"^\| `(--\w+) [A-Z]+` \| `?(.*?)`? \|", PAGE.read_text(), re.MULTILINE)
    options = [(option.opts[0], option.default) for option in command.params]

    assert rows == [
        (name, f"{default:g}" if isinstance(default, float) else str(default))
        for name, default in options
    ]


def test_a_call_ends_before_systemd_kills_the_server(texts):
    (seconds,) = (option.default for option in command.params if option.opts == ["--seconds"])
    (patience,) = re.findall(r"^TimeoutStopSec=(\d+)$", texts["cni.service"], re.MULTILINE)

    assert int(patience) > seconds
