"""`cni networks`, `cni plugins`, `cni schema`: what is configured and installed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cnicore import registry
from cnicore.cli.output import failures_shown, json_option, show, show_table
from cnicore.documents import Document
from cnicore.errors import CniError
from cnicore.registry import Plugin
from cnicore.runtime import load_network_file, network_files

VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS")
SCHEMA = "https://json-schema.org/draft/2020-12/schema"


@click.command()
@click.option(
    "--config-dir",
    metavar="DIR",
    envvar="NETCONFPATH",
    default="/etc/cni/net.d",
    help="List the networks of this directory.",
    show_default=True,
    show_envvar=True,
)
@json_option
def networks(config_dir: str, *, as_json: bool) -> None:
    """List the configured networks, and which files are wrong.

    A wrong file hides the networks that come after it: runtimes stop there.
    """
    with failures_shown(as_json=as_json):
        found = describe_networks(config_dir)
    if as_json:
        show(found)
    else:
        rows = [
            (one["name"], one["cniVersion"], ",".join(one["plugins"]), one["file"], one["problem"])
            for one in found
        ]
        show_table(("NAME", "VERSION", "PLUGINS", "FILE", "PROBLEM"), rows)


def describe_networks(directory: str) -> list[Document]:
    """Describe every file in the order of lookup. Raises CniError for an unreadable directory."""
    first: dict[str, str] = {}
    found = []
    for file in network_files(directory):
        description = describe_network(file)
        if not description["problem"]:
            used = first.setdefault(description["name"], file.name)
            if used != file.name:
                description["problem"] = f"never used: {used} has the same name and comes first"
        found.append(description)
    return found


def describe_network(file: Path) -> Document:
    description: Document = {"name": "", "cniVersion": "", "plugins": [], "file": file.name}
    try:
        network = load_network_file(file)
    except CniError as error:
        return {**description, "problem": str(error).removeprefix(f"{file}: ")}
    return {
        **description,
        "name": network.name,
        "cniVersion": network.cni_version,
        "plugins": [plugin.type for plugin in network.plugins],
        "problem": "",
    }


@click.command()
@json_option
def plugins(*, as_json: bool) -> None:
    """List the installed plugins, their verbs and versions."""
    with failures_shown(as_json=as_json):
        found = [describe_plugin(plugin) for _, plugin in sorted(registry.installed().items())]
    if as_json:
        show(found)
    else:
        rows = [
            (
                one["type"],
                f"{one['distribution']} {one['version']}",
                ",".join(one["verbs"]),
                span(one["cniVersions"]),
                one["problem"],
            )
            for one in found
        ]
        show_table(("TYPE", "DISTRIBUTION", "VERBS", "CNI VERSIONS", "PROBLEM"), rows)


def describe_plugin(plugin: Plugin) -> Document:
    """Describe a plugin; one that cannot be imported has a problem and no verbs."""
    verbs: list[str] = []
    problem = ""
    try:
        plugin.load()
        verbs = [verb for verb in VERBS if plugin.implements(verb)]
        problem = "" if "ADD" in verbs else f"{plugin.entry_point.value} has no hook cni_add"
    except CniError as error:
        problem = str(error)
    return {
        "type": plugin.type,
        "distribution": plugin.entry_point.distribution,
        "version": plugin.entry_point.version,
        "verbs": verbs,
        "cniVersions": list(plugin.supported_versions),
        "problem": problem,
    }


def span(versions: list[str]) -> str:
    """Shorten a list of versions to its first and last."""
    return "-".join(dict.fromkeys((versions[0], versions[-1]))) if versions else ""


@click.command()
@click.argument("plugin_type", metavar="TYPE")
def schema(plugin_type: str) -> None:
    """Print the JSON Schema of the configuration of the plugin TYPE."""
    with failures_shown():
        show(describe_configuration(plugin_type))


def describe_configuration(plugin_type: str) -> dict[str, Any]:
    """Make the schema from the plugin's model. Raises CniError for an unknown or broken plugin."""
    model = registry.find(plugin_type).load().cni_config()
    return {"$schema": SCHEMA, **model.model_json_schema(by_alias=True)}
