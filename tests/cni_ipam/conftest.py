"""The network `mynet` of host-local in a directory of the test's own."""

import pytest


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "networks"


@pytest.fixture
def directory(data_dir):
    """Where the reservations of mynet are."""
    return data_dir / "mynet"


@pytest.fixture
def network(data_dir):
    """Makes a configuration; its keyword arguments go into the section `ipam`."""

    def configuration(version="1.1.0", **ipam):
        section = {
            "type": "host-local",
            "dataDir": str(data_dir),
            "ranges": [[{"subnet": "10.1.2.0/24"}]],
        }
        return {
            "cniVersion": version,
            "name": "mynet",
            "type": "host-local",
            "ipam": {**section, **ipam},
        }

    return configuration


@pytest.fixture
def files(directory):
    """Reads the content of every file in the directory, by name."""

    def contents():
        return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}

    return contents
