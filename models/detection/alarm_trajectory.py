"""How an alarm goes on: its first metric moves away ever further, stays where it went, or neither.

A straight line through what a metric has shown since its alarm was raised, kept as sums. It costs nothing while there
is no alarm.

Source: simple regression by updated means and products (Welford 1962, Chan et al. 1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from topics.batch import Forgotten
from topics.signals import AnomalyKind, Contribution

FOLLOWED: Final = 3  # of the strongest metrics of a sample
MOST: Final = 16  # metrics of one alarm
LINE, FLAT = 16, 64  # samples from which a slope says something, and a level that stays
FIT: Final = 0.8  # share of a metric's variance that lies on the line of a trend
FAR: Final = 3.0  # spreads that it has moved meanwhile; or that a level is off, in its own


class Line(msgspec.Struct):
    """A metric by time: seconds since the alarm was raised."""

    scored: int = 0
    time: float = 0.0  # mean
    value: float = 0.0  # mean
    times: float = 0.0  # sums of squares and products around the means
    values: float = 0.0
    both: float = 0.0

    def take(self, time: float, value: float) -> None:
        """Add a value."""
        self.scored += 1
        off_time, off_value = time - self.time, value - self.value
        self.time += off_time / self.scored
        self.value += off_value / self.scored
        self.times += off_time * (time - self.time)
        self.values += off_value * (value - self.value)
        self.both += off_time * (value - self.value)

    def kind(self, expected: float, spread: float) -> AnomalyKind:
        """The kind of the alarm by the values so far. spread: of the metric when it is ordinary."""
        by = self.value - expected
        if self.scored >= LINE and self.times > 0.0 and self.values > 0.0:
            slope, span = self.both / self.times, math.sqrt(12.0 * self.times / self.scored)
            fits = self.both * self.both >= FIT * self.times * self.values
            if fits and slope * by > 0.0 and abs(slope) * span >= FAR * spread:
                return "trend"
        if self.scored >= FLAT and abs(by) >= FAR * max(spread, math.sqrt(self.values / self.scored)):
            return "change_point"
        return "point"


class Trajectory(msgspec.Struct):
    """An alarm that is on."""

    began: int  # event time
    onset: int
    kind: AnomalyKind = "point"
    lines: dict[str, Line] = {}


class Trajectories:
    """The alarms of a partition that are on, by entity."""

    def __init__(self) -> None:
        self.open: dict[str, Trajectory] = {}

    def forget(self, forgotten: Forgotten) -> None:
        """Forget the alarms of entities that have ended."""
        for name in forgotten.entities.values():
            self.open.pop(name, None)

    def onset(self, entity: str) -> int:
        """Event time of the onset of the alarm that is on; 0: none is."""
        trajectory = self.open.get(entity)
        return trajectory.onset if trajectory else 0

    def kind(
        self, entity: str, state: str, times: tuple[int, int], found: Sequence[Contribution], spread: float
    ) -> AnomalyKind:
        """The kind of an alarm by now; at its end, the kind that it was last.

        times: of the sample and of the onset; found: strongest first, not empty; spread: of the first one when it is
        ordinary.
        """
        ts, onset = times
        if state == "cleared":
            trajectory = self.open.pop(entity, None)
            return trajectory.kind if trajectory else "point"
        trajectory = self.open.get(entity)
        if trajectory is None or state == "raised":
            trajectory = self.open[entity] = Trajectory(ts, onset)
        for each in found[:FOLLOWED]:
            if each.metric in trajectory.lines or len(trajectory.lines) < MOST:
                trajectory.lines.setdefault(each.metric, Line()).take((ts - trajectory.began) / 1000, each.value)
        line = trajectory.lines.get(found[0].metric)
        trajectory.kind = line.kind(found[0].expected, spread) if line else "point"
        return trajectory.kind
