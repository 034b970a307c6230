"""The benches of the lane, small: they measure what they say, and give the names that are asked for."""

from __future__ import annotations

import pytest

from app.bench.lane import kernel, river_gaussian, river_trees
from app.bench.latency import _stages
from app.bench.wide import beside
from app.errors import UserError


def test_the_kernel_and_its_peers_take_some_time() -> None:
    assert 0.0 < kernel(10, 400) < 1e6
    assert 0.0 < river_trees(20) < 1e9
    assert 0.0 < river_gaussian(20) < 1e9


def test_the_stages_of_an_alarm_add_up_to_the_whole() -> None:
    told = {"a": (1_000, 1_030), "of another run": (1_000, 1_100)}
    found = _stages(told, {"a": (1_010.0, 0.002, 0.003)})
    assert found["alarms"] == 1.0
    assert found["p50_ms"] == found["p99_ms"] == 30.0
    parts = [found[f"{stage}_p50_ms"] for stage in ("queue", "decode", "detect", "send")]
    assert parts == pytest.approx([10.0, 2.0, 3.0, 15.0])


def test_without_an_alarm_there_is_no_percentile() -> None:
    assert _stages({}, {}) == {"alarms": 0.0}


def test_rates_of_a_group_are_those_of_the_time_in_which_all_were_at_it() -> None:
    alone = [[(float(s), s / 2, 100 * s) for s in range(21)]]  # 100 points a second, 200 a second of CPU
    early = [(float(s), s / 2, 90 * s) for s in range(16)]
    late = [(float(s), s / 2, 90 * (s - 5)) for s in range(5, 31)]
    found = beside(alone, [early, late])
    assert (found["one_points_per_s"], found["two_points_per_s"]) == pytest.approx((100.0, 180.0))
    assert (found["two_workers_ratio"], found["two_workers_cpu_ratio"]) == pytest.approx((1.8, 1.8))
    with pytest.raises(UserError, match="never at it together"):
        beside(alone, [early, [(float(s), s / 2, s) for s in range(20, 25)]])
