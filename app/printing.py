"""What is printed: JSON for programs, tables for people; results to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

NAME_WIDTH: Final = 20
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON value on one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table for a person. What stands first names its row, and is only folded when it is long."""
    cells = [[str(cell) for cell in row] for row in rows]
    names = max((len(row[0]) for row in cells if row), default=0)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", min_width=0 if number else min(names, NAME_WIDTH))
    for row in cells:
        table.add_row(*row)
    out.print(table)
