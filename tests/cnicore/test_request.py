"""The environment and stdin of a call."""

from __future__ import annotations

import errno
import json

import pytest

from cnicore.errors import (
    CniError,
    DecodingFailure,
    InvalidEnvironment,
    InvalidNetworkConfig,
    IoFailure,
)
from cnicore.owner import Owner
from cnicore.request import read_request
from cnicore.result import Interface

ENVIRONMENT = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
CONF = {"cniVersion": "1.1.0", "name": "net", "type": "ptp"}


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


def test_version_needs_no_other_variable_and_does_not_read_stdin():
    assert read_request({"CNI_COMMAND": "VERSION"}, unreadable).verb == "VERSION"


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

    def test_its_version_must_look_like_the_configurations(self):
        request = request_for("DEL", {**CONF, "prevResult": {"cniVersion": "0.4.0"}})
        with pytest.raises(CniError, match=r'unmarshalled CNIVersion is "0\.4\.0"'):
            _ = request.prev_result

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
            ({"cni.dev/attachments": ONE, "cni.dev/valid-attachments": []}, ()),
        ],
    )
    def test_absent_is_not_the_same_as_empty(self, change, expected):
        assert request_for("GC", {**CONF, **change}).valid_attachments == expected

    @pytest.mark.parametrize("value", [5, [5], [{}], [{"containerID": "a"}]])
    def test_anything_else_is_refused(self, value):
        request = request_for("GC", {**CONF, "cni.dev/valid-attachments": value})
        with pytest.raises(InvalidNetworkConfig, match="must be a list of objects"):
            _ = request.valid_attachments
