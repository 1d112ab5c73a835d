"""What DEL can still learn about an attachment whose parts may be gone."""

from __future__ import annotations

from collections.abc import Sequence

from cnicore.errors import CniError
from cnicore.request import Request
from cnicore.result import Address


def promised_addresses(request: Request) -> Sequence[Address]:
    """The addresses in prevResult; none if there is none that can be read.

    Those that the interface has now say nothing: some may have been taken from it.
    """
    try:
        result = request.prev_result
    except CniError:
        return ()  # a broken prevResult must not keep DEL from cleaning
    return [ip.address.ip for ip in result.ips] if result else ()
