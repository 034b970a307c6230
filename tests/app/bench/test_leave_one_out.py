"""A machine has no say in the knob that it is measured with; intervals hold their figure, the same every time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from app.bench import leave_one_out
from app.bench.detectors import EWMA_FIXED, OPSLOOP
from app.bench.judged import Result
from app.bench.leave_one_out import held_out
from app.bench.scoring import Events


def result(caught: int, missed: int, false: int, *, vus: float = 0.5, share: float = 0.01) -> Result:
    events = Events(caught, missed, false, tuple(range(caught)))
    return Result("machine", vus, vus, events, events, events, share, float(caught + false), 0, 0, 0)


def figures(found: Mapping[str, Sequence[Mapping[str, Result]]]) -> dict[str, dict[str, Any]]:
    return leave_one_out.figures(found)


def test_the_held_out_machine_does_not_choose() -> None:
    """The first one would take the narrow boundary, all others the wide one."""
    odd = {"narrow": result(9, 0, 0), "wide": result(1, 8, 0)}
    plain = {"narrow": result(3, 0, 30), "wide": result(3, 0, 1)}
    chosen = held_out([odd, plain, plain])
    assert chosen[0] == ("wide", odd["wide"])


def test_events_of_the_others_count_together_and_not_machine_by_machine() -> None:
    """Two small machines want one knob, a large one another: for the last, all events of the three decide."""
    small = {"a": result(1, 0, 0), "b": result(0, 1, 0)}
    large = {"a": result(5, 35, 0), "b": result(40, 0, 0)}
    assert held_out([small, small, large, small])[3] == ("b", small["b"])


def test_of_equal_knobs_the_first_is_taken() -> None:
    same = {"a": result(1, 1, 1), "b": result(1, 1, 1)}
    assert [knob for knob, _ in held_out([same, same])] == ["a", "a"]
    assert held_out([same])[0][0] == "a"


MACHINES: list[Mapping[str, Result]] = [
    {"a": result(caught, missed, false, vus=0.1 * caught, share=0.01 * false)}
    for caught, missed, false in ((5, 1, 2), (0, 4, 1), (9, 3, 20), (2, 2, 0), (7, 1, 5), (1, 0, 1))
]


def test_each_interval_holds_its_figure_and_is_the_same_every_time() -> None:
    told = figures({OPSLOOP: MACHINES})[OPSLOOP]
    assert told == figures({OPSLOOP: MACHINES})[OPSLOOP]
    assert told["knobs"] == {"a": 6}
    assert told["f1"] == pytest.approx(2 * 24 / (2 * 24 + 11 + 29))
    assert told["precision"] == pytest.approx(24 / 53)
    assert told["recall"] == pytest.approx(24 / 35)
    assert told["vus_pr"] == pytest.approx(0.4)
    assert told["median_delay"] == 2.5
    for name in ("f1", "precision", "recall", "alarmed_share", "alarms_a_day", "median_delay", "vus_pr"):
        low, value, high = (told[f"{name}{end}"] for end in ("_low", "", "_high"))
        assert low <= value <= high
        assert low < high


def test_machines_that_are_all_alike_leave_nothing_open() -> None:
    told = figures({OPSLOOP: [{"a": result(3, 1, 1)}] * 5})[OPSLOOP]
    assert told["f1_low"] == told["f1"] == told["f1_high"] == pytest.approx(0.75)


def test_the_ratio_is_of_the_same_machines_and_nothing_where_there_is_nothing_to_compare() -> None:
    alike = figures({OPSLOOP: MACHINES, EWMA_FIXED: MACHINES})[OPSLOOP]
    assert alike["f1_to_ewma_low"] == alike["f1_to_ewma"] == alike["f1_to_ewma_high"] == 1.0
    silent: list[Mapping[str, Result]] = [{"a": result(0, 3, 0)}] * 6
    told = figures({OPSLOOP: MACHINES, EWMA_FIXED: silent})
    assert math.isnan(told[OPSLOOP]["f1_to_ewma"])
    assert told[EWMA_FIXED]["f1"] == 0.0
    assert math.isnan(told[EWMA_FIXED]["median_delay"])


def test_a_recording_without_an_event_counts_in_everything_but_the_volume() -> None:
    told = figures({OPSLOOP: [{"a": result(3, 1, 1)}, {"a": result(0, 0, 1, vus=math.nan, share=0.03)}]})[OPSLOOP]
    assert told["vus_pr"] == 0.5
    assert told["alarmed_share"] == pytest.approx(0.02)
