"""The daemon's command line, as the reference's."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_ipam.dhcp.flags import (
    FLAGS,
    Flags,
    HelpWanted,
    WrongFlags,
    parse_duration,
    parse_flags,
    usage,
)
from cni_ipam.dhcp.terms import Patience


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Flags()),
        (["-timeout", "2s"], Flags(timeout=2)),
        (["--timeout=1m30s"], Flags(timeout=90)),
        (["-resendmax=500ms", "--resendtimeout", "1h"], Flags(resendmax=0.5, resendtimeout=3600)),
        (["-broadcast", "-timeout", "3s"], Flags(broadcast=True, timeout=3)),
        (["--broadcast=false"], Flags(broadcast=False)),
        (["-broadcast=T"], Flags(broadcast=True)),
        (["-pidfile", "/run/dhcp.pid"], Flags(pidfile="/run/dhcp.pid")),
        (["-pidfile="], Flags()),
        (["-hostprefix", "/host", "-socketpath", "/s"], Flags(hostprefix="/host", socketpath="/s")),
        (["-leasedir", "/var/leases=1"], Flags(leasedir="/var/leases=1")),
        (["-timeout", "1s", "-timeout", "2s"], Flags(timeout=2)),
    ],
)
def test_flags_have_one_dash_or_two_and_their_value_behind_a_space_or_equals(words, expected):
    assert parse_flags(words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-nope"], "flag provided but not defined: -nope: see dhcp daemon -help"),
        (["--nope=1"], "flag provided but not defined: -nope"),
        (["-timeout"], "flag needs an argument: -timeout"),
        (
            ["-timeout", "2"],
            (
                'invalid value "2" for flag -timeout:'
                " write a number with a unit, for example 500ms, 10s or 1m30s"
            ),
        ),
        (["-timeout", "-1s"], 'invalid value "-1s" for flag -timeout: write a number'),
        (["-timeout="], 'invalid value "" for flag -timeout: write a number'),
        (["-timeout=0s"], 'invalid value "0s" for flag -timeout: write a time from 1ms to 24h'),
        (["-resendmax=25h"], 'invalid value "25h" for flag -resendmax: write a time from 1ms'),
        (["-broadcast=yes"], 'invalid value "yes" for flag -broadcast: write true or false'),
        (
            ["-pidfile", "dhcp.pid"],
            'invalid value "dhcp.pid" for flag -pidfile: path not absolute: write one that',
        ),
        (["-socketpath", "s"], 'invalid value "s" for flag -socketpath: path not absolute'),
        (["-socketpath="], 'invalid value "" for flag -socketpath: path is empty'),
        (["-leasedir", "/a\0"], 'invalid value "/a\0" for flag -leasedir: path not absolute'),
        (["now"], 'unexpected word "now": the daemon takes flags only'),
        (["-broadcast", "true"], 'unexpected word "true": the daemon takes flags only'),
        (["-"], 'bad flag syntax: "-"'),
        (["---timeout=1s"], 'bad flag syntax: "---timeout=1s"'),
        (["-=1"], 'bad flag syntax: "-=1"'),
        ([""], 'unexpected word ""'),
    ],
)
def test_an_error_names_the_flag(words, message):
    with pytest.raises(WrongFlags) as caught:
        parse_flags(words)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["-timeout", "1s", "-help"]])
def test_help_can_be_asked_for(words):
    with pytest.raises(HelpWanted):
        parse_flags(words)


def test_the_help_lists_every_flag_with_its_default():
    text = usage()

    assert [name for name in FLAGS if f"  -{name}" not in text] == []
    assert "(default /run/cni/dhcp.sock)" in text
    assert "(default 208s)" in text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2s", 2),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("1.s", 1),
        ("+3s", 3),
        ("1h1m1s1ms", 3661.001),
        ("1000000us", 1),
        ("2000µs", 0.002),
        ("2000μs", 0.002),
        ("1000000000ns", 1),
    ],
)
def test_durations_are_written_as_in_go(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@given(st.text() | st.from_regex(r"[+]?([0-9.]{0,4}[a-zµ]{0,2}){0,3}", fullmatch=True))
def test_any_text_is_a_duration_in_bounds_or_refused(text):
    with suppress(ValueError):
        assert 0.001 <= parse_duration(text) <= 86400


@given(st.lists(st.text() | st.sampled_from([f"-{name}" for name in FLAGS])))
def test_any_words_are_flags_or_a_reason(words):
    with suppress(WrongFlags, HelpWanted):
        assert parse_flags(words).socket.startswith("/")


def test_paths_are_below_the_host_prefix_but_not_the_pidfile():
    flags = Flags(pidfile="/run/p", hostprefix="/host", leasedir="/l")

    assert (flags.socket, flags.directory) == ("/host/run/cni/dhcp.sock", "/host/l")
    assert flags.pidfile == "/run/p"


def test_what_they_say_about_waiting():
    flags = Flags(timeout=1, resendmax=2, resendtimeout=3, broadcast=True)

    assert flags.patience == Patience(1, 2, 3, broadcast=True)
