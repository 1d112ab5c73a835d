"""Say what was being done when something failed, and keep the failure's code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cnicore.errors import CniError, ForeignError


@contextmanager
def reported_as(prefix: str) -> Iterator[None]:
    """Put a prefix and a colon before the message of the block's CniError, unless it is empty.

    Raises ForeignError with the code and the details of the original.
    """
    try:
        yield
    except CniError as error:
        if not prefix:
            raise
        raise ForeignError(error.code, f"{prefix}: {error.msg}", error.details) from error


@contextmanager
def reported_together() -> Iterator[None]:
    """Turn the ExceptionGroup that `attempt_all` raises into one error, a line for each failure.

    Raises ForeignError with the code of the first failure.
    """
    try:
        yield
    except ExceptionGroup as group:
        code = getattr(group.exceptions[0], "code", CniError.code)
        raise ForeignError(code, "\n".join(str(error) for error in group.exceptions)) from group
