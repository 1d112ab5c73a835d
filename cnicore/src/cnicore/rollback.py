"""Take back a half-done ADD: undo steps stand next to what they undo and run on failure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import ParamSpec, Protocol

from cnicore.errors import Terminated

P = ParamSpec("P")


class OnFailure(Protocol):
    """Registers an undo step: `on_failure(delete_link, name)`."""

    def __call__(self, undo: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None: ...


@contextmanager
def rollback() -> Iterator[OnFailure]:
    """Run the registered undo steps, last first, if the block raises.

    Register before a step that can fail half made (a lease), after one that is atomic (a link:
    undoing it before could delete somebody else's) unless its name is drawn by lot. An undo step
    that fails is reported on stderr and does not stop the others.
    """
    with ExitStack() as steps:

        def on_failure(undo: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
            steps.callback(best_effort, lambda: undo(*args, **kwargs))

        yield on_failure
        steps.pop_all()  # success: nothing to take back


def best_effort(undo: Callable[[], object]) -> None:
    try:
        undo()
    except Terminated:
        best_effort(undo)  # the signal comes only once, and undo steps may be repeated
        raise
    except Exception as error:  # noqa: BLE001  (the failure that started the rollback is the one to report)
        print(f"rollback: {error}", file=sys.stderr)  # noqa: T201  (stdout is the answer's alone)
