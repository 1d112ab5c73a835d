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


class Answering:
    """The library's class, always with the same error."""

    def __init__(self, words):
        self.words = words

    def __call__(self):
        return self

    def cmd(self, cmdline):
        return -1, "", self.words

    def json_cmd(self, json_root):
        return -1, "", self.words

    def set_json_output(self, val):
        return False


@pytest.fixture
def answering(monkeypatch):
    """Puts a library in place that answers everything with these words."""

    def put(words):
        monkeypatch.setattr(libnftables, "_binding", lambda: Answering(words))
        monkeypatch.setattr(libnftables, "_open", {})

    return put


NO_CACHE = "internal:0:0-0: Error: cache initialization failed: "
RULE = "internal:0:0-0: Error: Could not process rule: "
READS = {
    "read": lambda: libnftables.read("list tables", tables={}),
    "read_if_there": lambda: libnftables.read_if_there("list tables", tables={}),
    "chain_names": lambda: libnftables.chain_names("inet", "cni"),
}
CHANGE = {"change": lambda: libnftables.change("add it", [])}


@pytest.mark.parametrize("call", [*READS.values(), *CHANGE.values()], ids=[*READS, *CHANGE])
@pytest.mark.parametrize(
    "words", ["Invalid argument", "Operation not supported", "Operation not permitted"]
)
def test_a_kernel_without_nf_tables_is_unavailable_whatever_is_asked(answering, words, call):
    answering(f"{NO_CACHE}{words}\n")

    with pytest.raises(Unavailable, match=f"load the module nf_tables; .*{words}"):
        call()


@pytest.mark.parametrize("call", READS.values(), ids=READS)
def test_support_that_is_missing_when_reading_is_missing_altogether(answering, call):
    answering(f"{RULE}Operation not supported\n")

    with pytest.raises(Unavailable):
        call()


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (f"{NO_CACHE}No buffer space available", READS["read_if_there"]),
        (f"{RULE}Invalid argument", READS["read"]),
        (f"{RULE}Operation not supported", CHANGE["change"]),
    ],
)
def test_any_other_refusal_does_not_pass_for_a_host_without_nftables(answering, words, call):
    answering(f"{words}\n")

    with pytest.raises(Refused):
        call()


class TestRemove:
    """Each finding is deleted in one transaction, or found again."""

    GONE, BUSY = f"{RULE}No such file or directory", f"{RULE}Device or resource busy"

    @pytest.fixture
    def changes(self, monkeypatch):
        """Lets transactions end with these words, one after the other; returns what was sent."""

        def put(*words):
            sent, answers = [], iter(words)

            def change(act, commands):
                sent.append(commands)
                if answer := next(answers):
                    raise Refused(act, answer)

            monkeypatch.setattr(libnftables, "change", change)
            return sent

        return put

    def test_what_vanished_meanwhile_is_looked_for_again(self, changes):
        sent, findings = changes(self.GONE, self.GONE, ""), iter([[1, 2], [1], [3]])

        libnftables.remove("delete", lambda: next(findings))

        assert sent == [[1, 2], [1], [3]]

    def test_nothing_to_delete_is_no_transaction(self, changes):
        sent, findings = changes(self.GONE), iter([[1], []])

        libnftables.remove("delete", lambda: next(findings))

        assert sent == [[1]]

    def test_another_refusal_is_raised_at_once(self, changes):
        sent = changes(self.BUSY)

        with pytest.raises(Refused, match="could not delete: .*busy"):
            libnftables.remove("delete", lambda: [1])
        assert sent == [[1]]

    def test_it_gives_up_at_last(self, changes):
        sent = changes(*[self.GONE] * 99)

        with pytest.raises(Refused, match="No such file"):
            libnftables.remove("delete", lambda: [1])
        assert len(sent) == libnftables.ATTEMPTS


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
