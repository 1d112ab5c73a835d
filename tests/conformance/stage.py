"""A sandbox in which sets of plugins are called as a runtime calls them: whole processes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnicore.testing.sandbox import Sandbox, sandboxed

REFERENCE = Path("/usr/lib/cni")
PLUGINS = Path("/run/cni-bin")
DATA = Path("/run/cni-data")
SEARCH_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT = 60


@dataclass(frozen=True)
class Answer:
    """What one call of a plugin gave."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def document(self) -> Any:
        """The one JSON document on stdout, None if stdout is empty."""
        return json.loads(self.stdout) if self.stdout else None


class Stage:
    """A sandbox whose CNI_PATH leads to one set of plugins or the other, under the same name."""

    def __init__(self, sandbox: Sandbox, suites: Mapping[str, Path]) -> None:
        self.sandbox = sandbox
        self.suites = dict(suites)
        DATA.mkdir()

    def use(self, suite: str) -> None:
        PLUGINS.unlink(missing_ok=True)
        PLUGINS.symlink_to(self.suites[suite])

    def call(
        self,
        verb: str,
        conf: Mapping[str, Any] | bytes,
        variables: Mapping[str, str | None] | None = None,
        plugin: str = "",
    ) -> Answer:
        """Call the plugin; a variable that is None is left out of the environment."""
        stdin = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
        name = plugin or (conf["type"] if isinstance(conf, Mapping) else "")
        done = subprocess.run(
            [PLUGINS / name],
            input=stdin,
            env=environment(verb, variables or {}),
            capture_output=True,
            check=False,
            timeout=TIMEOUT,
        )
        return Answer(done.returncode, done.stdout, done.stderr)


def environment(verb: str, variables: Mapping[str, str | None]) -> dict[str, str]:
    """What a runtime sets for the attachment c1/eth0, changed by `variables`."""
    attachment: dict[str, str | None] = {
        "PATH": SEARCH_PATH,
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/c1",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(PLUGINS),
        **variables,
    }
    return {name: value for name, value in attachment.items() if value is not None}


@contextmanager
def staged(suites: Mapping[str, Path]) -> Iterator[Stage]:
    """A stage with one container, c1, in which duplicate address detection is off.

    Waiting for it costs two seconds for each IPv6 address; a case that is about it turns it on.
    """
    with sandboxed() as sandbox:
        sandbox.container()
        stage = Stage(sandbox, suites)
        for netns in ("", "/run/netns/c1"):
            sandbox.shell("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad", netns)
        yield stage


def install(directory: Path, python: str) -> Path:
    """Fill the directory with our plugins, as `cni install` does."""
    directory.mkdir(parents=True, exist_ok=True)
    command = Path(python).parent / "cni"
    subprocess.run(
        [command, "install", directory],
        check=True,
        capture_output=True,
        timeout=TIMEOUT,
        env={"PATH": os.environ["PATH"]},
    )
    return directory
