"""The lines between plugin and daemon: what one writes the other reads, and nothing else."""

import json
from contextlib import suppress
from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_ipam.dhcp import protocol
from cni_ipam.dhcp.protocol import Answer, read_answer, read_question
from cnicore.errors import (
    CniError,
    DecodingFailure,
    IncompatibleCniVersion,
    InvalidEnvironment,
    InvalidNetworkConfig,
    TryAgainLater,
)
from cnicore.request import Request
from cnicore.result import Dns, IpConfig, Result, Route
from dhcp.daemons import NETWORK, QUESTION

RESULT = Result(
    ips=(IpConfig(ip_interface("192.168.1.5/24"), ip_address("192.168.1.1")),),
    routes=(Route(ip_interface("0.0.0.0/0"), ip_address("192.168.1.1"), priority=7),),
    dns=Dns(("192.168.1.2",), "example.org", ("example.org", "example.net")),
)


def line(**changes):
    """The question with other members; those that are None are left out."""
    document = {**QUESTION, **changes}
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def test_what_the_plugin_asks_is_one_line_that_the_daemon_reads():
    request = Request(
        "ADD", "c1", "/run/netns/c1", "eth0", "A=\udcff", document={**NETWORK, "x": "ä\n\ud800"}
    )

    data = protocol.question(request)
    read = read_question(data)

    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    assert (read.verb, read.container_id, read.netns) == ("ADD", "c1", "/run/netns/c1")
    assert (read.ifname, read.args) == ("eth0", "A=\udcff")
    assert read.document == request.document
    assert read.owner == request.owner


def test_the_question_is_as_documented():
    request = Request("ADD", "c1", "/run/netns/c1", "eth0", document=NETWORK)

    assert json.loads(protocol.question(request)) == QUESTION


def test_a_configuration_that_does_not_fit_is_refused_before_it_is_sent():
    request = Request(
        "DEL", "c1", "", "eth0", document={**NETWORK, "x": "x" * protocol.LONGEST_LINE}
    )

    with pytest.raises(CniError, match="the configuration is too long for the DHCP daemon"):
        protocol.question(request)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", DecodingFailure, "the DHCP daemon's request: Expecting value"),
        (b"{", DecodingFailure, "the DHCP daemon's request: "),
        (b"[]", DecodingFailure, "the DHCP daemon's request: expected a JSON object, not a list"),
        (b"\xff", DecodingFailure, "the DHCP daemon's request: 'utf-8' codec"),
        (b"[" * 100_000, DecodingFailure, "the DHCP daemon's request: "),
        (b"null", DecodingFailure, 'the DHCP daemon\'s request: it has no number "cni.dhcp"'),
        (
            line(**{"cni.dhcp": None}),
            DecodingFailure,
            'the DHCP daemon\'s request: it has no number "cni.dhcp", the version of the protocol',
        ),
        (
            line(**{"cni.dhcp": True}),
            DecodingFailure,
            "the DHCP daemon's request: it has no number",
        ),
        (
            line(**{"cni.dhcp": 2}),
            IncompatibleCniVersion,
            (
                "the DHCP daemon's request is of version 2 of the protocol, and this program"
                " speaks 1: plugin and daemon must be of the same release: restart the daemon"
            ),
        ),
        (line(verb=None), InvalidEnvironment, 'unknown verb "": use ADD, CHECK, DEL, GC, STATUS'),
        (line(verb="RENEW"), InvalidEnvironment, 'unknown verb "RENEW"'),
        (line(verb=7), DecodingFailure, "the DHCP daemon's request: verb must be a string"),
        (line(containerID=None), InvalidEnvironment, "invalid characters in containerID"),
        (line(containerID="../x"), InvalidEnvironment, "invalid characters in containerID"),
        (line(ifname="a/b"), InvalidEnvironment, "interface name contains / or :"),
        (line(netns=["x"]), DecodingFailure, "the DHCP daemon's request: netns must be a string"),
        (line(config=None), InvalidNetworkConfig, "missing network name"),
        (line(config=[]), DecodingFailure, "error unmarshall network config: expected a JSON"),
        (
            line(config={"name": "../x"}),
            InvalidNetworkConfig,
            "invalid characters found in network",
        ),
    ],
)
def test_a_wrong_question_is_refused_with_its_reason(data, kind, message):
    with pytest.raises(kind) as caught:
        read_question(data)

    assert type(caught.value) is kind
    assert caught.value.msg.startswith(message)


@pytest.mark.parametrize("verb", ["GC", "STATUS"])
def test_for_a_whole_network_there_is_no_attachment(verb):
    read = read_question(line(verb=verb, containerID=None, netns=None, ifname=None))

    assert (read.verb, read.container_id, read.network) == (verb, "", "lan")


def test_answers_are_read_as_they_were_written():
    error = TryAgainLater("no DHCP server answered", "see the log")

    refused = read_answer(protocol.failure(error)).error

    assert read_answer(protocol.accepted(213.5)) == Answer(seconds=213.5)
    assert read_answer(protocol.success(RESULT)) == Answer(result=RESULT)
    assert read_answer(protocol.success(None)) == Answer()
    assert (refused.code, refused.msg, refused.details) == (11, error.msg, error.details)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "it has neither result nor error"),
        ({"accepted": False, "seconds": 1}, "it has neither result nor error"),
        ({"accepted": True}, "it has neither result nor error"),
        ({"accepted": True, "seconds": "1"}, "it has neither result nor error"),
        ({"accepted": True, "seconds": -1}, "it has neither result nor error"),
        ({"accepted": True, "seconds": 10**400}, "it has neither result nor error"),
        ({"error": None}, "its error has no code or no msg"),
        ({"error": {"code": "7", "msg": "x"}}, "its error has no code or no msg"),
        ({"error": {"code": 7}}, "its error has no code or no msg"),
        ({"error": {"code": 7, "msg": "x", "details": 1}}, "its error has no code or no msg"),
        ({"result": []}, "its result is no object"),
    ],
)
def test_a_wrong_answer_is_refused_with_its_reason(document, message):
    data = json.dumps({"cni.dhcp": 1, **document}).encode()

    with pytest.raises(DecodingFailure, match=f"^the DHCP daemon's answer: {message}"):
        read_answer(data)


def test_an_answer_of_another_version_says_that_the_daemon_is_of_another_release():
    with pytest.raises(IncompatibleCniVersion, match="restart the daemon"):
        read_answer(b'{"cni.dhcp": 2, "result": null}')


anything = st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.text() | st.sampled_from([*QUESTION, "error", "result", "accepted", "seconds"]),
            inner,
        )
    ),
).map(lambda value: json.dumps(value).encode())
nearly = st.dictionaries(st.sampled_from([*QUESTION]), st.none() | st.integers() | st.text()).map(
    lambda changes: json.dumps({**QUESTION, **changes}).encode()
)


@given(anything | nearly)
def test_any_bytes_are_a_question_or_a_reason(data):
    with suppress(CniError):
        assert read_question(data).verb in protocol.VERBS


answers = st.dictionaries(
    st.sampled_from(["error", "result", "accepted", "seconds"]),
    st.none()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.text())
    | st.dictionaries(
        st.sampled_from(["ips", "routes", "dns", "code", "msg"]),
        st.text() | st.lists(st.none()) | st.integers(),
    ),
).map(lambda members: json.dumps({"cni.dhcp": 1, **members}).encode())


@given(anything | answers)
def test_any_bytes_are_an_answer_or_a_reason(data):
    with suppress(CniError):
        assert isinstance(read_answer(data), Answer)
