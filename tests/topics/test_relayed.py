"""What is relayed again is known to be: from one place of each source, whoever says it again, and from where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics import relayed
from topics.relayed import HEADER, Seen, is_repeat, stamp


def taken(seen: Seen, *places: tuple[int, int], source: str = "id/0") -> list[tuple[int, int]]:
    return [place for place in places if not is_repeat(seen, [stamp(source, *place)])]


def test_what_is_said_again_is_taken_once() -> None:
    places = [(7, 0), (7, 1), (9, 0)]
    assert taken({}, *places, *places, (10, 0)) == [*places, (10, 0)]


def test_each_source_counts_for_itself() -> None:
    seen: Seen = {}
    assert taken(seen, (7, 0), source="id/0") == taken(seen, (7, 0), source="id/1") == [(7, 0)]
    assert taken(seen, (0, 0), source="another/0") == [(0, 0)], "a topic that was made anew begins again"


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=6))
def test_whatever_workers_die_and_go_on_from_where_nothing_is_missing_each_is_taken_once(
    lives: list[tuple[int, int]],
) -> None:
    """A worker begins at or before the furthest that was said, and says so many in their order."""
    seen: Seen = {}
    said, out = 0, []
    for back, count in lives:
        begin = max(0, said - back)
        out += taken(seen, *((at, 0) for at in range(begin, begin + count)))
        said = max(said, begin + count)
    assert out == [(at, 0) for at in range(said)]


def test_what_has_no_stamp_or_a_broken_one_is_never_a_repeat() -> None:
    seen: Seen = {}
    for value in (None, b"", b"id/0", b"id/0/x/1", b"id/0/-1/1", b"id/0/\xb2/1", b"id/0/" + b"9" * 40 + b"/1"):
        headers = [("other", b"1"), (HEADER, value)]
        assert not is_repeat(seen, headers)
        assert not is_repeat(seen, headers)
    assert not is_repeat(seen, [])
    assert seen == {}


def test_sources_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relayed, "MOST_SOURCES", 3)
    seen: Seen = {}
    for number in (0, 1, 2, 0, 3):
        taken(seen, (5, number), source=f"id/{number}")
    assert set(seen) == {"id/2", "id/0", "id/3"}
