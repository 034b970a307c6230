"""The bench of snapshots: what it calls their cost."""

from __future__ import annotations

import pytest

from app.bench.snapshots import compared


def run(cpu: float, clock: float, held_s: float = 0.0, saved: float = 0.0) -> dict[str, float]:
    return {
        "points_per_cpu_s": cpu,
        "points_per_s": clock,
        "held_s": held_s,
        "saved": saved,
        "seconds": 4.0,
        "cpu_s": 2.0,
        "held_cpu_s": 0.05,
    }


def test_the_cost_is_what_the_best_run_with_them_misses_of_the_best_without() -> None:
    without = [run(90.0, 50.0), run(100.0, 40.0)]
    found = compared(without, [run(96.0, 30.0, 0.4, 2), run(80.0, 45.0, 0.2, 4)])
    assert found["snapshot_share"] == pytest.approx(0.04)
    assert found["snapshot_clock_share"] == pytest.approx(0.1)
    assert (found["held_share"], found["held_cpu_share"], found["snapshots"]) == pytest.approx((0.05, 0.025, 3.0))


def test_a_run_that_was_quicker_with_them_shows_no_cost() -> None:
    assert compared([run(90.0, 50.0)], [run(91.0, 51.0)])["snapshot_share"] == 0.0
