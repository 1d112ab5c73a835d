"""`cni serve` for tests, and calls of plugins as whole processes that it may answer.

Plugins are called along one path, which leads to one of several programs (`Host.use`):

* `warm`: as it was installed.
* `strict`: it has no way to do the work itself, so what it answers the server has answered.
* `cold`: it looks for a server where none is.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from cnicore.cli import launcher
from cnicore.testing.sandbox import Sandbox
from cnicore.warm import client
from conformance.stage import PLUGINS, TIMEOUT, Answer, environment
from kernel.dhcp_servers import eventually

SOCKET = Path(launcher.SOCKET)
IMPORT = "from cnicore.warm.client import main\n"
MAIN = f"main({os.fsencode(launcher.SOCKET)!r})\n"
NO_WAY_BACK = 'sys.modules["cnicore.main"] = None\n'
NOWHERE = "main(b'/run/no.sock')\n"
TELL = "from cnicore.warm.client import identity\nsys.stdout.buffer.write(identity())\n"
SLOW = Path("/run/slow")
SLOW_PLUGIN = """#!/bin/sh
# A foreign IPAM plugin: its ADD has a lease at once, and answers when it may.
cat >/dev/null
echo "$CNI_COMMAND" >>/run/slow/log
echo "said by $CNI_COMMAND" >&2
case "$CNI_COMMAND" in
ADD)
    touch "/run/slow/lease-$CNI_CONTAINERID"
    tries=0
    while [ ! -e /run/slow/go ] && [ "$tries" -lt 600 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.2/24", "gateway": "10.9.0.1"}]}'
    ;;
DEL) rm -f "/run/slow/lease-$CNI_CONTAINERID" ;;
esac
"""


class Host:
    """A sandbox with the container c1, in which the plugins are called."""

    def __init__(self, sandbox: Sandbox, installed: Path) -> None:
        self.sandbox = sandbox
        self.text = (installed / "cni").read_text()
        self.types = [file.name for file in installed.iterdir() if file.name != "cni"]
        assert IMPORT in self.text
        assert MAIN in self.text
        self.write("warm")
        self.write("strict", {IMPORT: NO_WAY_BACK + IMPORT})
        self.write("cold", {MAIN: NOWHERE})
        self.use("warm")
        sandbox.shell("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad")
        sandbox.container()

    def write(self, suite: str, changes: Mapping[str, str] | None = None) -> Path:
        """Make a directory of plugins whose program is changed so."""
        text = self.text
        for old, new in (changes or {}).items():
            text = text.replace(old, new)
        directory = Path("/run/suites", suite)
        directory.mkdir(parents=True)
        program = directory / "cni"
        program.write_text(text)
        program.chmod(0o755)
        for plugin in self.types:
            (directory / plugin).symlink_to("cni")
        return directory

    def use(self, suite: str) -> None:
        PLUGINS.unlink(missing_ok=True)
        PLUGINS.symlink_to(Path("/run/suites", suite))

    def slow(self) -> None:
        """Let there be the foreign plugin `slow` on the way along CNI_PATH."""
        SLOW.mkdir()
        (SLOW / "slow").write_text(SLOW_PLUGIN)
        (SLOW / "slow").chmod(0o755)

    def start(
        self,
        verb: str,
        conf: Mapping[str, Any] | bytes,
        name: str = "c1",
        prefix: Sequence[str] = (),
        **popen: Any,
    ) -> subprocess.Popen[bytes]:
        """Call the plugin for a container and do not wait for the answer."""
        variables = {"CNI_CONTAINERID": name, "CNI_NETNS": f"/run/netns/{name}"}
        path = {"CNI_PATH": f"{PLUGINS}:{SLOW}"}
        environ = environment(verb, {**variables, **path, **popen.pop("variables", {})})
        plugin = conf["type"] if isinstance(conf, Mapping) else popen.pop("plugin")
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
        program = [*prefix, str(PLUGINS / plugin)]
        process = subprocess.Popen(program, stdin=subprocess.PIPE, env=environ, **pipes)
        assert process.stdin
        with suppress(BrokenPipeError):
            process.stdin.write(conf if isinstance(conf, bytes) else json.dumps(conf).encode())
            process.stdin.flush()
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdin = None  # communicate() is not to flush it
        return process

    def __call__(self, verb: str, conf: Mapping[str, Any] | bytes, **keys: Any) -> Answer:
        return answer_of(self.start(verb, conf, **keys))

    def add(self, conf: Mapping[str, Any], name: str = "c1") -> Any:
        """ADD that must succeed: its result."""
        answer = self("ADD", conf, name=name)
        assert answer.status == 0, answer
        return answer.document

    def left(self, *containers: str) -> dict[str, str]:
        """What an attachment could leave: links, leases, rules."""
        names = 'ip -json {} link | grep -o \'"ifname":"[^"]*"\' | sort'
        files = "find /var/lib/cni /run/cni-data /run/slow -type f -not -name lock"
        commands = {
            "host": names.format(""),
            **{name: names.format(f"-n {name}") for name in containers or ("c1",)},
            "files": f"{files} -not -name 'last_reserved*' -name '*[0-9]*' 2>/dev/null | sort",
            "rules": "nft list ruleset",
        }
        return {what: self.sandbox.shell(command) for what, command in commands.items()}

    def identity(self) -> bytes:
        """What the launchers have in common with the server."""
        directory = self.write("identity", {MAIN: TELL})
        return subprocess.run([directory / "loopback"], capture_output=True, check=True).stdout


def answer_of(process: subprocess.Popen[bytes]) -> Answer:
    try:
        stdout, stderr = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    return Answer(process.returncode, stdout or b"", stderr or b"")


class Server:
    """A process of `cni serve`; `log` is what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def workers(self) -> list[int]:
        return children(self.process.pid)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)

    def wait_for_workers(self, count: int, *others: int) -> list[int]:
        """Wait until there are so many workers, none of which is one of the others."""

        def found() -> list[int]:
            assert self.process.poll() is None, self.log
            workers = self.workers
            return workers if len(workers) == count and not {*workers} & {*others} else []

        workers: list[int] = eventually(found, lambda: f"workers: {self.workers}; {self.log}")
        return workers


