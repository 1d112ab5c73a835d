"""DHCPv6 messages and their bytes: those of a real server, any that we write, and any at all."""

from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni_ipam.dhcp.message4 import Malformed
from cni_ipam.dhcp.message6 import Ia, IaAddress, Kind6, Message6, Status, decode, encode

CLIENT = bytes.fromhex("0004") + bytes(16)
SERVER = bytes.fromhex("000100013298ac13561b22f85daf")
LEASED = IaAddress(IPv6Address("fd07::18b"), 120, 120)

# What dnsmasq 2.90 answered to a SOLICIT.
ADVERTISE = bytes.fromhex(
    "02000011 00010012000400000000000000000000000000000000 0002000e000100013298ac13561b22f85daf"
    "00030028000000070000003c00000069 00050018fd07000000000000000000000000018b0000007800000078"
    "000d0009000073756363657373 00070001ff"
    "0018001e03656e67076578616d706c65036f726700076578616d706c65036f726700"
    "00170010fd070000000000000000000000000001"
)

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
numbers16, numbers32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
printable = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20)
statuses = st.builds(Status, numbers16, printable)
duids = st.binary(min_size=1, max_size=130)
ia_addresses = st.builds(IaAddress, st.ip_addresses(v=6), numbers32, numbers32)
messages = st.builds(
    Message6,
    kind=st.sampled_from(Kind6),
    xid=st.integers(0, 2**24 - 1),
    client=duids,
    server=st.none() | duids,
    ia=st.none()
    | st.builds(
        Ia,
        numbers32,
        numbers32,
        numbers32,
        st.lists(ia_addresses, max_size=3).map(tuple),
        st.none() | statuses,
    ),
    status=st.none() | statuses,
    dns=st.lists(st.ip_addresses(v=6), max_size=3).map(tuple),
    search=st.lists(st.sampled_from(["org", "example.org", "a-b.example.org"])).map(tuple),
    request=st.lists(numbers16, max_size=4).map(tuple),
    elapsed=numbers16,
    preference=st.integers(0, 255),
)


def reply(options):
    return bytes.fromhex("07000012") + bytes.fromhex(options)


class TestRealMessages:
    def test_an_advertise_of_dnsmasq_is_understood(self):
        assert decode(ADVERTISE) == Message6(
            kind=Kind6.ADVERTISE,
            xid=0x11,
            client=CLIENT,
            server=SERVER,
            ia=Ia(7, 60, 105, (LEASED,)),
            status=Status(0, "success"),
            dns=(IPv6Address("fd07::1"),),
            search=("eng.example.org", "example.org"),
            preference=255,
        )

    def test_a_solicit_is_written_to_the_byte(self):
        solicit = Message6(Kind6.SOLICIT, 0x010203, CLIENT, ia=Ia(7), request=(23, 24), elapsed=5)

        assert encode(solicit) == bytes.fromhex(
            "01010203 00010012000400000000000000000000000000000000"
            "0003000c 00000007 00000000 00000000  00080002 0005  00060004 0017 0018"
        )

    def test_a_client_always_tells_the_elapsed_time(self):
        assert encode(Message6(Kind6.RENEW, 1, CLIENT)).endswith(bytes.fromhex("00080002 0000"))

    def test_more_time_than_can_be_told_is_the_most_that_can(self):
        renew = Message6(Kind6.RENEW, 1, CLIENT, elapsed=1_000_000)

        assert decode(encode(renew)).elapsed == 65535


class TestGrant:
    def test_the_first_address_that_can_be_used_is_taken(self):
        longer_preferred_than_valid = replace(LEASED, preferred=121)
        over = replace(LEASED, preferred=0, valid=0)
        deprecated = replace(LEASED, preferred=0)

        ia = Ia(7, addresses=(longer_preferred_than_valid, over, deprecated, LEASED))

        assert ia.granted == deprecated
        assert Ia(7).granted is None
        assert Ia(7, addresses=(over,)).granted is None

    @pytest.mark.parametrize(
        ("t1", "t2", "granted"),
        [(60, 105, LEASED), (105, 60, None), (60, 60, LEASED), (60, 0, LEASED), (0, 60, LEASED)],
    )
    def test_an_association_to_be_renewed_after_it_is_rebound_is_none(self, t1, t2, granted):
        assert Ia(7, t1, t2, (LEASED,)).granted == granted


