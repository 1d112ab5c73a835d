"""DHCPv4 messages and their bytes: those of a real server, any that we write, and any at all."""

from contextlib import suppress
from ipaddress import IPv4Address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni_ipam.dhcp.message4 import NOBODY, OWN_CODES, Kind4, Malformed, Message4, decode, encode

MAC = bytes.fromhex("766e6d2eb2d6")
COOKIE = bytes.fromhex("63825363")
END = b"\xff"

# What dnsmasq 2.90 answered to a DISCOVER; between these two are 202 bytes of zero.
OFFER_HEADER = bytes.fromhex(
    "0201060000001234000000000000 0000 c0a80706 c0a80701 00000000 766e6d2eb2d6"
)
OFFER_OPTIONS = bytes.fromhex(
    "350102 3604c0a80701 330400000078 3a040000003c 3b0400000069 0104ffffff00 1c04c0a807ff"
    "0f0b6578616d706c652e6f7267 771903656e67076578616d706c65036f726700c00403737562c000"
    "0608c0a8070109090909 1a020578 21080a020000c0a80703"
    "7914100a01c0a8070218c0a8090000000000c0a80701 0304c0a80701 ff"
)
OFFER = OFFER_HEADER + bytes(202) + COOKIE + OFFER_OPTIONS

# A shared machine pauses at times.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

addresses = st.ip_addresses(v=4)
codes = st.integers(0, 255).filter(lambda code: code not in OWN_CODES)
messages = st.builds(
    Message4,
    kind=st.sampled_from(Kind4),
    xid=st.integers(0, 2**32 - 1),
    mac=st.binary(min_size=6, max_size=6),
    options=st.dictionaries(codes, st.binary(max_size=20) | st.binary(max_size=600), max_size=6),
    ciaddr=addresses,
    yiaddr=addresses,
    broadcast=st.booleans(),
    secs=st.integers(0, 2**16 - 1),
    reply=st.booleans(),
)


def packet(options, **fields):
    """A server's message with these raw options, and other bytes in its fields by their offsets."""
    data = bytearray(OFFER_HEADER + bytes(202) + COOKIE + options)
    for offset, value in fields.values():
        data[offset : offset + len(value)] = value
    return bytes(data)


def file(value):
    return (108, value)


def sname(value):
    return (44, value)


class TestRealMessages:
    def test_an_offer_of_dnsmasq_is_understood(self):
        offer = decode(OFFER)

        assert (offer.kind, offer.xid, offer.mac, offer.reply) == (Kind4.OFFER, 0x1234, MAC, True)
        assert offer.yiaddr == IPv4Address("192.168.7.6")
        assert offer.ciaddr == NOBODY
        assert offer.server == IPv4Address("192.168.7.1")
        assert list(offer.options) == [54, 51, 58, 59, 1, 28, 15, 119, 6, 26, 33, 121, 3]
        assert offer.options[15] == b"example.org"
        assert offer.options[51] == bytes([0, 0, 0, 120])

    def test_a_discover_is_written_as_the_reference_does(self):
        message = Message4(
            Kind4.DISCOVER, 0x01020304, MAC, {55: b"\3\1", 57: b"\x05\xdc", 61: b"\0c1/net/eth0"}
        )

        data = encode(message)

        assert len(data) == 300
        assert data[:28] == bytes.fromhex("01010600 01020304 00000000") + bytes(16)
        assert data[28:34] == MAC
        assert data[34:236] == bytes(202)
        options = bytes.fromhex("350101 37020301 390205dc 3d0c00") + b"c1/net/eth0" + END
        assert data[236 : 240 + len(options)] == COOKIE + options
        assert not any(data[240 + len(options) :])

    def test_the_broadcast_flag_and_the_seconds_have_their_places(self):
        data = encode(Message4(Kind4.REQUEST, 1, MAC, {}, broadcast=True, secs=0x0102))

        assert data[8:12] == bytes.fromhex("0102 8000")


