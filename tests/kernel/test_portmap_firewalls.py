"""portmap on the real kernel: two firewalls side by side, and what others took out of one."""

import pytest

from kernel.published import (
    HOST,
    HOST6,
    OTHER_HOST,
    OUTSIDE,
    OUTSIDE6,
    PORTMAP,
    Host,
    mapping,
    use_legacy,
)
from kernel.without_nftables import hide_nftables

pytestmark = pytest.mark.kernel

WEB = mapping(8080, 80)
DNS = mapping(5353, 53, "udp")
IPTABLES, NFTABLES = {"backend": "iptables"}, {"backend": "nftables"}
PAIRS = {
    "nftables, then iptables": (NFTABLES, IPTABLES),
    "iptables, then nftables": (IPTABLES, NFTABLES),
    "iptables-legacy, then nftables": (IPTABLES, NFTABLES),
}
GUARD = "CNI-HOSTPORT-GUARD"
PATH = "export PATH=/usr/local/sbin:$PATH;"  # where `use_legacy` puts the programs


class HostOfPorts(Host):
    """Its bridge masquerades nobody, so that all rules of containers are those of ports."""

    def attach(self, name, **keys):
        return super().attach(name, ipMasq=False, **keys)


@pytest.fixture
def host(sandbox, call):
    return HostOfPorts(sandbox, call)


@pytest.fixture(params=PAIRS)
def pair(request, sandbox):
    """The keys for the firewall of what is there already, and of what comes."""
    if "legacy" in request.param:
        use_legacy(sandbox)
    return PAIRS[request.param]


def rules(host):
    """The rules and elements of all containers."""
    saved = host.sandbox.shell(f"{PATH} nft list ruleset; iptables-save; ip6tables-save")
    return [line for line in saved.splitlines() if "cni:" in line or "CNI-DN-" in line]


def table(host):
    return sorted(host.sandbox.shell("nft list table inet cni").splitlines())


def refusal(host, container, *mappings, **keys):
    """What an ADD that fails says."""
    host.attach(container)
    outcome = host.caller(container)("ADD", host.conf(container, *mappings, **keys))
    assert outcome.status == 1
    return outcome.document


class TestAPortInTheOtherFirewall:
    @pytest.mark.parametrize(
        ("held", "wanted"),
        [
            (WEB, WEB),
            (mapping(8080, 80, host_ip=HOST), mapping(8080, 80, host_ip=HOST)),
            (WEB, mapping(8080, 80, host_ip=HOST)),
            (mapping(8080, 80, host_ip=HOST6), mapping(8080, 80, host_ip=HOST6)),
        ],
    )
    def test_is_refused_and_its_container_named(self, host, pair, held, wanted):
        first, second = pair
        host.publish("c1", held, **first)
        before = rules(host)

        document = refusal(host, "c2", DNS, wanted, **second)

        assert "8080/tcp is already mapped to container" in document["msg"]
        assert '"c1" (network "n1"' in document["msg"]
        assert rules(host) == before
        to, seen = (HOST6, OUTSIDE6) if ":" in held.get("hostIP", "") else (HOST, OUTSIDE)
        assert host.tcp("outside", to, 8080, "c1") == seen

    def test_that_is_another_one_is_not_in_the_way(self, host, pair):
        first, second = pair
        host.publish("c1", WEB, mapping(53, 53, "udp", OTHER_HOST), **first)
        host.publish("c2", mapping(8081, 80), mapping(53, 53, "udp", HOST), **second)

        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE
        assert host.tcp("outside", HOST, 8081, "c2") == OUTSIDE
        assert host.udp("outside", HOST, 53, "c2") == OUTSIDE

    def test_is_replaced_if_it_is_the_attachments_own(self, host, pair):
        first, second = pair
        host.publish("c1", WEB, mapping(7070, 80), **first)
        conf = host.publish("c1", mapping(8080, 81), **second)

        assert host.tcp("outside", HOST, 8080, "c1", 81) == OUTSIDE
        assert host.tcp("outside", HOST, 7070, "c1") == ""
        assert host.caller("c1")("CHECK", conf).text == ""
        assert host.caller("c1")("DEL", conf).text == ""
        assert rules(host) == []

    def test_is_free_again_after_a_del(self, host, pair):
        first, second = pair
        conf = host.publish("c1", WEB, **first)
        assert host.caller("c1")("DEL", conf).text == ""
        host.publish("c2", WEB, **second)

        assert host.tcp("outside", HOST, 8080, "c2") == OUTSIDE

    def test_with_conditions_is_nobodys(self, host):
        host.publish("c1", WEB, **IPTABLES, conditionsV4=["-s", OUTSIDE], conditionsV6=["-i", "x"])
        host.publish("c2", WEB, **NFTABLES, conditionsV4=["ip", "saddr", "192.0.2.9"])


