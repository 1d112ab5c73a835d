"""The leases on disk: what is written is read again, what is torn or foreign is removed."""

import errno
import json
import math
import os
import stat
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni_ipam.dhcp import marks
from cni_ipam.dhcp import records as records_module
from cni_ipam.dhcp.document import document_of, holding_of
from cni_ipam.dhcp.records import Records
from cni_ipam.dhcp.terms import DHCPV4, DHCPV6, Holding, Lease4, Lease6, Place, Term, Wish
from cnicore.owner import Owner
from cnicore.result import Route

OWNER = Owner("mynet", "c1", "eth0")
STEM = "0b2d986ae30816cd1bacb3f39e6f8bdd"
TERM = Term(1000.5, 1500.5, 1875.5, 2000.5)
LEASE4 = Lease4(
    address=IPv4Interface("10.1.0.50/24"),
    server=IPv4Address("10.1.0.1"),
    server_mac=bytes.fromhex("020000000001"),
    term=TERM,
    gateway=IPv4Address("10.1.0.1"),
    routes=(
        Route(IPv4Interface("0.0.0.0/0"), IPv4Address("10.1.0.1")),
        Route(IPv4Interface("10.9.0.0/16"), IPv4Address("0.0.0.0"), scope=253),  # noqa: S104
    ),
    mtu=1400,
    dns=(IPv4Address("10.1.0.53"),),
    domain="example.org",
    search=("a.example.org", "b.example.org"),
)
LEASE6 = Lease6(
    address=IPv6Address("fd00::50"),
    server=b"\0\1ab",
    term=TERM,
    preferred=1200.0,
    dns=(IPv6Address("fd00::53"),),
    search=("example.org",),
)
HOLDING = Holding(
    owner=OWNER,
    place=Place("/run/netns/c1", 4, 4026532000, "eth0", bytes.fromhex("020000000002"), ("br0",)),
    wish=Wish((DHCPV4, DHCPV6), (121, 3, 1), ((12, b"web"), (60, b"\xff\0")), 50),
    lease4=LEASE4,
    lease6=LEASE6,
    client_id=b"c1/mynet/eth0",
)
ENDLESS = Term(1000.0, math.inf, math.inf, math.inf)


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "leases"


@pytest.fixture
def records(directory):
    return Records(str(directory))


def names(directory):
    return sorted(path.name for path in directory.iterdir())


