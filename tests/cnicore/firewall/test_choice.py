"""Which backend masquerades, and that teardown asks all of them."""

import pytest

from cnicore import masquerade
from cnicore.errors import CniError, InvalidNetworkConfig, PluginNotAvailable
from cnicore.firewall.backend import Unavailable
from cnicore.owner import Owner

OWNER = Owner("n1", "c1", "eth0")


class Recording:
    """A backend that remembers its calls and fails as told."""

    def __init__(self, failure=None):
        self.failure = failure
        self.calls = []

    def _call(self, *arguments):
        self.calls.append(arguments)
        if self.failure:
            raise self.failure

    def add(self, owner, ips):
        self._call("add", owner)

    def delete(self, owner, addresses):
        self._call("delete", owner)

    def gc(self, network, valid):
        self._call("gc", network, valid)

    def require(self):
        self._call("require")

    def verify(self, owner, ips):
        self._call("verify", owner)


@pytest.fixture
def backends():
    """Puts two backends in place of the real ones."""
    tokens = []

    def put(nftables, iptables):
        both = {"nftables": nftables, "iptables": iptables}
        tokens.append(masquerade.loader.set(both.__getitem__))

    yield put
    for token in reversed(tokens):
        masquerade.loader.reset(token)


def test_an_unknown_backend_is_a_configuration_error():
    with pytest.raises(InvalidNetworkConfig, match='unknown ipmasq backend "pf"'):
        masquerade.add(OWNER, [], "pf")


def test_unset_falls_back_to_iptables_where_nftables_is_unavailable(backends):
    nftables, iptables = Recording(Unavailable("no library")), Recording()
    backends(nftables, iptables)
    masquerade.add(OWNER, [], "")

    assert iptables.calls == [("add", OWNER)]


def test_unset_does_not_hide_another_failure(backends):
    iptables = Recording()
    backends(Recording(CniError("refused")), iptables)

    with pytest.raises(CniError, match="refused"):
        masquerade.add(OWNER, [], "")
    assert iptables.calls == []


def test_a_backend_that_was_asked_for_is_not_replaced(backends):
    iptables = Recording()
    backends(Recording(Unavailable("no library")), iptables)

    with pytest.raises(Unavailable):
        masquerade.add(OWNER, [], "nftables")
    assert iptables.calls == []


def test_a_host_without_any_firewall_is_told_both_reasons(backends):
    backends(Recording(Unavailable("no library")), Recording(Unavailable("no program")))

    with pytest.raises(CniError, match="no library; no program"):
        masquerade.add(OWNER, [], "")


def test_status_looks_at_what_an_add_would_use(backends):
    nftables, iptables = Recording(Unavailable("no library")), Recording()
    backends(nftables, iptables)
    masquerade.require("")
    masquerade.require("iptables")
    assert iptables.calls == [("require",), ("require",)]

    with pytest.raises(PluginNotAvailable, match="ipMasq cannot work: no library"):
        masquerade.require("nftables")


def test_status_is_told_every_reason(backends):
    backends(Recording(Unavailable("no library")), Recording(Unavailable("no program")))

    with pytest.raises(PluginNotAvailable, match="no firewall.*no library; no program"):
        masquerade.require("")


def test_teardown_and_gc_go_through_every_backend_despite_failures(backends):
    nftables, iptables = Recording(CniError("refused")), Recording()
    backends(nftables, iptables)

    with pytest.raises(CniError, match="refused"):
        masquerade.delete(OWNER)
    with pytest.raises(CniError, match="refused"):
        masquerade.gc("n1", [OWNER])
    assert iptables.calls == [("delete", OWNER), ("gc", "n1", (OWNER,))]


def test_teardown_passes_over_a_backend_that_the_host_lacks(backends):
    iptables = Recording()
    backends(Recording(Unavailable("no library")), iptables)
    masquerade.delete(OWNER)

    assert iptables.calls == [("delete", OWNER)]


def test_check_is_content_with_one_backend(backends):
    backends(Recording(CniError("not there")), Recording())
    masquerade.verify(OWNER, [])


def test_check_reports_every_backends_reason(backends):
    backends(Recording(CniError("not in nftables")), Recording(CniError("not in iptables")))

    with pytest.raises(CniError, match="not in nftables; not in iptables"):
        masquerade.verify(OWNER, [])
