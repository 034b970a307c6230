"""Scores of detectors against labels: VUS-PR, AUC-PR, events with a delay limit, NAB, attribution.

VUS-PR follows TSB-AD (Paparrizos et al. 2022; mode `opt`, 250 thresholds), written anew over sorted scores: per window
one cumulative sum takes the place of 250 passes. NAB follows Lavin and Ahmad 2015.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import argrelextrema

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]
Segment = tuple[int, int]  # first and last index, both inside

THRESHOLDS = 250


def segments(label: NDArray[np.generic]) -> list[Segment]:
    """Runs of ones."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], np.asarray(label, np.int8), [0]))))
    return [(int(first), int(end) - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)]


def window_of(series: Float64) -> int:
    """TSB-AD's `find_length_rank(series, 1)`: lag of the highest local maximum of the autocorrelation, or 125."""
    x = np.asarray(series[:20_000], float)
    x = x - x.mean()
    lags = min(400, len(x) - 1)
    spectrum = np.fft.rfft(x, 2 * len(x))
    covariance = np.fft.irfft(spectrum * spectrum.conj())[: lags + 1]
    if covariance[0] <= 0:
        return 125
    correlation = (covariance / covariance[0])[3:]
    peaks = argrelextrema(correlation, np.greater)[0]
    if not len(peaks):
        return 125
    best = int(peaks[np.argsort(correlation[peaks])[::-1][0]])
    return best + 3 if 3 <= best <= 300 else 125


def vus_pr(label: NDArray[np.generic], score: Float64, window: int) -> float:
    """Volume under the surface of range-based precision and recall, over windows 0..`window`."""
    truth = segments(label)
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    levels = ranked[np.linspace(0, len(score) - 1, THRESHOLDS).astype(int)]
    predicted = np.searchsorted(-ranked, -levels, side="right")  # points at or above each level
    area = [_range_ap(label, truth, width, (score, order, levels, predicted)) for width in range(window + 1)]
    return float(np.mean(area))


def _range_ap(
    label: NDArray[np.generic], truth: list[Segment], width: int, ranked: tuple[Float64, Float64, Float64, Float64]
) -> float:
    score, order, levels, predicted = ranked
    soft = _softened(label, truth, width)
    inside = np.asarray(label) > 0
    hit = np.cumsum(soft[order])[predicted - 1]
    margin = np.cumsum(np.where(inside, 0.0, soft)[order])[predicted - 1]
    positives = float(inside.sum())
    recall = np.minimum(hit / ((positives + positives + margin) / 2), 1.0)
    peaks = np.array([score[max(first, 0) : last + 1].max() for first, last in _joined(truth, width, len(score))])
    found = (peaks[None, :] >= levels[:, None]).mean(axis=1)
    recall = recall * found
    return float(np.dot(np.diff(np.concatenate(([0.0], recall))), hit / predicted))


