"""The hosts of the benchmark: for each case and side namespaces of their own, with two containers."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Side
from benchmarks.process import CallFailed, Finished, Spawner
from cnicore.testing.sandbox import Sandbox
from conformance.stage import PLUGINS, REFERENCE, environment, staged

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MOST_SAID = 2000  # bytes of each stream that an error shows
ANSWERED = ("VERSION", "ADD")
CONTAINER, NEIGHBOUR = "c1", "c0"
HOST_PORTS = {CONTAINER: 8080, NEIGHBOUR: 8081}
CONTAINER_PORT = 80

Launch = Callable[[str], Sequence[str]]
"""From a plugin's path to the command that is run."""


def directly(program: str) -> Sequence[str]:
    return [program]


class Namespaces:
    """The network and mount namespaces that this process is in when the object is made."""

    def __init__(self) -> None:
        self._net, self._mount = (
            os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("net", "mnt")
        )
        self._directory = Path.cwd()

    def enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        for fd, kind in ((self._net, CLONE_NEWNET), (self._mount, CLONE_NEWNS)):
            if libc.setns(fd, kind):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        os.chdir(self._directory)  # setns leads to the root of the mounts

    def close(self) -> None:
        os.close(self._net)
        os.close(self._mount)


class Place:
    """A host on which one side plays one case."""

    def __init__(self, case: Case, sandbox: Sandbox, spawner: Spawner) -> None:
        self.case = case
        self.sandbox = sandbox
        self.namespaces = Namespaces()
        self._spawner = spawner
        self._results: dict[str, Any] = {}

    def call(
        self,
        verb: str,
        container: str = CONTAINER,
        launch: Launch = directly,
        *,
        watch: bool = False,
    ) -> list[Finished]:
        """Call each plugin of the case. Raises CallFailed with what it said if one fails."""
        if verb == "ADD":
            self._results.pop(container, None)
            for conf in self.case.before:
                self._call_one(verb, container, conf, plugins=REFERENCE)
        calls = [
            self._call_one(verb, container, conf, launch=launch, watch=watch)
            for conf in self.called(verb)
        ]
        if verb == "DEL":
            for conf in reversed(self.case.before):
                self._call_one(verb, container, conf, plugins=REFERENCE)
            del self._results[container]
        return calls

    def called(self, verb: str) -> list[Mapping[str, Any]]:
        plugins = self.case.plugins[:: -1 if verb == "DEL" else 1]
        skipped = self.case.no_check if verb == "CHECK" else ()
        return [conf for conf in plugins if conf["type"] not in skipped]

    def addresses(self, container: str = CONTAINER) -> list[str]:
        """What the last ADD leased."""
        return [ip["address"] for ip in self._results[container].get("ips", [])]

    def _call_one(
        self,
        verb: str,
        container: str,
        conf: Mapping[str, Any],
        *,
        plugins: Path = PLUGINS,
        launch: Launch = directly,
        watch: bool = False,
    ) -> Finished:
        document = handed_over(conf, container, self._results.get(container))
        variables = {
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{container}",
            "CNI_PATH": str(plugins),
        }
        done = self._spawner.run(
            launch(str(plugins / conf["type"])),
            environment(verb, variables),
            json.dumps(document).encode(),
            watch=watch,
        )
        result = parse(
            done, f"{self.case.name}: {verb} of {conf['type']}", is_answered=verb in ANSWERED
        )
        if verb == "ADD":
            self._results[container] = result
        return done


def handed_over(conf: Mapping[str, Any], container: str, previous: Any) -> dict[str, Any]:
    """The configuration with what a runtime adds."""
    added: dict[str, Any] = {"prevResult": previous} if previous else {}
    if conf.get("capabilities", {}).get("portMappings"):
        ports = {"hostPort": HOST_PORTS[container], "containerPort": CONTAINER_PORT}
        added["runtimeConfig"] = {"portMappings": [{**ports, "protocol": "tcp"}]}
    return {**conf, **added}


def parse(done: Finished, what: str, *, is_answered: bool = True) -> Any:
    """The document on stdout, None if none is due. Raises CallFailed unless all went well."""
    said = f"{text(done.stdout)}{text(done.stderr)}".strip()
    if done.status:
        raise CallFailed(f"{what} exits with {done.status}: {said}")
    if not is_answered and not done.stdout:
        return None
    try:
        document = json.loads(done.stdout)
    except ValueError as error:
        raise CallFailed(f"{what} does not answer with JSON: {said}") from error
    if not is_answered or not isinstance(document, dict):
        raise CallFailed(f"{what} answers what it should not: {said}")
    return document


def text(output: bytes) -> str:
    return output[:MOST_SAID].decode(errors="replace")


@contextmanager
def placed(
    case: Case, side: Side, directory: Path, *, home: Namespaces, spawner: Spawner
) -> Iterator[Place]:
    """Make the place, as a rule with a neighbour attached: no timed ADD is the network's first.

    This process is in `home` when the place is made, and when it is gone.
    """
    home.enter()  # lest it lie in another place's mounts
    with ExitStack() as stack:
        stage = stack.enter_context(staged({side.name: directory}))
        stage.use(side.name)
        stage.sandbox.container(NEIGHBOUR)
        stack.enter_context(side.beside(stage))
        stack.enter_context(case.beside(stage))
        place = Place(case, stage.sandbox, spawner)
        stack.callback(place.namespaces.close)
        stack.callback(place.namespaces.enter)
        if case.prepare:
            stage.sandbox.shell(case.prepare)
        if case.has_neighbour:
            place.call("ADD", NEIGHBOUR)
        home.enter()
        yield place
