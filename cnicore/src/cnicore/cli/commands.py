"""`cni TYPE-WORD`: the programs that belong to plugins, such as the daemon of dhcp."""

from __future__ import annotations

import os

import click

from cnicore import registry
from cnicore.cli.output import failures_shown
from cnicore.errors import CniError
from cnicore.registry import Command


def find(name: str) -> click.Command | None:
    """Find the installed command of that name; it reads its own words, its help included."""
    command = registry.commands().get(name)
    if command is None:
        return None

    @click.pass_context
    def callback(ctx: click.Context, words: tuple[str, ...]) -> None:
        with failures_shown():
            status = command.run(words, os.environ)  # noqa: TID251  (the command line may read it)
        ctx.exit(status)

    return click.Command(
        name,
        callback=callback,
        params=[click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)],
        help=help_of(command),
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )


def help_of(command: Command) -> str:
    """Take the function's docstring, or say what is wrong with the command."""
    try:
        return command.load().__doc__ or ""
    except CniError as error:
        return str(error)
