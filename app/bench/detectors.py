"""The detectors that the detection bench compares, and the boundaries that each may choose from.

Everything runs online: from a cold start, one sample after another, without later samples or labels. The peers get the
same entity score (mean of the five largest values, smoothed) and a boundary of mean plus some deviations of their
earlier scores. Where a measurement is missing they are given the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from app.bench.scoring import Float64
from app.offline.score import Recording, score
from models.detection.settings import DetectionSettings, Pattern

# What opsloop may choose from when it is measured on the machines that did not choose.
SETTINGS: Final[list[DetectionSettings]] = [DetectionSettings()]
DEVIATIONS: Final = (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0)  # what a peer's boundary may be above the mean ...
FIXED: Final = 4.0  # ... and what it is when nothing is chosen
WARM_UP: Final = 32  # scores before the first alarm of a peer


class Judged(NamedTuple):
    """What a detector made of a recording."""

    score: Float64  # (n,)
    alarm: Float64  # (n,) 1 while one is on
    attribution: Float64  # (n, k)


Judge = Callable[[Recording], Judged]
Grid = Callable[[Recording], Mapping[str, Judged]]  # by knob: what the detector makes of a recording with each


def _bank(recording: Recording, settings: DetectionSettings | None = None) -> Judged:
    scored = score(recording, settings)
    return Judged(scored.score, scored.alarm.astype(float), scored.attribution)


def _confirmed(recording: Recording) -> Judged:
    """The same scores with the alarms of `confirm = true`, which need a second view."""
    return _bank(recording, DetectionSettings((Pattern(confirm=True),)))


def _ewma(recording: Recording, rate: float = 0.01) -> Judged:
    """|z| with an exponentially weighted mean and deviation.

    The deviation begins at nothing, so the first scores are wild; in a short recording they lift the boundary for good.
    """
    z = np.zeros(recording.values.shape)
    mean, variance = recording.values[0].copy(), np.zeros(recording.values.shape[1])
    for sample, row in enumerate(recording.values):
        error = row - mean
        z[sample] = np.abs(error) / np.sqrt(variance + 1e-9)
        mean += rate * error
        variance = (1 - rate) * (variance + rate * error * error)
    return _peer(np.minimum(z, 100.0))


def _ewma_warmed_up(recording: Recording) -> Judged:
    """The same without a score for the first samples, so that nothing wild is in its boundary."""
    return _peer(_ewma(recording).attribution, WARM_UP)


def _gaussian(recording: Recording, window: int = 200) -> Judged:
    """-ln of the tail probability under a normal law over the last `window` samples, as NAB's windowed Gaussian."""
    from scipy.special import log_ndtr

    sums = np.cumsum(np.vstack((np.zeros_like(recording.values[:1]), recording.values)), axis=0)
    squares = np.cumsum(np.vstack((np.zeros_like(recording.values[:1]), recording.values**2)), axis=0)
    at = np.arange(len(recording.values))
    first = np.maximum(at - window, 0)
    count = np.maximum(at - first, 1)[:, None]
    mean = (sums[at] - sums[first]) / count
    spread = np.sqrt(np.maximum((squares[at] - squares[first]) / count - mean**2, 0.0) + 1e-9)
    z = np.where(at[:, None] > 10, np.abs(recording.values - mean) / spread, 0.0)
    return _peer(-log_ndtr(-np.minimum(z, 35.0)))


def _half_space_trees(recording: Recording) -> Judged:
    """River's half-space trees, 25 of height 8, window 250, over values scaled to 0..1 by the range so far."""
    from river import anomaly

    trees = anomaly.HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=1)
    low, high = recording.values[0].copy(), recording.values[0] + 1e-9
    scores = np.zeros(len(recording.values))
    for sample, row in enumerate(recording.values):
        low, high = np.minimum(low, row), np.maximum(high, row)
        x = dict(enumerate(((row - low) / (high - low)).tolist()))
        scores[sample] = trees.score_one(x)
        trees.learn_one(x)
    return Judged(scores, _beyond(scores, FIXED), np.zeros(recording.values.shape))


