"""How often samples come: from the second one on, whatever is between them."""

from __future__ import annotations

import numpy as np
import pytest

from app.offline.score import batch_of
from models.detection.pace import Pace
from topics.batch import Names

START = 1_700_000_000_000


def periods(pace: Pace, names: Names, *stamps: int, entity: str = "e") -> list[int]:
    ts = np.array(stamps, np.int64) * 1000 + START
    return pace.take(batch_of(names, entity, ["m"], ts, np.ones((len(ts), 1)))).tolist()


@pytest.mark.parametrize("period", [1, 15, 60])
def test_it_is_known_from_the_second_sample_on(period: int) -> None:
    found = periods(Pace(), Names(), *(n * period for n in range(4)))
    assert found == [0, *([period * 1000] * 3)]


def test_one_odd_gap_changes_nothing_and_a_new_rate_is_known_after_two() -> None:
    pace, names = Pace(), Names()
    assert periods(pace, names, 0, 15, 30, 45, 345, 360, 375)[4:] == [15_000] * 3
    assert periods(pace, names, 376, 377) == [15_000, 1_000]


def test_what_comes_twice_or_late_is_no_gap() -> None:
    assert periods(Pace(), Names(), 0, 10, 10, 5, 20, 30) == [0, *[10_000] * 5]


def test_entities_are_told_apart_and_any_cut_gives_the_same() -> None:
    whole, cut, names = Pace(), Pace(), Names()
    stamps = [0, 3, 7, 8, 20, 22]
    expected = periods(whole, names, *stamps)
    assert periods(whole, names, 0, 60, entity="other") == [0, 60_000]
    found = []
    for at in stamps:
        found += periods(cut, names, at)
        again = Pace()
        again.load(cut.dump())
        cut = again
    assert found == expected == [0, 3_000, 3_000, 3_000, 4_000, 2_000]
