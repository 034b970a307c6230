"""Entities with many series that know the week: what is ordinary at noon of a Tuesday is none on a Sunday."""

from __future__ import annotations

import functools

import msgspec
import numpy as np
import pytest

from agents.detect import Detect
from app.offline.score import batch_of
from models.detection import season
from models.detection.settings import DetectionSettings, Pattern
from topics.batch import Float64, Names, Steer
from topics.learning import Learning
from topics.signals import Anomaly

MONDAY, PERIOD, DAY, WEEK = 1_699_833_600_000, 600_000, 144, 1008  # ms; samples
WEEKS, SERIES, HIGH = 5, 20, 40.0
METRICS = [f"m{n:02}" for n in range(SERIES)]
SUNDAY_NOON, WEDNESDAY_NIGHT = 4 * WEEK + 6 * DAY + 72, 4 * WEEK + 2 * DAY + 12


@functools.cache
def site(seed: int, fault: int = 0) -> Float64:
    """(WEEKS * WEEK, SERIES) busy on working days; for an hour from sample `fault` on half of them are."""
    rng, at = np.random.default_rng(seed), np.arange(WEEKS * WEEK)
    hour, day = (at % DAY) / 6, (at // DAY) % 7
    busy = np.where((day < 5) & (hour > 6) & (hour < 18), np.sin((hour - 6) / 12 * np.pi), 0.0)
    values = 50 + HIGH * busy[:, None] * rng.uniform(0.5, 1.5, SERIES) + rng.normal(0, 2, (len(at), SERIES))
    if fault:
        values[fault : fault + 6, : SERIES // 2] += 0.8 * HIGH
    return values


def told(values: Float64, chosen: str | None, cut: int = 20_000, *, restored: bool = False) -> list[Anomaly]:
    settings = DetectionSettings((Pattern(season=chosen),)) if chosen else DetectionSettings()  # type: ignore[arg-type]
    detect, names, found = Detect(settings), Names(), list[Anomaly]()
    for first in range(0, len(values), cut):
        ts = MONDAY + PERIOD * np.arange(first, min(first + cut, len(values)), dtype=np.int64)
        found += detect.step([batch_of(names, "shop", METRICS, ts, values[first : first + cut])], 0)
        if restored:
            kept, detect = detect.snapshot(), Detect(settings)
            detect.restore(kept)
            assert detect.snapshot() == kept
    return [msgspec.structs.replace(a, evidence="") for a in found if a.detector == "bank"]


def raised(found: list[Anomaly]) -> list[int]:
    return [(a.ts - MONDAY) // PERIOD for a in found if a.state == "raised"]


@pytest.mark.parametrize("fault", [SUNDAY_NOON, WEDNESDAY_NIGHT])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_ordinary_at_another_hour_of_the_week_is_told_with_what_is_at_this_one(seed: int, fault: int) -> None:
    found = told(site(seed, fault), "week")
    late = [at for at in raised(found) if at > 2 * WEEK]
    (scored_sample,) = (at for at in late if fault <= at <= fault + 1)
    assert len(late) <= 2, "one false alarm in three weeks at most, of a budget of one a week"
    first, plain = (
        next(a for a in each if a.ts == MONDAY + PERIOD * scored_sample)
        for each in (found, told(site(seed, fault), None))
    )
    assert (plain.kind, first.score > 1.1 * plain.score) == ("point", True), "without the season it is less strange"
    assert first.expected == pytest.approx(50, abs=4)
    assert first.value == pytest.approx(82, abs=8)
    assert first.high < 65
    assert first.kind == "contextual"


def test_the_same_for_any_cut_and_after_every_restart() -> None:
    values = site(1, SUNDAY_NOON)
    assert told(values, "week") == told(values, "week", cut=613, restored=True) == told(values, "week", cut=WEEK)


def test_series_without_a_season_are_seen_as_they_are() -> None:
    values = np.random.default_rng(2).normal(50, 2, (2 * WEEK, SERIES))
    values[-20:, :10] += 60
    assert told(values, "day") == told(values, None)
    assert raised(told(values, "day"))[-1] == 2 * WEEK - 20


def test_an_hour_of_an_incident_and_a_repeat_are_not_learned() -> None:
    values, names = site(0), Names()
    detect = Detect(DetectionSettings((Pattern(season="day"),)))
    ts = MONDAY + PERIOD * np.arange(WEEK, dtype=np.int64)
    batch = batch_of(names, "shop", METRICS, ts, values[:WEEK])
    list(detect.step([batch], 0))
    list(detect.step([batch], 0))
    before = detect.model.season.dump()
    list(detect.step([batch.part(10, 20)], 0))
    assert detect.model.season.dump() == before
    later = batch_of(names, "shop", METRICS, ts + PERIOD * WEEK, values[:WEEK] + 1000)
    control = Learning(entity="shop", ts=MONDAY, learning="open", incident="i")
    list(detect.step([Steer(names, control), later], 0))
    assert detect.model.season.bins.max() < 150


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(season, "MOST", 7)
    detect = Detect(DetectionSettings((Pattern(season="week"),)))
    list(detect.step([batch_of(Names(), "shop", METRICS, np.array([MONDAY]), site(0)[:1])], 0))
    assert len(detect.model.season.rows) == 7
    assert (detect.model.season.rows.nbytes + detect.model.season.bins.nbytes) / 7 <= 1500