class TestOptions:
    def test_a_long_option_is_written_in_parts(self):
        data = encode(Message4(Kind4.DISCOVER, 1, MAC, {77: b"a" * 255 + b"b" * 255 + b"c"}))

        parts = b"\x4d\xff" + b"a" * 255 + b"\x4d\xff" + b"b" * 255 + b"\x4d\x01c" + END
        assert data[243:] == parts

    def test_the_parts_of_an_option_are_joined_wherever_they_are(self):
        parts = bytes.fromhex("350105 0f026578 0102ffff 0f02616d 0102ff00 ff")

        assert decode(packet(parts)).options == {15: b"exam", 1: b"\xff\xff\xff\0"}

    @pytest.mark.parametrize(
        ("overload", "joined"), [(1, b"o-f-"), (2, b"o-s-"), (3, b"o-f-s-")], ids=str
    )
    def test_options_in_the_fields_for_names_count_if_the_message_says_so(self, overload, joined):
        options = bytes([53, 1, 5, 52, 1, overload, 15, 2]) + b"o-" + END
        data = packet(
            options, file=file(b"\x0f\2f-" + END + b"junk"), sname=sname(b"\x0f\2s-" + END)
        )

        assert decode(data).options == {15: joined}

    def test_else_the_fields_are_names(self):
        data = packet(bytes.fromhex("350105 ff"), file=file(b"pxelinux.0"), sname=sname(b"boot"))

        assert decode(data).options == {}

    def test_a_field_full_of_options_needs_no_end(self):
        options = bytes([53, 1, 5, 52, 1, 1]) + END

        assert (
            decode(packet(options, file=file(b"\x0f\x7e" + b"x" * 126))).options[15] == b"x" * 126
        )

    def test_a_field_does_not_point_to_more_fields(self):
        options = bytes([53, 1, 5, 52, 1, 1]) + END
        data = packet(options, file=file(bytes([52, 1, 3]) + END), sname=sname(b"\x0f\2s-" + END))

        assert decode(data).options == {}

    def test_padding_is_nothing_and_what_follows_the_end_does_not_count(self):
        assert decode(packet(b"\0\0\x35\1\5\0\0\x0f\0\xff\x0f\1x")).options == {15: b""}

    @pytest.mark.parametrize("value", [b"", b"\xc0\xa8\x07", b"\xc0\xa8\x07\x01\0"], ids=len)
    def test_a_server_whose_address_is_none_is_nobody(self, value):
        assert Message4(Kind4.OFFER, 1, MAC, {54: value}).server is None

    @pytest.mark.parametrize("code", sorted(OWN_CODES))
    def test_options_of_the_codec_are_not_given_to_it(self, code):
        with pytest.raises(ValueError, match="not to have"):
            encode(Message4(Kind4.DISCOVER, 1, MAC, {code: b"\1"}))


HTYPE, HLEN, OP = 1, 2, 0
ACK = b"\x35\1\5"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "0 bytes are too short"),
        (OFFER[:239], "239 bytes are too short"),
        (OFFER[:236] + bytes(4) + OFFER[240:], "cookie is missing"),
        (packet(ACK + END, htype=(HTYPE, b"\x20")), "no Ethernet address"),
        (packet(ACK + END, hlen=(HLEN, b"\x10")), "no Ethernet address"),
        (packet(ACK + END, op=(OP, b"\3")), "op is 3"),
        (packet(END), r"no message type \(option 53\)"),
        (packet(b"\x35\1\x08" + END), "unknown: 08"),
        (packet(b"\x35\2\5\5" + END), "unknown: 0505"),
        (packet(ACK), "cut off"),
        (packet(b""), "cut off"),
        (packet(ACK + b"\x0f"), "option 15 is longer than its packet"),
        (packet(ACK + b"\x0f\4abc"), "option 15 is longer than its packet"),
        (packet(ACK + b"\x79\xff" + b"\0" * 254), "option 121 is longer than its packet"),
        (packet(ACK + b"\x34\1\4" + END), r"overload \(option 52\) is unknown: 04"),
        (packet(ACK + b"\x34\2\1\1" + END), "unknown: 0101"),
        (packet(ACK + b"\x34\0" + END), r"\(option 52\) is unknown: $"),
        (
            packet(ACK + b"\x34\1\1" + END, file=file(b"\x0f\x7f")),
            "option 15 is longer than its packet",
        ),
    ],
    ids=range(18),
)
def test_what_is_no_message_is_told(data, text):
    with pytest.raises(Malformed, match=text):
        decode(data)


def test_every_cut_of_a_message_is_found():
    for length in range(len(OFFER)):
        with pytest.raises(Malformed):
            decode(OFFER[:length])


@patient
@given(messages)
def test_what_is_written_is_read_again(message):
    data = encode(message)

    assert len(data) >= 300
    assert decode(data) == message


def decode_or_refuse(data):
    """Nothing but Malformed is raised."""
    with suppress(Malformed):
        decode(data)


@patient
@given(st.binary(max_size=700))
def test_any_bytes_are_a_message_or_malformed(data):
    decode_or_refuse(data)


@patient
@given(st.binary(max_size=200), st.binary(max_size=128), st.binary(max_size=64))
def test_any_options_are_a_message_or_malformed(options, names, more_names):
    decode_or_refuse(packet(options, file=file(names), sname=sname(more_names)))
    overloaded = ACK + b"\x34\1\3" + options
    decode_or_refuse(packet(overloaded, file=file(names), sname=sname(more_names)))


@patient
@given(st.lists(st.tuples(st.integers(0, len(OFFER) - 1), st.integers(0, 255)), max_size=5))
def test_a_real_message_with_bytes_changed_is_a_message_or_malformed(changes):
    data = bytearray(OFFER)
    for offset, value in changes:
        data[offset] = value
    decode_or_refuse(bytes(data))
