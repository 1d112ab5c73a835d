"""Every failure that a runtime may see, a class for each error code of the CNI specification.

CniError                       999  anything unforeseen
├─ IncompatibleCniVersion        1
├─ UnknownContainer              3
├─ InvalidEnvironment            4
├─ IoFailure                     5
├─ DecodingFailure               6
├─ InvalidNetworkConfig          7
├─ InvalidNetns                  8  the reference uses it, the specification does not list it
├─ TryAgainLater                11
├─ PluginNotAvailable           50
├─ LimitedConnectivity          51
└─ ForeignError                     another plugin's error, passed on with its own code
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


class CniError(Exception):
    """A failure with a code, one sentence for the operator (`msg`) and the rest (`details`)."""

    code: int = 999

    def __init__(self, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.msg = msg
        self.details = details

    def __str__(self) -> str:
        return f"{self.msg}; {self.details}" if self.details else self.msg


class IncompatibleCniVersion(CniError):
    code = 1


class UnknownContainer(CniError):
    code = 3


class InvalidEnvironment(CniError):
    code = 4


class IoFailure(CniError):
    code = 5


class DecodingFailure(CniError):
    code = 6


class InvalidNetworkConfig(CniError):
    code = 7


class InvalidNetns(CniError):
    code = 8


class TryAgainLater(CniError):
    code = 11


class PluginNotAvailable(CniError):
    code = 50


class LimitedConnectivity(CniError):
    code = 51


class ForeignError(CniError):
    """What another plugin's process reported; its code is kept."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg, details)
        self.code = code


class Terminated(BaseException):
    """SIGTERM came, and what was being done stops here.

    No Exception: code that expects failures of its own kind would take it for one of them.
    """


@contextmanager
def system_errors(act: str) -> Iterator[None]:
    """Turn an OSError of the block into a CniError that says what was being done.

    `act` completes "could not ...", for example "write /proc/sys/net/ipv4/ip_forward".
    """
    try:
        yield
    except OSError as error:
        raise CniError(f"could not {act}: {reason(error)}") from error


def reason(error: OSError) -> str:
    """The system's own words for an errno, as the C library spells them."""
    return os.strerror(error.errno) if error.errno else str(error)
