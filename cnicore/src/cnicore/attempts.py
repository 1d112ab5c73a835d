"""Go on after a failure and report all of them: what DEL and GC need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, Protocol

P = ParamSpec("P")


class Attempt(Protocol):
    """Runs a step and remembers its failure: `attempt(delete_link, name)`."""

    def __call__(self, step: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None: ...


@contextmanager
def attempt_all() -> Iterator[Attempt]:
    """Try every step of the block.

    Raises the failure if there was one, an ExceptionGroup if there were several.
    """
    failures: list[Exception] = []

    def attempt(step: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            step(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  (every failure is reported below)
            failures.append(error)

    yield attempt
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ExceptionGroup("several steps failed", failures)
