"""The examples of docs/reference/hooks.md are plugins that work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnicore import registry
from cnicore.net.link import Link

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "hooks.md"
CONF = {"cniVersion": "1.1.0", "name": "net", "type": "hello", "greeting": "good morning"}


@pytest.fixture
def examples(distribute):
    """The page's plugin, extension and versions, installed as its entry points say."""
    text = PAGE.read_text()
    tables = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    entry_points = re.sub(r'project\.entry-points\."(.*?)"', r"\1", "\n".join(tables))
    hello, timing = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return distribute(entry_points.replace('"', ""), cni_hello=hello, acme_timing=timing)


def test_the_plugin_attaches_inside_the_extension(examples, call, fake_kernel, capsys):
    container = fake_kernel.namespaces["/run/netns/c1"]
    container.by_name["lo"] = Link(1, "lo")

    document = call.add(CONF)

    assert container.by_name["lo"].is_up
    assert document["interfaces"] == [{"name": "lo", "sandbox": "/run/netns/c1"}]
    greeting, timing = capsys.readouterr().err.splitlines()
    assert greeting == "good morning c1"
    assert re.fullmatch(r"cni:net/c1/eth0: \d\.\d{3} s", timing)


@pytest.mark.parametrize("verb", ["DEL", "GC", "STATUS"])
def test_a_verb_without_a_hook_succeeds(examples, call, fake_kernel, verb):
    assert call(verb, CONF).status == 0


def test_the_plugin_has_the_versions_that_its_distribution_names(examples):
    assert registry.find("hello").supported_versions[0] == "0.4.0"


def test_an_extension_that_cannot_be_imported_is_named(distribute, call, fake_kernel):
    distribute("[cni.extensions]\ntiming = acme_missing\n", name="acme")

    document = call("ADD", {**CONF, "type": "loopback"}).document

    assert document["code"] == 50
    assert "acme_missing of acme 1.2.3" in document["msg"]
    assert call("VERSION", {"type": "loopback"}).status == 0
