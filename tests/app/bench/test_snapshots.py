"""The bench of snapshots: what it calls their cost."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agents._lane import Lane, LaneSettings
from app.bench.lane_worker import TURN_S, Book, Turns
from app.bench.snapshots import compared
from app.errors import UserError
from app.pipeline import lane as stages


def run(share: float, turns: float = 6.0) -> dict[str, float]:
    rates = {f"points_per_{by}_{turn}": 100.0 for by in ("cpu_s", "s") for turn in ("with", "without")}
    return rates | {
        "turns": turns, "snapshots": 3.0, "share_cpu_s": share, "share_s": share / 2,
        "held_share_s": 0.1, "held_share_cpu_s": 0.05,
    }  # fmt: skip


def test_the_cost_is_that_of_the_run_in_the_middle_with_the_least_and_the_most_of_one() -> None:
    found = compared([run(0.04), run(-0.1), run(0.02)])
    assert (found["snapshot_share"], found["snapshot_clock_share"]) == (0.02, 0.01)
    assert (found["snapshot_share_low"], found["snapshot_share_high"]) == (-0.1, 0.04)
    assert (found["turns"], found["snapshots"]) == (18.0, 9.0)


def test_a_run_that_was_over_too_soon_says_so() -> None:
    with pytest.raises(UserError, match="turn"):
        compared([run(0.04), run(0.04, turns=1.0)])


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
    assert told["turns"] == len(lane.turns) > 6
    assert {turn["saved"] > 0 for turn in lane.turns[::2]} == {True}
    assert {turn["saved"] for turn in lane.turns[1::2]} == {0}
    lengths = [turn["s"] for turn in lane.turns]
    assert min(lengths) >= TURN_S
    assert lengths[1::2] == pytest.approx(lengths[::2][: len(lengths[1::2])], rel=0.2)
    # a save takes as long as two steps, and each step as many points
    assert told["points_per_s_with"] < told["points_per_s_without"] == 40.0
    assert told["share_s"] == pytest.approx(1 - told["points_per_s_with"] / 40.0)
    assert told["share_s"] == told["share_cpu_s"] == told["held_share_s"] == told["held_share_cpu_s"]
