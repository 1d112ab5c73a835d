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


@pytest.fixture
def without_nftables(monkeypatch, tmp_path):
    """Puts a program in place of iptables-save, on a host whose nftables are unavailable."""

    def unavailable(*_, **__):
        raise Unavailable("no nf_tables")

    monkeypatch.setattr(xtables, "read_if_there", unavailable)
    monkeypatch.setattr(xtables, "DIRECTORIES", (str(tmp_path), "/bin"))

    def put(script):
        program = tmp_path / "iptables-save"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return put


def test_without_nftables_the_program_is_asked(without_nftables):
    assert not xtables.may_have(4, "nat", "CNI-1")
    without_nftables("exit 3")
    assert not xtables.may_have(4, "nat", "CNI-1")
    without_nftables("echo '*nat'")
    assert xtables.may_have(4, "nat", "CNI-1")


def test_a_legacy_table_is_looked_into_whatever_the_program_says(without_nftables, monkeypatch):
    monkeypatch.setattr(xtables, "has_legacy_table", lambda version, table: table == "nat")
    without_nftables("exit 3")

    assert xtables.may_have(4, "nat", "CNI-1")


def test_a_missing_program_names_its_package(monkeypatch, tmp_path):
    monkeypatch.setattr(xtables, "DIRECTORIES", (str(tmp_path),))

    with pytest.raises(Unavailable, match="iptables-save is missing: install the package iptables"):
        xtables.save(4, "nat")
