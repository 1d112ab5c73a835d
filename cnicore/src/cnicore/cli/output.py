"""How a command ends: a document or nothing on stdout, a failure as one line or one document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from cnicore.documents import Document, encode
from cnicore.errors import CniError


@contextmanager
def failures_shown(*, as_json: bool = False) -> Iterator[None]:
    """Turn the block's CniError into exit status 1.

    It is shown on stderr, or as the specification's error document on stdout.
    """
    try:
        yield
    except CniError as error:
        if not as_json:
            raise click.ClickException(str(error).replace("\n", "; ")) from error
        members: Document = {"code": error.code, "msg": error.msg, "details": error.details}
        show({key: value for key, value in members.items() if value or key != "details"})
        raise SystemExit(1) from error


def show(document: object) -> None:
    """Print a JSON document."""
    click.echo(encode(document))


def show_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows under their header, the columns aligned."""
    lines = [header, *(tuple(" ".join(cell.split()) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout, errors too."
)
