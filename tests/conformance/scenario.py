"""One configuration, called verb by verb on a stage of its own, and what was seen after each.

Run as a program it reads a scenario from stdin and writes what it saw, so that many run side by side.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from conformance.snapshot import Symbols, Table, flatten, snapshot
from conformance.stage import Answer, Stage, staged

LIFE = ("ADD", "CHECK", "ADD", "DEL", "DEL")
"""What a runtime does and repeats."""

REFUSED = ("ADD", "DEL")


@dataclass(frozen=True)
class Case:
    """A configuration that both sets of plugins get.

    `stdin` replaces the configuration's JSON, `prepare` is run before the first verb, `says` is part
    of our error's text where the first verb fails. `chain` is what the reference attaches before,
    plugin by plugin, so that both sets start from the same; then `prepare_chained` is run.
    """

    name: str
    conf: Mapping[str, Any] = field(default_factory=dict)
    verbs: tuple[str, ...] = LIFE
    plugin: str = ""
    variables: Mapping[str, str | None] = field(default_factory=dict)
    stdin: str | None = None
    prepare: str = ""
    says: str = ""
    chain: tuple[Mapping[str, Any], ...] = ()
    prepare_chained: str = ""


def play(case: Case, suites: Mapping[str, Path], suite: str) -> dict[str, Table]:
    """What was seen after each verb, by its number and name, as flat tables."""
    with staged(suites) as stage:
        if case.prepare:
            stage.sandbox.shell(case.prepare)
        chained = attach_chain(stage, case)
        stage.use(suite)
        symbols = Symbols(json.dumps(asdict(case)))
        previous = chained
        seen: dict[str, Table] = {}
        for number, verb in enumerate(case.verbs, 1):
            answer = call(stage, case, verb, chained if verb == "ADD" else previous)
            state = snapshot(stage.sandbox, ["c1"], symbols)
            seen[f"{number} {verb}"] = dict(answer_table(answer, symbols)) | state
            if verb == "ADD" and answer.status == 0:
                previous = answer.document
        return seen


def attach_chain(stage: Stage, case: Case) -> Any:
    """The result of the plugins before the one that is compared, None if there are none."""
    stage.use("reference")
    result: Any = None
    for conf in case.chain:
        answer = stage.call(
            "ADD", conf | {"prevResult": result} if result else conf, case.variables
        )
        assert answer.status == 0, answer.stdout
        result = answer.document
    if case.prepare_chained:
        stage.sandbox.shell(case.prepare_chained)
    return result


def call(stage: Stage, case: Case, verb: str, previous: Any) -> Answer:
    if case.stdin is not None:
        conf: Mapping[str, Any] | bytes = case.stdin.encode("utf-8", "surrogateescape")
    elif previous is not None and "prevResult" not in case.conf:
        conf = {**case.conf, "prevResult": previous}
    else:
        conf = case.conf
    return stage.call(verb, conf, case.variables, case.plugin)


def answer_table(answer: Answer, symbols: Symbols) -> Table:
    """Exit status, result or error code; texts are for the reader of a failure only."""
    table: Table = {"status": answer.status, "stderr": answer.stderr.decode(errors="replace")}
    try:
        document = answer.document
    except ValueError:
        return table | {"stdout": answer.stdout.decode(errors="replace")}
    if answer.status:
        return table | dict(flatten("error", document))
    return table | dict(flatten("result", listed(symbols.apply(document))))


def listed(value: Any) -> Any:
    """Lists as objects, so that a difference names one item."""
    if isinstance(value, list):
        return {str(number): listed(item) for number, item in enumerate(value)}
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return value


def main() -> None:
    order = json.load(sys.stdin)
    suites = {name: Path(directory) for name, directory in order["suites"].items()}
    lists = {name: tuple(order["case"][name]) for name in ("verbs", "chain")}
    case = Case(**{**order["case"], **lists})
    json.dump(play(case, suites, order["suite"]), sys.stdout)


if __name__ == "__main__":
    main()
