"""flannel with the reference's bridge and host-local as the delegate, found along CNI_PATH."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conformance.snapshot import Symbols, snapshot
from conformance.stage import REFERENCE, staged

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

SUBNET_FILE = Path("/run/flannel/subnet.env")
DATA_DIR = Path("/run/cni-data/flannel")
ENV = """\
FLANNEL_NETWORK=10.40.0.0/16
FLANNEL_SUBNET=10.40.7.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=false
"""
CONF = {
    "cniVersion": "1.0.0",
    "name": "cluster",
    "type": "flannel",
    "dataDir": str(DATA_DIR),
    "ipam": {"dataDir": "/run/cni-data/leases"},
}
C2 = {"CNI_CONTAINERID": "c2", "CNI_NETNS": "/run/netns/c2"}


@pytest.fixture
def mixed(suites, tmp_path):
    """A stage whose flannel is ours and whose delegates are the reference's, and one of each."""
    for name, directory in (
        ("flannel", suites["ours"]),
        ("bridge", REFERENCE),
        ("host-local", REFERENCE),
    ):
        (tmp_path / name).symlink_to((directory / name).resolve())
    with staged({**suites, "mixed": tmp_path}) as stage:
        SUBNET_FILE.parent.mkdir()
        SUBNET_FILE.write_text(ENV)
        stage.use("mixed")
        yield stage


def added(stage, conf=CONF, variables=None):
    answer = stage.call("ADD", conf, variables)
    assert answer.status == 0, answer.stdout
    return answer.document


def remains(stage):
    """Links, addresses and files, without what the reference leaves too."""
    kept = ("sysctl/", "host/link/cni0/", "host/route/4 main 10.40.7.0/24 ", "files/leases")
    state = snapshot(stage.sandbox, ["c1"], Symbols(""))
    return {
        key: value
        for key, value in state.items()
        if not any(one in key for one in kept) and not key.startswith("host/iptables")
    }


def test_two_containers_reach_each_other(mixed):
    mixed.sandbox.container("c2")
    address = added(mixed)["ips"][0]["address"].partition("/")[0]
    second = added(mixed, variables=C2)["ips"][0]["address"]

    assert (address, second) == ("10.40.7.2", "10.40.7.3/24")
    mixed.sandbox.shell(f"ping -c1 -W2 {address} && ping -c1 -W2 10.40.7.1", "c2")
    assert "mtu 1450" in mixed.sandbox.shell("ip link show eth0", "c1")


def test_del_leaves_what_the_delegates_own_del_leaves(mixed):
    added(mixed)
    assert mixed.call("DEL", CONF).status == 0
    before = remains(mixed)

    added(mixed)
    for _ in range(2):
        assert mixed.call("DEL", CONF).stdout == b""

    assert remains(mixed) == before
    assert list(DATA_DIR.iterdir()) == []


def test_check_says_what_the_delegate_says(mixed):
    """Debian's bridge does not find routes without a gateway of their own; newer ones do."""
    document = added(mixed)
    saved = json.loads((DATA_DIR / "c1").read_text())

    direct = mixed.call("CHECK", {**saved, "prevResult": document})
    through = mixed.call("CHECK", {**CONF, "prevResult": document})

    assert (through.status, through.document) == (direct.status, direct.document)


@pytest.mark.parametrize(("first", "second"), [("mixed", "ours"), ("ours", "mixed")])
def test_the_delegate_may_be_exchanged_between_add_and_del(mixed, first, second):
    conf = {**CONF, "delegate": {"ipMasqBackend": "iptables"}}  # Debian's knows no other
    mixed.use(first)
    document = added(mixed, conf)
    mixed.use(second)

    if second == "ours":
        assert mixed.call("CHECK", {**conf, "prevResult": document}).stdout == b""
    assert mixed.call("DEL", {**conf, "prevResult": document}).stdout == b""

    assert mixed.sandbox.json("ip -json link show type veth") == []
    assert list(DATA_DIR.iterdir()) == []


def test_what_the_delegate_leaves_of_a_failed_add_the_del_removes(mixed):
    leases = Path("/run/cni-data/leases")
    leases.touch()  # no place for host-local

    assert mixed.call("ADD", CONF).status == 1
    assert len(mixed.sandbox.json("ip -json link show type veth")) == 1
    assert [file.name for file in DATA_DIR.iterdir()] == ["c1"]

    leases.unlink()
    SUBNET_FILE.unlink()
    for _ in range(2):
        assert mixed.call("DEL", CONF).stdout == b""
    assert mixed.sandbox.json("ip -json link show type veth") == []
    assert list(DATA_DIR.iterdir()) == []
