"""The alarm of an entity that has one series: told at its onset, within a budget, and over once it is calm.

How strange a sample is, in nats, is the sum of the surprises of its views (`univariate.py`), as far as a witness bears
it out: the smaller of how far it is from all that was and from what was of late. So coming back from a spike is no
alarm, and a level that stays is none for long. Where a profile of the day is of use, both are taken of what it leaves
unexplained.

The boundary follows from the budget, in false alarms a week of the entity's own time: the tail of the nats is learned
online, where it begins, how often it is entered and how long it is, and so how far in it noise comes once in a budget.
Alarms cost tokens that come back at the rate of the budget; without them a sample has to be stranger, by more the more
was told. What came at this hour of the day or of the week before, and was as strange then, is not told either.

Sources: exponential tail over a threshold (Pickands 1975), clusters of exceedances (Leadbetter 1983), token bucket
(Turner 1986), wealth that discoveries are paid with (Foster and Stine 2008).
"""

from __future__ import annotations

import math
from typing import Final

from models.detection.columns import (
    ALARMED,
    BY_ONE,
    CALM,
    CLEAR,
    CONTINUE,
    COUNT,
    FORKED,
    ONSET,
    OWN_BUDGET,
    QUIET,
    RAISE,
    RAISED,
    RAISED_SAMPLE,
    RECOVERING,
    SAMPLES,
    SCORE,
    SEEN,
    TILE,
    TOLD,
    UNIVARIATE,
    WIDE,
    Rows,
    Samples,
    Scored,
)  # fmt: skip
from models.detection.config import DetectorConfig
from models.detection.points import Part, Workspace, seen, take_values
from models.detection.univariate import (
    AWAKE,
    BEGIN,
    CLUSTERS,
    DAY_PEAKS,
    ENTERED,
    EXCESS,
    HOUR,
    HOUR_MS,
    HOUR_PEAK,
    INTERVAL,
    LAST_TS,
    NEXT_ONSET,
    RECENT,
    STRANGE,
    SUPPRESSED,
    TOKENS,
    WEEK_BINS,
    WEEK_PEAKS,
    Univariate,
    rested,
    strangeness,
    surprise,
)  # fmt: skip
from models.detection.univariate import SAMPLES as LOOKS
from topics.batch import Float64
from topics.kernel import kernel
from topics.spec import WEEK_MS

LOUD: Final = 2.0  # score below which repeats of what was told are damped
QUARTER_MS: Final = 900_000.0


