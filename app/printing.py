"""What is printed: JSON for programs, tables for people; results to stdout, everything else to stderr.

Piped, nothing is wrapped and every row is one line. On a terminal a row that is too long goes on below itself, so that
ids, times and names are never broken.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.errors import MarkupError
from rich.text import Text

GAP: Final = 2  # blanks between columns
INDENT: Final = "    "  # of what stands below its row
CONTROL: Final = dict.fromkeys((*range(32), 127), "\N{REPLACEMENT CHARACTER}")
out = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
err = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def print_json(value: Any) -> None:
    """One JSON value on one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table for a person. Cells may hold rich markup; what stands first names its row.

    On a terminal, columns that do not fit stand below their row with their names: those with prose first, then the
    last ones.
    """
    names = [*columns]
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [max([cell_len(name), *(cell_len(row[i].plain) for row in cells)]) for i, name in enumerate(names)]
    shown = _fitting(widths, cells, out.width) if out.is_terminal else [*range(len(names))]
    if title:
        out.print(Text(title, "italic"))
    out.print(_line([Text(names[i], "bold") for i in shown], [widths[i] for i in shown]), soft_wrap=True)
    for row in cells:
        out.print(_line([row[i] for i in shown], [widths[i] for i in shown]), soft_wrap=True)
        for i in sorted(set(range(len(names))) - {*shown}):
            if row[i].plain:
                _below(names[i], row[i])


def _text(cell: object) -> Text:
    """A cell without control characters; what is no markup is taken as it is."""
    plain = str(cell).translate(CONTROL)
    try:
        return Text.from_markup(plain)
    except MarkupError:
        return Text(plain)


def _fitting(widths: Sequence[int], cells: Sequence[Sequence[Text]], width: int) -> list[int]:
    """The columns that stand side by side within a width: without prose, if it takes that, and the first always."""
    shown = [*range(len(widths))]
    prose = [i for i in shown[1:] if any(" " in row[i].plain for row in cells)]
    for out_of_line in (sorted(prose, key=lambda i: -widths[i]), shown[:0:-1]):
        for column in out_of_line:
            if sum(widths[i] + GAP for i in shown) - GAP <= width:
                return shown
            if column in shown:
                shown = [i for i in shown if i != column]
    return shown


def _line(cells: Sequence[Text], widths: Sequence[int]) -> Text:
    """Cells side by side; the last one is not padded."""
    line = Text(no_wrap=True)
    for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        line.append_text(cell)
        if number < len(cells) - 1:
            line.append(" " * (width - cell_len(cell.plain) + GAP))
    line.rstrip()
    return line


def _below(name: str, cell: Text) -> None:
    """One column below its row, broken between words alone."""
    line = Text.assemble((f"{name}: ", "dim"), cell)
    for part in line.wrap(out, max(20, out.width - len(INDENT)), overflow="fold"):
        part.rstrip()
        out.print(Text.assemble(INDENT, part), soft_wrap=True)
