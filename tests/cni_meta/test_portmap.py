"""portmap, on the kernel in memory with a firewall in memory."""

import dataclasses
from ipaddress import ip_address

import pytest

from cni_meta.portmap import firewalls
from cnicore.addresses import parse_cidr
from cnicore.errors import CniError
from cnicore.firewall.backend import Unavailable
from cnicore.net.conntrack import Flow
from cnicore.net.listener import Listener
from cnicore.net.netlink import KernelError
from cnicore.result import Route

RESULT = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "br0"}, {"name": "eth0", "sandbox": "/run/netns/c1"}],
    "ips": [
        {"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 1},
        {"address": "fd01::2/64", "interface": 1},
    ],
    "dns": {"nameservers": ["10.1.0.1"]},
}
WEB = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
DNS = {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "192.0.2.7"}
TCP, UDP = 6, 17
ANY = "0.0.0.0"  # noqa: S104  (nothing is bound)


def conf(*mappings, **keys):
    return {
        "cniVersion": "1.1.0",
        "name": "net",
        "type": "portmap",
        "prevResult": RESULT,
        "runtimeConfig": {"portMappings": list(mappings)},
        **keys,
    }


class FakeFirewall:
    """A backend in memory: `held` is what each owner has."""

    def __init__(self):
        self.held, self.is_missing, self.fails = {}, False, False
        self.is_taken = False

    def _require(self):
        if self.is_missing:
            raise Unavailable("the host lacks it")
        if self.fails:
            raise CniError("the firewall fails")

    def add(self, owner, plans):
        self._require()
        self.held[owner] = plans

    def require_unclaimed(self, owner, plans):
        self._require()
        if self.is_taken:
            raise CniError("another has the port")

    def delete(self, owner, claims):
        self._require()
        return [forward for plan in self.held.pop(owner, []) for forward in plan.forwards]

    def gc(self, network, valid):
        self._require()
        gone = [owner for owner in self.held if owner.network == network and owner not in valid]
        for owner in gone:
            del self.held[owner]

    def verify(self, owner, plans):
        self._require()
        if self.held.get(owner) != plans:
            raise CniError("not as it was")

    def require_usable(self):
        self._require()


@pytest.fixture
def firewall():
    """Both backends in memory, by name."""
    backends = {name: FakeFirewall() for name in firewalls.BACKENDS}
    token = firewalls.loader.set(backends.__getitem__)
    yield backends
    firewalls.loader.reset(token)


@pytest.fixture
def host(fake_kernel):
    host = fake_kernel.namespaces[""]
    host.add_bridge("br0")
    host.add_address("br0", parse_cidr("10.1.0.1/24"))
    host.add_address("br0", parse_cidr("fd01::1/64"))
    fake_kernel.calls.clear()
    return host


def held(firewall):
    """What the nftables backend forwards."""
    plans = [plan for held in firewall["nftables"].held.values() for plan in held]
    return [str(forward) for plan in plans for forward in plan.forwards]


