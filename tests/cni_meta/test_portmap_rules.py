"""The rules that portmap writes: to the letter those of the reference, and conditions that are none."""

from ipaddress import ip_address

import pytest

from cni_meta.portmap import conditional, frame, iptables_rules, table
from cni_meta.portmap.plan import Claim, Forward, Plan
from cnicore.addresses import parse_cidr
from cnicore.errors import InvalidNetworkConfig
from cnicore.owner import Owner

OWNER = Owner("mynet", "abc123", "eth0")
CHAIN = "CNI-DN-70a29d9dc18bc4d652ea5"
COMMENT = r'-m comment --comment "dnat name: \"mynet\" id: \"abc123\""'
V4, V6 = parse_cidr("10.22.0.9/16"), parse_cidr("fd00::9/64")


def plan(container=V4, **changes):
    version = container.version
    web = Forward(Claim(version, "tcp", None, 8080), container.ip, 80)
    host_ip = ip_address("198.51.100.7" if version == 4 else "2001:db8::7")
    dns = Forward(Claim(version, "udp", host_ip, 5353), container.ip, 53)
    wanted = {
        "version": version,
        "container": container,
        "own": (str(container.network),),
        "ports": (("tcp", 8080), ("udp", 5353)),
        "forwards": (web, dns),
        "sources": "own",
        "conditions": (),
        "mark": 0x2000,
        **changes,
    }
    return Plan(**wanted)


