"""What several files of tests on the real kernel share."""

import dataclasses
import shutil
import sys
from contextlib import ExitStack

import pytest

from conformance.stage import install
from kernel.dhcp_site import Site
from kernel.uplinks import CONTAINER, build
from kernel.warm_server import Host


@pytest.fixture
def uplinks(sandbox):
    """The sandbox with a container that has two uplinks."""
    build(sandbox)
    return sandbox


@pytest.fixture
def caller(call):
    """Calls plugins for the second uplink; tests of other things have a caller of their own."""
    return dataclasses.replace(call, netns=CONTAINER, ifname="eth1")


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """Our plugins, installed as a user installs them."""
    return install(tmp_path_factory.mktemp("plugins"), sys.executable)


@pytest.fixture
def site(sandbox, installed):
    """The sandbox with a bridge and a network for DHCP servers."""
    missing = [one for one in ("dnsmasq", "kea-dhcp4", "kea-dhcp6") if shutil.which(one) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: see .ci/setup for Debian's packages")
    with ExitStack() as stack:
        yield Site(sandbox, installed, stack)


@pytest.fixture
def host(sandbox, installed):
    """The sandbox with a container, where plugins can be called that a server may answer."""
    return Host(sandbox, installed)
