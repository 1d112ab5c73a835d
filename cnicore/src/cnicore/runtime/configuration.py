"""Find network configurations in files and directories."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path

from cnicore.documents import decode_object
from cnicore.errors import CniError, InvalidNetworkConfig, system_errors
from cnicore.runtime.failures import reported_as
from cnicore.runtime.network import SINGLE, Network

LISTS = (".conflist",)
SINGLES = (".conf", ".json")


def load_network(directory: str | PathLike[str], name: str) -> Network:
    """Load the network of that name from a directory such as /etc/cni/net.d.

    A list (*.conflist) is preferred to a single plugin (*.conf, *.json), then the first file by
    name counts. Raises CniError for the first file that is broken, even if it is another network's,
    and InvalidNetworkConfig if none has the name.
    """
    directory = Path(directory)
    singles = files_in(directory, SINGLES)
    for load, files in ((load_list, files_in(directory, LISTS)), (load_single, singles)):
        for file in files:
            network = load(file)
            if network.name == name:
                return network.as_list() if load is load_single else network
    if not singles and not files_in(directory, LISTS):
        raise InvalidNetworkConfig(
            f"no net configurations found in {directory}: put a .conflist file there"
        )
    raise InvalidNetworkConfig(f'no net configuration with name "{name}" in {directory}')


def load_network_file(file: str | PathLike[str]) -> Network:
    """Load a list, or a single plugin's configuration as a list of one, from a file.

    Raises CniError that names the file.
    """
    return loader_of(Path(file))(Path(file))


def network_files(directory: str | PathLike[str]) -> tuple[Path, ...]:
    """List the files that loading by name looks at, in its order."""
    return (*files_in(Path(directory), LISTS), *files_in(Path(directory), SINGLES))


def loader_of(file: Path) -> Callable[[Path], Network]:
    if file.suffix in LISTS:
        return load_list
    with naming(file):
        document = decode_object(read(file), SINGLE)
    if "plugins" in document or "type" not in document:
        return load_list
    return lambda file: load_single(file).as_list()


def load_list(file: Path) -> Network:
    """Load a list and, unless it forbids that, the plugins in the folder named after it.

    Raises CniError that names the file, also if there is no plugin.
    """
    with naming(file):
        network = Network.from_bytes(read(file))
        if not network.load_only_inlined_plugins:
            network = with_folder(network, file.parent)
        if not network.plugins:
            raise InvalidNetworkConfig(
                f"no plugin configs found: add them to the list or to the folder {network.name}"
            )
    return network


def with_folder(network: Network, directory: Path) -> Network:
    # the name is not checked until ADD; one with a separator must not lead elsewhere
    folder = directory / network.name
    if not network.name or folder.parent != directory or network.name == "..":
        return network
    added = [load_single(file).plugins[0] for file in files_in(folder, (".conf",))]
    return replace(network, plugins=(*network.plugins, *added))


def load_single(file: Path) -> Network:
    """Load the configuration of one plugin. Raises CniError that names the file."""
    with naming(file):
        return Network.from_plugin(read(file))


def read(file: Path) -> bytes:
    with system_errors(f"read {file}"):
        return file.read_bytes()


def files_in(directory: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """List the directory's files with one of the suffixes, sorted; an absent one has none."""
    with system_errors(f"list {directory}"):
        try:
            return sorted(
                file for file in directory.iterdir() if suffix(file) in suffixes and not file.is_dir()
            )
        except FileNotFoundError:
            return []


def suffix(file: Path) -> str:
    # a file that is called just ".conf" has this suffix too
    return file.suffix or (file.name if file.name.startswith(".") else "")


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Say in which file the error is, unless the error says so itself."""
    try:
        with reported_as(f"{file}"):
            yield
    except CniError as error:
        if isinstance(error.__cause__, CniError) and str(file.parent) in error.__cause__.msg:
            raise error.__cause__ from error.__cause__.__cause__
        raise