class TestRecords:
    @pytest.mark.parametrize(
        "holding",
        [
            HOLDING,
            replace(HOLDING, lease4=None, lease6=None),
            replace(HOLDING, wish=Wish(), lease6=None),
            replace(HOLDING, lease4=replace(LEASE4, term=ENDLESS, gateway=None, routes=())),
            replace(HOLDING, lease6=replace(LEASE6, term=ENDLESS, preferred=math.inf)),
            replace(HOLDING, place=replace(HOLDING.place, netns="", via=())),
        ],
    )
    def test_what_is_written_is_read_again(self, records, holding):
        records.write(holding)

        assert list(records.read()) == [holding]

    def test_a_record_is_a_file_that_only_root_reads(self, records, directory):
        records.write(HOLDING)

        assert names(directory) == [f"{STEM}.json"]
        assert stat.S_IMODE((directory / f"{STEM}.json").stat().st_mode) == 0o600
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700

    def test_it_is_json_of_which_the_format_is_told(self, records, directory):
        records.write(HOLDING)
        document = json.loads((directory / f"{STEM}.json").read_text())

        assert document["format"] == 1
        assert document["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert (document["network"], document["containerID"]) == ("mynet", "c1")
        assert document["lease4"]["address"] == "10.1.0.50/24"
        assert document["lease4"]["expire"] == 2000.5
        assert document["lease6"]["address"] == "fd00::50"

    def test_a_newer_state_takes_the_place_of_the_older(self, records, directory):
        records.write(HOLDING)
        records.write(replace(HOLDING, lease4=None))

        assert [one.lease4 for one in records.read()] == [None]
        assert names(directory) == [f"{STEM}.json"]

    def test_what_is_removed_is_forgotten_twice_too(self, records, directory):
        records.write(HOLDING)
        records.mark(OWNER)
        records.remove(HOLDING)
        records.remove(HOLDING)

        assert names(directory) == []

    def test_before_the_first_lease_there_is_nothing(self, records):
        assert list(records.read()) == []
        assert records.ended() == set()
        assert not records.is_marked(OWNER)

    def test_long_names_have_files_of_their_own(self, records, directory):
        """Their client identifiers are cut off and may be the same."""
        first = replace(HOLDING, owner=Owner("n" * 300, "c1", "eth0"))
        second = replace(HOLDING, owner=Owner("n" * 300, "c1", "eth1"))
        second = replace(second, place=replace(HOLDING.place, ifname="eth1"))
        records.write(first)
        records.write(second)

        assert sorted(one.owner.ifname for one in records.read()) == ["eth0", "eth1"]


class TestHealing:
    @pytest.fixture
    def written(self, records, directory):
        records.write(HOLDING)
        return directory / f"{STEM}.json"

    @pytest.mark.parametrize("length", [0, 1, 50, 500, -1])
    def test_a_truncated_record_is_removed(self, records, written, caplog, length):
        written.write_bytes(written.read_bytes()[:length])

        assert list(records.read()) == []
        assert not written.exists()
        assert f"removed the record {written}: " in caplog.text

    def test_a_record_of_another_boot_is_removed(self, records, written, caplog):
        change(written, boot="00000000-0000-0000-0000-000000000000")

        assert list(records.read()) == []
        assert not written.exists()
        assert "it is from another boot" in caplog.text

    @pytest.mark.parametrize(
        "changes",
        [
            {"format": 2},
            {"format": None},
            {"containerID": 7},
            {"containerID": "c2"},
            {"place": None},
            {"place": {}},
            {"place": {**document_of(HOLDING)["place"], "netns": 7}},
            {"wish": []},
            {"lease4": {"address": "10.1.0.50/24"}},
            {"lease4": 7},
            {"clientID": "x"},
        ],
    )
    def test_a_foreign_record_is_removed(self, records, written, changes):
        change(written, **changes)

        assert list(records.read()) == []
        assert not written.exists()

    @pytest.mark.parametrize("content", ["[]", "7", "null", "{}", "[" * 100_000, '"\\ud800"'])
    def test_other_json_is_removed(self, records, written, content):
        written.write_text(content)

        assert list(records.read()) == []
        assert not written.exists()

    def test_one_that_is_torn_does_not_stop_the_others(self, records, written):
        other = replace(HOLDING, owner=Owner("mynet", "c2", "eth0"))
        records.write(other)
        written.write_bytes(b"")

        assert list(records.read()) == [other]

    def test_what_a_crash_left_is_removed(self, records, written):
        left = written.with_name(written.name + ".new")
        left.write_bytes(b"{")

        assert list(records.read()) == [HOLDING]
        assert not left.exists()

    def test_what_is_not_ours_is_left_alone(self, records, written, directory):
        (directory / "notes.json").write_text("x")
        (directory / "notes.new").write_text("x")

        assert list(records.read()) == [HOLDING]
        assert names(directory) == [f"{STEM}.json", "notes.json", "notes.new"]

    def test_a_symbolic_link_is_not_followed(self, records, written, tmp_path, caplog):
        elsewhere = tmp_path / "elsewhere"
        written.rename(elsewhere)
        written.symlink_to(elsewhere)

        assert list(records.read()) == []
        assert "left the record" in caplog.text
        assert elsewhere.exists()

    def test_a_record_that_cannot_be_written_leaves_the_old_one(
        self, records, written, monkeypatch
    ):
        def full(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(records_module.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            records.write(replace(HOLDING, lease4=None))
        monkeypatch.undo()

        assert list(records.read()) == [HOLDING]
        assert names(written.parent) == [written.name]

    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def test_whatever_the_bytes_are_reading_goes_on(self, records, directory, data):
        directory.mkdir(exist_ok=True)
        path = directory / f"{STEM}.json"
        document = document_of(HOLDING)
        whole = json.dumps(document).encode()
        position = data.draw(st.integers(0, len(whole)))
        junk = data.draw(st.binary(max_size=8))
        path.write_bytes(whole[:position] + junk + whole[position + len(junk) :])

        list(records.read())

    @settings(deadline=None)
    @given(st.data())
    def test_a_document_is_none_of_ours_or_makes_a_holding(self, data):
        document = json.loads(json.dumps(document_of(HOLDING)))
        part = data.draw(st.sampled_from([document, *filter(is_object, document.values())]))
        part[data.draw(st.sampled_from(sorted(part)))] = data.draw(JSON)
        with suppress(ValueError, TypeError, KeyError, OverflowError):
            document_of(holding_of(document))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


def is_object(value):
    return isinstance(value, dict)


def change(path, **changes):
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **changes}))


class TestMarks:
    def test_what_has_a_record_can_be_marked_without_the_daemon(self, records, directory):
        records.write(HOLDING)

        assert marks.mark_ended(str(directory), OWNER)
        assert marks.mark_ended(str(directory), OWNER)
        assert records.ended() == marks.marked(str(directory)) == {STEM}
        assert records.is_marked(OWNER)
        assert names(directory) == [f"{STEM}.ended", f"{STEM}.json"]

    def test_what_has_none_is_not_marked(self, records, directory, tmp_path):
        records.write(HOLDING)

        assert not marks.mark_ended(str(directory), Owner("mynet", "c2", "eth0"))
        assert not marks.mark_ended(str(tmp_path / "absent"), OWNER)
        assert records.ended() == set()

    def test_a_mark_is_taken_back_twice_too(self, records):
        records.write(HOLDING)
        records.mark(OWNER)
        records.unmark(OWNER)
        records.unmark(OWNER)

        assert not records.is_marked(OWNER)

    def test_the_networks_attachments_are_known_without_the_daemon(self, records, directory):
        records.write(HOLDING)
        records.write(replace(HOLDING, owner=Owner("mynet", "c2", "eth0")))
        records.write(replace(HOLDING, owner=Owner("other", "c1", "eth0")))
        (directory / ("0" * 32 + ".json")).write_text("torn")

        found = marks.recorded(str(directory), "mynet")
        assert sorted(owner.container_id for owner in found) == ["c1", "c2"]
        assert marks.recorded(str(directory / "absent"), "mynet") == []

    def test_a_mark_without_a_record_is_dropped(self, records, directory):
        records.write(HOLDING)
        records.mark(OWNER)
        lonely = directory / ("0" * 32 + ".ended")
        lonely.touch()
        records.drop_marks(records.ended())

        assert records.ended() == {STEM}
        assert not lonely.exists()

    def test_a_mark_is_not_written_through_a_symbolic_link(self, records, directory, tmp_path):
        records.write(HOLDING)
        (directory / f"{STEM}.ended").symlink_to(tmp_path / "victim")

        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            marks.mark_ended(str(directory), OWNER)
        assert not (tmp_path / "victim").exists()
