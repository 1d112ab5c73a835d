"""The configuration of dhcp: what it asks of servers, and what is wrong with it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_ipam.dhcp.conf import (
    OPTIONS,
    code_of,
    lenient_arguments,
    likely_place_of,
    place_of,
    wish_of,
)
from cni_ipam.dhcp.terms import Wish
from cnicore.errors import InvalidNetworkConfig
from cnicore.request import Request


def request_for(args="", **ipam):
    document = {"cniVersion": "1.1.0", "name": "lan", "type": "dhcp"}
    return Request("ADD", args=args, document={**document, "ipam": {"type": "dhcp", **ipam}})


def option(name, **more):
    return {"option": name, **more}


@pytest.mark.parametrize(
    ("ipam", "message"),
    [
        (
            {"request": [option("domainname")]},
            (
                'ipam.request[0].option: Can not parse option "domainname": write a number from 0'
                " to 255 or one of subnet-mask, routers, host-name, vendor-class-identifier,"
                " dhcp-client-identifier, user-class"
            ),
        ),
        (
            {"request": [option("12"), option("256")]},
            'ipam.request[1].option: Can not parse option "256": write a number',
        ),
        (
            {"provide": [option("-1", value="x")]},
            'ipam.provide[0].option: Can not parse option "-1": write a number',
        ),
        (
            {"provide": [option("", value="x")]},
            'ipam.provide[0].option: Can not parse option "": write a number',
        ),
        (
            {"provide": [option("12", value="x"), option("12", value="é" * 128)]},
            (
                'ipam.provide[1]: value too long for option "12": 256 bytes, more than 255:'
                " shorten it"
            ),
        ),
        (
            {"provide": [option("53", value="x")]},
            (
                'ipam.provide[0].option: "53" is the kind of the message, which is not to be set:'
                " remove the entry"
            ),
        ),
        (
            {"provide": [option("12", value="\ud800")]},
            'ipam.provide[0]: the value for option "12" is no text: correct it',
        ),
        ({"request": "12"}, "ipam.request: input should be a list, not '12'"),
        ({"request": [12]}, "ipam.request[0]: input should be an object, not 12"),
        ({"request": [option(12)]}, "ipam.request[0].option: input should be a valid string"),
        (
            {"request": [{"skipDefault": "yes"}]},
            "ipam.request[0].skipDefault: input should be a valid boolean, not 'yes'",
        ),
        (
            {"priority": -1},
            "ipam.priority: input should be greater than or equal to 0",
        ),
        ({"priority": "1"}, "ipam.priority: input should be a valid integer, not '1'"),
        (
            {"protocols": []},
            "ipam.protocols: the list is empty: name dhcpv4, dhcpv6 or both, or remove the key",
        ),
        (
            {"protocols": ["dhcpv4", "bootp"]},
            "ipam.protocols[1]: input should be 'dhcpv4' or 'dhcpv6'",
        ),
        (
            {"daemonSocketPath": 7},
            "ipam.daemonSocketPath: input should be a valid string, not 7",
        ),
        ({"leaseDir": "a\0b"}, "ipam.leaseDir: String should match pattern"),
    ],
)
def test_what_is_wrong_is_named_with_its_key(ipam, message):
    with pytest.raises(InvalidNetworkConfig) as caught:
        wish_of(request_for(**ipam))

    assert caught.value.msg.lower().startswith(message.lower())


def test_without_ipam_it_says_so():
    with pytest.raises(InvalidNetworkConfig, match="IPAM config missing 'ipam' key"):
        wish_of(Request("ADD", document={"name": "lan"}))


@pytest.mark.parametrize(
    ("request_", "codes"),
    [
        ([], (3, 1)),
        (None, (3, 1)),
        ([option("121"), option("host-name")], (121, 12, 3, 1)),
        ([option("1"), option("3"), option("1")], (1, 3)),
        ([{"skipDefault": True}], (1, 3, 15, 6)),
        ([{"skipDefault": False}], (3, 1)),
        ([option("6"), {"skipDefault": True}], (6,)),
        ([option("6", skipDefault=True), option("121")], (6, 121)),
        ([option("0"), option("255")], (0, 255, 3, 1)),
    ],
)
def test_the_options_that_are_asked_for_come_before_the_default_ones(request_, codes):
    assert wish_of(request_for(request=request_)).request == codes


@pytest.mark.parametrize(
    ("provide", "args", "sent"),
    [
        ([option("host-name", value="web")], "", ((12, b"web"),)),
        ([option("12", fromArg="K8S_POD_NAME")], "K8S_POD_NAME=db-0", ((12, b"db-0"),)),
        ([option("12", value="web", fromArg="POD")], "POD=db;X=1", ((12, b"db"),)),
        ([option("12", value="web", fromArg="POD")], "X=1", ((12, b"web"),)),
        ([option("12", value="web", fromArg="POD")], "POD=", ((12, b"web"),)),
        ([option("12", fromArg="POD")], "nonsense;;=;X", ()),
        ([option("12")], "", ()),
        ([option("60", fromArg="A")], "A=b=c", ((60, b"b=c"),)),
        ([option("77", value="\x04test")], "", ((77, b"\x04test"),)),
        ([option("user-class", fromArg="A")], "A=\udcff", ((77, b"\xff"),)),
        (
            [option("61", value="mine"), option("12", value="é")],
            "",
            ((61, b"mine"), (12, b"\xc3\xa9")),
        ),
        ([option("12", value="x" * 255)], "", ((12, b"x" * 255),)),
    ],
)
def test_options_are_sent_with_their_value_or_that_of_the_argument(provide, args, sent):
    assert wish_of(request_for(args, provide=provide)).send == sent


def test_unset_it_wishes_for_dhcpv4_and_the_daemon_is_where_it_is_by_default():
    request = request_for()

    place = place_of(request)

    assert wish_of(request) == Wish(("dhcpv4",), (3, 1), (), 0)
    assert (place.socket, place.directory) == ("/run/cni/dhcp.sock", "/var/lib/cni/dhcp")


def test_keys_are_found_in_any_case_and_protocols_count_once():
    request = request_for(
        PROTOCOLS=["dhcpv6", "dhcpv4", "dhcpv6"], Priority=7, DaemonSocketPath="/s"
    )

    assert wish_of(request) == Wish(("dhcpv6", "dhcpv4"), (3, 1), (), 7)
    assert place_of(request).socket == "/s"


@pytest.mark.parametrize(
    "ipam", [None, [], "x", {"daemonSocketPath": 3}, {"leaseDir": "\0"}, {"provide": 7}, {}]
)
def test_for_del_there_is_always_a_place(ipam):
    place = likely_place_of(Request("DEL", document={"name": "lan", "ipam": ipam}))

    assert (place.socket, place.directory) == ("/run/cni/dhcp.sock", "/var/lib/cni/dhcp")


def test_every_number_and_name_is_an_option():
    assert [code_of("key", str(number)) for number in range(256)] == list(range(256))
    assert {code_of("key", name) for name in OPTIONS} == {1, 3, 12, 60, 61, 77}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("request", "provide", "priority", "protocols", "daemonSocketPath", "leaseDir")


@given(st.dictionaries(st.sampled_from(KEYS), json_values), st.text())
def test_any_configuration_is_a_wish_or_a_wrong_key(ipam, args):
    request = request_for(args, **json.loads(json.dumps(ipam)))
    problem = "ipam: fine"
    try:
        wish_of(request)
    except InvalidNetworkConfig as error:
        problem = error.msg

    assert problem.startswith("ipam")


@given(st.text())
def test_any_arguments_can_be_read(text):
    assert all(f"{key}={value}" in text for key, value in lenient_arguments(text).items())