def _softened(label: NDArray[np.generic], truth: list[Segment], width: int) -> Float64:
    soft = np.asarray(label, float).copy()
    for first, last in truth:
        after = np.arange(last + 1, min(last + width // 2 + 1, len(soft)))
        soft[after] += np.sqrt(1 - (after - last) / max(width, 1))
        before = np.arange(max(first - width // 2, 0), first)
        soft[before] += np.sqrt(1 - (first - before) / max(width, 1))
    return np.minimum(soft, 1.0)


def _joined(truth: list[Segment], width: int, length: int) -> list[Segment]:
    half = width // 2
    joined = [(max(truth[0][0] - half, 0), 0)]
    for (_, last), (first, _) in itertools.pairwise(truth):
        if last + half < first - half:
            joined[-1] = (joined[-1][0], last + half)
            joined.append((first - half, 0))
    joined[-1] = (joined[-1][0], min(truth[-1][1] + half, length - 1))
    return joined


def auc_pr(label: NDArray[np.generic], score: Float64) -> float:
    """Average precision, ties taken together."""
    order = np.argsort(-score, kind="stable")
    truth, ranked = np.asarray(label, float)[order], score[order]
    ends = np.concatenate((np.flatnonzero(np.diff(ranked)), [len(ranked) - 1]))
    hits = np.cumsum(truth)[ends]
    return float(np.dot(np.diff(np.concatenate(([0.0], hits))) / truth.sum(), hits / (ends + 1)))


class Events(NamedTuple):
    """Event-wise outcome of label-free alarms."""

    caught: int
    missed: int
    false: int  # alarms that touch no labelled event
    delays: tuple[int, ...]  # samples from the event's first to the first alarm in it

    @property
    def precision(self) -> float:
        return self.caught / (self.caught + self.false) if self.caught else 0.0

    @property
    def recall(self) -> float:
        return self.caught / (self.caught + self.missed) if self.caught else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.caught / (2 * self.caught + self.false + self.missed) if self.caught else 0.0

    def __add__(self, other: object) -> Events:  # type: ignore[override]
        assert isinstance(other, Events)
        return Events(*(a + b for a, b in zip(self, other, strict=True)))


def events(label: NDArray[np.generic], alarm: NDArray[np.generic], limit: int | None = None) -> Events:
    """Each labelled event is caught by an alarm inside it, within `limit` samples of its start when one is given.

    A run of alarms that touches no event is one false alarm, however long.
    """
    on = np.asarray(alarm) > 0
    truth = segments(label)
    delays = []
    for first, last in truth:
        end = last if limit is None else min(last, first + limit)
        inside = np.flatnonzero(on[first : end + 1])
        if len(inside):
            delays.append(int(inside[0]))
    false = sum(1 for first, last in segments(on) if not np.asarray(label)[first : last + 1].any())
    return Events(len(delays), len(truth) - len(delays), false, tuple(delays))


def _sigmoid(position: float) -> float:
    """NAB's reward by relative position: +1 at a window's start, 0 at its end, towards -1 after it."""
    if position > 3.0:
        return -1.0
    return 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


def nab(files: Sequence[tuple[int, Sequence[Segment], Sequence[Segment], Float64]]) -> tuple[float, float]:
    """NAB's standard profile with the one threshold that is best for all; (score, threshold).

    Each file: (probation, windows, _, score); points before the probation's end do not count.
    """
    gains: list[tuple[float, float]] = []
    total_windows = 0
    steps: list[tuple[float, float]] = []
    for probation, windows, _, score in files:
        total_windows += len(windows)
        steps += _nab_steps(probation, windows, score)
    steps.sort(key=lambda step: -step[0])
    best, at, running = -math.inf, 0.0, 0.0
    values = [value for _, value in steps]
    for index, (level, _) in enumerate(steps):
        running += values[index]
        if index + 1 < len(steps) and steps[index + 1][0] == level:
            continue
        if running > best:
            best, at = running, level
    del gains
    null = -float(total_windows)
    raw = max(best + null, null)
    return 100.0 * (raw - null) / (total_windows - null), at


def _nab_steps(probation: int, windows: Sequence[Segment], score: Float64) -> list[tuple[float, float]]:
    """What lowering the threshold past each point adds: (score of the point, change of the total)."""
    steps: list[tuple[float, float]] = []
    owner = np.full(len(score), -1)
    for number, (first, last) in enumerate(windows):
        owner[first : last + 1] = number
    best: dict[int, list[tuple[float, float]]] = {number: [] for number in range(len(windows))}
    previous: Segment | None = None
    scale = _sigmoid(-1.0)
    for index in range(probation, len(score)):
        number = int(owner[index])
        if number >= 0:
            first, last = windows[number]
            reward = _sigmoid(-(last - index + 1) / (last - first + 1)) / scale
            best[number].append((float(score[index]), reward))
            previous = windows[number]
            continue
        penalty = -1.0
        if previous is not None:
            width = max(previous[1] - previous[0], 1)
            penalty = _sigmoid(abs(previous[1] - index) / width)
        steps.append((float(score[index]), 0.11 * penalty))
    for number, points in best.items():
        del number
        earliest_gain = 0.0
        # points are in time; lowering the threshold admits points by score: the window's gain is its earliest admitted
        for level, reward in sorted(points, key=lambda point: -point[0]):
            if reward + 1.0 > earliest_gain:
                steps.append((level, reward + 1.0 - earliest_gain))
                earliest_gain = reward + 1.0
    return steps
