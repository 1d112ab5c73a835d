"""The environment and stdin of a call."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cnicore.errors import (
    CniError,
    DecodingFailure,
    InvalidEnvironment,
    InvalidNetworkConfig,
    IoFailure,
)
from cnicore.owner import Owner
from cnicore.request import read_request
from cnicore.result import Interface, Result
from cnicore.spec import SINCE_0_1_0
from cnicore.variables import require_variables

ENVIRONMENT = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
CONF = {"cniVersion": "1.1.0", "name": "net", "type": "ptp"}
SHAPES = (SINCE_0_1_0[:2], SINCE_0_1_0[2:5], SINCE_0_1_0[5:])

KEYS = ["cniVersion", "CNIVersion", "ips", "address", "dns", "name", "containerID", "ifname", "x"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([*SINCE_0_1_0, "eth0", "", "::/0"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=8,
)


def request_for(verb, conf=CONF, **changes):
    environ = {**ENVIRONMENT, "CNI_COMMAND": verb, **changes}
    stdin = conf if isinstance(conf, bytes) else json.dumps(conf).encode()
    return read_request(environ, lambda: stdin)


def refused(error, verb, conf=CONF, **changes):
    with pytest.raises(error) as caught:
        request_for(verb, conf, **changes)
    return caught.value


def unreadable():
    raise OSError(errno.EIO, "")


def test_a_call_is_what_environment_and_stdin_say():
    request = request_for("ADD", CNI_ARGS="A=b")
    assert (request.verb, request.network, request.cni_version) == ("ADD", "net", "1.1.0")
    assert (request.netns, request.path, request.args) == ("/run/netns/c1", "/opt/cni/bin", "A=b")
    assert request.owner == Owner("net", "c1", "eth0")


@pytest.mark.parametrize(
    ("verb", "required"),
    [
        ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH"),
        ("DEL", "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
        ("GC", "CNI_PATH"),
        ("STATUS", "CNI_PATH"),
    ],
)
def test_missing_variables_are_named_alone_and_all_together(verb, required):
    for name in required.split(","):
        error = refused(InvalidEnvironment, verb, **{name: ""})
        assert error.msg == f"required env variables [{name}] missing"
    error = refused(InvalidEnvironment, verb, **dict.fromkeys(ENVIRONMENT, ""))
    assert error.msg == f"required env variables [{required}] missing"


def test_a_missing_verb_is_a_missing_variable():
    assert "CNI_COMMAND" in refused(InvalidEnvironment, "").msg


def test_version_needs_no_other_variable():
    require_variables({"CNI_COMMAND": "VERSION"})


@pytest.mark.parametrize("container_id", ["../c1", "c1/..", "c 1", "c1\n"])
def test_a_container_id_cannot_be_a_path(container_id):
    error = refused(InvalidEnvironment, "ADD", CNI_CONTAINERID=container_id)
    assert (error.msg, error.details) == ("invalid characters in containerID", container_id)


def test_a_malformed_variable_comes_before_missing_ones_and_before_stdin():
    error = refused(InvalidEnvironment, "ADD", b"no JSON", CNI_IFNAME="a/b", CNI_NETNS="")
    assert error.msg == "interface name contains / or : or whitespace characters"


def test_a_stdin_that_cannot_be_read_is_an_io_failure():
    with pytest.raises(IoFailure, match="error reading from stdin: Input/output error"):
        read_request({**ENVIRONMENT, "CNI_COMMAND": "ADD"}, unreadable)


@pytest.mark.parametrize("conf", [b"", b"{", b"[]", b"\xff", b'"name"'])
def test_a_stdin_that_is_no_object_is_a_decoding_failure(conf):
    error = refused(DecodingFailure, "ADD", conf)
    assert error.msg.startswith("error unmarshall network config")


@pytest.mark.parametrize(
    ("change", "error", "msg"),
    [
        ({"name": ""}, InvalidNetworkConfig, "missing network name"),
        ({"name": None}, InvalidNetworkConfig, "missing network name"),
        ({"name": "a/b"}, InvalidNetworkConfig, "invalid characters found in network name"),
        ({"name": "../a"}, InvalidNetworkConfig, "invalid characters found in network name"),
        ({"name": 5}, DecodingFailure, "name must be a string, not a number"),
        ({"cniVersion": 1}, DecodingFailure, "cniVersion must be a string, not a number"),
    ],
)
def test_the_networks_name_and_version_are_checked(change, error, msg):
    assert msg in refused(error, "ADD", {**CONF, **change}).msg


def test_name_and_version_are_found_in_any_case():
    request = request_for("ADD", {"CNIVERSION": "0.4.0", "Name": "net"})
    assert (request.network, request.cni_version) == ("net", "0.4.0")


@pytest.mark.parametrize(("version", "expected"), [(None, "0.1.0"), ("", "0.1.0"), ("x", "x")])
def test_an_absent_version_is_the_oldest(version, expected):
    assert request_for("ADD", {"name": "net", "cniVersion": version}).cni_version == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", True), ("true", True), ("TRUE", True), ("yes", False), ("", False)],
)
def test_the_override_of_the_namespace_check_is_a_boolean(value, expected):
    assert request_for("ADD", CNI_NETNS_OVERRIDE=value).netns_override is expected


def test_another_verb_reaches_delegates_as_well():
    request = request_for("ADD").with_verb("DEL")
    assert (request.verb, request.environ["CNI_COMMAND"]) == ("DEL", "DEL")


class TestPrevResult:
    def test_it_has_the_configurations_version_if_it_names_none(self):
        request = request_for("CHECK", {**CONF, "prevResult": {"interfaces": [{"name": "eth0"}]}})
        assert request.prev_result.interfaces == (Interface("eth0"),)

    def test_there_may_be_none(self):
        assert request_for("DEL").prev_result is None
        assert request_for("DEL", {**CONF, "prevResult": None}).prev_result is None

    @pytest.mark.parametrize("version", SINCE_0_1_0)
    def test_its_version_must_look_like_the_configurations(self, version):
        shape = next(versions for versions in SHAPES if version in versions)
        for own in ("", *SINCE_0_1_0):
            request = request_for(
                "DEL", {**CONF, "cniVersion": version, "prevResult": {"cniVersion": own}}
            )
            if (own or "0.1.0") in shape:
                assert request.prev_result == Result()
                continue
            with pytest.raises(CniError) as caught:
                _ = request.prev_result
            assert caught.value.msg == (
                f"could not parse prevResult: result type supports [{' '.join(shape)}]"
                f' but unmarshalled CNIVersion is "{own}"'
            )

    def test_a_version_that_is_null_is_none(self):
        request = request_for("DEL", {**CONF, "prevResult": {"cniVersion": None}})
        assert request.prev_result == Result()

    def test_one_without_members_is_empty_and_not_absent(self):
        assert request_for("DEL", {**CONF, "prevResult": {}}).prev_result == Result()

    def test_its_key_is_found_in_any_case(self):
        assert request_for("DEL", {**CONF, "PrevResult": {}}).prev_result == Result()

    @given(ANYTHING)
    def test_anything_is_a_result_none_or_an_error(self, value):
        request = request_for("DEL", {**CONF, "prevResult": value})
        with suppress(CniError):
            assert isinstance(request.prev_result, Result | None)

    def test_what_is_no_result_is_refused_with_the_wrong_member(self):
        request = request_for("DEL", {**CONF, "prevResult": {"ips": [{"address": "x"}]}})
        with pytest.raises(DecodingFailure) as caught:
            _ = request.prev_result
        assert caught.value.msg == (
            "could not parse prevResult: ips[0].address: invalid CIDR address: x"
        )
        with pytest.raises(DecodingFailure, match="expected an object, not a list"):
            _ = request_for("DEL", {**CONF, "prevResult": []}).prev_result


ONE = [{"containerID": "a", "ifname": "eth0"}]


class TestValidAttachments:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({}, None),
            ({"cni.dev/valid-attachments": None}, ()),
            ({"cni.dev/valid-attachments": []}, ()),
            ({"cni.dev/valid-attachments": ONE}, (Owner("net", "a", "eth0"),)),
            ({"cni.dev/attachments": ONE}, (Owner("net", "a", "eth0"),)),
            (
                {"cni.dev/valid-attachments": [{"ContainerId": "a", "ifName": "eth0"}]},
                (Owner("net", "a", "eth0"),),
            ),
            ({"cni.dev/attachments": ONE, "cni.dev/valid-attachments": []}, ()),
        ],
    )
    def test_absent_is_not_the_same_as_empty(self, change, expected):
        assert request_for("GC", {**CONF, **change}).valid_attachments == expected

    @pytest.mark.parametrize(
        "value",
        [
            *(5, "a", {"a": "b"}, True),
            *([5], [{}], [None], [[]], [{"containerID": "a"}], [{"ifname": "eth0"}]),
            *([{"containerID": 1, "ifname": "eth0"}], [{"containerID": "a", "ifname": None}]),
        ],
    )
    def test_anything_else_is_refused(self, value):
        request = request_for("GC", {**CONF, "cni.dev/valid-attachments": value})
        with pytest.raises(InvalidNetworkConfig, match="must be a list of objects"):
            _ = request.valid_attachments

    @pytest.mark.parametrize("value", [False, 0, "", {}])
    def test_what_is_empty_but_no_list_does_not_mean_keep_nothing(self, value):
        request = request_for("GC", {**CONF, "cni.dev/valid-attachments": value})
        with pytest.raises(InvalidNetworkConfig, match="must be a list of objects"):
            _ = request.valid_attachments

    @given(ANYTHING)
    def test_anything_is_a_list_of_owners_none_or_an_error(self, value):
        request = request_for("GC", {**CONF, "cni.dev/valid-attachments": value})
        with suppress(CniError):
            assert all(owner.tag for owner in request.valid_attachments)


# what the kernel may hand over: os.environ shows bytes that are no UTF-8 as lone surrogates
VALUES = st.binary(max_size=20).map(os.fsdecode) | st.sampled_from(["eth0", "c1", "", "1", ".."])
DOCUMENTS = ANYTHING.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30)


@example(verb="ADD", variables={"CNI_IFNAME": "\udcff"}, stdin=b"{}")
@given(
    verb=st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS", "frob"]) | VALUES,
    variables=st.dictionaries(st.sampled_from(list(ENVIRONMENT)), VALUES, max_size=2),
    stdin=DOCUMENTS,
)
def test_whatever_comes_in_is_a_call_or_an_error(verb, variables, stdin):
    with suppress(CniError):
        assert request_for(verb, stdin, **variables).verb == verb
