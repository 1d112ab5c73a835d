"""What the iptables backend writes, given what is there already; no program runs."""

import pytest

from cni_meta.firewall import iptables
from cni_meta.firewall import iptables_rules as rules
from cni_meta.firewall.backend import Departure
from cni_meta.firewall.iptables_rules import Saved
from cni_meta.firewall.policing import _saved_polices
from cnicore.addresses import parse_address
from cnicore.owner import Owner

OWNER = Owner("net", "c1", "eth0")
ADDRESS = parse_address("10.1.0.2")
EMPTY = Saved([":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"])
MARK = '-A CNI-FORWARD-OWNERS -s 10.1.0.2/32 -m comment --comment "cni:net/c1/eth0"'
OLD_MARK = '-A CNI-FORWARD-OWNERS -s 10.1.0.2/32 -m comment --comment "cni:net/c0/eth0"'
JUMP = '-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD'
STAGE_JUMP = (
    "-A FORWARD -m comment --comment"
    ' "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)" -j CNI-ISOLATION-STAGE-1'
)
OLD_STAGE_JUMP = STAGE_JUMP.replace("|isolated", "")
ADMIN_JUMP = (
    '-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN'
)
PASSING = [
    "-A CNI-FORWARD -s 10.1.0.2/32 -j ACCEPT",
    "-A CNI-FORWARD -d 10.1.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
]


def after(saved, commands):
    """The table after the commands, as far as they go: as iptables-save would write it."""
    lines = list(saved.lines)
    for command in commands:
        words = command.split()
        if words[0] == "-N":
            assert not any(line.startswith(f":{words[1]} ") for line in lines)
            lines.insert(3, f":{words[1]} - [0:0]")
        elif words[0] == "-D":
            lines.remove(command.replace("-D", "-A", 1))
        elif words[0] == "-I":
            first = next(
                (n for n, line in enumerate(lines) if line.startswith(f"-A {words[1]} ")),
                len(lines),
            )
            lines.insert(first, command.replace(f"-I {words[1]} 1", f"-A {words[1]}", 1))
        else:
            lines.append(command)
    return Saved(lines)


def admitted(saved=EMPTY, owner=OWNER):
    commands = [
        *rules.admission(saved, "CNI-ADMIN", [ADDRESS]),
        *rules.ownership(saved, owner, [ADDRESS]),
    ]
    return after(saved, commands)


def rules_in(saved):
    return [line for line in saved.lines if line.startswith("-A")]


def test_on_an_empty_host_everything_is_written_with_the_jumps_at_the_head():
    assert list(rules.admission(EMPTY, "CNI-ADMIN", [ADDRESS])) == [
        "-N CNI-FORWARD",
        "-N CNI-ADMIN",
        JUMP.replace("-A FORWARD", "-I FORWARD 1"),
        ADMIN_JUMP.replace("-A CNI-FORWARD", "-I CNI-FORWARD 1"),
        *PASSING,
    ]


def test_what_is_there_is_neither_written_again_nor_moved():
    saved = admitted()

    assert list(rules.admission(saved, "CNI-ADMIN", [ADDRESS])) == []
    assert list(rules.ownership(saved, OWNER, [ADDRESS])) == []


def test_another_admin_chain_is_put_before_the_old_one():
    commands = list(rules.admission(admitted(), "MINE", [ADDRESS]))

    assert commands == [
        "-N MINE",
        ADMIN_JUMP.replace("-A CNI-FORWARD", "-I CNI-FORWARD 1").replace("CNI-ADMIN", "MINE"),
    ]


def test_an_address_has_one_owner_the_last():
    saved = admitted(admitted(owner=Owner("net", "c0", "eth0")))

    assert [line for line in rules_in(saved) if "OWNERS" in line] == [MARK]


@pytest.mark.parametrize(
    "present",
    [[], PASSING[:1], PASSING[1:], PASSING[::-1], [*PASSING[::-1], *PASSING], PASSING * 2],
)
def test_rules_that_are_there_become_ours_by_their_order(present):
    saved = admitted(Saved([*EMPTY.lines, *present]))

    assert not saved.is_rewritten("10.1.0.2/32")
    assert set(PASSING) < set(rules_in(saved))
    assert list(rules.admission(saved, "CNI-ADMIN", [ADDRESS])) == []


def test_removal_takes_duplicates_and_leaves_other_addresses():
    other = "-A CNI-FORWARD -s 10.1.0.22/32 -j ACCEPT"
    saved = Saved([*admitted().lines, PASSING[1], other])

    left = after(saved, rules.removal(saved, ["10.1.0.2/32"]))

    assert rules_in(left) == [JUMP, ADMIN_JUMP, other]


C1, C2 = OWNER, Owner("net", "c2", "eth0")
BY_REFERENCE, BY_OURS, PART = PASSING[::-1], PASSING, PASSING[:1]


