"""firewall without a kernel: configurations, the verbs over backends that record, the choice."""

import socket

import pytest

from cni_meta.firewall import choice, firewalld, iptables
from cni_meta.firewall.backend import Attachment, Settings
from cnicore.addresses import parse_address, parse_cidr
from cnicore.errors import CniError
from cnicore.firewall.backend import Unavailable
from cnicore.owner import Owner

OWNER = Owner("net", "c1", "eth0")
RESULT = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "br0"},
        {"name": "veth1"},
        {"name": "eth0", "sandbox": "/run/netns/c1"},
    ],
    "ips": [
        {"address": "10.1.0.2/24", "interface": 2},
        {"address": "fd01::2/64", "interface": 2},
    ],
}
CONF = {"cniVersion": "1.1.0", "name": "net", "type": "firewall", "prevResult": RESULT}
ADDRESSES = (parse_address("10.1.0.2"), parse_address("fd01::2"))
BUS = "unix:path=/nowhere/bus"


class Recording:
    """A backend that remembers who passes, and fails as told, before or after it has acted."""

    def __init__(self):
        self.passing = {}
        self.calls = []
        self.failure = None
        self.fails_late = False

    def _note(self, name):
        self.calls.append(name)
        if self.failure and not self.fails_late:
            raise self.failure

    def add(self, attachment, settings):
        self._note("add")
        self.passing[attachment.owner] = attachment, settings
        if self.failure:
            raise self.failure

    def delete(self, departure, settings):
        self.calls.append("delete")
        self.deleted = departure
        self.passing.pop(departure.owner, None)

    def gc(self, network, valid, settings):
        self._note("gc")
        for owner in [one for one in self.passing if one.network == network and one not in valid]:
            del self.passing[owner]

    def verify(self, attachment, settings):
        self._note("verify")
        if self.passing.get(attachment.owner, (None,))[0] != attachment:
            raise CniError("it does not pass")

    def require_usable(self, settings):
        self._note("require_usable")


@pytest.fixture
def backends(monkeypatch):
    """Recording backends in place of the three real ones; the host is policed by nobody."""
    recording = {name: Recording() for name in choice.BACKENDS}

    def load(name):
        return recording[name] if name in recording else choice.load(name)

    token = choice.loader.set(load)
    monkeypatch.setattr("cni_meta.firewall.policing.host_is_policed", lambda versions: False)
    monkeypatch.setattr("cni_meta.firewall.firewalld.runs", lambda address: False)
    yield recording
    choice.loader.reset(token)


@pytest.fixture
def call(call):
    def on_this_bus(verb, conf, **variables):
        return call(verb, conf, DBUS_SYSTEM_BUS_ADDRESS=BUS, **variables)

    return on_this_bus


