"""Tables: ids and times are never broken, and piped output is one line a row."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from app import printing
from app.history.render import sentence
from app.printing import PlainConsole, escaped, marked, print_table
from topics.settings import Setting

COLUMNS = ("id", "since", "P", "state", "where", "symptom", "hypothesis", "attempts")
ROW = (
    "4be1c0ffee4be1c0ffee", "02:13:44.123", 1, "[red]pending_approval[/red]", "shop/recommendations/0", "saturation",
    "process_gone of shop/recommendations/0", 2,
)  # fmt: skip


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> io.StringIO:
    """What stands on a terminal of so many columns, or in a pipe."""
    text, width = io.StringIO(), request.param
    terminal = {"force_terminal": True, "no_color": True, "color_system": None} if width else {"soft_wrap": True}
    monkeypatch.setattr(printing, "out", Console(file=text, width=width or 80, highlight=False, **terminal))
    return text


def table(printed: io.StringIO) -> list[str]:
    print_table("", COLUMNS, [ROW])
    return printed.getvalue().splitlines()


@pytest.mark.parametrize("printed", [40, 60, 80, 100, 200], indirect=True)
def test_on_a_terminal_no_word_is_broken_and_no_line_is_too_long(
    printed: io.StringIO, request: pytest.FixtureRequest
) -> None:
    lines = table(printed)
    words = {word for line in lines for word in line.split()}
    assert {"4be1c0ffee4be1c0ffee", "02:13:44.123", "pending_approval", "shop/recommendations/0", "2"} <= words
    assert max(map(len, lines)) <= request.node.callspec.params["printed"]


@pytest.mark.parametrize("printed", [80], indirect=True)
def test_what_does_not_fit_stands_below_its_row_under_its_name(printed: io.StringIO) -> None:
    head, row, *below = table(printed)
    assert head.split()[:4] == ["id", "since", "P", "state"]
    assert row.startswith("4be1c0ffee4be1c0ffee  02:13:44.123  1  pending_approval")
    assert "    hypothesis: process_gone of shop/recommendations/0" in below


@pytest.mark.parametrize("printed", [0], indirect=True)
def test_piped_a_row_is_one_plain_line_however_long(printed: io.StringIO) -> None:
    head, row = table(printed)
    assert row.split("  ")[-2:] == ["process_gone of shop/recommendations/0", "2"]
    assert head.index("attempts") == row.rindex("2")
    assert row.isascii(), "no box is drawn"


@pytest.mark.parametrize("printed", [0, 80], indirect=True)
def test_text_that_is_no_markup_or_drives_a_terminal_is_shown_as_text(printed: io.StringIO) -> None:
    print_table("", ("name", "what"), [("disk.used[/var]", "a\x1b[2Jb\nc")])
    assert "disk.used[/var]" in printed.getvalue()
    assert "\x1b[2J" not in printed.getvalue()
    assert len(printed.getvalue().splitlines()) == 2


OUTSIDE = ("disk.used[/var]", "x [/y]", "job:key:rate5m", "a[bold]b[/bold]c", "[link=file:///etc]x[/link]", "[red]x",
           "ends with \\", "\\[b]", "[@click=f]x[/]")  # fmt: skip
DRIVING = ("a\x1b[2Jb", "a\x9b2Jb", "a\u202eb", "a\x07b", "a\rb", "a\x7fb", "a\u2066b")


@pytest.mark.parametrize("printed", [0, 200], indirect=True)
@pytest.mark.parametrize("text", OUTSIDE)
def test_text_from_outside_is_shown_as_it_is_in_every_output(printed: io.StringIO, text: str) -> None:
    console = PlainConsole()
    console.file = printed
    print_table("", ("name", "what"), [(text, Text(text))])
    assert printed.getvalue().splitlines()[1].split(text) == ["", "  ", ""]
    for shown in (text, Text(text), marked(f"[bold]{escaped(text)}[/bold] [red]on[/red]")):
        printed.truncate(0)
        console.print(shown)
        assert printed.getvalue().lstrip("\0").startswith(text)


@pytest.mark.parametrize("printed", [0, 80], indirect=True)
@pytest.mark.parametrize("text", DRIVING)
def test_nothing_from_outside_drives_a_terminal(printed: io.StringIO, text: str) -> None:
    console = PlainConsole()
    console.file = printed
    print_table("", ("name", "what"), [(text, Text(text))])
    for shown in (text, Text(text), marked(escaped(text))):
        console.print(shown)
    assert not {character for character in printed.getvalue() if character in text[1:2]}


def test_a_record_is_one_line_whatever_is_in_it() -> None:
    entity = "shop/[/x]\nincident resolved\x1b[2J:key:"
    said = marked(sentence(Setting(name="maintenance/" + entity, value="[red]1", ts=1, by="a\nb", reason="\\"))).plain
    assert "\n" not in said
    assert "\x1b" not in said
    assert "shop/[/x]" in said
    assert ":key: = [red]1 by a\N{REPLACEMENT CHARACTER}b: \\" in said


def test_every_output_goes_through_these_consoles() -> None:
    """What makes a console of its own, or reads markup by itself, may show text from outside as it likes."""
    root = Path(printing.__file__).parent
    for file in root.rglob("*.py"):
        source = file.read_text()
        if file.name != "printing.py":
            assert not re.search(r"\bConsole\(|from_markup\(|rich\.markup|markup=True", source), file


@pytest.mark.parametrize("printed", [0, 80], indirect=True)
def test_a_table_without_rows_is_its_head(printed: io.StringIO) -> None:
    print_table("Nothing", ("id", "what"), [])
    assert printed.getvalue().split() == ["Nothing", "id", "what"]
