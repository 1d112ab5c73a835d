"""The command `cni`: its subcommands, and nothing else."""

from __future__ import annotations

from typing import NoReturn

import click

from cnicore import registry
from cnicore.cli import commands
from cnicore.cli.install import install, uninstall
from cnicore.cli.inventory import networks, plugins, schema
from cnicore.cli.verbs import add, check, delete, gc, status

COMMANDS: tuple[click.Command, ...] = (
    *(add, delete, check, gc, status),
    *(networks, plugins, schema),
    *(install, uninstall),
)


class InThisOrder(click.Group):
    """A group whose help lists the commands as they were added: by use, not by letter.

    Behind them come those of installed plugins.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of the commands."""
        del ctx
        return [*self.commands, *sorted(set(registry.commands()) - set(self.commands))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command; an installed one cannot take the place of ours."""
        return super().get_command(ctx, cmd_name) or commands.find(cmd_name)


@click.group(
    cls=InThisOrder,
    commands={str(command.name): command for command in COMMANDS},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="cnicore", prog_name="cni")
def cni() -> None:
    """Attach containers to networks, and look after the plugins that do it.

    Called by the name of a plugin, for example through the symlink `bridge`, this program is that
    plugin and takes its orders from the variables CNI_* and standard input.
    """


def run() -> NoReturn:
    """Do what the command line says and exit: 0 done, 1 failed, 2 not understood."""
    cni.main(prog_name="cni")
