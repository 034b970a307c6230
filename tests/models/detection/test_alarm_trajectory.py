"""How an alarm goes on."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
import pytest

from models.detection.alarm_trajectory import Trajectories, Trajectory
from topics.signals import AnomalyKind, Contribution

EXPECTED, SPREAD = 50.0, 2.0
NOISE = np.random.default_rng(8).normal(0, 2, 400)


def followed(values: Iterable[float], trajectories: Trajectories) -> list[AnomalyKind]:
    found = []
    for scored_sample, value in enumerate(values):
        said = (Contribution(metric="m", z=9.0, value=float(value), expected=EXPECTED),)
        state = "continuing" if trajectories.open else "raised"
        found.append(trajectories.kind("db", state, (10**12 + 250 * scored_sample, 10**12), said, SPREAD))
    return found


@pytest.mark.parametrize(
    ("values", "at_20", "at_last"),
    [
        (80 + 1.5 * np.arange(400) + NOISE, "trend", "trend"),
        (20 - 1.5 * np.arange(400) + NOISE, "trend", "trend"),
        (80 + NOISE, "point", "change_point"),
        (80 + 0.0 * NOISE, "point", "change_point"),
        (52 + NOISE, "point", "point"),  # not far
        (80 - 0.07 * np.arange(400) + NOISE, "point", "point"),  # on its way back
        (50 + 15 * NOISE, "point", "point"),
    ],
)
def test_what_moves_away_is_a_trend_and_what_stays_a_change_point(
    values: Iterable[float], at_20: AnomalyKind, at_last: AnomalyKind
) -> None:
    found = followed(values, Trajectories())
    assert set(found[:15]) == {"point"}
    assert (found[20], found[-1]) == (at_20, at_last)


def test_values_of_any_size_are_the_same_line() -> None:
    values = 80 + 1.5 * np.arange(100) + NOISE[:100]
    trajectories, far = Trajectories(), Trajectories()
    followed(values, trajectories)
    followed(values + 1e9, far)
    one, other = (each.open["db"].lines["m"] for each in (trajectories, far))
    assert other.both / other.times == pytest.approx(one.both / one.times, rel=1e-4)


def test_what_is_cleared_is_what_it_was_last_and_the_next_alarm_begins_anew() -> None:
    trajectories = Trajectories()
    followed(80 + 0.0 * NOISE, trajectories)
    again = Trajectories()
    again.open = msgspec.json.decode(msgspec.json.encode(trajectories.open), type=dict[str, Trajectory])
    normal = (Contribution(metric="m", z=0.0, value=50.0, expected=50.0),)
    assert again.onset("db") == 10**12
    assert again.kind("db", "cleared", (10**12 + 10**6, 10**12), normal, SPREAD) == "change_point"
    assert again.onset("db") == 0
    assert again.kind("db", "cleared", (10**12 + 10**6, 10**12), normal, SPREAD) == "point"
    assert followed([80.0], again) == ["point"]
