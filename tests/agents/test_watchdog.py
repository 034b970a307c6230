"""A worker that is given nothing is told from one that has nothing to read."""

from __future__ import annotations

import pytest

from agents._watchdog import Stuck, Watchdog


def test_a_worker_with_nothing_to_read_is_not_stuck_however_long_it_lasts() -> None:
    dog = Watchdog(30.0, 100.0)
    asked: list[float] = []

    def behind() -> int:
        asked.append(1)
        return 0

    for clock in range(100, 300):
        dog.require(float(clock), behind)
    assert len(asked) == 6, "the broker is asked once in thirty seconds"


def test_a_worker_with_records_to_read_that_gets_none_is_stuck() -> None:
    dog = Watchdog(30.0, 100.0)
    dog.fed(110.0)
    dog.require(139.0, lambda: 7)
    with pytest.raises(Stuck, match="7 records wait and none came for 30 s"):
        dog.require(140.0, lambda: 7)