@pytest.mark.parametrize(
    ("mappings", "keys", "message"),
    [
        ([{**WEB, "hostPort": 0}], {}, "[0].hostPort: Invalid host port number: 0"),
        ([{**WEB, "hostPort": 65536}], {}, "[0].hostPort: Invalid host port number: 65536"),
        ([WEB, {**WEB, "hostPort": -1}], {}, "[1].hostPort: Invalid host port number: -1"),
        ([{**WEB, "containerPort": 0}], {}, "[0].containerPort: Invalid container port number: 0"),
        (
            [{**WEB, "containerPort": 70000, "hostPort": 0}],
            {},
            "containerPort: Invalid container port number: 70000: must be 1 to 65535",
        ),
        ([{**WEB, "protocol": "icmp"}], {}, '[0].protocol: unknown protocol "icmp": must be tcp,'),
        ([{"hostPort": 1, "containerPort": 1}], {}, '[0].protocol: unknown protocol ""'),
        (
            [{**WEB, "hostIP": "localhost"}],
            {},
            "[0].hostIP: invalid IP address: localhost: must be an address of the host",
        ),
        ([{**WEB, "hostIP": "192.0.2.7/24"}], {}, "[0].hostIP: invalid IP address"),
        ([{**WEB, "hostPort": "80"}], {}, "runtimeConfig.portMappings[0].hostPort: input should"),
        ([{**WEB, "hostPort": 80.0}], {}, "runtimeConfig.portMappings[0].hostPort: input should"),
        ([WEB, {**WEB, "containerPort": 81}], {}, "[1].hostPort: 8080/tcp is already mapped to"),
        ([WEB], {"backend": "pf"}, 'backend: unrecognized backend "pf": set it to nftables or'),
        ([WEB], {"backend": 1}, "backend: input should be a valid string"),
        ([WEB], {"snat": "no"}, "snat: input should be a valid boolean"),
        ([WEB], {"markMasqBit": 32}, "markMasqBit: must be between 0 and 31, not 32"),
        ([WEB], {"markMasqBit": -1}, "markMasqBit: must be between 0 and 31, not -1"),
        (
            [WEB],
            {"markMasqBit": 5, "externalSetMarkChain": "KUBE-MARK-MASQ"},
            "cannot specify externalSetMarkChain and markMasqBit",
        ),
        (
            [WEB],
            {
                "backend": "nftables",
                "externalSetMarkChain": "X",
                "conditionsV4": ["-s", "1.2.3.4"],
                "conditionsV6": ["!", "-s", "::1"],
            },
            "nftables backend was requested but configuration contains iptables-specific options"
            " [externalSetMarkChain conditionsV4 conditionsV6]",
        ),
        (
            [WEB],
            {"backend": "iptables", "conditionsV6": ["ip6", "saddr", "::1"]},
            "iptables backend was requested but configuration contains nftables-specific options"
            " [conditionsV6]: remove them, or set backend to nftables",
        ),
        (
            [WEB],
            {"backend": "nftables", "markMasqBit": 13},
            "nftables backend was requested but configuration contains iptables-specific options"
            " [markMasqBit]: remove them, or set backend to iptables",
        ),
        (
            [WEB],
            {"markMasqBit": 0, "conditionsV4": ["ip", "saddr", "1.2.3.4"]},
            "iptables backend was requested but configuration contains nftables-specific options"
            " [conditionsV4]: remove them, or set backend to nftables and remove [markMasqBit]",
        ),
        (
            [WEB],
            {"conditionsV4": ["-s", "1.2.3.4"], "conditionsV6": ["ip6", "saddr", "::1"]},
            "iptables backend was requested but configuration contains nftables-specific options",
        ),
        ([WEB], {"conditionsV4": "-s 1.2.3.4"}, "conditionsV4: "),
        ([WEB], {"runtimeConfig": {"portMappings": {}}}, "runtimeConfig.portMappings: "),
        ([WEB], {"prevResult": None}, "Required prevResult missing: portmap must be called as"),
    ],
)
def test_a_bad_configuration_is_refused_and_changes_nothing(
    call, fake_kernel, firewall, mappings, keys, message
):
    outcome = call("ADD", conf(*mappings, **keys))

    assert (outcome.status, outcome.document["code"]) == (1, 7)
    assert message in outcome.document["msg"]
    assert fake_kernel.calls == []
    assert firewall["nftables"].held == firewall["iptables"].held == {}


@pytest.mark.parametrize(
    ("address", "version"), [("2001:db8::1", 6), ("192.0.2.1", 4), ("::ffff:192.0.2.1", 4)]
)
def test_a_host_ip_of_a_family_that_the_container_lacks_is_refused(
    call, firewall, address, version
):
    ips = [ip for ip in RESULT["ips"] if (":" in ip["address"]) == (version == 4)]
    keys = {"prevResult": {**RESULT, "ips": ips}}

    outcome = call("ADD", conf(WEB, {**WEB, "hostIP": address}, **keys))

    expected = f"portMappings[1].hostIP: {address} is of IPv{version}, but eth0 has no such address"
    assert expected in outcome.document["msg"]


