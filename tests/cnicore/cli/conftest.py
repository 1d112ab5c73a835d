"""A network `dbnet` of one plugin that is a shell script, and the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cnicore.cli.app import cni

PLUGIN = """\
#!/bin/sh
here=$(dirname "$0")
cat > "$here/stdin"
env | grep '^CNI_' | sort > "$here/environ"
echo "$CNI_COMMAND" >> "$here/verbs"
if [ -e "$here/answer" ]; then cat "$here/answer"; exit 1; fi
if [ "$CNI_COMMAND" = ADD ]; then echo '{"cniVersion": "1.1.0", "ips": []}'; fi
"""

Cni = Callable[..., Result]


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A directory with net.d/, bin/ and cache/, as a node would have them elsewhere."""
    for name in ("net.d", "bin"):
        (tmp_path / name).mkdir()
    network = {"cniVersion": "1.1.0", "name": "dbnet", "plugins": [{"type": "fake"}]}
    (tmp_path / "net.d" / "10-dbnet.conflist").write_text(json.dumps(network))
    (tmp_path / "bin" / "fake").write_text(PLUGIN)
    (tmp_path / "bin" / "fake").chmod(0o755)
    return tmp_path


@pytest.fixture
def run_cni(node: Path) -> Cni:
    """Runs `cni` for that node; variables=... adds to its environment, None takes away."""
    verbs = {"add", "del", "check", "gc", "status"}

    def run(*arguments: str, variables: dict[str, str | None] | None = None) -> Result:
        environ = {
            "NETCONFPATH": str(node / "net.d"),
            "CNI_PATH": str(node / "bin"),
            "CAP_ARGS": None,
            "CNI_ARGS": None,
            "CNI_IFNAME": None,
            **(variables or {}),
        }
        command, *rest = arguments
        cache = ["--cache-dir", str(node / "cache")] if command in verbs else []
        return CliRunner().invoke(cni, [command, *cache, *rest], env=environ, prog_name="cni")

    return run
