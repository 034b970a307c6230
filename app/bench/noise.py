"""False alarms on recordings in which nothing is wrong, and brief faults that are put into some of them.

A user's budget is one false alarm a week. Each family of noise has 38 series with a sample a minute for three weeks,
from several seeds. The brief faults are narrow and rare: three samples of three series, six spreads away on either
side, at least a day after the one before. Families in which such a fault is nothing out of the ordinary (sparse
counters, bursts), or has no size since their spread grows (level shifts, random walk), get none. River's trees take
minutes, so they score the first seed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from itertools import product
from typing import Final, NamedTuple

import numpy as np
from scipy.signal import lfilter

from app.bench.detectors import ON_NOISE, TREES
from app.bench.pool import each
from app.bench.scoring import Events, Float64, events, total
from app.offline.score import EPOCH, PERIOD_MS, Recording

DAY: Final = 1440  # samples
WEEK: Final = 7 * DAY
SERIES: Final = 38
SAMPLES: Final = 3 * WEEK
SEEDS: Final = (1, 2, 3)
FAULT_SAMPLES, FAULT_SERIES, FAULT_SPREADS = 3, 3, 6.0
SOON: Final = 3  # samples after a fault
FIRST_FAULT: Final = 2 * DAY  # samples before it, in which a detector learns
ALL: Final = "all families"

NoiseFamily = Callable[[np.random.Generator, int, int], Float64]  # (n, k)
ByDetector = dict[str, dict[str, float]]


def _gaussian(rng: np.random.Generator, n: int, k: int) -> Float64:
    return 10 + rng.normal(size=(n, k))


def _correlated_steps(rng: np.random.Generator, n: int, k: int) -> Float64:
    return 0.5 * rng.normal(size=(n, k)) + rng.normal(size=(n, 4)) @ rng.normal(size=(4, k))


def _remembered(steps: Float64, memory: float) -> Float64:
    """Each value is so much of the one before, and a step."""
    found: Float64 = lfilter([1.0], [1.0, -memory], steps, axis=0)
    return found


def _autoregressive(rng: np.random.Generator, n: int, k: int) -> Float64:
    return 50 + _remembered(rng.normal(size=(n, k)), 0.95)


def _autoregressive_correlated(rng: np.random.Generator, n: int, k: int) -> Float64:
    return 50 + _remembered(_correlated_steps(rng, n, k), 0.95)


def _correlated(rng: np.random.Generator, n: int, k: int) -> Float64:
    return 20 + _correlated_steps(rng, n, k)


def _counts(rng: np.random.Generator, n: int, k: int) -> Float64:
    return rng.poisson(20, (n, k)).astype(float)


def _sparse_counters(rng: np.random.Generator, n: int, k: int) -> Float64:
    return rng.poisson(0.05, (n, k)).astype(float)


def _t3(rng: np.random.Generator, n: int, k: int) -> Float64:
    return 20 + rng.standard_t(3, (n, k))


def _lognormal(rng: np.random.Generator, n: int, k: int) -> Float64:
    return rng.lognormal(size=(n, k))


def _bursts(rng: np.random.Generator, n: int, k: int) -> Float64:
    """Of one series each, of up to nine samples; every series has three a day."""
    values = 1 + 0.1 * rng.normal(size=(n, k))
    for first, series in np.argwhere(rng.random((n, k)) < 0.002):
        values[first : first + rng.integers(1, 10), series] += rng.exponential(3.0)
    return values


def _changing_variance(rng: np.random.Generator, n: int, k: int) -> Float64:
    """Each series is calm for an hour or two, then restless, by a factor of two to four."""
    return 10 + np.exp(_remembered(0.1 * rng.normal(size=(n, k)), 0.99)) * rng.normal(size=(n, k))


def _seasonal(rng: np.random.Generator, n: int, k: int) -> Float64:
    phase = 2 * np.pi * (np.arange(n)[:, None] / DAY + 0.3 * rng.random(k))
    return 10 + 3 * np.sin(phase) + 0.5 * rng.normal(size=(n, k))


def _level_shifts(rng: np.random.Generator, n: int, k: int) -> Float64:
    """Each series moves to another level for good every few days."""
    moves = np.where(rng.random((n, k)) < 1 / 5000, 3 * rng.normal(size=(n, k)), 0.0)
    return 10 + np.cumsum(moves, axis=0) + rng.normal(size=(n, k))


def _missing_values(rng: np.random.Generator, n: int, k: int) -> Float64:
    return np.where(rng.random((n, k)) < 0.2, np.nan, 10 + rng.normal(size=(n, k)))


def _random_walk(rng: np.random.Generator, n: int, k: int) -> Float64:
    return 100 + np.cumsum(rng.normal(size=(n, k)), axis=0)


FAMILIES: Final[dict[str, NoiseFamily]] = {
    "gaussian": _gaussian, "autoregressive": _autoregressive, "autoregressive correlated": _autoregressive_correlated,
    "correlated": _correlated, "counts": _counts, "sparse counters": _sparse_counters, "t3": _t3,
    "lognormal": _lognormal, "bursts": _bursts, "changing variance": _changing_variance, "seasonal": _seasonal,
    "level shifts": _level_shifts, "missing values": _missing_values, "random walk": _random_walk,
}  # fmt: skip
WITH_FAULTS: Final = tuple(
    family for family in FAMILIES if family not in ("sparse counters", "bursts", "level shifts", "random walk")
)


def recorded(family: str, seed: int, samples: int = SAMPLES) -> Recording:
    """Noise of a family: the same for the same seed."""
    rng = np.random.default_rng([seed, [*FAMILIES].index(family)])
    values = np.ascontiguousarray(FAMILIES[family](rng, samples, SERIES))
    ts = EPOCH + PERIOD_MS * np.arange(samples, dtype=np.int64)
    metrics = tuple(f"metric-{number:02}" for number in range(SERIES))
    return Recording(family, metrics, ts, values, values[:0], np.zeros(samples, np.int8))


def with_faults(quiet: Recording, seed: int) -> Recording:
    """The same recording with brief faults, and a label where they are."""
    rng = np.random.default_rng([seed, 77])
    values, label = quiet.values.copy(), np.zeros(len(quiet.ts), np.int8)
    spread = np.nanstd(quiet.values, axis=0)
    first = FIRST_FAULT
    while (first := first + int(rng.integers(0, DAY // 2))) + FAULT_SAMPLES <= len(label):
        hit = rng.choice(values.shape[1], FAULT_SERIES, replace=False)
        values[first : first + FAULT_SAMPLES, hit] += FAULT_SPREADS * spread[hit] * rng.choice((-1, 1), FAULT_SERIES)
        label[first : first + FAULT_SAMPLES] = 1
        first += DAY
    return Recording(quiet.name, quiet.metrics, quiet.ts, values, quiet.train, label)


class Heard(NamedTuple):
    """What a detector made of noise."""

    raised: Events  # by the alarms that are raised in a fault
    told: Events  # by the alarms that are raised in one or soon after
    on: Events  # by the alarms that are on in one
    alarmed_share: float
    weeks: float


def heard(job: tuple[str, int, bool, int]) -> dict[str, Heard]:
    """What each detector makes of a family of noise, from a seed, with or without faults, of so many samples."""
    family, seed, faulty, samples = job
    recording = recorded(family, seed, samples)
    if faulty:
        recording = with_faults(recording, seed)
    assert recording.label is not None
    label = recording.label
    soon = np.convolve(label, np.ones(SOON + 1, np.int8))[: len(label)] > 0
    found = {}
    for detector, judge in ON_NOISE.items():
        if detector == TREES and seed != SEEDS[0]:
            continue
        alarm = judge(recording).alarm
        raised = np.diff(alarm, prepend=0) == 1
        found[detector] = Heard(
            events(label, raised), events(soon, raised), events(label, alarm), float(alarm.mean()), samples / WEEK
        )
    return found


def noise(executor: Executor | None, samples: int = SAMPLES) -> dict[str, ByDetector]:
    """False alarms a week and the share of the time in alarm, by family and detector."""
    return _told(executor, tuple(FAMILIES), False, samples)


def brief(executor: Executor | None, samples: int = SAMPLES) -> dict[str, ByDetector]:
    """The share of brief faults that are found, and false alarms a week, by family and detector.

    A fault is found by an alarm that is raised in it. `late` is the share that only has one soon after, `on` the share
    in which one is on, whenever it was raised. False is an alarm that is raised neither in a fault nor soon after.
    """
    return _told(executor, WITH_FAULTS, True, samples)


def _told(executor: Executor | None, families: Sequence[str], faulty: bool, samples: int) -> dict[str, ByDetector]:
    jobs = [(family, seed, faulty, samples) for family, seed in product(families, SEEDS)]
    done = each(executor, heard, jobs, "brief faults" if faulty else "noise")
    found: dict[str, ByDetector] = {}
    for family in (*families, ALL):
        those = [made for job, made in zip(jobs, done, strict=True) if family in (job[0], ALL)]
        found[family] = {name: _figures([m[name] for m in those if name in m], faulty) for name in ON_NOISE}
    return found


def _figures(heard: Sequence[Heard], faulty: bool) -> dict[str, float]:
    raised, told, on = (total(of) for of in zip(*((h.raised, h.told, h.on) for h in heard), strict=True))
    of_faults: dict[str, float] = {
        "faults": raised.caught + raised.missed, "found": raised.recall, "late": told.recall - raised.recall,
        "on": on.recall,
    } if faulty else {}  # fmt: skip
    return of_faults | {
        "false_alarms_a_week": told.false / sum(h.weeks for h in heard),
        "alarmed_share": float(np.mean([h.alarmed_share for h in heard])),
    }