def test_add_returns_the_result_so_far(call, firewall, host):
    assert call.add(conf(WEB, DNS)) == RESULT


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        (WEB, ["8080/tcp to port 80 of 10.1.0.2", "8080/tcp to port 80 of fd01::2"]),
        (DNS, ["192.0.2.7 5353/udp to port 53 of 10.1.0.2"]),
        ({**DNS, "hostIP": "2001:DB8::7"}, ["2001:db8::7 5353/udp to port 53 of fd01::2"]),
        ({**DNS, "hostIP": "::ffff:192.0.2.7"}, ["192.0.2.7 5353/udp to port 53 of 10.1.0.2"]),
        ({**DNS, "hostIP": ANY}, ["5353/udp to port 53 of 10.1.0.2"]),
        ({**DNS, "hostIP": "::"}, ["5353/udp to port 53 of fd01::2"]),
        (
            {**WEB, "hostIP": ""},
            ["8080/tcp to port 80 of 10.1.0.2", "8080/tcp to port 80 of fd01::2"],
        ),
        ({**DNS, "protocol": "SCTP"}, ["192.0.2.7 5353/sctp to port 53 of 10.1.0.2"]),
    ],
)
def test_each_family_gets_what_is_meant_for_it(call, firewall, host, mapping, expected):
    call.add(conf(mapping))

    assert held(firewall) == expected


@pytest.mark.parametrize(
    ("interfaces", "ips", "expected"),
    [
        # the first of a family, of the interface that this is about
        ([0, 1, 1], ["10.1.0.9/24", "10.1.0.2/24", "10.1.0.3/24"], "10.1.0.2"),
        # no interface said, or one that is not there
        ([None], ["10.1.0.2/24"], "10.1.0.2"),
        ([7], ["10.1.0.2/24"], "10.1.0.2"),
        ([-1], ["10.1.0.2/24"], "10.1.0.2"),
        # the host's, another one's
        ([0, 2], ["10.1.0.2/24", "10.1.0.3/24"], None),
    ],
)
def test_the_address_is_the_first_of_the_containers_interface(
    call, firewall, host, interfaces, ips, expected
):
    addresses = [
        {"address": cidr, **({} if index is None else {"interface": index})}
        for index, cidr in zip(interfaces, ips, strict=True)
    ]
    links = [*RESULT["interfaces"], {"name": "eth1", "sandbox": "/run/netns/c1"}]
    call.add(conf(WEB, prevResult={**RESULT, "interfaces": links, "ips": addresses}))

    assert held(firewall) == ([f"8080/tcp to port 80 of {expected}"] if expected else [])


@pytest.mark.parametrize(
    ("keys", "backend"),
    [
        ({}, "nftables"),
        ({"backend": None}, "nftables"),
        ({"backend": "nftables", "markMasqBit": None}, "nftables"),
        ({"backend": "iptables", "markMasqBit": 5}, "iptables"),
        ({"conditionsV4": ["ip", "saddr", "1.2.3.4"]}, "nftables"),
        ({"conditionsV4": [], "conditionsV6": [""]}, "nftables"),
        ({"backend": "iptables"}, "iptables"),
        ({"externalSetMarkChain": "KUBE-MARK-MASQ"}, "iptables"),
        ({"markMasqBit": 0}, "iptables"),
        ({"conditionsV6": ["!", "-s", "::1"]}, "iptables"),
        ({"BACKEND": "iptables"}, "iptables"),
    ],
)
def test_the_backend_is_the_one_asked_for_or_needed(call, firewall, host, keys, backend):
    call.add(conf(WEB, **keys))

    assert [name for name, one in firewall.items() if one.held] == [backend]


def test_without_nftables_it_is_iptables(call, firewall, host):
    firewall["nftables"].is_missing = True
    call.add(conf(WEB))

    assert firewall["iptables"].held
    assert call("STATUS", conf()).text == ""


@pytest.mark.parametrize("keys", [{"backend": "nftables"}, {"conditionsV4": ["ip", "ttl", "1"]}])
def test_a_backend_that_is_needed_is_not_replaced(call, firewall, host, keys):
    firewall["nftables"].is_missing = True

    outcome = call("ADD", conf(WEB, **keys))

    expected = "backend nftables cannot be used on this host: the host lacks it"
    assert outcome.document["msg"] == expected
    assert firewall["iptables"].held == {}


