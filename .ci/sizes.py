"""Print how long files and functions are, and refuse those that are too long to be read at once."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

LONGEST_FILE = 300
LONGEST_FUNCTION = 40


class Piece(NamedTuple):
    """A file or a function, and its lines."""

    where: str
    lines: int


def main(roots: Iterable[str]) -> int:
    """Print the numbers of the Python files below the roots; 1 if something is too long."""
    sources = {
        file: file.read_text(encoding="utf-8")
        for root in roots
        for file in sorted(Path(root).rglob("*.py"))
    }
    files = [Piece(str(file), len(source.splitlines())) for file, source in sources.items()]
    functions = [piece for file, source in sources.items() for piece in functions_in(file, source)]
    print(summary("files", [piece for piece in files if piece.lines]))
    print(summary("functions", functions))
    too_long = [
        f"{piece.where}: {piece.lines} lines, at most {limit}: split it"
        for pieces, limit in ((files, LONGEST_FILE), (functions, LONGEST_FUNCTION))
        for piece in pieces
        if piece.lines > limit
    ]
    print(*too_long, sep="\n", end="\n" if too_long else "")
    return bool(too_long)


def functions_in(file: Path, source: str) -> Iterator[Piece]:
    """The functions, without their decorators and docstrings."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield Piece(f"{file}:{node.lineno} {node.name}", lines - docstring_lines(node))


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(node) is None:
        return 0
    docstring = node.body[0]
    return (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1


def summary(what: str, pieces: list[Piece]) -> str:
    lines = [piece.lines for piece in pieces]
    nine_tenths = quantiles(lines, n=10)[-1]
    return (
        f"{len(lines)} {what}: median {median(lines):.0f} lines,"
        f" 90 % up to {nine_tenths:.0f}, longest {max(lines)}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
