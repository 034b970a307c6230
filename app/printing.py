"""What is printed: JSON for programs, tables for people; results to stdout, everything else to stderr.

Piped, nothing is wrapped and every row is one line. On a terminal a row that is too long goes on below itself, so that
ids, times and names are never broken.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.text import Text

GAP: Final = 2  # blanks between columns
INDENT: Final = "    "  # of what stands below its row
NEWLINE: Final = 10
# what drives a terminal, ends a line, or turns the direction of what is read
CONTROL: Final = dict.fromkeys(
    (*range(32), *range(127, 160), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)),
    "\N{REPLACEMENT CHARACTER}",
)
_DRIVING: Final = {code: shown for code, shown in CONTROL.items() if code != NEWLINE}
_STYLED: Final = re.compile(r"\[(red|green|yellow|cyan|blue|magenta|bold|dim)\](.*)\[/\1\]", re.DOTALL)


class PlainConsole(Console):
    """Shows text as it is: no markup, no emoji, and nothing that drives a terminal. A style is given as `Text`."""

    def __init__(self, *, stderr: bool = False) -> None:
        where = sys.stderr if stderr else sys.stdout
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=not where.isatty())

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich has it, of what is shown."""
        super().print(*map(_shown, objects), **options)


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return value.translate(_DRIVING)
    if isinstance(value, Text) and value.plain.translate(_DRIVING) != value.plain:
        value = value.copy()
        value.plain = value.plain.translate(_DRIVING)
    return value


def plain(text: object) -> str:
    """Text from outside on one line, without what drives a terminal."""
    return str(text).translate(CONTROL)


def escaped(text: object) -> str:
    """The same for the inside of `marked`."""
    return escape(plain(text))


def marked(text: str) -> Text:
    """A text with rich's markup, of which everything from outside is `escaped`."""
    return Text.from_markup(text, emoji=False)


out = PlainConsole()
err = PlainConsole(stderr=True)


def print_json(value: Any) -> None:
    """One JSON value on one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table for a person. A cell is shown as it is, or in the one style around it; the first names its row.

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
    """A cell on one line."""
    if isinstance(cell, Text):
        cell = cell.copy()
        cell.plain = plain(cell.plain)
        return cell
    said = plain(cell)
    styled = _STYLED.fullmatch(said)
    return Text(styled[2], styled[1]) if styled else Text(said)


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