def test_a_host_without_any_firewall_is_told_both_reasons(call, firewall, host):
    for one in firewall.values():
        one.is_missing = True

    outcome = call("ADD", conf(WEB))

    expected = "this host has no firewall to forward ports with: make nftables or iptables usable"
    assert outcome.document["msg"] == expected
    assert outcome.document["details"] == "the host lacks it; the host lacks it"


@pytest.mark.parametrize("keys", [{}, {"runtimeConfig": {}}, {"runtimeConfig": None}])
def test_without_mappings_nothing_is_done(call, fake_kernel, firewall, keys):
    assert call.add(conf(**keys)) == RESULT
    assert call("CHECK", conf(**keys)).text == ""
    assert fake_kernel.calls == []


def test_localhost_may_leave_by_the_link_to_the_container(call, firewall, host):
    call.add(conf(WEB))

    assert host.sysctls == {"net/ipv4/conf/br0/route_localnet": "1"}


@pytest.mark.parametrize(
    ("keys", "mapping"), [({"snat": False}, WEB), ({}, {**WEB, "hostIP": "::"})]
)
def test_localhost_may_not_where_nothing_would_come_of_it(call, firewall, host, keys, mapping):
    call.add(conf(mapping, **keys))

    assert host.sysctls == {}


def test_a_container_that_is_nowhere_has_no_link(call, firewall, host):
    result = {**RESULT, "ips": [{"address": "10.9.0.2/24"}]}

    assert call.add(conf(WEB, prevResult=result)) == result
    assert host.sysctls == {}


def test_add_that_fails_at_any_call_leaves_nothing(call, fake_kernel, firewall, host):
    before = fake_kernel.snapshot()
    for number in range(1, 50):
        fake_kernel.calls.clear()
        fake_kernel.fail_at = number
        outcome = call("ADD", conf(WEB, {**DNS, "hostIP": ""}))
        fake_kernel.fail_at = 0
        if outcome.status == 0:
            assert "1" in host.sysctls.values()
            firewall["nftables"].held.clear()
            host.sysctls.clear()
            if len(fake_kernel.calls) < number:
                break
            continue  # flows and listeners are only reported
        assert firewall["nftables"].held == {}, fake_kernel.calls[number - 1]
        assert host.sysctls == {}
        assert fake_kernel.snapshot() == before
    assert 5 < number < 49


def test_add_whose_firewall_fails_is_that_failure(call, firewall, host):
    firewall["nftables"].fails = True

    assert call("ADD", conf(WEB)).document == {"code": 999, "msg": "the firewall fails"}
    assert host.sysctls == {}


class TestFlows:
    def flow(self, destination, port, answerer, answerer_port, protocol=UDP):
        return Flow(protocol, ip_address(destination), port, ip_address(answerer), answerer_port)

    def test_add_forgets_what_goes_elsewhere(self, call, firewall, host):
        elsewhere = [
            self.flow("10.1.0.1", 5353, "10.1.0.9", 53),  # to the container before
            self.flow("10.1.0.1", 5353, "10.1.0.1", 5353),  # to a process of the host
            self.flow("fd01::1", 5353, "fd01::9", 53),
            self.flow("10.1.0.1", 5353, "10.1.0.2", 54),  # to another port of the container
        ]
        others = [
            self.flow("198.51.100.1", 5353, "198.51.100.1", 5353),  # only forwarded
            self.flow("10.1.0.1", 5354, "10.1.0.9", 53),
            self.flow("10.1.0.1", 5353, "10.1.0.2", 53),  # where it should
            self.flow("10.1.0.1", 5353, "10.1.0.1", 5353, TCP),
        ]
        host.flows = [*elsewhere, *others]

        call.add(conf({**DNS, "hostIP": ""}, {**DNS, "hostIP": "", "protocol": "tcp"}))

        assert host.flows == others

    def test_add_forgets_only_those_to_its_host_ip(self, call, firewall, host):
        to_another = self.flow("10.1.0.1", 5353, "10.1.0.1", 5353)
        host.flows = [self.flow("192.0.2.7", 5353, "192.0.2.7", 5353), to_another]

        call.add(conf(DNS))

        assert host.flows == [to_another]

    def test_several_ports_are_asked_for_at_once(self, call, fake_kernel, firewall, host):
        call.add(conf(DNS, {**DNS, "hostPort": 5354}))

        asked = [one for one in fake_kernel.calls if one[1] == "flows_to"]
        assert asked == [("", "flows_to", 4, UDP, 5353, 5354)]

    @pytest.mark.parametrize("known", [{}, {"runtimeConfig": None}, {"prevResult": None}])
    def test_del_forgets_what_the_container_answered(self, call, firewall, host, known):
        call.add(conf(DNS))
        others = [
            self.flow("192.0.2.7", 5353, "10.1.0.3", 53),
            self.flow("10.1.0.2", 53, "10.1.0.2", 53),  # not through the port
            self.flow("192.0.2.7", 5353, "10.1.0.2", 53, TCP),
        ]
        host.flows = [self.flow("192.0.2.7", 5353, "10.1.0.2", 53), *others]

        assert call("DEL", conf(DNS) | known).text == ""

        assert host.flows == others

    def test_a_kernel_that_tracks_nothing_is_only_reported(self, call, firewall, host, capsys):
        def refuse(*_):
            raise KernelError("list tracked flows", 93)

        host.flows_to = host.flows_answered_by = refuse

        call.add(conf(DNS))
        assert call("DEL", conf(DNS)).text == ""

        words = "portmap: old flows to 192.0.2.7 5353/udp may go on as before: could not list"
        assert capsys.readouterr().err.count(words) == 2