class TestConfigurations:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"backend": "pf"}, 'backend: unknown backend "pf": set it to nftables, iptables or'),
            ({"backend": "NFTables"}, 'unknown backend "NFTables"'),
            ({"backend": 1}, "backend: input should be a valid string, not 1"),
            ({"ingressPolicy": "closed"}, 'ingressPolicy: unknown ingress policy: "closed"'),
            ({"ingressPolicy": ["open"]}, "ingressPolicy: "),
            ({"firewalldZone": 5}, "firewalldZone: "),
            *[
                (
                    {"iptablesAdminChainName": name},
                    f'iptablesAdminChainName: "{name}" cannot be the chain of the administrator\'s'
                    f" rules: {reason}, choose another name",
                )
                for name, reason in [
                    ("MARK", "it is a target of iptables"),
                    ("SNPT", "it is a target of iptables"),
                    ("RETURN", "it is a target of iptables"),
                    ("FORWARD", "it is a chain with another purpose"),
                    ("CNI-FORWARD", "it is a chain with another purpose"),
                    ("x" * 29, "it is longer than 28 characters"),
                    *[
                        (name, "it begins with - or !, or has a character that no name has")
                        for name in ("A B", "A\n-F FORWARD", "-A", "!A", 'A"', "A\t", "ÄB", " ")
                    ],
                ]
            ],
            (
                {"backend": "nftables", "iptablesAdminChainName": "ADMIN"},
                "iptablesAdminChainName: the backend nftables has no such thing",
            ),
            (
                {"backend": "firewalld", "iptablesAdminChainName": "ADMIN"},
                "remove it or set backend to iptables",
            ),
            ({"backend": "iptables", "firewalldZone": "home"}, "firewalldZone: the backend"),
            ({"prevResult": None}, "Required prevResult missing"),
            (
                {"prevResult": {"ips": RESULT["ips"]}, "ingressPolicy": "isolated"},
                "ingressPolicy: isolated needs to know the bridge",
            ),
            *[
                (
                    {
                        "prevResult": {**RESULT, "interfaces": [{"name": name}]},
                        "ingressPolicy": "same-bridge",
                    },
                    "ingressPolicy: prevResult has no usable name of a bridge",
                )
                for name in ("", "br*", "br+", 'br" -j ACCEPT', "br0\n-F", "b" * 16)
            ],
        ],
    )
    def test_a_bad_one_is_refused_and_no_backend_is_asked(self, call, backends, change, message):
        outcome = call("ADD", {**CONF, **change})

        assert (outcome.status, outcome.document["code"]) == (1, 7)
        assert message in outcome.document["msg"]
        assert all(backend.calls == [] for backend in backends.values())

    @pytest.mark.parametrize(
        "change",
        [
            {},
            {"backend": None, "ingressPolicy": None},
            {"backend": "", "ingressPolicy": "", "firewalldZone": "", "iptablesAdminChainName": ""},
            {"Backend": "nftables", "INGRESSPOLICY": "open"},
            {"ingressPolicy": "same-bridge"},
            {"iptablesAdminChainName": "mark", "backend": "iptables"},
            {"iptablesAdminChainName": "PREROUTING", "backend": "iptables"},
            {"iptablesAdminChainName": "#a!'\\$(b)/-" + "x" * 17, "backend": "iptables"},
            {"prevResult": {}},
        ],
    )
    def test_a_good_one_passes_the_result_on(self, call, backends, change):
        outcome = call("ADD", {**CONF, **change})

        assert outcome.status == 0
        passed = {**RESULT} if "prevResult" not in change else {"cniVersion": "1.1.0"}
        assert outcome.document == passed
        assert backends[change.get("backend") or "nftables"].calls[-1] == "add"

    @pytest.mark.parametrize("change", [{"backend": "pf"}, {"ingressPolicy": "closed"}])
    def test_del_does_not_care(self, call, backends, change):
        assert call("DEL", {**CONF, **change}).status == 0
        assert [backend.calls for backend in backends.values()] == [["delete"]] * 3

    @pytest.mark.parametrize("verb", ["ADD", "CHECK", "STATUS"])
    def test_the_other_verbs_do(self, call, backends, verb):
        assert call(verb, {**CONF, "backend": "pf"}).document["code"] == 7


class TestAdd:
    def test_every_address_passes_whichever_interface_has_it(self, call, backends):
        call("ADD", CONF)

        attachment, settings = backends["nftables"].passing[OWNER]
        assert attachment == Attachment(OWNER, ADDRESSES)
        assert settings == Settings("", "CNI-ADMIN", "trusted", BUS)

    def test_a_policy_is_about_the_first_interface_and_the_hosts_others(self, call, backends):
        call("ADD", {**CONF, "ingressPolicy": "isolated"})

        attachment, _ = backends["nftables"].passing[OWNER]
        assert attachment == Attachment(OWNER, ADDRESSES, "isolated", "br0", ("veth1",))

    def test_an_address_that_is_there_twice_counts_once(self, call, backends):
        call("ADD", {**CONF, "prevResult": {**RESULT, "ips": RESULT["ips"] * 2}})

        assert backends["nftables"].passing[OWNER][0].addresses == ADDRESSES

    @pytest.mark.parametrize("backend", choice.BACKENDS)
    @pytest.mark.parametrize("fails_late", [False, True])
    def test_one_that_fails_leaves_nothing(self, call, backends, backend, fails_late):
        backends[backend].failure = CniError("refused")
        backends[backend].fails_late = fails_late

        outcome = call("ADD", {**CONF, "backend": backend})

        assert outcome.document["msg"] == "refused"
        assert backends[backend].calls == ["add", "delete"]
        assert backends[backend].passing == {}

    def test_twice_is_once(self, call, backends):
        assert [call("ADD", CONF).status for _ in range(2)] == [0, 0]
        assert len(backends["nftables"].passing) == 1


