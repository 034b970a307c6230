"""Progress on a terminal: nothing at first, one line that is kept up to date, nothing left of it at the end."""

from __future__ import annotations

import io

import pytest

from app.history.progress import QUIET_S, ProgressLine, shown


class Terminal(io.StringIO):
    """What somebody sees who looks at a terminal."""

    def isatty(self) -> bool:
        return True


def test_what_is_quick_is_not_told() -> None:
    out, clock = Terminal(), iter([0.0, 0.1, 0.2, 0.3])
    tell = ProgressLine(out, QUIET_S, lambda: next(clock))
    for done in (10, 20, 100):
        tell(done, 100)
    assert out.getvalue() == ""


def test_what_takes_longer_is_told_with_its_rate_and_wiped_at_the_end() -> None:
    out, now = Terminal(), [0.0]
    tell = ProgressLine(out, QUIET_S, lambda: now[0])
    for second, done in ((1.0, 20_000), (1.1, 22_000), (2.0, 40_000), (3.0, 100_000)):
        now[0] = second
        tell(done, 100_000)
    told = out.getvalue().split("\r\x1b[K")
    assert told == [
        "",
        "indexing the history: 20,000 of 100,000 messages (20%), 20,000 a second",
        "indexing the history: 40,000 of 100,000 messages (40%), 20,000 a second",
        "",
    ]


def test_a_file_gets_whole_lines_when_that_is_wanted() -> None:
    out, now = io.StringIO(), [0.0]
    tell = ProgressLine(out, 0.0, lambda: now[0])
    for second, done in ((1.0, 10), (2.0, 20), (6.0, 60), (7.0, 100)):
        now[0] = second
        tell(done, 100)
    assert [line.split(",")[0] for line in out.getvalue().splitlines()] == [
        "indexing the history: 10 of 100 messages (10%)",
        "indexing the history: 60 of 100 messages (60%)",
        "indexing the history: 100 of 100 messages (100%)",
    ]


def test_a_command_in_a_pipe_tells_no_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    tell = shown()
    tell(1, 100)
    tell(100, 100)
    assert capsys.readouterr().err == ""
