"""Quiet changes of an entity: jumps and drifts too small for an alarm at any one look."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from agents.detect import Detect
from app.offline.score import batch_of
from models.detection.settings import DetectionSettings, Pattern
from topics.batch import Float64, Names, Steer
from topics.learning import Learning
from topics.signals import Anomaly

START, AGE, AT = 1_700_000_000_000, 5_000, 3_000
METRICS = [f"m{n}" for n in range(8)]
Change = Callable[[Float64], object]


def site(seed: int, change: Change) -> Float64:
    """(LOOKS, 8) noise around 50 of spread 2, changed from look `AT` on."""
    values = np.random.default_rng(seed).normal(50, 2, (AGE, len(METRICS)))
    change(values[AT:])
    return values


def quiet(_: Float64) -> None:
    pass


def jump(values: Float64) -> None:
    values[:, 2] -= 4.0


def slope(values: Float64) -> None:
    values[:, 5:7] += 0.005 * np.arange(len(values))[:, None]


def told(values: Float64, cut: int = AGE, detect: Detect | None = None, *, restored: bool = False) -> list[Anomaly]:
    """The quiet changes; `restored`: the learner comes back from its snapshot after each batch."""
    detect, names, found = detect or Detect(), Names(), list[Anomaly]()
    ts = START + 1000 * np.arange(len(values), dtype=np.int64)
    for first in range(0, len(values), cut):
        part = slice(first, first + cut)
        found += detect.step([batch_of(names, "shop/db", METRICS, ts[part], values[part])], 0)
        if restored:
            kept, detect = detect.snapshot(), Detect(detect.model.settings)
            detect.restore(kept)
            assert detect.snapshot() == kept
    return [
        msgspec.structs.replace(a, evidence="") for a in found if a.detector == "shift"
    ]  # offsets are of a batch here


def scored_of(ts: int) -> int:
    return (ts - START) // 1000


@pytest.mark.parametrize("seed", range(4))
def test_noise_changes_nothing(seed: int) -> None:
    assert told(site(seed, quiet)) == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("change", "kind", "metrics", "direction", "by"),
    [(jump, "change_point", {"m2"}, "down", 250), (slope, "drift", {"m5", "m6"}, "up", 1100)],
)
def test_a_level_that_stays_somewhere_else_is_told_with_its_metric_and_its_onset(
    seed: int, change: Change, kind: str, metrics: set[str], direction: str, by: int
) -> None:
    raised, cleared = told(site(seed, change))[:2]
    assert (raised.state, cleared.state) == ("raised", "cleared")
    assert (raised.kind, raised.direction) == (kind, direction)
    assert AT < scored_of(raised.ts) < AT + by
    assert AT - 100 < scored_of(raised.onset) < scored_of(raised.ts)
    assert raised.id == cleared.id
    assert raised.view == "second"
    assert {raised.metric, *(c.metric for c in raised.attribution)} == metrics
    assert raised.score >= 1.0
    assert raised.low < raised.expected < raised.high
    assert raised.expected == pytest.approx(50, abs=1)
    assert abs(raised.value - 50) > 1


def test_the_same_for_any_cut_and_after_every_restart() -> None:
    values = site(1, jump)
    assert told(values) == told(values, cut=7) == told(values, cut=61, restored=True)


def test_nobody_is_told_where_settings_say_so_nor_while_an_incident_is_open() -> None:
    values = site(1, jump)
    assert told(values, detect=Detect(DetectionSettings((Pattern(entities="shop/*", shifts=False),)))) == []
    detect, names = Detect(), Names()
    ts = START + 1000 * np.arange(AGE, dtype=np.int64)
    assert not [*detect.step([batch_of(names, "shop/db", METRICS, ts[:AT], values[:AT])], 0)]
    control = Learning(entity="shop/db", ts=START, learning="open", incident="i")
    found = [
        *detect.step([Steer(names, control), batch_of(names, "shop/db", METRICS, ts[AT:], values[AT:])], 0)
    ]  # fmt: skip
    assert [a for a in found if a.detector == "shift"] == []
