"""One of several firewalls for an attachment, every one of them to clean up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from cnicore.attempts import attempt_all
from cnicore.errors import CniError
from cnicore.firewall.backend import Unavailable

Step = Callable[[str], object]
"""What is to be done with the firewall of that name."""


def with_first(
    names: Collection[str], step: Step, lack: str, over: type[CniError] = Unavailable
) -> str:
    """Run the step with one firewall after the other until one can do it; returns its name.

    Failures of the class `over` are passed over, all others are raised. Where none can, raises the
    failure if only one was asked, or else the sentence `lack` with all failures as its details.
    """
    failures: list[CniError] = []
    for name in names:
        try:
            step(name)
        except over as error:
            failures.append(error)
        else:
            return name
    if len(failures) == 1:
        raise failures[0]
    raise CniError(lack, "; ".join(map(str, failures)))


def with_all(names: Iterable[str], step: Step) -> None:
    """Run the step with every firewall that the host has, also after a failure.

    Raises CniError, or an ExceptionGroup of several.
    """
    with attempt_all() as attempt:
        for name in names:
            attempt(_where_available, name, step)


def _where_available(name: str, step: Step) -> None:
    try:
        step(name)
    except* Unavailable:  # also from within a group
        pass  # then it holds nothing of ours that could be reached