def _peer(each: Float64, unscored: int = 0) -> Judged:
    top = np.sort(each[unscored:], axis=1)[:, -5:].mean(axis=1)
    smooth = np.fromiter(_smoothed(top.tolist()), float, len(top))
    scores = np.concatenate((np.zeros(len(each) - len(smooth)), smooth))
    return Judged(scores, _beyond(scores, FIXED, unscored), each)


def _smoothed(values: list[float], rate: float = 0.2) -> Iterator[float]:
    level = 0.0
    for value in values:
        level += rate * (value - level)
        yield level


def _beyond(scores: Float64, deviations: float, unscored: int = 0) -> Float64:
    """1 where a score exceeds the mean plus so many deviations of the scores before it."""
    alarm = np.zeros(len(scores))
    scores = scores[unscored:]
    count = np.arange(1, len(scores) + 1)
    mean = np.cumsum(scores) / count
    spread = np.sqrt(np.maximum(np.cumsum(scores**2) / count - mean**2, 0.0))
    beyond = scores[1:] > (mean + deviations * spread)[:-1]
    alarm[unscored + 1 :] = beyond & (count[1:] > WARM_UP)
    return alarm


def _filled(judge: Judge) -> Judge:
    """The same detector for recordings with gaps: it is given the value before, and at the start the first one."""

    def judged(recording: Recording) -> Judged:
        there = ~np.isnan(recording.values)
        if there.all():
            return judge(recording)
        at = np.maximum.accumulate(np.where(there, np.arange(len(there))[:, None], there.argmax(axis=0)))
        values = np.nan_to_num(np.take_along_axis(recording.values, at, axis=0))
        return judge(replace(recording, values=values))

    return judged


def _chosen(judge: Judge, unscored: int = 0) -> Grid:
    """A peer with each of its boundaries."""

    def judged(recording: Recording) -> dict[str, Judged]:
        found = judge(recording)
        return {f"{k:g} deviations": found._replace(alarm=_beyond(found.score, k, unscored)) for k in DEVIATIONS}

    return judged


def _with_each_setting(recording: Recording) -> dict[str, Judged]:
    return {f"settings {number}": _bank(recording, settings) for number, settings in enumerate(SETTINGS)}


def _as_it_is(judge: Judge) -> Grid:
    return lambda recording: {f"{FIXED:g} deviations": judge(recording)}


OPSLOOP: Final = "opsloop"
TREES: Final = "river half-space trees"
EWMA: Final = "ewma z"
EWMA_FIXED: Final = "ewma z, as published here"  # `ewma z` under the name that it has beside the one that chooses
EWMA_WARMED_UP: Final = "ewma z, warmed up"
GAUSSIAN: Final = "windowed gaussian"
PEERS: Final[dict[str, Judge]] = {
    TREES: _filled(_half_space_trees),
    EWMA: _filled(_ewma),
    EWMA_WARMED_UP: _filled(_ewma_warmed_up),
    GAUSSIAN: _filled(_gaussian),
}
DETECTORS: Final[dict[str, Judge]] = {
    OPSLOOP: _bank,
    "opsloop, confirmed": _confirmed,
    **{name: PEERS[name] for name in (TREES, EWMA, GAUSSIAN)},
}
GRIDS: Final[dict[str, Grid]] = {
    OPSLOOP: _with_each_setting,
    EWMA_FIXED: _as_it_is(PEERS[EWMA]),
    EWMA_WARMED_UP: _chosen(PEERS[EWMA_WARMED_UP], WARM_UP),
    GAUSSIAN: _chosen(PEERS[GAUSSIAN]),
    TREES: _chosen(PEERS[TREES]),
}
ON_NOISE: Final[dict[str, Judge]] = {OPSLOOP: _bank, **PEERS}
