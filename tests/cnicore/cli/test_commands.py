"""`cni TYPE-WORD`: programs of plugins among the commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cnicore.cli.app import cni

SOURCE = """
def main(words, environ):
    \"\"\"Look after acme. More than once.\"\"\"
    print(*words)
    return len(words)
"""


def run(*words: str) -> Result:
    return CliRunner().invoke(cni, words, prog_name="cni")


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a distribution with a command of the name."""

    def offer(name: str, source: str = SOURCE) -> None:
        info = tmp_path / "acme-1.0.dist-info"
        info.mkdir()
        (info / "entry_points.txt").write_text(f"[cni.commands]\n{name} = acme_daemon:main\n")
        (tmp_path / "acme_daemon.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)

    yield offer
    sys.modules.pop("acme_daemon", None)


def test_an_installed_command_is_listed_behind_our_own(offer: Callable[..., None]) -> None:
    offer("acme-daemon")
    listed = run("--help").stdout.partition("Commands:")[2].split("\n")[1:]
    names = [line.split()[0] for line in listed if line]
    assert names[:2] == ["add", "del"]
    assert names.index("acme-daemon") > names.index("uninstall")
    assert any(line.startswith("  acme-daemon  Look after acme.") for line in listed)


@pytest.mark.parametrize(
    "words", [["-h"], ["--help"], ["-a", "b", "--c=d"], ["x", "-timeout", "2s"]]
)
def test_it_reads_its_words_itself(offer: Callable[..., None], words: list[str]) -> None:
    offer("acme-daemon")
    done = run("acme-daemon", *words)
    assert (done.exit_code, done.stdout) == (len(words), " ".join(words) + "\n")


def test_none_takes_the_place_of_one_of_ours(offer: Callable[..., None]) -> None:
    offer("plugins")
    done = run("plugins", "--help")
    assert "List the installed plugins" in done.stdout
    assert run("--help").stdout.count("  plugins ") == 1


def test_one_that_is_broken_is_named_and_hides_no_other(offer: Callable[..., None]) -> None:
    offer("acme-daemon", "import no_such_module")
    assert 'cannot import command "acme-daemon"' in run("--help").stdout
    done = run("acme-daemon")
    assert done.exit_code == 1
    assert done.stderr.startswith('Error: cannot import command "acme-daemon"')


def test_an_unknown_one_is_not_understood() -> None:
    assert run("acme-nothing").exit_code == 2
