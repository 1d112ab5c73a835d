"""Refuse files in changelog.d that are not named ISSUE.KIND.md; towncrier would pass over them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

FRAGMENT = re.compile(r"[0-9]+(\.[0-9]+)?\.(added|changed|fixed|removed)\.md")


def misnamed(files: Iterable[str]) -> list[str]:
    """Those of the files that are neither a fragment nor the folder's README."""
    return [
        file
        for file in files
        if not FRAGMENT.fullmatch(Path(file).name) and Path(file).name != "README.md"
    ]


if __name__ == "__main__":
    wrong = misnamed(sys.argv[1:])
    for file in wrong:
        print(f"{file}: name it ISSUE.KIND.md, KIND one of added, changed, fixed, removed")
    sys.exit(bool(wrong))