class TestOptions:
    def test_of_an_option_that_is_there_twice_the_first_counts(self):
        data = reply("00070001 05 00070001 06 0003000c 00000001" + "00" * 8)
        data += bytes.fromhex("0003000c 00000002") + bytes(8)

        assert decode(data).preference == 5
        assert decode(data).ia == Ia(1)

    def test_options_that_nobody_asked_for_are_passed_over(self):
        assert decode(reply("00fa0003 010203 00070001 05")).preference == 5

    def test_a_server_writes_no_lines_into_a_log(self):
        text = b"no\nAddress\x1b[31m\xff"
        data = reply("000d" + f"{len(text) + 2:04x}" + "0002") + text

        assert decode(data).status == Status(2, "no\ufffdAddress\ufffd[31m\ufffd")

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"", "its header is cut off: 0 bytes of 4"),
            (b"\7\0\0", "its header is cut off: 3 bytes of 4"),
            (b"\0\0\0\1", "its message type is unknown: 0"),
            (b"\x0d\0\0\1", "its message type is unknown: 13"),
            (reply("0001"), "an option's header is cut off: 2 bytes of 4"),
            (reply("00010000"), "a DUID has 0 bytes"),
            (reply("00020083" + "00" * 131), "a DUID has 131 bytes"),
            (reply("00010004 000400"), "its option 1 is longer than its packet"),
            (reply("0003000b" + "00" * 11), "its IA_NA is cut off: 11 bytes of 12"),
            (reply("0003000e" + "00" * 14), "an option's header is cut off"),
            (reply("00030011" + "00" * 12 + "0005000100"), "an IA address is cut off"),
            (reply("00030010" + "00" * 12 + "00050018"), "its option 5 is longer than"),
            (reply("0003002a" + "00" * 12 + "0005001a" + "00" * 26), "an option's header is cut"),
            (reply("000d0001 00"), "its status is cut off: 1 bytes of 2"),
            (reply("0017000f" + "00" * 15), "name servers have 15 bytes, not a multiple of 16"),
            (reply("00060003 001700"), "option request have 3 bytes, not a multiple of 2"),
            (reply("00070002 0000"), "its preference has 2 bytes, not 1"),
            (reply("00080001 00"), "its elapsed time has 1 bytes, not 2"),
            (reply("00180003 036f72"), "a domain name is longer than its option"),
            (reply("00180002 c000"), "a domain name points astray"),
        ],
        ids=range(20),
    )
    def test_what_is_no_message_is_told(self, data, text):
        with pytest.raises(Malformed, match=text):
            decode(data)


def test_a_cut_message_is_one_without_its_last_options_or_malformed():
    whole = {4, 26, 44, 88, 101, 106, 140, 160}
    for length in range(len(ADVERTISE)):
        if length in whole:
            decode(ADVERTISE[:length])
        else:
            with pytest.raises(Malformed):
                decode(ADVERTISE[:length])


@patient
@given(messages)
def test_what_is_written_is_read_again(message):
    assert decode(encode(message)) == message


def decode_or_refuse(data):
    """Nothing but Malformed is raised."""
    with suppress(Malformed):
        decode(data)


@patient
@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_malformed(data):
    decode_or_refuse(data)
    decode_or_refuse(b"\7\0\0\1" + data)


@patient
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, 3, 5, 6, 7, 8, 13, 23, 24]), st.binary(max_size=60)),
        max_size=5,
    )
)
def test_any_content_of_known_options_is_a_message_or_malformed(options):
    area = b"".join(
        code.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value for code, value in options
    )
    decode_or_refuse(reply("") + area)
    nested = bytes(12) + area
    decode_or_refuse(reply("0003" + f"{len(nested):04x}") + nested)


@patient
@given(st.lists(st.tuples(st.integers(0, len(ADVERTISE) - 1), st.integers(0, 255)), max_size=5))
def test_a_real_message_with_bytes_changed_is_a_message_or_malformed(changes):
    data = bytearray(ADVERTISE)
    for offset, value in changes:
        data[offset] = value
    decode_or_refuse(bytes(data))
