"""What users say of alarms: sides, deviations, budgets, rests, lasting, and ranges."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.decode import Decode, chunk_of
from agents.detect import Detect
from app.errors import UserError
from app.settings import load
from models.detection.alarms import Alarms, Deviation, ScoredSample
from models.detection.columns import CLEAR, CONTINUE, QUIET, RAISE, Scored
from models.detection.hysteresis import Hysteresis
from models.detection.members import MEMBERS, member
from models.detection.settings import DetectionSettings, Pattern
from tests.telemetry import at, raw
from topics.batch import Batch, Names
from topics.codec import DeadLetter
from topics.signals import Anomaly
from topics.spec import Raw

Fault = Callable[[int], float]  # look → what is added to the first three metrics


def site(fault: Fault, scored: int = 600) -> list[Raw]:
    """Noise without a tail: nothing but the fault deviates by three spreads, nor steps so far."""
    noise = np.random.default_rng(3).normal(0, 1, (scored, 8)).clip(-1.5, 1.5)
    return [
        raw(
            scored_sample,
            "shop/db",
            {f"m{n}": 50 + 2 * z + (fault(scored_sample) if n < 3 else 0.0) for n, z in enumerate(row.tolist())},
        )
        for scored_sample, row in enumerate(noise)
    ]


def told(raws: list[Raw], *patterns: dict[str, Any], cut: int = 50) -> list[Anomaly]:
    """Anomalies; the learner is restored from its snapshot after every batch."""
    settings = DetectionSettings(tuple(Pattern(**pattern) for pattern in patterns))
    decode, detect = Decode(), Detect(settings)
    found: list[Anomaly] = []
    for begin in range(0, len(raws), cut):
        decoded = decode.step(chunk_of(raws[begin : begin + cut]), 0)
        found += detect.step([each for each in decoded if not isinstance(each, DeadLetter)], 0)
        again = Decode(), Detect(settings)
        again[0].restore(decode.snapshot())
        again[1].restore(detect.snapshot())
        assert again[1].snapshot() == detect.snapshot()
        decode, detect = again
    return found


def raised(found: list[Anomaly]) -> list[int]:
    return [(a.ts - at(0)) // 1000 for a in found if a.state == "raised"]


def once(scored_sample: int) -> float:
    return 30.0 if 300 <= scored_sample < 340 else 0.0


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
    assert any(300 <= scored_sample < 310 for scored_sample in raised(found)) is is_told
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
    book, found = Alarms(DetectionSettings((settings,), false_alarms_a_week=1000)), []
    for number in range(alarms):
        said = []
        for scored_sample in range(10):
            ts = 86_400_000 * 19_000 + 1000 * (number * apart_s + scored_sample)
            event = RAISE if scored_sample == 0 else CLEAR if scored_sample == 9 else CONTINUE
            sample = ScoredSample(ts, ts - 1000 * scored_sample, ratio)
            said.append(book.heard("db", event, sample, [Deviation("m", 2.0, 1.0)]))
        is_told = said[0] == (RAISE, "none")
        assert [event for event, _ in said] == ([RAISE, *[CONTINUE] * 8, CLEAR] if is_told else [QUIET] * 10)
        assert {suppressed for _, suppressed in said} == {"none"}
        found += [number] if is_told else []
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
    assert [scored_sample for scored_sample in raised(quick) if scored_sample >= 300]
    assert all(scored_sample >= 310 for scored_sample in raised(quick) if scored_sample >= 300)
    first = next(a for a in quick if a.state == "raised" and a.ts >= at(300))
    assert first.ts - first.onset >= 10_000
    assert not raised(told(site(once), {"lasts_s": 600.0}))


def burst(scored: int, metrics: int) -> list[int]:
    """When a fault of so many metrics and looks is told, of those that must be borne out."""
    rng = np.random.default_rng(4)
    raws = [
        raw(
            scored_sample,
            "shop/db",
            {
                f"m{n:02}": float(rng.normal(50, 2))
                + (300.0 if n < metrics and 300 <= scored_sample < 300 + scored else 0.0)
                for n in range(20)
            },
        )
        for scored_sample in range(400)
    ]
    plain, borne_out = (
        [scored_sample for scored_sample in raised(told(raws, *p)) if scored_sample >= 300]
        for p in ((), ({"confirm": True},))
    )
    assert plain[0] == 300
    return borne_out


def test_what_must_be_borne_out_is_told_at_once_when_it_is_broad_later_when_it_lasts_and_else_not() -> None:
    assert burst(scored=20, metrics=10) == [300]
    assert burst(scored=20, metrics=3) == [302]
    assert burst(scored=1, metrics=3) == []


def edges(*ratios: float, **pattern: Any) -> list[tuple[int, int, int]]:
    """(look, event, onset) of looks whose scores are so many boundaries, a second apart, after forty quiet ones."""
    names = Names()
    number, series = names.intern("shop/db", ["m"])
    hysteresis = Hysteresis(DetectionSettings((Pattern(**pattern),)))
    found = []
    for scored_sample, ratio in enumerate([*[0.1] * 40, *ratios], -40):
        batch = Batch(
            "t",
            0,
            names,
            np.array([number], np.int32),
            np.array([1000 * scored_sample + 10**9]),
            np.array([0, 1], np.int32),
            np.array(series, np.int32),
            np.ones(1),
            np.zeros(1, np.int64),
        )
        scored = Scored.room(1, 1)
        scored.event[0], scored.over[0], scored.onset[0] = QUIET, math.log(ratio), 0.0
        for sample in hysteresis.samples(batch, scored):
            event, onset = hysteresis.event(batch, scored, sample)
            found += [(scored_sample, event, (onset - 10**9) // 1000)] if event != QUIET else []
    return found


def test_an_alarm_opens_and_closes_at_the_edges_of_its_pattern() -> None:
    assert edges(2.5, 3.5, 3.5, 2.0, 0.9, 0.9, opens_at=3.0, opens_samples=2, closes_at=1.0, closes_samples=2) == [
        (2, RAISE, 1), (3, CONTINUE, 1), (4, CONTINUE, 1), (5, CLEAR, 1),
    ]  # fmt: skip
    assert edges(3.5, 2.0, 3.5, opens_at=3.0, opens_samples=2) == [], "not running"
    assert edges(0.6, *[0.1] * 8, opens_at=0.5) == [
        (0, RAISE, 0), *((scored_sample, CONTINUE, 0) for scored_sample in range(1, 8)), (8, CLEAR, 0),
    ]  # fmt: skip
    assert edges(9.0, 9.0, metrics="m", opens_at=3.0) == [], "what is said of a metric says nothing of its entity"


def test_edges_decide_what_is_told_on_the_live_path() -> None:
    short, long, deaf = (
        told(site(once), p) for p in ({"closes_samples": 2}, {"closes_samples": 42}, {"opens_at": 500.0})
    )
    assert raised(short) == raised(long) == raised(told(site(once)))
    for found, samples in ((short, 2), (long, 42)):
        below = [a.score < 0.85 for a in found]
        assert found[-1].state == "cleared"
        assert below[-samples - 1 :] == [False] + [True] * samples
    assert long[-1].ts - short[-1].ts == 40_000
    assert raised(deaf) == []


def test_an_alarm_that_would_close_above_where_it_opens_is_no_setting(tmp_path: Path) -> None:
    file = tmp_path / "opsloop.toml"
    file.write_text("[[detection.patterns]]\nopens_at = 2.0\ncloses_at = 3.0\n")
    with pytest.raises(UserError, match="closes_at"):
        load(file, {})


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
    raws = [
        raw(0, "shop/db", {"disk": 0.99}),
        *(raw(scored_sample, "shop/db", {"disk": 0.5}) for scored_sample in range(1, 6)),
    ]
    found = told([*raws, raws[0], raws[1]], {"metrics": "disk", "low": 0.1, "high": 0.9}, cut=1)
    assert [(a.state, a.low, a.high) for a in found] == [("raised", 0.1, 0.9), ("cleared", 0.1, 0.9)]


@pytest.mark.parametrize("cut", [1, 4, 50])
def test_a_value_that_is_repeated_or_late_neither_raises_nor_clears_a_range(cut: int) -> None:
    """A value within the range that comes three times is not back for three samples."""
    seen = [raw(n, "shop/db", {"disk": value}) for n, value in enumerate([0.5, 0.99, 0.99, 0.5, 0.99, 0.5, 0.5, 0.5])]
    late = raw(2, "shop/db", {"disk": 0.99})
    log = [*seen[:4], seen[3], seen[0], seen[3], *seen[4:], seen[1], late]
    found = told(log, {"metrics": "disk", "high": 0.9}, cut=cut)
    assert [(a.state, a.ts) for a in found if a.detector == "range"] == [
        ("raised", at(1)), ("continuing", at(2)), ("continuing", at(4)), ("cleared", at(7)),
    ]  # fmt: skip
    unseen = [raw(0, "shop/db", {"disk": 0.5}), raw(9, "shop/db", {"disk": 0.5}), raw(5, "shop/db", {"disk": 0.99})]
    assert not [a for a in told(unseen, {"metrics": "disk", "high": 0.9}, cut=cut) if a.detector == "range"]


def test_the_settings_of_the_docs_are_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "detection.md").read_text()
    file = tmp_path / "opsloop.toml"
    read = []
    for block in re.findall(r"```toml\n(.*?)```", page, re.S):
        file.write_text(block.replace("# false", "false"))
        read.append(load(file, {}).detection)
    budget, choices = read
    assert (budget.false_alarms_a_week, budget.false_alarms_a_week_per_fleet) == (1.0, 20.0)
    assert budget.of_entity("false_alarms_a_week", "shop/batch-7") == 0.2
    assert DetectionSettings().false_alarms_a_week == 1.0
    assert DetectionSettings().false_alarms_a_week_per_fleet is None
    patterns = choices.patterns
    assert len(patterns) == 5
    assert patterns[4].season == "week"
    assert patterns[0].learners == ("half_space_trees", "adwin")
    table = re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.M)
    assert table == [(name, member(name).kind) for name in MEMBERS]
