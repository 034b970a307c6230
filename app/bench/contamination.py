"""Measures whether a detector learns a fault as normal: the same fault returns ten minutes after it was remedied.

Synthetic entities of four kinds, one sample a second: ten normal minutes, fifty of a fault, ten normal ones, the fault
again. Three learners get the same numbers: one that an incident forks and a label ends (as in the loop), a plain one
that goes on learning, and one whose fault is labelled as a new trend after two minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from agents.detect import Detect
from app.bench.scoring import Float64
from app.printing import print_json, print_table
from topics.batch import Batch, Names, Steer
from topics.learning import Feedback, Learning
from topics.telemetry import METRICS

START: Final = 1_700_000_000_000
METRICS_EACH: Final = 4  # of which two show the fault
BEFORE, FAULT, BETWEEN, AGAIN = 600, 3_000, 600, 30  # samples, one a second
TOLD: Final = 120  # samples after which a person labels it as a new trend
WINDOW: Final = 60  # samples by which the learner must have adapted
CHUNK: Final = 30  # samples in one batch for the learner
SHIFT: Final = 10.0  # spreads by which the fault moves a metric


def run(entities: int, seeds: int, json: bool) -> None:
    """Print shares of entities over all seeds; `json`: as one object."""
    tally = {name: Tally() for name in ("forked", "plain", "new_trend")}
    for seed in range(seeds):
        moments = recorded(entities, seed)
        for name, each in tally.items():
            each.add(Arm(entities, "new_trend" if name == "new_trend" else "confirmed", name != "plain").play(moments))
    trials = entities * seeds
    found = {
        "series": entities * METRICS_EACH, "entities": entities, "seeds": seeds, "trials": trials,
        "first_caught": tally["forked"].first / trials,
        "again_caught": tally["forked"].again / trials,
        "again_caught_plain": tally["plain"].again / trials,
        "false_alarms": tally["forked"].false / trials, "false_alarms_plain": tally["plain"].false / trials,
        "new_trend_accepted": 1.0 - tally["new_trend"].trend / trials,
    }  # fmt: skip
    if json:
        print_json(found)
    else:
        print_table("contamination", ["what", "value"], ([name, f"{value:g}"] for name, value in found.items()))


def recorded(entities: int, seed: int) -> Float64:
    """Values of shape (samples, entities, metrics): noise, a random walk, a cycle, and bursts, each in its own unit."""
    rng = np.random.default_rng([7, seed])
    moments = BEFORE + FAULT + BETWEEN + AGAIN
    noise = rng.standard_normal((moments, entities, METRICS_EACH))
    at = np.arange(moments)[:, None]
    for entity in range(entities):
        own = noise[:, entity]
        match entity % 4:
            case 1:
                for moment in range(1, moments):
                    own[moment] = 0.7 * own[moment - 1] + 0.71 * own[moment]
            case 2:
                own[:] = 0.7 * own + np.sin(2 * np.pi * at / 300 + rng.uniform(0, 6, METRICS_EACH))
            case 3:
                own[:] = rng.gamma(4.0, 0.5, own.shape)
    noise[BEFORE : BEFORE + FAULT, :, :2] += SHIFT
    noise[-AGAIN:, :, :2] += SHIFT
    scale = rng.uniform(1.0, 50.0, (1, entities, METRICS_EACH))
    return np.asarray(scale * (20.0 + noise), np.float64)


@dataclass(slots=True)
class Tally:
    """Counts of entities."""

    first: int = 0  # the first fault raised an alarm
    again: int = 0  # the second fault raised an alarm
    false: int = 0  # alarms raised in normal minutes
    trend: int = 0  # alarms raised, or still on, after the new trend should be normal

    def add(self, other: Tally) -> None:
        """Add the counts of another tally."""
        self.first, self.again = self.first + other.first, self.again + other.again
        self.false, self.trend = self.false + other.false, self.trend + other.trend


@dataclass(slots=True)
class Arm:
    """One learner over all entities of a partition."""

    entities: int
    label: Feedback
    forks: bool
    names: Names = field(default_factory=Names)
    detect: Detect = field(default_factory=Detect)

    def play(self, moments: Float64) -> Tally:
        """Feed a recording with its faults to the learner."""
        tally = Tally()
        cured, again = BEFORE + FAULT, BEFORE + FAULT + BETWEEN
        tally.false += len(self._see(moments, 0, BEFORE))
        first = self._see(moments, BEFORE, BEFORE + CHUNK)
        tally.first = len(set(first))
        self._steer("open", set(first))
        self._see(moments, BEFORE + CHUNK, BEFORE + TOLD)
        if self.label == "new_trend":
            self._steer("close", set(first))
            self._see(moments, BEFORE + TOLD, BEFORE + TOLD + WINDOW)
            later = self._see(moments, BEFORE + TOLD + WINDOW, BEFORE + TOLD + 10 * WINDOW, repeats=True)
            tally.trend = len(set(later))
            return tally
        self._see(moments, BEFORE + TOLD, cured)
        self._steer("close", set(first))
        self._see(moments, cured, cured + WINDOW)
        tally.false += len(self._see(moments, cured + WINDOW, again))
        tally.again = len(set(self._see(moments, again, len(moments))))
        return tally

    def _see(self, moments: Float64, first: int, end: int, *, repeats: bool = False) -> list[str]:
        """Entities with an alarm that is told in samples first..end; with `repeats`, also those whose alarm is on."""
        told = []
        for at in range(first, end, CHUNK):
            batch = self._batch(moments[at : min(at + CHUNK, end)], at)
            said = [a for a in self.detect.step([batch], 0) if a.suppressed == "none"]
            told += [a.entity for a in said if a.state == "raised" or repeats]
        return told

    def _batch(self, moments: Float64, at: int) -> Batch:
        metrics = [f"m{n}" for n in range(METRICS_EACH)]
        series = [self.names.intern(f"db/{n}", metrics)[1] for n in range(self.entities)]
        rows, samples = len(moments), len(moments) * self.entities
        return Batch(
            METRICS.name, 0, self.names, np.tile(np.arange(self.entities, dtype=np.int32), rows),
            np.repeat(START + 1000 * np.arange(at, at + rows, dtype=np.int64), self.entities),
            np.arange(samples + 1, dtype=np.int32) * np.int32(METRICS_EACH),
            np.tile(np.array(series, np.int32).ravel(), rows), moments.ravel(), np.zeros(samples, np.int64),
        )  # fmt: skip

    def _steer(self, learning: str, entities: Sequence[str] | set[str]) -> None:
        for entity in sorted(entities) if self.forks else ():
            control = Learning(
                entity=entity, ts=START, learning="open" if learning == "open" else "close", incident="i",
                label=self.label,
            )  # fmt: skip
            assert not [*self.detect.step([Steer(self.names, control)], 0)]
