from __future__ import annotations

from pathlib import Path

from app.ingest.collect.lines import NewLines


def test_a_line_is_seen_once_it_is_whole_and_never_again(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    lines = NewLines(file)
    assert list(lines.read()) == []
    file.write_bytes(b"one\n\ntw")
    assert list(lines.read()) == [(1, b"one\n")]
    with file.open("ab") as stream:
        stream.write(b"o\nthree\n")
    assert list(lines.read()) == [(3, b"two\n"), (4, b"three\n")]
    assert list(lines.read()) == []


def test_a_file_that_was_cut_or_replaced_is_read_from_its_start(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    lines = NewLines(file)
    file.write_bytes(b"a long line\n")
    assert len(list(lines.read())) == 1
    file.write_bytes(b"short\n")
    assert list(lines.read()) == [(1, b"short\n")]
    new = tmp_path / "new"
    new.write_bytes(b"another file\n")
    new.replace(file)
    assert list(lines.read()) == [(1, b"another file\n")]
