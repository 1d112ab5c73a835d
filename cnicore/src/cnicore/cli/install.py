"""`cni install` and `cni uninstall`: the commands."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cnicore import registry
from cnicore.cli import units
from cnicore.cli.installation import PROGRAM, Installation
from cnicore.cli.launcher import SOCKET, import_directories, launcher_text, real_interpreter
from cnicore.cli.output import failures_shown
from cnicore.cli.units import Units, unit_texts
from cnicore.errors import CniError

NOTHING = "nothing, nothing is ours"
systemd_option = click.option(
    "--systemd", is_flag=True, help="And the units with which systemd runs `cni serve`."
)
unit_directory_option = click.option(
    "--unit-directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=units.DIRECTORY,
    show_default=True,
    help="Where the units of --systemd are.",
)


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--only", metavar="TYPE", multiple=True, help="Only this plugin. May be repeated.")
@click.option("--force", is_flag=True, help="Replace files that are not of this program.")
@click.option(
    "--socket", default=SOCKET, show_default=True, help="Where the plugins ask for `cni serve`."
)
@systemd_option
@unit_directory_option
def install(
    directory: Path,
    only: tuple[str, ...],
    socket: str,
    unit_directory: Path,
    *,
    force: bool,
    systemd: bool,
) -> None:
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
        script = launcher_text(real_interpreter(), import_directories(sys.path), socket)
        wanted = sorted(set(only)) or known
        installation, own_units = Installation(directory.absolute()), Units(unit_directory)
        if systemd:
            texts = unit_texts(installation.program, socket)
            own_units.require_free(force=force)
        removed = installation.install(script, wanted, known, force=force)
        if systemd:
            own_units.install(texts)
    click.echo(f"installed in {directory}: {', '.join((PROGRAM, *wanted))}")
    if removed:
        click.echo(f"removed, no longer installed: {', '.join(removed)}")
    if systemd:
        click.echo(f"installed in {unit_directory}: {', '.join(units.NAMES)}")
        click.echo(f"to start the server: {units.ENABLE}")


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@systemd_option
@unit_directory_option
def uninstall(directory: Path, unit_directory: Path, *, systemd: bool) -> None:
    """Remove from DIR what `cni install` wrote, and nothing else."""
    with failures_shown():
        removed = Installation(directory).uninstall()
        removed_units = Units(unit_directory).uninstall() if systemd else []
    click.echo(f"removed from {directory}: {', '.join(removed) or NOTHING}")
    if systemd:
        click.echo(f"removed from {unit_directory}: {', '.join(removed_units) or NOTHING}")
    if removed_units:
        click.echo(f"to stop the server: {units.FORGET}")
