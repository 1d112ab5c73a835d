"""The comments by which the reference's rules are known."""

import pytest

from cnicore.firewall.reference_rules import comment, identity
from cnicore.owner import Owner


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        (Owner("unit-test", "one", "eth0"), "6fd94d501e58f0aa-287fc69eff0574a2"),
        (Owner("n1", "c", "eth0"), "43d91f8451058a70-9f7877994d6abce3"),
    ],
)
def test_an_attachment_is_known_by_two_hashes(owner, expected):
    assert identity(owner) == expected


def test_the_comment_names_the_attachment():
    assert comment(Owner("n1", "c", "eth0")) == (
        "43d91f8451058a70-9f7877994d6abce3, net: n1, if: eth0, id: c"
    )


def test_the_comment_is_cut_at_128_bytes():
    assert len(comment(Owner("n1", "x" * 200, "eth0"))) == 128
