"""What users say of alarms: sides, deviations, budgets, rests, lasting, and ranges."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from app.settings import load
from models.detection.alarms import Alarms, Deviation
from models.detection.columns import CLEAR, CONTINUE, QUIET, RAISE
from models.detection.members import MEMBERS, member
from models.detection.settings import DetectionSettings, Pattern
from tests.telemetry import at, raw
from topics.signals import Anomaly
from topics.spec import Raw

Fault = Callable[[int], float]  # look → what is added to the first three metrics


def site(fault: Fault, looks: int = 600) -> list[Raw]:
    rng = np.random.default_rng(3)
    return [
        raw(look, "shop/db", {f"m{n}": float(rng.normal(50, 2)) + (fault(look) if n < 3 else 0.0) for n in range(8)})
        for look in range(looks)
    ]


def told(raws: list[Raw], *patterns: dict[str, Any], cut: int = 50) -> list[Anomaly]:
    """Anomalies; the learner is restored from its snapshot after every batch."""
    settings = DetectionSettings(tuple(Pattern(**pattern) for pattern in patterns))
    decode, detect = Decode(), Detect(settings)
    found: list[Anomaly] = []
    for begin in range(0, len(raws), cut):
        found += detect.step([*decode.step(chunk_of(raws[begin : begin + cut]), 0)], 0)
        again = Decode(), Detect(settings)
        again[0].restore(decode.snapshot())
        again[1].restore(detect.snapshot())
        assert again[1].snapshot() == detect.snapshot()
        decode, detect = again
    return found


def raised(found: list[Anomaly]) -> list[int]:
    return [(a.ts - at(0)) // 1000 for a in found if a.state == "raised"]


def once(look: int) -> float:
    return 30.0 if 300 <= look < 340 else 0.0


@pytest.mark.parametrize(
    ("pattern", "is_told"),
    [
        ({"direction": "up"}, True),
        ({"direction": "down"}, False),
        ({"least": 20.0}, True),
        ({"least": 60.0}, False),
        ({"least_ratio": 0.4}, True),
        ({"least_ratio": 0.9}, False),
        ({"entities": "other/*", "least": 60.0}, True),
        ({"metrics": "m[0-2]", "direction": "down"}, False),
    ],
)
def test_a_deviation_is_told_on_the_side_and_as_far_as_users_want(pattern: dict[str, Any], is_told: bool) -> None:
    found = told(site(once), pattern)
    assert any(300 <= look < 310 for look in raised(found)) is is_told
    if is_told:
        assert found == told(site(once))
    else:
        assert not [a for a in found if at(300) <= a.ts < at(340)], "its end is a deviation on the other side"


def test_the_first_pattern_that_says_something_decides() -> None:
    assert raised(told(site(once), {"metrics": "m0", "direction": "up"}, {"direction": "down"})) == raised(
        told(site(once))
    )


def heard(settings: Pattern, alarms: int, apart_s: int, ratio: float = 2.0) -> list[int]:
    """Which of some alarms are told, each of ten looks, `apart_s` after one another."""
    book, found = Alarms(DetectionSettings((settings,))), []
    for number in range(alarms):
        for look in range(10):
            ts = 86_400_000 * 19_000 + 1000 * (number * apart_s + look)
            event = RAISE if look == 0 else CLEAR if look == 9 else CONTINUE
            said = book.heard("db", event, (ts, ts - 1000 * look, ratio), [Deviation("m", 2.0, 1.0)])
            assert said == (event if number in found or look == 0 else QUIET) or said == QUIET
            if said == RAISE:
                found.append(number)
    return found


def test_a_budget_bounds_the_alarms_of_a_day_but_for_critical_ones() -> None:
    assert heard(Pattern(alarms_a_day=2), 5, 3_600) == [0, 1]
    assert heard(Pattern(alarms_a_day=2), 5, 43_200) == [0, 1, 2, 3, 4]
    assert heard(Pattern(alarms_a_day=2), 5, 3_600, ratio=9.0) == [0, 1, 2, 3, 4]
    assert heard(Pattern(alarms_a_day=0), 5, 3_600) == []
    assert heard(Pattern(), 5, 3_600) == [0, 1, 2, 3, 4]


def test_after_an_alarm_there_is_rest() -> None:
    assert heard(Pattern(rest_s=100.0), 6, 60) == [0, 2, 4]


def test_an_alarm_that_does_not_last_is_not_told_and_one_that_does_is_raised_then() -> None:
    quick = told(site(once), {"lasts_s": 10.0})
    assert [look for look in raised(quick) if look >= 300]
    assert all(look >= 310 for look in raised(quick) if look >= 300)
    first = next(a for a in quick if a.state == "raised" and a.ts >= at(300))
    assert first.ts - first.onset >= 10_000
    assert not raised(told(site(once), {"lasts_s": 600.0}))


@pytest.mark.parametrize("cut", [1, 50, 600])
def test_a_value_out_of_its_range_is_an_alarm_at_once_until_it_is_back(cut: int) -> None:
    found = told(site(once), {"metrics": "m1", "high": 65.0}, cut=cut)
    ours = [a for a in found if a.detector == "range"]
    assert (ours[0].state, ours[0].ts, ours[0].metric, ours[0].direction) == ("raised", at(300), "m1", "up")
    assert ours[0].high == 65.0
    assert ours[0].low <= 65.0 < ours[0].value
    assert (ours[-1].state, ours[-1].ts) == ("cleared", at(342))
    assert {a.id for a in ours} == {ours[0].id}
    assert {a.state for a in ours[1:-1]} == {"continuing"}


def test_a_range_is_held_against_the_first_value_already_and_repeats_change_nothing() -> None:
    raws = [raw(0, "shop/db", {"disk": 0.99}), *(raw(look, "shop/db", {"disk": 0.5}) for look in range(1, 6))]
    found = told([*raws, raws[0], raws[1]], {"metrics": "disk", "low": 0.1, "high": 0.9}, cut=1)
    assert [(a.state, a.low, a.high) for a in found] == [("raised", 0.1, 0.9), ("cleared", 0.1, 0.9)]


def test_the_settings_of_the_docs_are_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "detection.md").read_text()
    file = tmp_path / "opsloop.toml"
    file.write_text(re.findall(r"```toml\n(.*?)```", page, re.S)[0])
    patterns = load(file, {}).detection.patterns
    assert len(patterns) == 4
    assert patterns[0].learners == ("half_space_trees", "adwin")
    table = re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.M)
    assert table == [(name, member(name).kind) for name in MEMBERS]