@kernel
def alone(
    rows: Rows, given: Samples, scored: Scored, run: Part, work: Workspace, kinds: tuple[DetectorConfig, Univariate]
) -> None:
    """Take a run of entities with one series each."""
    narrow, univariate = kinds
    for sample in range(run.first, run.end):
        slot, entity, ts = sample - run.first, given.entity[sample], float(given.ts[sample])
        row, scored.score[sample] = int(rows.entities[entity, UNIVARIATE]), 0.0
        if work.pace[slot] != 0.0:
            work.pace[slot] = 1.0  # nothing else bears witness to a fault, and its tails mind what is learned
        for point in range(given.start[sample], given.start[sample + 1]):
            at, value = given.series[point], given.value[point]
            tile, place = rows.tiles[at // TILE], at % TILE
            if tile[COUNT, place] > 0.0 and ts > tile[SEEN, place]:
                view, pace = seen(tile, place, value, ts, narrow), work.pace[slot]
                work.single[slot] = surprise(rows.univariate, row, view, pace, univariate)
                nats = univariate.unit * work.single[slot]
                rows.univariate[row, STRANGE] = strangeness(rows.univariate, row, view, nats, pace, univariate)
                break  # it has no other
    take_values(rows, given, scored, run, work, narrow)
    for sample in range(run.first, run.end):
        slot, entity, ts = sample - run.first, given.entity[sample], float(given.ts[sample])
        if work.fresh[slot] > 0:
            row, nth, raw = int(rows.entities[entity, UNIVARIATE]), rows.entities[entity, SAMPLES], work.single[slot]
            rows.entities[entity, SCORE] = raw
            event, boundary = judge_one(rows, entity, row, ts, work.pace[slot], kinds)
            score = rested(rows.univariate, row, raw, LOUD, nth, univariate)
            scored.score[sample] = raw if event == RAISE else score
            scored.event[sample], scored.path[sample] = event, BY_ONE
            scored.over[sample] = math.log(max(rows.univariate[row, STRANGE], 1e-9) / boundary)
            scored.suppressed[sample] = int(rows.univariate[row, SUPPRESSED])


@kernel
def judge_one(
    rows: Rows, at: int, row: int, ts: float, pace: float, kinds: tuple[DetectorConfig, Univariate]
) -> tuple[int, float]:
    """The event of a sample of an entity, and the boundary in nats that an alarm of it has to reach now."""
    narrow, config = kinds
    entity, own = rows.entities[at], rows.univariate[row]
    entity[SAMPLES] += 1.0
    nats = own[STRANGE]
    budget = config.false_alarms_a_week * math.exp(entity[OWN_BUDGET])
    _refill(own, ts, budget, config)
    ordinary = boundary_of(own, budget, config) * (1.0 + entity[WIDE])
    if own[LOOKS] == config.grown:
        own[TOKENS] = max(own[TOKENS], config.fresh)  # what a young entity did says little
    wanted = ordinary * math.exp(config.dearer * max(0.0, -own[TOKENS]))
    usual = usual_now(own, ts, config)
    rest = config.again * own[RECENT]
    grown = min(1.0, own[LOOKS] / config.grown)  # a young entity says little of an hour
    own[SUPPRESSED] = 0.0
    entity[CALM] = 0.0 if nats > config.settle * ordinary else entity[CALM] + 1.0
    age = entity[SAMPLES] - entity[RAISED_SAMPLE]
    news = nats > ordinary and nats > usual and entity[SAMPLES] > 2.0 * narrow.young
    event = QUIET
    if entity[ALARMED] == 0.0:
        if own[NEXT_ONSET] > 0.0:
            event = RAISE
            entity[ONSET], own[NEXT_ONSET] = own[NEXT_ONSET], 0.0
        elif not news:
            entity[ONSET] = 0.0
        else:
            if entity[ONSET] == 0.0:
                entity[ONSET] = ts
            if nats > wanted and nats > rest:
                event = RAISE
                own[TOKENS] = max(own[TOKENS] - 1.0, -config.debt)
            elif nats <= wanted:
                own[SUPPRESSED] = 1.0
        if event == RAISE:
            entity[ALARMED], entity[RAISED], entity[TOLD] = 1.0, ts, ts
            entity[RAISED_SAMPLE], entity[CALM] = entity[SAMPLES], 0.0
    else:
        second = news and age >= config.apart and nats > rest and nats > wanted
        if second:
            own[NEXT_ONSET] = ts
            own[TOKENS] = max(own[TOKENS] - 1.0, -config.debt)
        if second or entity[CALM] >= config.calm or (age >= config.longest and pace != 0.0):
            event = CLEAR
            entity[ALARMED] = 0.0
            if entity[FORKED] == RECOVERING:
                entity[FORKED] = 0.0
        elif ts - entity[TOLD] >= narrow.repeat_ms:
            event = CONTINUE
            entity[TOLD] = ts
    if nats > ordinary and pace != 0.0:
        own[HOUR_PEAK] = max(own[HOUR_PEAK], grown * nats)
    own[RECENT] = max(own[RECENT] * (1.0 - config.fading), nats if nats > ordinary else 0.0)
    if pace != 0.0:
        _learn(own, nats, 0.1 if entity[ALARMED] == 1.0 else 1.0, config)
    return event, max(wanted, usual) if usual > ordinary else wanted


@kernel
def boundary_of(own: Float64, budget: float, config: Univariate) -> float:
    """How strange noise is as often as the budget allows, by the tail of its own nats."""
    a_week = own[CLUSTERS] * WEEK_MS / max(own[INTERVAL], 1.0)
    lengths = max(math.log(a_week / budget), config.least_lengths)
    beyond = max(lengths - config.seen_lengths, 0.0)  # farther than a young tail was ever seen
    lengths += beyond * config.few / (own[LOOKS] + config.few)
    green = 1.0 + (config.green / (own[LOOKS] + 30.0)) ** 2
    return float(green * max(own[BEGIN] + lengths * own[EXCESS], config.least_nats))


@kernel
def _refill(own: Float64, ts: float, budget: float, config: Univariate) -> None:
    """Learn how long it is from sample to sample, and let tokens come back in that time."""
    if own[LAST_TS] > 0.0:
        gap = ts - own[LAST_TS]
        own[TOKENS] = min(own[TOKENS] + budget * gap / WEEK_MS, config.burst)
        rate = max(1e-3, 1.0 / (own[AWAKE] + 1.0))
        own[INTERVAL] += rate * ((min(gap, 10.0 * own[INTERVAL]) if own[AWAKE] > 8.0 else gap) - own[INTERVAL])
        own[AWAKE] += 1.0
    own[LAST_TS] = ts


@kernel
def _learn(own: Float64, nats: float, weight: float, config: Univariate) -> None:
    """Learn where the tail of the nats begins, how long it is, and how often it is entered."""
    n, over = own[LOOKS], nats - own[BEGIN]
    gain = weight * own[EXCESS] * max(3e-4, 1.0 / (0.3 * n + 10.0))
    entered = 0.0
    if over > 0.0:
        entered = 1.0 if own[ENTERED] == 0.0 else 0.0
        own[ENTERED] = config.gap
        own[BEGIN] += gain * config.usual
        rate = weight * max(1.5e-3, 1.0 / ((1.0 - config.usual) * n + config.least_hits))
        own[EXCESS] += rate * (min(over, config.wildest_nats * own[EXCESS]) - own[EXCESS])
        own[EXCESS] = max(own[EXCESS], config.least_excess)
    else:
        own[ENTERED] = max(own[ENTERED] - 1.0, 0.0)
        own[BEGIN] -= gain * (1.0 - config.usual)
    own[CLUSTERS] += max(1e-4, 1.0 / (n + 500.0)) * (entered - own[CLUSTERS])
    own[CLUSTERS] = max(own[CLUSTERS], 1e-4)


@kernel
def usual_now(own: Float64, ts: float, config: Univariate) -> float:
    """How strange a sample may be now because it was so at this hour before; the hour that ended is learned first."""
    hour = math.floor(ts / HOUR_MS)
    if own[HOUR] != hour:
        if own[HOUR] > 0.0:
            for first, bins, hours in ((DAY_PEAKS, 24.0, 1.0), (WEEK_PEAKS, float(WEEK_BINS), 2.0)):
                place = first + int((own[HOUR] // hours) % bins)
                peak = own[HOUR_PEAK]
                rate = 0.5 if peak > own[place] else config.forgets
                own[place] += rate * (peak - own[place])
        own[HOUR], own[HOUR_PEAK] = hour, 0.0
    most = 0.0
    for side in (-QUARTER_MS, QUARTER_MS):
        then = math.floor((ts + side) / HOUR_MS)
        most = max(most, own[DAY_PEAKS + int(then % 24.0)], own[WEEK_PEAKS + int((then // 2.0) % WEEK_BINS)])
    return float(config.like_before * most)