@pytest.mark.parametrize(
    ("listener", "mapping", "is_named"),
    [
        ((ANY, (4,)), WEB, True),
        (("::", (4, 6)), {**WEB, "hostIP": "192.0.2.7"}, True),
        (("::", (6,)), {**WEB, "hostIP": "192.0.2.7"}, False),
        (("192.0.2.7", (4,)), {**WEB, "hostIP": "192.0.2.7"}, True),
        (("192.0.2.8", (4,)), {**WEB, "hostIP": "192.0.2.7"}, False),
        (("127.0.0.1", (4,)), WEB, True),
    ],
)
def test_a_listening_process_is_warned_about_once(  # noqa: PLR0917  (fixtures and a table)
    call, firewall, host, capsys, listener, mapping, is_named
):
    address, versions = listener
    host.listening[TCP, 8080] = [Listener(ip_address(address), versions, inode=0)]

    call.add(conf(mapping))

    words = (
        f"portmap: warning: a process out of sight of this host listens at {address} port 8080/tcp"
    )
    assert capsys.readouterr().err.count(words) == is_named


@pytest.mark.parametrize("names", [("nftables", "iptables"), ("iptables", "nftables")])
class TestTheOtherFirewall:
    def test_add_removes_from_it_what_the_attachment_had(self, call, firewall, host, names):
        first, second = names
        call.add(conf(WEB, backend=first))
        call.add(conf(WEB, backend=second))

        assert [name for name, one in firewall.items() if one.held] == [second]

    def test_add_is_refused_for_what_another_has_there(self, call, firewall, host, names):
        first, second = names
        firewall[first].is_taken = True

        outcome = call("ADD", conf(WEB, backend=second))

        assert outcome.document["msg"] == "another has the port"
        assert firewall[second].held == {}

    def test_one_that_is_missing_has_nothing(self, call, firewall, host, names):
        first, second = names
        firewall[first].is_missing = True

        call.add(conf(WEB, backend=second))

        assert len(firewall[second].held) == 1


def test_del_removes_from_both_firewalls_and_again(call, firewall, host):
    call.add(conf(WEB))
    firewall["iptables"].held.update(firewall["nftables"].held)

    for _ in range(2):
        assert call("DEL", conf(WEB)).text == ""

    assert firewall["nftables"].held == firewall["iptables"].held == {}


@pytest.mark.parametrize(
    "keys",
    [
        {"prevResult": None},
        {"prevResult": {"cniVersion": "9.9"}},
        {"runtimeConfig": None},
        {"backend": "pf"},
        {"markMasqBit": 99},
        {"markMasqBit": 13, "backend": "nftables"},
        {"markMasqBit": 13, "conditionsV4": ["ip", "ttl", "1"]},
        {"runtimeConfig": {"portMappings": [{**WEB, "hostPort": 0}, {**WEB, "hostIP": "x"}]}},
    ],
)
def test_del_cleans_whatever_is_known(call, firewall, host, keys):
    call.add(conf(WEB))

    assert call("DEL", conf(WEB, **keys), CNI_NETNS="").text == ""

    assert firewall["nftables"].held == {}


