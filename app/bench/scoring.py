"""Scores detectors against labels: VUS-PR, AUC-PR, events with a delay limit, NAB.

VUS-PR follows TSB-AD (Paparrizos et al. 2022; mode `opt`, 250 thresholds). It works on sorted scores, so that one
cumulative sum for each window replaces 250 passes. NAB follows Lavin and Ahmad 2015.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import argrelextrema

Float64 = NDArray[np.float64]
Index = NDArray[np.intp]
Bool = NDArray[np.bool_]
Segment = tuple[int, int]  # first and last index, both inclusive

THRESHOLDS = 250
FALSE_ALARM_WEIGHT = 0.11  # of NAB's standard profile


def segments(label: NDArray[np.generic]) -> list[Segment]:
    """The runs of ones in `label`."""
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
    label: NDArray[np.generic], truth: list[Segment], width: int, ranked: tuple[Float64, Index, Float64, Index]
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
    softened: Float64 = np.minimum(soft, 1.0)
    return softened


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
    """Average precision. Equal scores share one threshold."""
    order = np.argsort(-score, kind="stable")
    truth, ranked = np.asarray(label, float)[order], score[order]
    ends = np.concatenate((np.flatnonzero(np.diff(ranked)), [len(ranked) - 1]))
    hits = np.cumsum(truth)[ends]
    return float(np.dot(np.diff(np.concatenate(([0.0], hits))) / truth.sum(), hits / (ends + 1)))


class Events(NamedTuple):
    """Event-wise result of alarms against labels."""

    caught: int
    missed: int
    false: int  # alarms that touch no labelled event
    delays: tuple[int, ...]  # samples from the event's first to the first alarm in it

    @property
    def precision(self) -> float:
        """Share of alarms that caught an event."""
        return self.caught / (self.caught + self.false) if self.caught else 0.0

    @property
    def recall(self) -> float:
        """Share of events that were caught."""
        return self.caught / (self.caught + self.missed) if self.caught else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.caught / (2 * self.caught + self.false + self.missed) if self.caught else 0.0


def total(found: Iterable[Events]) -> Events:
    """The sum of several results."""
    each = list(found)
    return Events(
        sum(e.caught for e in each), sum(e.missed for e in each), sum(e.false for e in each),
        tuple(delay for e in each for delay in e.delays),
    )  # fmt: skip


def events(label: NDArray[np.generic], alarm: NDArray[np.generic], limit: int | None = None) -> Events:
    """Match alarms to events. An event is caught by an alarm in it, within `limit` samples of its start if given.

    A run of alarms that overlaps no event counts as one false alarm.
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


class NabFile(NamedTuple):
    """One series of the benchmark with its score."""

    probation: int  # points before this index do not count
    windows: Sequence[Segment]
    score: Float64


def nab(files: Sequence[NabFile]) -> tuple[float, float]:
    """NAB's standard profile with the single best threshold for all files. Returns (score, threshold)."""
    steps = sorted((step for file in files for step in _nab_steps(file)), key=lambda step: -step[0])
    best, threshold, running = 0.0, math.inf, 0.0
    for (level, change), (after, _) in itertools.pairwise([*steps, (-math.inf, 0.0)]):
        running += change
        if level != after and running > best:
            best, threshold = running, level
    windows = sum(len(file.windows) for file in files)
    return 100.0 * best / (2.0 * max(windows, 1)), threshold


def _nab_steps(file: NabFile) -> Iterator[tuple[float, float]]:
    """(score of the point, change of the total) when the threshold falls below each point.

    A window counts its earliest detection. A point outside costs more, the further it is behind the last window.
    """
    previous: Segment | None = None
    windows = list(file.windows)
    for index in range(file.probation, len(file.score)):
        while windows and windows[0][1] < index:
            previous = windows.pop(0)
        if windows and index >= windows[0][0]:
            continue
        cost = -1.0 if previous is None else _sigmoid((index - previous[1]) / max(previous[1] - previous[0], 1))
        yield float(file.score[index]), FALSE_ALARM_WEIGHT * cost
    for first, last in file.windows:
        inside = range(max(first, file.probation), last + 1)
        gained = 0.0
        for index in sorted(inside, key=lambda at: -float(file.score[at])):
            worth = 1.0 + _sigmoid(-(last - index + 1) / (last - first + 1)) / _sigmoid(-1.0)
            if worth > gained:
                yield float(file.score[index]), worth - gained
                gained = worth
