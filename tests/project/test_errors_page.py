"""docs/reference/errors.md: every class is there, and its example is what one really sees."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import pytest

from cnicore import errors
from cnicore.errors import CniError, ForeignError
from cnicore.main import answer_as
from cnicore.runtime import Attachment, Network, Runtime

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
ROW = re.compile(r"^\| (.*?) \| `(\w+)` \| .*? \|(?: `(.*?)`)? \| .* \|$", re.MULTILINE)
LOOPBACK = {"cniVersion": "1.1.0", "name": "net", "type": "loopback"}
PTP = {**LOOPBACK, "type": "ptp"}


def rows():
    return {name: (code, example) for code, name, example in ROW.findall(PAGE.read_text())}


def test_every_class_is_on_the_page_with_its_code():
    classes = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, CniError)
    ]

    assert {name: code for name, (code, _) in rows().items()} == {
        kind.__name__: "its own" if kind is ForeignError else str(kind.code) for kind in classes
    }


def unreadable():
    raise OSError(errno.EIO, "")


# class: what a plugin is called with
CALLS = {
    "CniError": ("ADD", {**LOOPBACK, "type": "brigde"}, {}),
    "IncompatibleCniVersion": ("ADD", {**LOOPBACK, "cniVersion": "9.9.9"}, {}),
    "InvalidEnvironment": ("ADD", LOOPBACK, {"CNI_CONTAINERID": ""}),
    "InvalidNetworkConfig": ("ADD", {**PTP, "mtu": "1500"}, {}),
    "InvalidNetns": ("ADD", LOOPBACK, {"CNI_NETNS": "/run/netns/gone"}),
    "PluginNotAvailable": (
        "STATUS",
        {**LOOPBACK, "type": "static", "ipam": {"type": "static", "addresses": []}},
        {},
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_example_is_what_a_plugin_says(call, name):
    verb, conf, variables = CALLS[name]

    document = call(verb, conf, **variables).document

    assert (str(document["code"]), document["msg"]) == rows()[name]


@pytest.mark.parametrize(
    ("name", "read_stdin"), [("IoFailure", unreadable), ("DecodingFailure", lambda: b"{")]
)
def test_the_example_is_what_is_said_about_stdin(call, name, read_stdin):
    answer = answer_as("loopback", {**call.environ, "CNI_COMMAND": "ADD"}, read_stdin)

    document = json.loads(answer.text)
    assert (str(document["code"]), document["msg"]) == rows()[name]


def test_the_example_of_a_foreign_error_is_a_program_that_dies_without_a_word(
    call, plugin_directory
):
    program = plugin_directory / "theirs"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)

    document = call("STATUS", {**PTP, "ipam": {"type": "theirs"}}).document

    assert (document["code"], document["msg"]) == (0, rows()["ForeignError"][1])


def test_the_example_of_an_unknown_container_is_the_runtime_librarys(plugin_directory):
    conf = {"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "loopback"}]}
    network = Network.from_bytes(json.dumps(conf).encode())

    with pytest.raises(ForeignError) as caught:
        Runtime([plugin_directory]).add(network, Attachment("", netns="/run/netns/c1"))

    assert str(caught.value.code) == rows()["UnknownContainer"][0]
    message = str(caught.value)
    assert message.endswith(f": {rows()['UnknownContainer'][1]}")
    assert f"\n{message}\n" in PAGE.read_text()


def test_the_document_on_the_page_is_what_a_plugin_prints(call, fake_kernel):
    outcome = call("ADD", {**LOOPBACK, "type": "bridge", "vlan": 5000})

    assert f"```json\n{outcome.text}\n```" in PAGE.read_text()
