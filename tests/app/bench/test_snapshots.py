"""The bench of snapshots: what it calls their cost."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from agents._lane import Lane, LaneSettings
from app.bench.lane_worker import TURN_S, Book, Turns
from app.bench.snapshots import compared
from app.errors import UserError
from app.pipeline import lane as stages


def run(points: int, cpu: float, clock: float) -> dict[str, float]:
    return {
        "turns": 2, "with_points": points, "with_cpu_s": cpu, "with_s": clock, "with_saved": 3,
        "with_held_s": 0.1, "with_held_cpu_s": 0.05,
        "without_points": 100, "without_cpu_s": 1.0, "without_s": 2.0,
    }  # fmt: skip


def test_the_cost_is_what_turns_with_them_miss_of_the_rate_of_turns_without() -> None:
    found = compared([run(90, 1.0, 2.0), run(98, 1.0, 2.0)])
    assert (found["snapshot_share"], found["snapshot_clock_share"]) == pytest.approx((0.06, 0.06))
    assert compared([run(100, 1.25, 2.5)])["snapshot_share"] == pytest.approx(0.2)
    assert (found["held_share"], found["held_cpu_share"], found["snapshots"]) == pytest.approx((0.05, 0.05, 6.0))


def test_turns_that_were_quicker_with_them_show_it() -> None:
    assert compared([run(110, 1.0, 2.0)])["snapshot_share"] == pytest.approx(-0.1)


def test_a_run_that_was_over_too_soon_says_so() -> None:
    with pytest.raises(UserError, match="turn"):
        compared([run(90, 1.0, 2.0) | {"turns": 0}])


def test_a_lane_saves_in_every_other_turn_which_lasts_as_long_as_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, saved = [0.0], list[float]()

    def save(_: Lane) -> bool:
        saved.append(clock[0])
        clock[0] += 0.5
        return False

    monkeypatch.setattr(Lane, "_save_some", save)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(time, "process_time", lambda: clock[0] / 2)
    book: Any = Book(0, 1000)
    lane = Turns(LaneSettings({}, {}, {}), stages(), lambda: 0, book)
    lane._save_some()  # it is not warm yet
    book.from_time = 1.0
    for _ in range(100):
        clock[0] += 0.25
        book.points += 10
        lane._save_some()
    told = lane.told()
    assert told["turns"] == len(lane.turns) // 2 * 2 > 6
    assert told["with_s"] == pytest.approx(told["without_s"], rel=0.2)
    assert told["with_s"] / told["turns"] * 2 >= TURN_S
    assert (told["with_held_s"], told["without_held_s"]) == (told["with_saved"] / 2, 0.0)
    assert told["with_held_cpu_s"] == told["with_held_s"] / 2
    assert told["without_points"] > told["with_points"] > 0
    quiet = [b - a for a, b in itertools.pairwise(saved) if b - a > 1.0]
    assert len(quiet) == len(lane.turns) // 2
