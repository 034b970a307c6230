"""Tables: ids and times are never broken, and piped output is one line a row."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from app import printing
from app.printing import print_table

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


@pytest.mark.parametrize("printed", [0, 80], indirect=True)
def test_a_table_without_rows_is_its_head(printed: io.StringIO) -> None:
    print_table("Nothing", ("id", "what"), [])
    assert printed.getvalue().split() == ["Nothing", "id", "what"]
