"""What several files of tests on the real kernel share."""

import dataclasses

import pytest

from kernel.uplinks import CONTAINER, build


@pytest.fixture
def uplinks(sandbox):
    """The sandbox with a container that has two uplinks."""
    build(sandbox)
    return sandbox


@pytest.fixture
def caller(call):
    """Calls plugins for the second uplink; tests of other things have a caller of their own."""
    return dataclasses.replace(call, netns=CONTAINER, ifname="eth1")