@contextmanager
def serving(
    *options: str,
    workers: int = 2,
    suite: str = "warm",
    prefix: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A server that serves; it ends with the block, and nothing of it is left then."""
    command = [f"/run/suites/{suite}/cni", "serve", "--workers", str(workers), *options]
    with ExitStack() as stack:
        log = Path(f"/run/serve-{len([*Path('/run').glob('serve-*')])}")
        stream = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={"PATH": os.environ["PATH"], **(environ or {})},
        )
        server = Server(process, log)
        seen: list[int] = []
        try:
            seen = server.wait_for_workers(workers)
            yield server
        finally:
            seen += server.workers
            if process.poll() is None:
                server.end()
        eventually(lambda: not any(map(is_alive, seen)), lambda: f"workers are left: {seen}")


def children(process: int) -> list[int]:
    with suppress(OSError):
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
        return [int(child) for child in text.split()]
    return []


def is_alive(process: int) -> bool:
    with suppress(OSError):
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False


class Launcher:
    """Speaks to the server as the launcher does, without a process of its own: many calls soon."""

    def __init__(self, identity: bytes) -> None:
        self.identity = identity

    def __call__(self, verb: str, conf: Mapping[str, Any], name: str = "c1") -> tuple[int, bytes]:
        """Exit status and stdout."""
        variables = environment(verb, {"CNI_CONTAINERID": name})
        environ = "\0".join("=".join(pair) for pair in variables.items()).encode()
        argv0 = bytes(PLUGINS / conf["type"])
        request = client.sections(self.identity, argv0, environ, json.dumps(conf).encode())
        stdout = b""
        with connected() as connection:
            client.send(connection, request)
            while True:
                kind, status, text = client.receive_frame(connection)
                if kind != client.ANSWER:
                    assert kind == client.DONE
                    return status, stdout
                stdout += text
                connection.sendall(client.WRITTEN)


@contextmanager
def connected() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(str(SOCKET))
        yield connection
