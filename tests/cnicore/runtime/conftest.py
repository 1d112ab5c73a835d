"""Plugins that are real programs: each writes down its calls and answers what the test says."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cnicore.runtime import Attachment, Network, Runtime

SCRIPT = """\
#!{python} -IS
import json, os, sys
here, name = os.path.split(sys.argv[0])
stdin = sys.stdin.read()
with open(here + "/calls.txt", "a") as log:
    log.write(json.dumps([name, dict(os.environ), stdin]) + "\\n")
with open(here + "/" + name + ".json") as answers:
    answer = json.load(answers).get(os.environ["CNI_COMMAND"], {{}})
sys.stderr.write(answer.get("stderr", ""))
sys.stdout.write(answer.get("stdout", ""))
sys.exit(answer.get("status", 0))
"""


@dataclass(frozen=True)
class Call:
    plugin: str
    environ: dict[str, str]
    stdin: dict[str, Any]

    @property
    def verb(self) -> str:
        return self.environ["CNI_COMMAND"]


@dataclass(frozen=True)
class FakePlugins:
    """A directory of plugins; a plugin answers every verb with success until told otherwise."""

    directory: Path

    def answer(
        self, plugin: str, verb: str, stdout: str = "", stderr: str = "", status: int = 0
    ) -> None:
        file = self.directory / plugin
        answers = file.with_suffix(".json")
        if not file.exists():
            file.write_text(SCRIPT.format(python=sys.executable))
            file.chmod(0o755)
            answers.write_text("{}")
        said = json.loads(answers.read_text())
        said[verb] = {"stdout": stdout, "stderr": stderr, "status": status}
        answers.write_text(json.dumps(said))

    def fail(self, plugin: str, verb: str, code: int, msg: str) -> None:
        self.answer(plugin, verb, json.dumps({"code": code, "msg": msg}), status=1)

    @property
    def calls(self) -> list[Call]:
        file = self.directory / "calls.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        return [
            Call(name, environ, json.loads(stdin))
            for name, environ, stdin in map(json.loads, lines)
        ]

    @property
    def sequence(self) -> list[str]:
        return [f"{call.verb} {call.plugin}" for call in self.calls]

    def forget(self) -> None:
        (self.directory / "calls.txt").unlink(missing_ok=True)


@pytest.fixture
def plugins(tmp_path: Path) -> FakePlugins:
    """Two plugins: `first` makes eth0, `second` adds an address to it."""
    directory = tmp_path / "bin"
    directory.mkdir()
    fake = FakePlugins(directory)
    fake.answer("first", "ADD", '{"cniVersion": "1.1.0", "interfaces": [{"name": "eth0"}]}')
    fake.answer(
        "second",
        "ADD",
        '{"cniVersion": "1.1.0", "interfaces": [{"name": "eth0"}],'
        ' "ips": [{"address": "10.1.0.5/24", "interface": 0}]}',
    )
    return fake


@pytest.fixture
def runtime(plugins: FakePlugins, tmp_path: Path) -> Runtime:
    return Runtime([plugins.directory], cache_dir=tmp_path / "cache", environ={"HOME": "/nowhere"})


def network_of(*plugins: dict[str, Any], version: str = "1.1.0", **members: Any) -> Network:
    chain = list(plugins) or [{"type": "first"}, {"type": "second", "name": "two"}]
    document = {"cniVersion": version, "name": "dbnet", **members, "plugins": chain}
    return Network.from_bytes(json.dumps(document).encode())


@pytest.fixture
def make_network() -> Any:
    """Makes the network dbnet of some plugins: `first` and `second` unless said otherwise."""
    return network_of


@pytest.fixture
def network() -> Network:
    return network_of()


@pytest.fixture
def attachment() -> Attachment:
    return Attachment(
        "abc123", netns="/run/netns/blue", ifname="eth0", args=(("K", "v"), ("L", "w"))
    )


@pytest.fixture
def cache_file(tmp_path: Path) -> Path:
    """Where the runtime remembers the attachment."""
    return tmp_path / "cache" / "results" / "dbnet-abc123-eth0"
