"""Names and their numbers: given out, ended, given out again, and the same after a restart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.batch import HOUR_MS, MustForget, Names, TooManySeries

START = 1_700_000_000_000 // HOUR_MS * HOUR_MS


def reloaded(names: Names) -> Names:
    again = Names(names.most_series, names.most_metrics, names.ttl_hours)
    again.load(names.dump())
    return again


def taken(names: Names, entity: str, metrics: list[str]) -> tuple[int, list[int]] | None:
    """Intern names as a decoder does: room is made as often as there has to be; none of what comes now ends for it."""
    known = {metric: names.of(entity)[1] for metric in metrics if metric in names.metrics(entity)}
    while True:
        try:
            return names.intern(entity, metrics)
        except MustForget as full:
            names.forget(full.series)
            assert known.keys() <= names.metrics(entity)
        except TooManySeries:
            assert known.keys() <= names.metrics(entity)
            return None


def numbers(*found: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(found, np.int32)


def test_a_number_that_has_ended_is_given_out_again_the_lowest_first() -> None:
    names = Names()
    names.intern("a", ["x", "y"])
    names.intern("b", ["x"])
    names.intern("c", ["z"])
    ended = names.forget(numbers(0, 1, 3))
    assert ended.entities == {0: "a", 2: "c"}
    assert ended.touched == {0, 2}
    assert names.series[:] == [(-1, ""), (-1, ""), (1, "x"), (-1, "")]
    assert names.intern("d", ["w"]) == (0, [0])
    assert names.intern("b", ["x", "y"]) == (1, [2, 1])
    assert names.intern("e", ["v", "w"]) == (2, [3, 4])
    reused = names.take_reused()
    assert (reused.series, reused.entities) == ([0, 1, 3], [0, 2])
    assert not names.take_reused().series
    with pytest.raises(KeyError):
        names.of("a")


def test_the_names_of_metrics_end_with_the_last_series_of_them() -> None:
    names = Names()
    names.intern("a", ["x", "y"])
    names.intern("b", ["y"])
    names.forget(numbers(0, 1))
    assert names.series.metrics == ["", "y"]
    names.intern("b", ["z"])
    assert names.series.metrics == ["z", "y"]


def test_hours_count_only_while_something_comes_and_a_pause_counts_as_a_day_at_most() -> None:
    names = Names(ttl_hours=30)
    assert not len(names.advance(START))
    names.intern("a", ["x"])
    assert not len(names.advance(START + 100 * 24 * HOUR_MS))
    assert names.hour == 24
    assert not len(names.advance(names.due + 5 * HOUR_MS))
    assert names.advance(names.due).tolist() == [0], "seen in hour 0, and this is the 31st"


def test_what_has_to_end_for_room_is_what_was_silent_longest_and_never_what_came_within_the_hour() -> None:
    names = Names(most_metrics=3)
    names.advance(START)
    for metric in ("x", "y"):
        names.intern("a", [metric])
        names.advance(names.due)
    names.intern("a", ["z"])
    with pytest.raises(MustForget) as full:
        names.intern("a", ["new"])
    assert full.value.series.tolist() == [0]
    names.forget(full.value.series)
    assert names.intern("a", ["new"]) == (0, [0])
    before = names.dump()
    with pytest.raises(TooManySeries, match="a would have more than 3 metrics"):
        names.intern("a", ["another"])
    assert names.dump() == before


def test_a_full_partition_is_searched_for_silent_series_once_an_hour_however_often_it_refuses() -> None:
    names = Names(most_series=3)
    names.advance(START)
    names.intern("a", ["x", "y", "z"])
    for _ in range(2):
        with pytest.raises(TooManySeries, match="the partition would have more than 3 series"):
            names.intern("b", ["x"])
    assert names._silent == (0, 0)
    names.advance(START + 2 * HOUR_MS)
    with pytest.raises(MustForget) as full:
        names.intern("b", ["x"])
    assert full.value.series.tolist() == [0]
    with pytest.raises(TooManySeries):
        names.intern("b", ["v", "w", "x", "y"])


@given(st.lists(st.tuples(st.integers(0, 4), st.sets(st.integers(0, 6), min_size=1), st.integers(0, 4)), max_size=40))
def test_names_that_were_reloaded_give_out_the_same_numbers(steps: list[tuple[int, set[int], int]]) -> None:
    one = Names(most_series=16, most_metrics=5, ttl_hours=6)
    two = Names(most_series=16, most_metrics=5, ttl_hours=6)
    ts = START
    for entity, metrics, hours in steps:
        ts += hours * HOUR_MS
        found = []
        for names in (one, two):
            if ts >= names.due:
                names.forget(names.advance(ts))
            found.append(taken(names, f"e{entity}", [f"m{metric}" for metric in sorted(metrics)]))
        assert found[0] == found[1]
        two = reloaded(two)
        assert one.dump() == two.dump()
    live = [(one.entities[entity], metric) for entity, metric in one.series if entity >= 0]
    assert len(live) == len(set(live)) == one.series.used <= 16
    assert {entity for entity, _ in live} == {name for name in one.entities if name}