@pytest.mark.parametrize(
    "loss",
    [
        "flush table inet cni",
        "flush chain inet cni hostport-prerouting",
        "flush chain inet cni hostport-output",
        "flush chain inet cni hostport-postrouting",
        "flush chain inet cni hostport-sources",
        "flush chain inet cni hostport-own",
        "flush chain inet cni hostport-guard",
        "flush chain inet cni hostports",
    ],
)
def test_add_with_nftables_mends_what_all_share(host, loss):
    first = host.publish("c1", WEB, DNS)
    healthy = table(host)
    host.sandbox.shell(f"nft {loss}")
    second = host.publish("c2", mapping(8081, 80))

    assert host.tcp("outside", HOST, 8081, "c2") == OUTSIDE
    assert host.tcp("host", "127.0.0.1", 8081, "c2") == "10.1.0.1"
    assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE
    assert host.udp("outside", HOST, 5353, "c1") == OUTSIDE
    for container, conf in (("c1", first), ("c2", second)):
        assert host.caller(container)("CHECK", conf).text == ""
    assert host.caller("c2")("DEL", second).text == ""
    assert table(host) == healthy


class TestTheGuardOfIptables:
    LOSSES = (
        f"-F {GUARD}",
        f"-D {GUARD} 1",
        f"-D {GUARD} 2",
        "-F PREROUTING",
    )

    @pytest.fixture(params=["iptables", "iptables-legacy"], autouse=True)
    def program(self, request, sandbox):
        if request.param == "iptables-legacy":
            use_legacy(sandbox)

    def raw(self, host):
        return host.sandbox.shell(f"{PATH} iptables -w -t raw -S")

    @pytest.mark.parametrize("loss", LOSSES)
    def test_check_misses_what_is_gone_and_add_restores_it(self, host, loss):
        conf = host.publish("c1", WEB, **IPTABLES)
        healthy = self.raw(host)
        assert host.caller("c1")("CHECK", conf).text == ""
        host.sandbox.shell(f"{PATH} iptables -w -t raw {loss}")

        checked = host.caller("c1")("CHECK", conf)
        assert "iptables lacks in the table raw: -A " in checked.document["details"]
        host.publish("c1", WEB, **IPTABLES)

        assert sorted(self.raw(host).splitlines()) == sorted(healthy.splitlines())
        assert host.caller("c1")("CHECK", conf).text == ""

    def test_no_other_rule_is_doubled(self, host):
        host.publish("c1", WEB, **IPTABLES)
        healthy = self.raw(host)
        host.publish("c2", mapping(8081, 80), **IPTABLES)

        assert self.raw(host) == healthy


class TestWhatIptablesRefuses:
    @pytest.mark.parametrize(
        ("keys", "says"),
        [
            (
                {"externalSetMarkChain": "NO-SUCH"},
                'externalSetMarkChain: the table nat of iptables has no chain "NO-SUCH":'
                " create it first",
            ),
            ({"externalSetMarkChain": "K" * 29}, "cannot be the name of a chain: use up to 28"),
            (
                {"conditionsV4": ["-s", "nowhere.invalid/x"]},
                "conditionsV4: iptables refuses the conditions '-s nowhere.invalid/x': write",
            ),
            (
                {"conditionsV6": ["--no-such"]},
                "conditionsV6: ip6tables refuses the conditions '--no-such': write matches",
            ),
        ],
    )
    def test_is_a_bad_configuration_and_names_the_key(self, host, keys, says):
        document = refusal(host, "c1", WEB, **IPTABLES, **keys)

        assert document["code"] == 7
        assert says in document["msg"]
        assert rules(host) == []

    def test_a_chain_that_is_not_used_need_not_be_there(self, host):
        host.publish("c1", WEB, **IPTABLES, externalSetMarkChain="NO-SUCH", snat=False)

        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE


class TestAKernelWithoutNftables:
    @pytest.fixture(autouse=True)
    def legacy(self, sandbox, monkeypatch):
        use_legacy(sandbox)
        hide_nftables(monkeypatch)

    @pytest.mark.parametrize("keys", [{}, IPTABLES])
    def test_iptables_publishes_and_every_verb_works(self, host, keys):
        assert host.caller("c1")("STATUS", {**PORTMAP, **keys}).text == ""
        conf = host.publish("c1", WEB, DNS, **keys)
        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE
        assert host.caller("c1")("CHECK", conf).text == ""
        valid = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
        assert host.caller("c1")("GC", {**PORTMAP, **valid}).text == ""
        assert host.tcp("outside", HOST, 8080, "c1") == OUTSIDE

        for _ in range(2):
            assert host.caller("c1")("DEL", conf).text == ""

        assert rules(host) == []

    def test_nftables_is_not_to_be_had(self, host):
        sentence = "backend nftables cannot be used on this host: the kernel gives no access"

        document = refusal(host, "c1", WEB, **NFTABLES)

        assert document["msg"] == f"{sentence} to nftables: load the module nf_tables"
        status = host.caller("c1")("STATUS", {**PORTMAP, **NFTABLES}).document
        assert (status["code"], sentence in status["msg"]) == (50, True)
