"""Texts for iptables-restore, and finding the programs."""

import pytest

from cnicore.firewall import xtables
from cnicore.firewall.backend import Unavailable


def test_quotes_in_a_comment_are_escaped():
    assert xtables.commented('name: "n" id: "c"') == (
        r'-m comment --comment "name: \"n\" id: \"c\""'
    )


def test_a_long_comment_is_cut_where_iptables_would_refuse_it():
    assert len(xtables.comment_text("x" * 300)) == 255


def test_a_missing_program_names_its_package(monkeypatch, tmp_path):
    monkeypatch.setattr(xtables, "DIRECTORIES", (str(tmp_path),))

    with pytest.raises(Unavailable, match="iptables-save is missing: install the package iptables"):
        xtables.save(4, "nat")