@pytest.mark.parametrize(
    ("present", "mark", "owner", "known", "has", "leaves"),
    [
        # ours let c1 through
        (BY_OURS, MARK, C1, [ADDRESS], [], True),
        (BY_OURS, MARK, C1, [], [], True),
        (BY_OURS, MARK, C2, [ADDRESS], [ADDRESS], False),
        (BY_OURS, MARK, C2, [], [ADDRESS], False),
        (PART, MARK, C1, [], [], True),
        # the reference removed it, and nobody has come since
        ([], MARK, C1, [], [], True),
        ([], MARK, C2, [ADDRESS], [], False),
        # the reference removed it, and let c2 or c1 itself through
        (BY_REFERENCE, MARK, C2, [ADDRESS], [], True),
        (BY_REFERENCE, MARK, C2, [], [], False),
        (BY_REFERENCE, MARK, C1, [ADDRESS], [], False),
        (BY_REFERENCE, MARK, C1, [], [], False),
        (BY_REFERENCE, MARK, C1, [ADDRESS], [ADDRESS], True),
        (BY_REFERENCE, MARK, C1, [], [ADDRESS], True),
        # only the reference has been here
        (BY_REFERENCE, "", C1, [ADDRESS], [], True),
        (BY_REFERENCE, "", C1, [], [], False),
    ],
)
def test_whose_rules_a_del_removes(present, mark, owner, known, has, leaves):
    saved = Saved([*EMPTY.lines, *present, *filter(None, [mark])])

    departure = Departure(owner, known, lambda: has)

    assert list(iptables.leaving_with(departure, saved)) == (["10.1.0.2/32"] if leaves else [])


@pytest.mark.parametrize("ifname", ["eth0", 'a"b', "a\\b", "a'b"])
def test_an_owner_is_read_back_as_it_was_written(ifname):
    owner = Owner("net", "c1", ifname)
    (mark,) = [one for one in rules.ownership(EMPTY, owner, [ADDRESS]) if one.startswith("-A")]
    as_saved = mark.replace("'", "\\'")  # iptables-save escapes it, iptables-restore takes either

    assert Saved([as_saved]).owners() == [(as_saved, "10.1.0.2/32", owner.tag)]


def test_a_policy_on_an_empty_host():
    commands = list(rules.policy(EMPTY, "isolated", "br0"))

    both = '-m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)"'
    own = '-m comment --comment "CNI firewall plugin rules (ingressPolicy: isolated)"'
    assert commands == [
        "-N CNI-ISOLATION-STAGE-1",
        "-N CNI-ISOLATION-STAGE-2",
        f"-I FORWARD 1 {both} -j CNI-ISOLATION-STAGE-1",
        f"-I CNI-ISOLATION-STAGE-1 1 -i br0 ! -o br0 {own} -j CNI-ISOLATION-STAGE-2",
        f"-I CNI-ISOLATION-STAGE-1 1 -i br0 -o br0 {own} -j DROP",
        f"-A CNI-ISOLATION-STAGE-1 {both} -j RETURN",
        f"-I CNI-ISOLATION-STAGE-2 1 -o br0 {both} -j DROP",
        f"-A CNI-ISOLATION-STAGE-2 {both} -j RETURN",
    ]


def test_a_policy_stands_before_the_acceptance_whatever_was_there():
    for start in ([], [JUMP], [STAGE_JUMP], [JUMP, STAGE_JUMP], [JUMP, OLD_STAGE_JUMP]):
        saved = Saved([*EMPTY.lines, *start])
        commands = [*rules.admission(saved, "CNI-ADMIN", []), *rules.policy(saved, "isolated", "b")]

        forward = [line for line in after(saved, commands).lines if line.startswith("-A FORWARD")]
        assert [line.split()[-1] for line in forward] == ["CNI-ISOLATION-STAGE-1", "CNI-FORWARD"]


def test_the_policy_of_an_older_reference_is_known():
    newest = after(EMPTY, rules.policy(EMPTY, "same-bridge", "br0"))
    older = Saved([line.replace("|isolated", "") for line in newest.lines])

    assert list(rules.policy(older, "same-bridge", "br0")) == []
    assert rules.absent_of_policy(older, "same-bridge", "br0") == []


def test_what_is_absent_is_named():
    saved = admitted()
    assert rules.absent(saved, "CNI-ADMIN", [ADDRESS]) == []

    for gone in (JUMP, ADMIN_JUMP, *PASSING):
        rest = Saved([line for line in saved.lines if line != gone])
        assert rules.absent(rest, "CNI-ADMIN", [ADDRESS]) == [gone]


@pytest.mark.parametrize(
    ("lines", "polices"),
    [
        ([":FORWARD ACCEPT [0:0]"], False),
        ([":FORWARD DROP [0:0]"], True),
        ([":INPUT DROP [0:0]", ":FORWARD ACCEPT [0:0]", "-A INPUT -j DROP"], False),
        ([":FORWARD ACCEPT [0:0]", JUMP, STAGE_JUMP], False),
        ([":FORWARD ACCEPT [0:0]", JUMP, "-A FORWARD -i br0 -j ACCEPT"], True),
        ([":FORWARD ACCEPT [0:0]", "-A FORWARD -j DOCKER-USER"], True),
        ([":FORWARD ACCEPT [0:0]", "-A CNI-FORWARD -s 10.1.0.2/32 -j ACCEPT"], False),
    ],
)
def test_who_polices_the_host(lines, polices):
    assert _saved_polices(lines) == polices
