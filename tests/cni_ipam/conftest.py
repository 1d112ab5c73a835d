"""The network `mynet` of host-local in a directory of the test's own; the scene of dhcp."""

from ipaddress import IPv6Interface
from pathlib import Path

import pytest

from dhcp.scene import Scene, in_place
from dhcp.servers import Server4, serving4


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


@pytest.fixture
def scene(tmp_path):
    with in_place(Scene(tmp_path)) as scene:
        scene.container.cidrs["eth0"] = [IPv6Interface("fe80::2/64")]
        before = open_files()
        yield scene
        assert open_files() == before


@pytest.fixture
def server():
    with serving4(Server4()) as server:
        yield server


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))
