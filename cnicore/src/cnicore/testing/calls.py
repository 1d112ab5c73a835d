"""Call a plugin as a runtime does, in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnicore import registry
from cnicore.documents import Document
from cnicore.main import answer_as


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a plugin answered: exit status and stdout."""

    status: int
    text: str

    @property
    def document(self) -> Any:
        """The JSON document on stdout, None if there is none."""
        return json.loads(self.text) if self.text else None


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls plugins with one attachment's variables; delegates are found in `directory`."""

    directory: Path
    netns: str = ""
    container_id: str = "c1"
    ifname: str = "eth0"
    args: str = ""

    @property
    def environ(self) -> dict[str, str]:
        return {
            "CNI_CONTAINERID": self.container_id,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.ifname,
            "CNI_PATH": str(self.directory),
            **({"CNI_ARGS": self.args} if self.args else {}),
        }

    def __call__(self, verb: str, conf: Document, **variables: str) -> Outcome:
        """Call `conf["type"]` with the verb; `variables` replace or add to the environment."""
        environ: Mapping[str, str] = {**self.environ, "CNI_COMMAND": verb, **variables}
        stdin = json.dumps(conf).encode()
        program = os.path.realpath(self.directory / "cni")
        answer = answer_as(conf["type"], environ, lambda: stdin, program)
        return Outcome(answer.status, answer.text)

    def add(self, conf: Document, **variables: str) -> Any:
        """ADD that must succeed: its result document. Raises AssertionError with the error."""
        outcome = self("ADD", conf, **variables)
        assert outcome.status == 0, outcome.text
        return outcome.document


def plugin_directory(directory: Path) -> Path:
    """Fill the directory as `cni install` does, enough for delegates to run in this process."""
    (directory / "cni").touch()
    for plugin_type in registry.installed():
        (directory / plugin_type).symlink_to("cni")
    return directory
