"""`cni install` and `cni uninstall`: the commands."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cnicore import registry
from cnicore.cli.installation import PROGRAM, Installation
from cnicore.cli.launcher import import_directories, launcher_text, real_interpreter
from cnicore.cli.output import failures_shown
from cnicore.errors import CniError


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--only", metavar="TYPE", multiple=True, help="Only this plugin. May be repeated.")
@click.option("--force", is_flag=True, help="Replace files that are not of this program.")
def install(directory: Path, only: tuple[str, ...], *, force: bool) -> None:
    """Write `cni` and a symlink to it for every plugin into DIR.

    Runtimes find the plugins there, for example in /opt/cni/bin. Each file is replaced at once, so
    it may be repeated on a node in use, and has to be after plugins were installed or removed. If
    there are files of others with the same names, nothing is changed.
    """
    with failures_shown():
        known = sorted(set(registry.installed()) - {PROGRAM})
        unknown = sorted(set(only) - set(known))
        if unknown:
            raise CniError(f"no plugin {', '.join(unknown)} is installed: see `cni plugins`")
        script = launcher_text(real_interpreter(), import_directories(sys.path))
        wanted = sorted(set(only)) or known
        removed = Installation(directory).install(script, wanted, known, force=force)
    click.echo(f"installed in {directory}: {', '.join((PROGRAM, *wanted))}")
    if removed:
        click.echo(f"removed, no longer installed: {', '.join(removed)}")


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def uninstall(directory: Path) -> None:
    """Remove from DIR what `cni install` wrote, and nothing else."""
    with failures_shown():
        removed = Installation(directory).uninstall()
    click.echo(f"removed from {directory}: {', '.join(removed) or 'nothing, nothing is ours'}")
