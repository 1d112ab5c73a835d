"""`cni add`, `del`, `check`, `gc`, `status`: the verbs of the specification, as in cnitool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from cnicore.cli.call import Call
from cnicore.cli.output import failures_shown, json_option, show
from cnicore.documents import Document, encode
from cnicore.runtime.runtime import CACHE_DIR

Verb = Callable[[Call], Document | None]

OPTIONS = (
    click.option("--config", metavar="FILE", help="Read the network from this file."),
    click.option(
        "--config-dir",
        metavar="DIR",
        envvar="NETCONFPATH",
        default="/etc/cni/net.d",
        help="Look for NETWORK in this directory.",
        show_default=True,
        show_envvar=True,
    ),
    click.option(
        "--plugin-path",
        metavar="DIRS",
        envvar="CNI_PATH",
        help="Look for plugins in these directories, separated by colons."
        "  [default: where `cni install` put this program]",
        show_envvar=True,
    ),
    click.option(
        "--cache-dir",
        metavar="DIR",
        default=CACHE_DIR,
        help="Remember results below this directory.",
        show_default=True,
    ),
    click.option("--container-id", metavar="ID", help="[default: a hash of NETNS]"),
    click.option(
        "-i",
        "--ifname",
        metavar="NAME",
        envvar="CNI_IFNAME",
        default="eth0",
        help="Name of the interface in the container.",
        show_default=True,
        show_envvar=True,
    ),
    click.option(
        "--args",
        metavar="K=V;...",
        envvar="CNI_ARGS",
        default="",
        help="Arguments for the plugins.",
        show_envvar=True,
    ),
    click.option(
        "--capability-args",
        metavar="JSON",
        envvar="CAP_ARGS",
        default="",
        help="Arguments for plugins' capabilities, an object.",
        show_envvar=True,
    ),
    json_option,
)
KEEP = click.option(
    "--keep",
    metavar="CONTAINER_ID[/IFNAME]",
    multiple=True,
    help="Spare this attachment; all of the container's without IFNAME. May be repeated.",
)
NETNS = {
    True: click.argument("netns"),
    False: click.argument("netns", required=False, default=""),
}


def verb(
    name: str, *, netns_required: bool = True, options: Sequence[Callable[[Any], Any]] = ()
) -> Callable[[Verb], click.Command]:
    """Make a subcommand of a function; its docstring is the help."""

    def decorate(function: Verb) -> click.Command:
        def callback(*, as_json: bool, **values: Any) -> None:
            with failures_shown(as_json=as_json):
                document = function(Call(**values))
            if as_json:
                show(document or {})
            elif document is not None:
                click.echo(encode(document), nl=False)  # no newline, as cnitool

        command = callback
        for option in reversed((*options, *OPTIONS)):
            command = option(command)
        command = NETNS[netns_required](command)
        command = click.argument("network")(command)
        return click.command(name, help=function.__doc__)(command)

    return decorate


@verb("add")
def add(call: Call) -> Document:
    """Attach the namespace NETNS to NETWORK and print the result.

    NETNS is a path. If it fails, what was made is taken back, unless NETNS is attached already:
    then everything stays as it is.
    """
    return call.runtime().add(call.load(), call.attachment()).document


@verb("del")
def delete(call: Call) -> None:
    """Detach the namespace NETNS from NETWORK.

    The namespace need not exist any more, and the command may be repeated.
    """
    call.runtime().delete(call.load(), call.attachment())


@verb("check")
def check(call: Call) -> None:
    """Fail unless NETNS is attached to NETWORK as `cni add` left it."""
    call.runtime().check(call.load(), call.attachment())


@verb("gc", netns_required=False, options=(KEEP,))
def gc(call: Call) -> None:
    """Remove everything of NETWORK that no attachment needs.

    Every attachment counts as gone that is not kept by an option. NETNS is ignored.
    """
    runtime = call.runtime()
    runtime.gc(call.load(), call.kept(runtime))


@verb("status", netns_required=False)
def status(call: Call) -> None:
    """Fail unless NETWORK could attach a container now. NETNS is ignored."""
    call.runtime().status(call.load())
