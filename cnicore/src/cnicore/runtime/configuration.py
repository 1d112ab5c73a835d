"""Find network configurations in files and directories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TypeVar

from cnicore.documents import decode_object
from cnicore.errors import InvalidNetworkConfig, system_errors
from cnicore.runtime.failures import reported_as
from cnicore.runtime.network import SINGLE, Network
from cnicore.spec import is_identifier

LISTS = (".conflist",)
SINGLES = (".conf", ".json")

T = TypeVar("T")


def load_network(directory: str | PathLike[str], name: str) -> Network:
    """Load the network of that name from a directory such as /etc/cni/net.d.

    A list (*.conflist) is preferred to a single plugin (*.conf, *.json); among equals the first
    file by name counts. Raises CniError for the first file that is broken, even if it is another
    network's, and InvalidNetworkConfig if none has the name.
    """
    lists, singles = (files_in(Path(directory), suffixes) for suffixes in (LISTS, SINGLES))
    for file in lists:
        if (network := load_list(file)).name == name:
            return network
    for file in singles:
        if (network := load_single(file)).name == name:
            return network.as_list()
    if not lists and not singles:
        raise InvalidNetworkConfig(
            f"no net configurations found in {directory}: put a .conflist file there"
        )
    raise InvalidNetworkConfig(f'no net configuration with name "{name}" in {directory}')


def load_network_file(file: str | PathLike[str]) -> Network:
    """Load a list, or a single plugin's configuration as a list of one, from a file.

    Raises CniError that names the file.
    """
    file = Path(file)
    return load_list(file) if holds_list(file) else load_single(file).as_list()


def holds_list(file: Path) -> bool:
    if file.name.endswith(LISTS):
        return True
    document = parse_file(file, lambda data: decode_object(data, SINGLE))
    return "plugins" in document or "type" not in document


def network_files(directory: str | PathLike[str]) -> tuple[Path, ...]:
    """List the files that `load_network` looks at, in its order."""
    return (*files_in(Path(directory), LISTS), *files_in(Path(directory), SINGLES))


def load_list(file: Path) -> Network:
    """Load a list and, unless it forbids that, the plugins in the folder named after it.

    Raises CniError that names the file, also if there is no plugin.
    """
    network = parse_file(file, Network.from_bytes)
    # only ADD checks the name; until then it must not lead to another directory
    if is_identifier(network.name) and not network.load_only_inlined_plugins:
        files = files_in(file.parent / network.name, (".conf",))
        added = [load_single(one).plugins[0] for one in files]
        network = replace(network, plugins=(*network.plugins, *added))
    if not network.plugins:
        raise InvalidNetworkConfig(
            f'{file}: no plugin configs found: add "plugins" or the folder {network.name}'
        )
    return network


def load_single(file: Path) -> Network:
    """Load the configuration of one plugin. Raises CniError that names the file."""
    return parse_file(file, Network.from_plugin)


def parse_file(file: Path, parse: Callable[[bytes], T]) -> T:
    with system_errors(f"read {file}"):
        data = file.read_bytes()
    with reported_as(f"{file}"):
        return parse(data)


def files_in(directory: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """List the directory's files with one of the suffixes, sorted; an absent one has none."""
    with system_errors(f"list {directory}"):
        try:
            files = [file for file in directory.iterdir() if file.name.endswith(suffixes)]
        except FileNotFoundError:
            return []
        return sorted(file for file in files if not file.is_dir())
