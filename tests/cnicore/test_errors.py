"""The failures and their codes."""

from __future__ import annotations

import errno

import pytest

from cnicore import errors
from cnicore.errors import CniError, ForeignError, system_errors

CODES = {
    "CniError": 999,
    "IncompatibleCniVersion": 1,
    "UnknownContainer": 3,
    "InvalidEnvironment": 4,
    "IoFailure": 5,
    "DecodingFailure": 6,
    "InvalidNetworkConfig": 7,
    "InvalidNetns": 8,
    "TryAgainLater": 11,
    "PluginNotAvailable": 50,
    "LimitedConnectivity": 51,
}


def test_every_class_has_the_specifications_code():
    assert {name: getattr(errors, name).code for name in CODES} == CODES


def test_an_error_reads_as_its_message_and_its_details():
    assert str(CniError("no gateway", "subnet 10.0.0.0/24")) == "no gateway; subnet 10.0.0.0/24"
    assert str(CniError("no gateway")) == "no gateway"


def test_a_foreign_error_keeps_its_own_code_however_exotic():
    assert ForeignError(1234, "theirs", "more").code == 1234
    assert ForeignError.code == 999


def test_a_system_error_says_what_was_being_done():
    with pytest.raises(CniError) as caught, system_errors("write the lease"):
        raise OSError(errno.ENOSPC, "")
    assert caught.value.msg == "could not write the lease: No space left on device"
    assert isinstance(caught.value.__cause__, OSError)


def test_an_error_without_a_number_is_told_in_its_own_words():
    assert errors.reason(OSError("gone")) == "gone"
