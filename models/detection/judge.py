"""When an entity is off: the two paths to an alarm, each with a boundary in the tail of its own log scores.

A boundary lies a number of mean lengths of that tail beyond where it begins. The number follows from the budget: false
alarms a week at the rate at which samples come, by which an exponential tail is so much rarer. An alarm is told at its
onset, and is ongoing; it ends after some samples below its boundary. Since the short memory of each series follows, one
that stays at a new level ends so by itself, unless an incident is open on it (`forks`). What is learned of the tails
while an alarm is on counts little, and more the longer alarms are on.

Sources: quantile by stochastic approximation (Robbins and Monro 1951), exponential tail over a threshold (Pickands
1975), rate of clusters of exceedances (Leadbetter 1983).
"""

from __future__ import annotations

import math
from typing import Final

from models.detection.columns import (
    AGAIN,
    ALARMED,
    BROAD,
    BY_BREADTH,
    BY_FEW,
    BY_ONE,
    CALM,
    CLEAR,
    CONTINUE,
    FORKED,
    HITS,
    HITS_THEN,
    LOWEST,
    NARROW,
    NARROW_HITS,
    NARROW_HITS_THEN,
    NARROW_STRETCH,
    NARROW_STRETCH_THEN,
    NARROW_USUAL,
    NARROW_USUAL_THEN,
    NEWEST,
    ONSET,
    OWN_BUDGET,
    PERIOD,
    QUIET,
    RAISE,
    RAISED,
    RAISED_SAMPLE,
    RARER,
    RECOVERING,
    SAMPLES,
    SHARE,
    STRETCH,
    STRETCH_THEN,
    TOLD,
    TOP,
    TRUSTED,
    USUAL,
    USUAL_THEN,
    WIDE,
)  # fmt: skip
from models.detection.config import DetectorConfig
from topics.batch import Float64
from topics.kernel import inlined

FIRST_TAIL: Final = (math.log(3.0), 0.2)  # of an entity's log scores: where it begins, and its length
MINUTE_MS: Final = 60_000.0  # between samples, for which the boundaries' units are given
SHORTEST: Final = 0.05  # a tail is
LEAST_OVER: Final = 1e-9  # log of how far beyond its boundary an alarm is at least
OVER: Final = -1.0  # of CALM: the last sample ended an alarm
LEARNED: Final = 15  # bits of the number of a sample that are 0 where it is looked at how often samples come


@inlined
def judge(
    row: Float64, logs: tuple[float, float], strangest: tuple[float, float], ts: float, config: DetectorConfig
) -> tuple[int, int, float]:
    """The event of a sample, its path, and the log of its multiple of the boundary.

    row: of the entity; logs: of both paths' scores; strangest: of a series that is trusted alone, in tails of its own,
    and the largest distance of a lively one, in spreads.
    """
    if row[SAMPLES] == 0.0:
        row[BROAD] = 1.0
    row[SAMPLES] += 1.0
    each = 1.0 / (0.3 * row[SAMPLES] + 10.0)
    _pace_of(row, ts, each, config)
    row[BROAD] += config.broad_smooth * (math.exp(logs[0]) - row[BROAD])
    few = logs[1]
    row[NARROW] += config.narrow_smooth * (few - row[NARROW])
    broad, wider = math.log(row[BROAD]), math.log(1.0 + row[WIDE]) if row[WIDE] > 0.0 else 0.0
    units = config.broad_units + config.broad_rarer * row[RARER], config.narrow_units + config.narrow_rarer * row[RARER]
    green = 1.0 + config.green * (1.0 + max(row[RARER], 0.0)) / row[SAMPLES]  # few samples say little of a far tail
    tails = (USUAL, STRETCH, HITS), (NARROW_USUAL, NARROW_STRETCH, NARROW_HITS)
    if row[ONSET] != 0.0 and row[ALARMED] == 0.0 and row[CALM] != OVER:  # what may be a fault moves no boundary
        tails = (USUAL_THEN, STRETCH_THEN, HITS_THEN), (NARROW_USUAL_THEN, NARROW_STRETCH_THEN, NARROW_HITS_THEN)
    expected = (1.0 - config.usual) * (row[SAMPLES] + config.fewer)  # samples in a tail, the first belief included
    first = _boundary(row, tails[0], green * units[0], expected, config) + wider
    second = _boundary(row, tails[1], green * units[1], expected, config) + wider
    row[TRUSTED] += config.alone_smooth * (strangest[0] - row[TRUSTED])
    by_breadth, by_few = broad - first, row[NARROW] - second
    alone = config.alone + config.alone_rarer * max(row[RARER], 0.0)
    one = max(row[TRUSTED] / alone, strangest[0] / config.at_once, strangest[1] / config.extreme)
    path, over = BY_BREADTH, by_breadth
    if by_few > by_breadth:
        path, over = BY_FEW, by_few
    if one >= 1.0 and math.log(one) >= over:
        path, over = BY_ONE, math.log(one) + LEAST_OVER
    if row[ALARMED] == 1.0:  # what was far beyond does not hold the alarm on when it is over
        row[BROAD] = min(row[BROAD], math.exp(first + config.linger))
        row[NARROW] = min(row[NARROW], second + config.linger)
        row[TRUSTED] = min(row[TRUSTED], 2.0 * alone)
    event = _event(row, (over, max(over, logs[0] - first, few - second), one >= 1.0), ts, config)
    row[SHARE] += max(1e-3, 0.05 * each) * (row[ALARMED] - row[SHARE])
    if row[FORKED] == 0.0:
        weight = 1.0
        if row[ALARMED] == 1.0:
            share = row[SHARE] / config.on_share
            weight = min(1.0, config.on_weight * max(1.0, share * share))
        slow = weight * max(3e-4, each)
        _learn_tail(row, broad, (weight, slow), (USUAL, STRETCH, HITS), config)
        _learn_tail(row, row[NARROW], (weight, slow), (NARROW_USUAL, NARROW_STRETCH, NARROW_HITS), config)
    return event, path, over