def test_del_reports_a_firewall_that_fails_after_the_other(call, firewall, host):
    call.add(conf(WEB, backend="iptables"))
    firewall["nftables"].fails = True

    outcome = call("DEL", conf(WEB))

    assert outcome.document["msg"] == "the firewall fails"
    assert firewall["iptables"].held == {}


def test_del_needs_no_firewall(call, firewall, host):
    for one in firewall.values():
        one.is_missing = True

    assert call("DEL", conf(WEB)).text == ""


def test_check_finds_what_either_backend_has(call, firewall, host):
    for backend in firewall:
        call.add(conf(WEB, backend=backend))
        assert call("CHECK", conf(WEB)).text == ""
        call("DEL", conf(WEB))


def test_check_fails_after_tampering(call, firewall, host):
    call.add(conf(WEB))
    assert "prevResult missing" in call("CHECK", conf(WEB, prevResult=None)).document["msg"]

    host.sysctls["net/ipv4/conf/br0/route_localnet"] = "0"
    assert "route_localnet is not 1" in call("CHECK", conf(WEB)).document["msg"]

    firewall["nftables"].held.clear()
    expected = "the ports of eth0 are not forwarded as they were: attach it again"
    assert call("CHECK", conf(WEB)).document["msg"] == expected


@pytest.mark.parametrize("keys", [{"backend": "nftables", "markMasqBit": 13}, {"backend": "pf"}])
def test_gc_cleans_under_a_configuration_that_no_add_would_accept(call, firewall, host, keys):
    call.add(conf(WEB))
    call.add(conf(WEB, backend="iptables"))

    assert call("GC", conf(**keys, **{"cni.dev/valid-attachments": []})).text == ""

    assert firewall["nftables"].held == firewall["iptables"].held == {}


def test_gc_removes_what_is_not_valid_in_both_firewalls(call, firewall, host):
    second = dataclasses.replace(call, container_id="c2")
    call.add(conf(WEB))
    second.add(conf(WEB))
    dataclasses.replace(call, container_id="c3").add(conf(WEB, backend="iptables"))
    second.add(conf(WEB, name="other"))
    valid = [{"containerID": "c1", "ifname": "eth0"}]

    assert call("GC", conf()).text == ""
    assert len(firewall["nftables"].held) == 3

    assert call("GC", conf(**{"cni.dev/valid-attachments": valid})).text == ""
    names = [(owner.network, owner.container_id) for owner in firewall["nftables"].held]
    assert sorted(names) == [("net", "c1"), ("other", "c2")]
    assert firewall["iptables"].held == {}


def test_status_needs_a_usable_backend_and_a_sound_configuration(call, firewall, fake_kernel):
    assert call("STATUS", conf()).text == ""
    assert call("STATUS", conf(backend="pf")).document["code"] == 7
    assert call("STATUS", conf(backend="nftables", markMasqBit=13)).document["code"] == 7

    firewall["nftables"].is_missing = True
    outcome = call("STATUS", conf(backend="nftables"))
    expected = "no port can be published: backend nftables cannot be used on this host"
    assert outcome.document["code"] == 50
    assert outcome.document["msg"] == f"{expected}: the host lacks it"
    assert fake_kernel.calls == []


def test_status_fails_where_an_add_would_not_turn_to_the_other_firewall(call, firewall):
    firewall["nftables"].fails = True

    outcome = call("STATUS", conf())

    expected = "no port can be published: the firewall fails"
    assert outcome.document == {"code": 50, "msg": expected}


def test_what_a_route_says_decides_about_the_link(call, firewall, host):
    host.add_bridge("br1")
    host.add_route("br1", Route(parse_cidr("10.1.0.2/32")))

    call.add(conf(WEB))

    assert host.sysctls == {"net/ipv4/conf/br1/route_localnet": "1"}
