"""Write docs/reference/configuration.md from the models of the suite's plugins."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cnicore import registry
from cnicore.config import NetConf

PAGE = Path(__file__).parent / "reference" / "configuration.md"
DISTRIBUTIONS = ("cni-ipam", "cni-main", "cni-meta")
FORMATS = {"ip": "IP address", "cidr": "IP address/prefix length"}

INTRODUCTION = """\
# Configuration reference

<!-- Written by docs/generate.py (`make docs`) from the plugins' models; a test compares. -->

How to read it: `ipam.ranges[][].subnet` is the key `subnet` of the objects in the lists in the list
`ranges` of the object `ipam`. Keys match in any case, the exact spelling before others. Values are
not converted: `"1500"` is no number. `null` means the default. A key that is not listed is ignored.
The same as a JSON Schema: `cni schema TYPE`.
"""

Schema = dict[str, Any]


class Key(NamedTuple):
    """A line of a table, in Markdown."""

    path: str
    type: str
    default: str
    description: str


def page() -> str:
    """The whole page."""
    plugins = registry.installed()
    common = list(keys_of(NetConf))
    sections = [section("Every plugin", NetConf, common)]
    for name in sorted(plugins):
        if plugins[name].entry_point.distribution in DISTRIBUTIONS:
            model = plugins[name].load().cni_config()
            own = [key for key in keys_of(model) if key not in common]
            sections.append(section(name, model, own))
    return "\n".join([INTRODUCTION, *sections])


def section(title: str, model: type[NetConf], keys: Iterable[Key]) -> str:
    lines = [f"| {' | '.join(key)} |" for key in keys]
    if lines:
        lines = ["| key | type | default | description |", "|---|---|---|---|", *lines]
    summary = model.model_json_schema().get("description", "")
    return "\n".join([f"## {title}", "", *([summary, ""] if summary else []), *lines, ""])


def keys_of(model: type[NetConf]) -> Iterator[Key]:
    """Every key of the model, those of nested objects after the object's own."""
    schema = model.model_json_schema()
    yield from keys_in(schema, schema.get("$defs", {}), "")


def keys_in(schema: Schema, definitions: Schema, prefix: str) -> Iterator[Key]:
    for name, field in schema.get("properties", {}).items():
        kind, brackets = element_of(field)
        definition = definitions.get(kind.get("$ref", "").rpartition("/")[2], kind)
        yield Key(
            path=f"`{prefix}{name}`",
            type="list of " * (len(brackets) // 2) + type_of(definition),
            default=default_of(field, is_required=name in schema.get("required", [])),
            description=field.get("description") or definition.get("description", ""),
        )
        yield from keys_in(definition, definitions, f"{prefix}{name}{brackets}.")


def element_of(field: Schema) -> tuple[Schema, str]:
    """What a field holds without "or null" and without the lists around it; `[]` for each list."""
    if "anyOf" in field:
        return element_of(next(kind for kind in field["anyOf"] if kind.get("type") != "null"))
    if field.get("type") == "array":
        kind, brackets = element_of(field.get("items", {}))
        return kind, f"{brackets}[]"
    return field, ""


def type_of(kind: Schema) -> str:
    if "enum" in kind:
        return "one of " + ", ".join(f"`{json.dumps(value)}`" for value in kind["enum"])
    name = FORMATS.get(str(kind.get("format")), str(kind.get("type", "any")))
    bounds = (("from", "minimum"), ("above", "exclusiveMinimum"), ("to", "maximum"))
    return " ".join([name, *(f"{word} {kind[key]}" for word, key in bounds if key in kind)])


def default_of(field: Schema, *, is_required: bool) -> str:
    if is_required:
        return "required"
    default = field.get("default")
    return "" if default is None or isinstance(default, dict) else f"`{json.dumps(default)}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print("wrote docs/reference/configuration.md")
