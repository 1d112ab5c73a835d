"""The page "Install on a node" is true: its commands are typed on a node of the test's own."""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.stage import REFERENCE

pytestmark = [pytest.mark.conformance, pytest.mark.kernel]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "install-on-a-node.md"
END = "--end of the command--"


def blocks(language):
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return "".join(found)


@pytest.fixture
def node(sandbox, tmp_path):
    """A directory with the reference plugins and the page's network, in place of the root."""
    if not REFERENCE.is_dir():
        pytest.skip(f"needs the reference plugins in {REFERENCE}")
    networks = tmp_path / "etc/cni/net.d"
    networks.mkdir(parents=True)
    (networks / "10-apps.conflist").write_text(blocks("json"))
    shutil.copytree(REFERENCE, tmp_path / "opt/cni/bin")
    return tmp_path


def type_in(node, commands):
    """What each command prints, stderr included, all typed into one shell."""
    cni = Path(sys.executable).parent / "cni"
    lines = [f"{command} 2>&1; echo '{END}'" for command in commands]
    text = "\n".join(lines).replace("/opt/cni", f"{node}/opt/cni")
    done = subprocess.run(
        ["sh"],
        input=text.replace(".venv/bin/cni", str(cni)),
        env={"PATH": os.environ["PATH"], "NETCONFPATH": f"{node}/etc/cni/net.d"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stderr == ""
    return done.stdout.replace(str(node), "").split(f"{END}\n")[:-1]


def test_every_command_prints_what_the_page_shows(node):
    pieces = re.split(r"^\$ ", blocks("console"), flags=re.MULTILINE)[1:]
    shown = [piece.partition("\n") for piece in pieces]

    printed = type_in(node, [command for command, _, _ in shown])

    checker = doctest.OutputChecker()
    for (command, _, wanted), got in zip(shown, printed, strict=True):
        is_as_shown = checker.check_output(wanted, got, doctest.ELLIPSIS)
        assert is_as_shown, f"{command}\nthe page shows:\n{wanted}\nit printed:\n{got}"


def test_without_a_named_firewall_the_reference_cannot_take_the_masquerading_back(node, sandbox):
    network = json.loads(blocks("json"))
    del network["plugins"][0]["ipMasqBackend"]
    (node / "etc/cni/net.d/10-apps.conflist").write_text(json.dumps(network))
    ours, back = ("install --force", "uninstall")

    failed, repeated = type_in(
        node,
        [
            f"export CNI_PATH=/opt/cni/bin; ip netns add db; cp -a /opt/cni/bin /opt/cni/ref;"
            f".venv/bin/cni {ours} /opt/cni/bin >/dev/null; .venv/bin/cni add apps /run/netns/db"
            f" >/dev/null; .venv/bin/cni {back} /opt/cni/bin >/dev/null;"
            " cp -a /opt/cni/ref/. /opt/cni/bin; .venv/bin/cni del apps /run/netns/db",
            ".venv/bin/cni del apps /run/netns/db",
        ],
    )

    assert (failed[:6], repeated) == ("Error:", "")
    assert "cni:apps/" in sandbox.shell("nft list table inet cni")