class TestIptables:
    @pytest.mark.parametrize(
        ("network", "container", "digits"),
        [
            ("mynet", "abc123", "70a29d9dc18bc4d652ea5"),
            ("dbnet", "cnitool-77383ca0a0715733ca6f", "cd3fed99a2da5e8c646d1"),
        ],
    )
    def test_chains_are_named_as_the_reference_names_them(self, network, container, digits):
        owner = Owner(network, container, "eth0")

        assert iptables_rules.container_chain(owner) == f"CNI-DN-{digits}"
        assert owner.chain(iptables_rules.LEGACY_SNAT) == f"CNI-SN-{digits}"

    def test_a_container_has_the_references_rules(self):
        dns = "-d 198.51.100.7/32 -p udp -m udp --dport 5353"
        assert list(iptables_rules.forwarding(OWNER, plan())) == [
            f"-A {CHAIN} -s 10.22.0.0/16 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
            f"-A {CHAIN} -s 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
            f"-A {CHAIN} -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.22.0.9:80",
            f"-A {CHAIN} -s 10.22.0.0/16 {dns} -j CNI-HOSTPORT-SETMARK",
            f"-A {CHAIN} -s 127.0.0.1/32 {dns} -j CNI-HOSTPORT-SETMARK",
            f"-A {CHAIN} {dns} -j DNAT --to-destination 10.22.0.9:53",
        ]

    def test_ipv6_has_no_localhost_and_brackets(self):
        assert list(iptables_rules.forwarding(OWNER, plan(V6)))[:2] == [
            f"-A {CHAIN} -s fd00::/64 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
            f"-A {CHAIN} -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00::9]:80",
        ]

    def test_everybody_is_marked_by_another_chain(self):
        rules = list(iptables_rules.forwarding(OWNER, plan(sources="any", mark_chain="KUBE-X")))

        assert rules[0] == f"-A {CHAIN} -p tcp -m tcp --dport 8080 -j KUBE-X"
        assert len(rules) == 4

    def test_nobody_is_marked_without_snat(self):
        assert len(list(iptables_rules.forwarding(OWNER, plan(sources="")))) == 2

    def test_jumps_have_all_ports_by_protocol(self):
        start = "-A CNI-HOSTPORT-DNAT -p"
        assert list(iptables_rules.jumps(OWNER, plan())) == [
            f"{start} tcp {COMMENT} -m multiport --dports 8080 -j {CHAIN}",
            f"{start} udp {COMMENT} -m multiport --dports 5353 -j {CHAIN}",
        ]

    def test_seventeen_ports_are_two_jumps_in_order(self):
        ports = tuple(("tcp", port) for port in range(117, 100, -1))
        first, second = iptables_rules.jumps(OWNER, plan(ports=ports))

        assert f"--dports {','.join(str(port) for port in range(117, 102, -1))} -j" in first
        assert "--dports 102,101 -j" in second

    def test_conditions_are_words(self):
        jump, _ = iptables_rules.jumps(OWNER, plan(conditions=("!", "-s", '1.2.3.4" -j X')))

        assert jump.endswith(rf'--dports 8080 "!" "-s" "1.2.3.4\" -j X" -j {CHAIN}')

    @pytest.mark.parametrize(
        ("bit", "mark"), [(13, "0x2000"), (5, "0x20"), (0, "0x1"), (31, "0x80000000")]
    )
    def test_the_frame_is_the_references(self, bit, mark):
        assert list(iptables_rules.frame(plan(mark=1 << bit), [])) == [
            "-N CNI-HOSTPORT-SETMARK",
            '-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark"'
            f" -j MARK --set-xmark {mark}/{mark}",
            "-N CNI-HOSTPORT-MASQ",
            f"-A CNI-HOSTPORT-MASQ -m mark --mark {mark}/{mark} -j MASQUERADE",
            '-I POSTROUTING -m comment --comment "CNI portfwd requiring masquerade"'
            " -j CNI-HOSTPORT-MASQ",
            "-N CNI-HOSTPORT-DNAT",
            "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
            "-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
        ]

    @pytest.mark.parametrize("changes", [{"sources": ""}, {"mark_chain": "KUBE-MARK-MASQ"}])
    def test_the_frame_marks_nothing_where_others_do_or_nobody(self, changes):
        assert not [line for line in iptables_rules.frame(plan(**changes), []) if "MA" in line]

    def test_what_is_there_is_not_written_again(self):
        saved = [
            *(f":{rule[3:]} - [0:0]" for rule in iptables_rules.frame(plan(), []) if "-N" in rule),
            *(rule.replace("-I", "-A", 1) for rule in iptables_rules.frame(plan(), [])),
        ]

        assert list(iptables_rules.frame(plan(), saved)) == []

    @pytest.mark.parametrize(
        ("length", "expected"), [(233, 254), (234, 255), (235, 255), (999, 255)]
    )
    def test_a_comment_is_cut_where_iptables_refuses(self, length, expected):
        words = iptables_rules.comment("n", "c" * length)

        assert len(words) == expected
        assert words.endswith("..." if length > 234 else '"')

    def test_whose_a_port_is_stands_in_the_saved_table(self):
        lines = [*iptables_rules.forwarding(OWNER, plan()), *iptables_rules.jumps(OWNER, plan())]

        def holder(claim, chain="CNI-DN-other"):
            return iptables_rules.holder(lines, claim, chain)

        one, other = ip_address("198.51.100.7"), ip_address("198.51.100.8")
        assert holder(Claim(4, "tcp", None, 8080)) == ("mynet", "abc123")
        assert holder(Claim(4, "tcp", one, 8080)) == ("mynet", "abc123")
        assert holder(Claim(4, "udp", one, 5353)) == ("mynet", "abc123")
        assert holder(Claim(4, "udp", other, 5353)) is None
        assert holder(Claim(4, "udp", None, 5353)) is None  # it comes after the one address
        assert holder(Claim(4, "udp", None, 8080)) is None
        assert holder(Claim(4, "tcp", None, 808)) is None
        assert holder(Claim(4, "tcp", None, 8080), CHAIN) is None

    @pytest.mark.parametrize(
        "rule",
        [
            "-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.22.0.9",
            "-p tcp -m tcp --dport 8080 -j DNAT --to-destination fd00::9",
            "-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.22.0.9:80-90",
            "-p tcp -j DNAT --to-destination 10.22.0.9:80",
        ],
    )
    def test_a_rule_that_no_plugin_writes_forwards_nothing_of_ours(self, rule):
        lines = [f"-A {CHAIN} {rule}", *iptables_rules.jumps(OWNER, plan())]

        assert iptables_rules.forwards_in(lines, {CHAIN}) == []
        claim = Claim(4, "tcp", None, 8080)
        assert iptables_rules.holder(lines, claim, "CNI-DN-other") is None

    @pytest.mark.parametrize("container", [V4, V6])
    def test_the_saved_rules_say_what_is_forwarded(self, container):
        lines = list(iptables_rules.forwarding(OWNER, plan(container)))

        assert iptables_rules.forwards_in(lines, {CHAIN}) == list(plan(container).forwards)

    def test_a_port_with_conditions_is_nobodys(self):
        lines = [
            *iptables_rules.forwarding(OWNER, plan()),
            f"-A CNI-HOSTPORT-DNAT -s 1.2.3.4/32 -p tcp {COMMENT} -m multiport --dports 8080"
            f" -j {CHAIN}",
        ]

        assert iptables_rules.holder(lines, Claim(4, "tcp", None, 8080), "CNI-DN-other") is None

    @pytest.mark.parametrize(
        ("changes", "key"),
        [
            ({"conditions": ("-s", "1.2.3.4\nCOMMIT")}, "conditionsV4"),
            ({"mark_chain": "X -j ACCEPT"}, "externalSetMarkChain"),
            ({"mark_chain": ""}, "externalSetMarkChain"),
            ({"mark_chain": "K" * 29}, "externalSetMarkChain"),
        ],
    )
    def test_text_that_would_be_more_than_a_word_is_refused(self, changes, key):
        with pytest.raises(InvalidNetworkConfig, match=key):
            iptables_rules.require_words([plan(**changes)])

    def test_the_longest_name_of_a_chain_is_accepted(self):
        iptables_rules.require_words([plan(mark_chain="K" * 28)])


