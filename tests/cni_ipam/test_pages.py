"""The examples of the reference pages do what the pages say."""

import json
import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs/reference/plugins"


def example_of(plugin):
    (block,) = re.findall(r"```json\n(.*?)```", (PAGES / f"{plugin}.md").read_text(), re.DOTALL)
    return {**json.loads(block), "type": plugin}


@pytest.mark.parametrize(
    ("plugin", "expected"),
    [
        (
            "host-local",
            [("10.1.0.10/24", "10.1.0.1"), ("fd00:1::2/64", "fd00:1::1")],
        ),
        ("static", [("10.1.0.5/24", "10.1.0.1"), ("fd00:1::5/64", None)]),
    ],
)
def test_the_example_gives_the_addresses_on_the_page(call, data_dir, plugin, expected):
    conf = example_of(plugin)
    conf["ipam"]["dataDir"] = str(data_dir)

    document = call.add(conf)

    assert [(ip["address"], ip.get("gateway")) for ip in document["ips"]] == expected
    for verb in ("STATUS", "CHECK", "DEL"):
        assert call(verb, {**conf, "prevResult": document}).status == 0
