"""Errors of the library and of its absence."""

import errno

import pytest

from cnicore.firewall import binding, libnftables
from cnicore.firewall.backend import Unavailable
from cnicore.firewall.libnftables import Refused


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (
            "internal:0:0-0: Error: Could not process rule: No such file or directory\n",
            errno.ENOENT,
        ),
        ("internal:0:0-0: Error: Could not process rule: File exists\n", errno.EEXIST),
        ("internal:0:0-0: Error: Could not process rule: Device or resource busy\n", errno.EBUSY),
        ("internal:0:0-0: Error: syntax error\n", 0),
    ],
)
def test_a_refusal_tells_why(words, number):
    assert Refused("add it", words).errno == number


def test_a_refusal_says_what_was_being_done_in_the_kernels_words():
    refused = Refused("add it", "internal:0:0-0: Error: Could not process rule: File exists\nnft..")

    assert str(refused) == "could not add it: Could not process rule: File exists"


def test_a_missing_library_names_its_package(monkeypatch):
    monkeypatch.setattr(binding, "LIBRARY", "libnftables-that-is-not-there.so")
    monkeypatch.setattr(libnftables, "_binding", lambda: binding.Binding)
    monkeypatch.setattr(libnftables, "_open", {})

    with pytest.raises(Unavailable, match="install the package libnftables1"):
        libnftables.read("list tables", tables={})


def test_a_kernel_without_netfilter_is_no_crash(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(libnftables.socket, "socket", refuse)
    monkeypatch.setattr(libnftables, "_open", {})

    with pytest.raises(Unavailable, match="load the module nf_tables"):
        libnftables.read("list tables", tables={})