class TestDel:
    def test_goes_through_every_backend_twice_and_without_a_result(self, call, backends):
        call("ADD", CONF)
        for conf in (CONF, CONF, {**CONF, "prevResult": None}):
            assert call("DEL", conf, CNI_NETNS="").status == 0

        assert backends["nftables"].passing == {}
        assert [len(backend.calls) for backend in backends.values()] == [5, 3, 3]

    def test_knows_the_addresses_of_the_result(self, call, backends):
        call("DEL", CONF)

        departure = backends["iptables"].deleted
        assert (departure.owner, tuple(departure.addresses)) == (OWNER, ADDRESSES)

    def test_without_a_result_looks_into_the_container(self, call, backends, fake_kernel):
        container = fake_kernel.namespaces["/run/netns/c1"]
        host = fake_kernel.namespaces[""]
        host.add_veth("veth1", peer="eth0", peer_in=container)
        container.add_address("eth0", parse_cidr("10.1.0.2/24"))

        call("DEL", {**CONF, "prevResult": None})

        departure = backends["iptables"].deleted
        assert list(departure.addresses) == list(departure.present()) == [ADDRESSES[0]]

    @pytest.mark.parametrize(
        "previous",
        [{"ips": "none"}, {"ips": [{"address": "banana"}]}, {"cniVersion": "9.9.9"}, "text"],
    )
    def test_a_result_that_cannot_be_read_does_not_matter(self, call, backends, previous):
        assert call("DEL", {**CONF, "prevResult": previous}).status == 0
        assert list(backends["iptables"].deleted.addresses) == []

    def test_a_backend_that_the_host_lacks_does_not_matter_and_others_are_asked(
        self, call, backends
    ):
        def lacking(departure, settings):
            raise Unavailable("no such library")

        backends["nftables"].delete = lacking

        assert call("DEL", CONF).status == 0
        assert backends["iptables"].calls == ["delete"]

    def test_a_failure_is_reported_after_all_were_asked(self, call, backends):
        def failing(departure, settings):
            raise CniError("busy")

        backends["nftables"].delete = failing

        assert call("DEL", CONF).document["msg"] == "busy"
        assert backends["firewalld"].calls == ["delete"]


class TestCheck:
    def test_asks_the_backend_that_would_add(self, call, backends):
        call("ADD", CONF)
        assert call("CHECK", CONF).text == ""

        backends["nftables"].passing.clear()
        assert call("CHECK", CONF).document["msg"] == "it does not pass"

    def test_needs_a_result(self, call, backends):
        assert "prevResult missing" in call("CHECK", {**CONF, "prevResult": None}).document["msg"]


class TestGc:
    def test_removes_what_is_not_valid_from_every_backend(self, call, backends):
        for name, container in (("nftables", "c1"), ("iptables", "c2"), ("firewalld", "c3")):
            call("ADD", {**CONF, "backend": name}, CNI_CONTAINERID=container)
        valid = [{"containerID": "c2", "ifname": "eth0"}]

        assert call("GC", {**CONF, "cni.dev/valid-attachments": valid}).status == 0

        assert [len(backend.passing) for backend in backends.values()] == [0, 1, 0]

    def test_without_a_list_removes_nothing(self, call, backends):
        call("ADD", CONF)

        assert call("GC", CONF).status == 0

        assert len(backends["nftables"].passing) == 1


