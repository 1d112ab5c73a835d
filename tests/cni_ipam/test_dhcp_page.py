"""The pages about dhcp show what the programs read and write."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cni_ipam.dhcp import protocol
from cni_ipam.dhcp.conf import OPTIONS, OWN_OPTIONS
from cni_ipam.dhcp.document import document_of, holding_of
from cni_ipam.dhcp.flags import usage
from cni_ipam.dhcp.terms import client_id

DOCS = Path(__file__).parents[2] / "docs"
UNITS = DOCS / "examples/systemd"
PAGE = (DOCS / "reference/plugins/dhcp.md").read_text()
HOW_TO = (DOCS / "how-to/run-the-dhcp-daemon.md").read_text()


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def documents():
    return [json.loads(block) for block in blocks(PAGE, "json")]


def line_with(member):
    """The page's line of the protocol that has the member."""
    (document,) = (one for one in documents() if "cni.dhcp" in one and member in one)
    return json.dumps(document).encode() + b"\n"


def test_the_question_on_the_page_is_one_and_the_same_comes_out():
    request = protocol.read_question(line_with("verb"))

    assert json.loads(protocol.question(request))["config"] == request.document
    assert {**json.loads(protocol.question(request)), "config": None} == {
        **json.loads(line_with("verb")),
        "config": None,
    }


def test_the_answers_on_the_page_are_answers():
    accepted, result, error = map(line_with, ("accepted", "result", "error"))

    assert protocol.read_answer(accepted).seconds == 213
    assert json.loads(protocol.success(protocol.read_answer(result).result)) == json.loads(result)
    assert protocol.read_answer(error).error.code == 11


def test_the_record_on_the_page_is_one_and_the_same_comes_out():
    (record,) = (one for one in documents() if "format" in one)

    holding = holding_of(record)

    assert {**document_of(holding), "boot": record["boot"]} == record
    assert holding.client_id == client_id(holding.owner)


def test_the_options_on_the_page_are_those_that_there_are():
    assert [name for name, code in OPTIONS.items() if f"`{name}` ({code})" not in PAGE] == []
    own = ", ".join(map(str, sorted(OWN_OPTIONS)[:-1]))
    assert f"options\n{own} and 255 are" in PAGE


@pytest.mark.parametrize("unit", ["cni-dhcp.socket", "cni-dhcp.service"])
def test_the_page_shows_the_units(unit):
    assert (UNITS / unit).read_text() in blocks(HOW_TO, "ini")


def test_the_page_shows_the_flags():
    assert usage() in blocks(HOW_TO, "text")


def test_systemd_understands_the_units(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    for unit in UNITS.glob("cni-dhcp.*"):
        text = unit.read_text().replace("/opt/cni/bin/dhcp daemon", "/bin/true")
        (tmp_path / unit.name).write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "verify", *tmp_path.iterdir()],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
