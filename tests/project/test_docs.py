"""The documentation: links lead somewhere, examples parse, what is generated is not stale."""

from __future__ import annotations

import inspect
import json
import re
import runpy
from functools import cache
from pathlib import Path

import pytest

from cnicore import registry
from cnicore.config import NetConf
from cnicore.hookspecs import CniVerbs

ROOT = Path(__file__).parents[2]
OWN = {"cni-ipam", "cni-main", "cni-meta"}
PAGES = sorted(
    {
        page.relative_to(ROOT)
        for pattern in ("*.md", "*/README.md", "docs/**/*.md")
        for page in ROOT.glob(pattern)
    }
)

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]\[]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)
HERE = re.compile(r"/work/|/root/|/tmp/(?!first\b)|/home/")


@cache
def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def prose_of(page):
    """The page without its blocks of code."""
    return FENCE.sub("", text_of(page))


def blocks_of(page, language):
    return [code for name, code in FENCE.findall(text_of(page)) if name == language]


@cache
def anchors_of(page):
    """As GitHub makes them from headings."""
    headings = (heading.replace("`", "").lower() for heading in HEADING.findall(prose_of(page)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


@cache
def generator():
    return runpy.run_path(str(ROOT / "docs" / "generate.py"))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page):
    prose = re.sub(r"`[^`\n]*`", "", prose_of(page))
    for link in LINK.findall(prose):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = (ROOT / page.parent / path).resolve() if path else ROOT / page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors_of(target.relative_to(ROOT)), link


def test_every_page_is_reached_from_the_index():
    index = Path("docs/README.md")
    links = LINK.findall(prose_of(index))
    targets = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in links}

    pages = {ROOT / page for page in PAGES if page.parts[0] == "docs" and page != index}
    assert pages - targets == set()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_json_block_parses(page):
    for block in blocks_of(page, "json"):
        assert isinstance(json.loads(block), dict | list), block


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_python_block_compiles(page):
    for number, block in enumerate(blocks_of(page, "python")):
        compile(inspect.cleandoc(block), f"{page}, block {number}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_page_shows_the_machine_it_was_written_on(page):
    assert HERE.findall(text_of(page)) == []


@pytest.mark.parametrize("name", ["configuration.md", "hooks.md"])
def test_what_is_generated_is_not_stale(name):
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")

    assert generator()["page"](name) == written, "run: make docs"


def test_every_key_of_every_model_has_a_description():
    for plugin in registry.installed().values():
        if plugin.entry_point.distribution in OWN:
            keys = generator()["keys_of"](plugin.load().cni_config())
            assert [key.key for key in keys if not key.description] == [], plugin.type
    assert [key.key for key in generator()["keys_of"](NetConf) if not key.description] == []


def test_every_plugin_has_a_page_and_a_line_in_the_readme():
    for plugin in registry.installed().values():
        if plugin.entry_point.distribution in OWN:
            page = f"docs/reference/plugins/{plugin.type}.md"
            assert f"| [{plugin.type}]({page}) |" in text_of(Path("README.md"))
            assert (ROOT / page).exists()


def test_every_hook_is_documented_with_its_arguments():
    headings = HEADING.findall(text_of(Path("docs/reference/hooks.md")))
    for name, hook in inspect.getmembers(CniVerbs, inspect.isfunction):
        arguments = [name for name in inspect.signature(hook).parameters if name != "self"]
        assert f"{name}({', '.join(arguments)})" in headings


def test_decisions_are_numbered_without_a_gap():
    numbers = [int(page.name[:4]) for page in PAGES if page.parent.name == "decisions"]

    assert numbers == list(range(1, len(numbers) + 1))