@inlined
def _boundary(row: Float64, tail: tuple[int, int, int], units: float, expected: float, config: DetectorConfig) -> float:
    """So many mean lengths beyond where a tail begins. One that fewer samples reach than is expected is shorter."""
    usual, stretch, hits = tail
    reached = min((row[hits] + (1.0 - config.usual) * config.fewer) / expected, 1.0)
    boundary = row[usual] + units * max(reached * row[stretch], SHORTEST)
    return float(min(max(boundary, config.least_log), config.most_log))


@inlined
def _event(row: Float64, beyond: tuple[float, float, bool], ts: float, config: DetectorConfig) -> int:
    """The event of a sample. beyond: how far its boundary, smoothed and not, and whether one series alone is."""
    over, at_once, by_one = beyond
    if row[ALARMED] == 0.0:
        if row[CALM] == OVER:  # the onset of what has just ended was still told with it
            row[CALM], row[ONSET] = 0.0, 0.0
        if at_once <= 0.0:
            row[ONSET] = 0.0
        elif row[ONSET] == 0.0:
            row[ONSET] = ts
            _remember(row)
        if over > 0.0 and (row[SAMPLES] > config.learned or (by_one and row[SAMPLES] > 2.0 * config.young)):
            _begin(row, over, ts)
            row[ALARMED] = 1.0
            return RAISE
        return QUIET
    row[CALM] = 0.0 if over > math.log(config.close) else row[CALM] + 1.0
    if row[CALM] >= config.calm:
        row[ALARMED], row[CALM] = 0.0, OVER
        if row[FORKED] == RECOVERING:
            row[FORKED] = 0.0
        return CLEAR
    row[TOP] = max(row[TOP], over)
    if row[TOP] - row[LOWEST] < config.again or over < row[LOWEST]:
        row[LOWEST] = over  # it is rising still, or falling
    elif over > max(0.0, row[LOWEST] + config.again) and row[SAMPLES] - row[RAISED_SAMPLE] > config.again_samples:
        row[ONSET] = ts
        _begin(row, over, ts)
        return AGAIN
    if ts - row[TOLD] >= config.repeat_ms:
        row[TOLD] = ts
        return CONTINUE
    return QUIET


@inlined
def _begin(row: Float64, over: float, ts: float) -> None:
    """An alarm begins."""
    row[RAISED], row[TOLD], row[RAISED_SAMPLE], row[CALM] = ts, ts, row[SAMPLES], 0.0
    row[TOP], row[LOWEST] = over, over


@inlined
def _remember(row: Float64) -> None:
    """Keep the tails as they are before what may be a fault is learned."""
    row[USUAL_THEN], row[STRETCH_THEN], row[HITS_THEN] = row[USUAL], row[STRETCH], row[HITS]
    row[NARROW_USUAL_THEN], row[NARROW_STRETCH_THEN] = row[NARROW_USUAL], row[NARROW_STRETCH]
    row[NARROW_HITS_THEN] = row[NARROW_HITS]


@inlined
def _pace_of(row: Float64, ts: float, each: float, config: DetectorConfig) -> None:
    """Learn how often samples come, and now and then what the budget says of the boundaries at this pace."""
    if row[NEWEST] > 0.0:
        gap = ts - row[NEWEST]
        if row[PERIOD] > 0.0:
            row[PERIOD] += max(0.02, each) * (min(gap, 4.0 * row[PERIOD]) - row[PERIOD])
        else:
            row[PERIOD] = gap
    row[NEWEST] = ts
    if int(row[SAMPLES]) & LEARNED == 0 and row[PERIOD] > 0.0:
        row[RARER] = math.log(MINUTE_MS / row[PERIOD] / config.budget) - row[OWN_BUDGET]


@inlined
def _learn_tail(
    row: Float64, x: float, weights: tuple[float, float], tail: tuple[int, int, int], config: DetectorConfig
) -> None:
    """Learn where the tail of a log score begins, and how long it is. weights: of the sample, and as a rate."""
    (weight, slow), (usual, stretch, hits) = weights, tail
    over = x - row[usual]
    gain = slow * row[stretch]
    if over > 0.0:
        row[hits] += weight
        row[usual] += gain * config.usual
        excess = min(over, 3.0 * row[stretch])  # one wild score says little of the length of a tail
        rate = weight * max(1.5e-3, 1.0 / (row[hits] + 12.0))
        row[stretch] = max(row[stretch] + rate * (excess - row[stretch]), SHORTEST)
    else:
        row[usual] -= gain * (1.0 - config.usual)
