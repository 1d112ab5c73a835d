"""The how-to's examples are executed, in their order, with a network and plugins of the test's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "attach-a-namespace-from-python.md"


def test_the_examples_of_the_how_to_work(plugins: Any, tmp_path: Path) -> None:
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d" / "10-dbnet.conflist").write_text(
        '{"cniVersion": "1.1.0", "name": "dbnet", "plugins": [{"type": "second"}]}'
    )
    replaced = {
        'Runtime(["/opt/cni/bin"])': f'Runtime(["{plugins.directory}"], "{tmp_path}/cache")',
        "/etc/cni/net.d": f"{tmp_path}/net.d",
    }
    names: dict[str, Any] = {"is_running": lambda attachment: False}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        code = block
        for text, instead in replaced.items():
            code = code.replace(text, instead)
        exec(code, names)  # noqa: S102  (our own page)
    assert plugins.sequence == [
        *("ADD second", "ADD second"),
        *("DEL second", "ADD second"),
        *("DEL second", "DEL second", "GC second"),
    ]
    assert str(names["added"].result.ips[0].address) == "10.1.0.5/24"
    assert len([line for line in blocks[0].splitlines() if line]) == 5