class TestStatus:
    def test_is_fine_where_the_backend_is(self, call, backends):
        assert call("STATUS", CONF).text == ""

    @pytest.mark.parametrize("backend", choice.BACKENDS)
    def test_is_50_and_says_why_where_it_is_not(self, call, backends, backend):
        backends[backend].failure = Unavailable("it is missing: install it", "no file")

        outcome = call("STATUS", {**CONF, "backend": backend})

        assert outcome.document == {
            "code": 50,
            "msg": "it is missing: install it",
            "details": "no file",
        }


class TestTheChoice:
    @pytest.mark.parametrize(
        ("present", "expected"),
        [
            ({"firewalld", "options", "iptables", "nftables"}, "firewalld"),
            ({"options", "nftables"}, "iptables"),
            ({"iptables", "nftables"}, "iptables"),
            ({"nftables"}, "nftables"),
            (set(), "iptables"),
        ],
    )
    def test_of_the_host(self, backends, monkeypatch, present, expected):
        for module, function, name in (
            ("firewalld", "runs", "firewalld"),
            ("policing", "host_is_policed", "iptables"),
        ):
            answer = name in present
            monkeypatch.setattr(
                f"cni_meta.firewall.{module}.{function}", lambda _, answer=answer: answer
            )
        if "nftables" not in present:
            backends["nftables"].failure = Unavailable("no library")

        has_options = "options" in present
        assert choice.choose(Settings(), [4], has_iptables_options=has_options) == expected

    @pytest.mark.parametrize("backend", choice.BACKENDS)
    def test_of_the_configuration_counts_more(self, backends, monkeypatch, backend):
        monkeypatch.setattr("cni_meta.firewall.firewalld.runs", lambda address: True)

        assert choice.choose(Settings(backend), [4], has_iptables_options=True) == backend

    @pytest.mark.parametrize("name", choice.BACKENDS)
    def test_every_backend_has_the_functions_of_the_protocol(self, name):
        backend = choice.load(name)

        for function in ("add", "delete", "gc", "verify", "require_usable"):
            assert callable(getattr(backend, function))


class TestIsolationWithoutNftables:
    @pytest.fixture
    def lacking(self, monkeypatch):
        """A host without nftables whose bridges show iptables their packets, or do not."""

        def prepare(*, shows_packets):
            def refuse(*_):
                raise Unavailable("no library")

            monkeypatch.setattr("cni_meta.firewall.isolation.enforce", refuse)
            monkeypatch.setattr(
                "cni_meta.firewall.policing.bridged_packets_pass_iptables", lambda _: shows_packets
            )

        return prepare

    @pytest.mark.parametrize("policy", ["open", "same-bridge", "isolated"])
    def test_is_iptables_affair_where_it_sees_bridged_packets(self, lacking, policy):
        lacking(shows_packets=True)

        iptables.isolate_ports(Attachment(OWNER, ADDRESSES, policy, "br0", ("veth1",)))

    def test_is_refused_where_it_does_not(self, lacking):
        lacking(shows_packets=False)

        with pytest.raises(CniError, match="br0 forwards without asking iptables"):
            iptables.isolate_ports(Attachment(OWNER, ADDRESSES, "isolated", "br0", ("veth1",)))

    def test_does_not_matter_for_other_policies(self, lacking):
        lacking(shows_packets=False)

        iptables.isolate_ports(Attachment(OWNER, ADDRESSES, "same-bridge", "br0", ("veth1",)))


class TestTheBus:
    def test_that_says_nothing_is_not_waited_for_long(self, monkeypatch, tmp_path):
        monkeypatch.setattr("cni_meta.firewall.bus.SECONDS_TO_CONNECT", 0.1)
        path = tmp_path / "bus"
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(path))
            silent.listen()

            assert not firewalld.runs(f"unix:path={path}")

    @pytest.mark.parametrize("address", ["unix:path=/no/bus", "tcp:host=::1", "unix:", "?", ""])
    def test_that_is_not_there_is_no_firewalld(self, address):
        assert not firewalld.runs(address)