class TestConditionsOfNftables:
    @pytest.mark.parametrize(
        "text",
        [
            "ip saddr { 10.0.0.0/8, 192.0.2.1 }",
            'iifname != "eth0"',
            'iifname "drop"',
            "ct state new limit rate 10/second",
            "meta mark & 0xff == 0x2",
            "tcp flags & (fin | syn) == syn",
            "",
        ],
    )
    def test_matches_are_accepted(self, text):
        conditional.require_conditions([plan(conditions=tuple(text.split()))])

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("ip ttl 1; flush ruleset", "';'"),
            ("ip ttl 1\nflush ruleset", r"'\\n'"),
            ("ip ttl 1 # rest", "'#'"),
            ("ip ttl 1 \\", r"'\\\\'"),
            ("ip saddr $net", r"'\$'"),
            ("ip saddr { 1.2.3.4", "{ and } do not match in 'ip saddr { 1.2.3.4': add or remove"),
            ("ip saddr } 1.2.3.4 {", "{ and } do not match"),
            ('iifname "eth0', "a quotation mark is missing"),
            ("ip ttl 1 accept", '"accept" is no condition: remove it'),
            ("jump elsewhere", '"jump" is no condition'),
            ("ip saddr vmap { 1.2.3.4 : drop }", '"vmap" is no condition'),
            ("meta mark set 1", '"set" is no condition'),
            ('ip ttl 1 comment "x"', '"comment" is no condition'),
            ("dnat to 1.2.3.4", '"dnat" is no condition'),
        ],
    )
    def test_anything_more_is_refused(self, text, why):
        with pytest.raises(InvalidNetworkConfig, match=f"conditionsV6: .*{why}"):
            conditional.require_conditions([plan(V6, conditions=(text,))])


class TestTheTable:
    def test_an_attachment_is_an_element_for_each_port_and_each_masquerading(self):
        assert [(one.map, one.key, one.target) for one in table.entries(OWNER, plan())] == [
            ("hostports4", (6, 8080), ("10.22.0.9", 80)),
            ("hostip-ports4", ("198.51.100.7", 17, 5353), ("10.22.0.9", 53)),
            ("hostport-own-tcp4", ("10.22.0.9", 8080), None),
            ("hostport-own-udp4", ("10.22.0.9", 5353), None),
        ]

    @pytest.mark.parametrize(
        ("changes", "maps"),
        [
            ({"sources": ""}, []),
            ({"sources": "any"}, ["hostport-any-tcp4", "hostport-any-udp4"]),
            ({"conditions": ("ip", "ttl", "1")}, ["hostport-own-tcp4", "hostport-own-udp4"]),
            (
                {"container": parse_cidr("10.22.0.9/32")},
                ["hostport-own-tcp4", "hostport-own-udp4", "hostport-selves4"],
            ),
        ],
    )
    def test_who_is_masqueraded_stands_in_sets(self, changes, maps):
        entries = [entry.map for entry in table.entries(OWNER, plan(**changes))]

        assert [name for name in entries if name.startswith("hostport-")] == maps

    def test_a_port_of_two_addresses_is_masqueraded_once(self):
        forwards = [
            Forward(Claim(4, "tcp", ip_address(host), 80), V4.ip, port)
            for host, port in (("192.0.2.1", 80), ("192.0.2.2", 81))
        ]

        entries = list(table.entries(OWNER, plan(forwards=tuple(forwards))))

        assert [entry.map for entry in entries] == ["hostip-ports4"] * 2 + ["hostport-own-tcp4"]

    def test_with_conditions_no_port_is_claimed(self):
        entries = table.entries(OWNER, plan(conditions=("ip", "ttl", "1")))

        assert all(entry.target is None for entry in entries)

    def test_an_element_says_what_it_forwards(self):
        forwards = [table.forward_of(entry) for entry in table.entries(OWNER, plan())]

        assert forwards == [*plan().forwards, None, None]

    @pytest.mark.parametrize(
        ("container", "own", "names"),
        [
            (V4, ["10.22.0.0/16"], ["10.22.0.0-16-to-10.22.0.0-16"]),
            (V6, ["fd00::/64"], ["fd00__-64-to-fd00__-64"]),
            (
                V4,
                ["10.22.0.0/16", "10.9.0.0/24"],
                ["10.22.0.0-16-to-10.22.0.0-16", "10.9.0.0-24-to-10.22.0.0-16"],
            ),
            (parse_cidr("10.9.0.2/32"), ["10.9.0.2/32"], []),
            (
                parse_cidr("10.9.0.2/32"),
                ["10.9.0.2/32", "10.8.0.0/24"],
                ["10.8.0.0-24-to-10.9.0.2-32"],
            ),
        ],
    )
    def test_attachments_with_the_same_subnets_share_a_chain(self, container, own, names):
        found = [name for name, _ in frame.neighbours([plan(container, own=tuple(own))])]

        assert found == [f"hostport-from-{name}" for name in names]
        assert list(frame.neighbours([plan(container, own=tuple(own), sources="any")])) == []

    def test_an_owner_is_a_key_that_an_interfaces_name_could_be(self):
        assert table.owner_key(OWNER) == "bc60646a4880f49"
