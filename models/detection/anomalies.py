"""Anomalies out of scores: what is written of an alarm, whichever detector raised it.

`score` is in multiples of the boundary, so that 1.0 is where an alarm begins, whoever says it. The id is derived from
entity, detector and onset: whoever scores the same log again derives the same.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec
import numpy as np

from models.detection.absence import WHOLE, Lost
from models.detection.alarm_trajectory import Trajectories
from models.detection.alarms import Deviation
from models.detection.columns import AGAIN, CLEAR, CONTINUE, RAISE, Scored
from models.detection.entity_detectors import DetectorFinding, EntityDetectors
from models.detection.ranges import Beyond
from models.detection.shift import PLAIN, Shift
from topics.batch import Batch, Float64, Forgotten
from topics.signals import AlarmPath, Anomaly, Contribution, Direction, Grade, Suppressed
from topics.spec import Origin, derive

State = Literal["raised", "continuing", "cleared"]

NAME: Final = "detect"  # in the ids of the bank's anomalies
BANK_VERSION: Final = 3
MOST_OVER: Final = 20.0  # log of the most boundaries that are told
PATHS: Final[tuple[AlarmPath, ...]] = ("broad", "narrow", "one")
NOTABLE_Z: Final = 3.0  # a series with less had nothing to do with it
MOST_CONTRIBUTIONS: Final = 10
GRADED: Final[tuple[tuple[float, Grade], ...]] = ((8.0, "critical"), (3.0, "major"))  # by multiples of the boundary
STATES: Final[dict[int, State]] = {RAISE: "raised", CONTINUE: "continuing", CLEAR: "cleared", AGAIN: "raised"}


def of_bank(
    batch: Batch, scored: Scored, sample: int, told: tuple[State, int, Suppressed], trajectories: Trajectories
) -> Anomaly:  # fmt: skip
    """What the bank says of a sample. told: the state of the alarm, its onset, and whether a budget suppresses it."""
    number, ts = int(batch.entity[sample]), int(batch.ts[sample])
    entity = batch.names.entities[number]
    state, onset, suppressed = told
    ratio = ratio_of(scored, sample)
    places = _strongest(scored, int(batch.start[sample]), int(batch.start[sample + 1]))
    found = [_contribution(batch, scored, place) for place in places]
    first, spread = found[0], float(scored.spread[places[0]])
    kind = trajectories.kind(entity, state, (ts, onset), found, spread)
    return Anomaly(
        id=derive("anomaly", entity, NAME, onset), entity=entity, ts=ts, state=state, kind=kind,
        score=ratio, grade=grade(ratio, state), confidence=1.0 - math.exp(-ratio), metric=first.metric,
        direction="up" if first.z >= 0 else "down", value=first.value, expected=first.expected,
        low=first.expected - NOTABLE_Z * spread, high=first.expected + NOTABLE_Z * spread, onset=onset,
        attribution=tuple(c for c in found if abs(c.z) >= NOTABLE_Z), detector="bank",
        detector_version=BANK_VERSION, evidence=evidence(batch, sample), path=PATHS[int(scored.path[sample])],
        suppressed=suppressed,
    )  # fmt: skip


def deviations(batch: Batch, scored: Scored, sample: int) -> list[Deviation]:
    """What had to do with a sample that is off, strongest first: at least the strongest."""
    places = _strongest(scored, int(batch.start[sample]), int(batch.start[sample + 1]))
    found = [_contribution(batch, scored, place) for place in places]
    notable = [c for c in found if abs(c.z) >= NOTABLE_Z] or found[:1]
    return [Deviation(c.metric, c.value, c.expected, c.z) for c in notable]


def ratio_of(scored: Scored, sample: int) -> float:
    """How far an entity is off, in multiples of its boundary."""
    return math.exp(min(float(scored.over[sample]), MOST_OVER))


def in_context(batch: Batch, usual: Float64 | None, sample: int, anomaly: Anomaly) -> Anomaly:
    """Make a point contextual when its first metric was held against what is usual at its hour."""
    if usual is None or anomaly.kind != "point":
        return anomaly
    for place in range(int(batch.start[sample]), int(batch.start[sample + 1])):
        if usual[place] != 0.0 and batch.names.series[int(batch.series[place])][1] == anomaly.metric:
            return msgspec.structs.replace(anomaly, kind="contextual")
    return anomaly


def of_detector(batch: Batch, sample: int, watch: EntityDetectors, finding: DetectorFinding) -> Anomaly:
    """What a detector beside the bank says of a sample."""
    entity, ts, state = batch.names.entities[int(batch.entity[sample])], int(batch.ts[sample]), STATES[finding.event]
    x = np.nan_to_num(finding.x)
    values = x * finding.spread + finding.mean
    names = watch.detector.features
    found = [
        Contribution(metric=names[at], z=float(x[at]), value=float(values[at]), expected=float(finding.mean[at]))
        for at in dict.fromkeys((finding.place, *np.argsort(-np.abs(x), kind="stable").tolist()))
    ]
    first, width = found[0], NOTABLE_Z * float(finding.spread[finding.place])
    detector = watch.detector
    return Anomaly(
        id=derive("anomaly", entity, detector.name, finding.onset), entity=entity, ts=ts, state=state,
        kind=detector.kind, score=finding.ratio, grade=grade(finding.ratio, state),
        confidence=1.0 - math.exp(-finding.ratio), metric=first.metric, direction="up" if first.z >= 0 else "down",
        value=first.value, expected=first.expected, low=first.expected - width, high=first.expected + width,
        onset=finding.onset, attribution=tuple(c for c in found if abs(c.z) >= NOTABLE_Z)[:MOST_CONTRIBUTIONS],
        detector=detector.name, detector_version=detector.version,
        evidence=evidence(batch, sample), view="second",
    )  # fmt: skip


def of_shift(batch: Batch, shift: Shift) -> Anomaly:
    """A quiet change: values are means of the samples that showed which series moved; none once it is over."""
    entity, state = batch.names.entities[int(batch.entity[shift.sample])], STATES[shift.event]
    found = [
        (
            Contribution(
                metric=batch.names.series[series][1], z=m.off / m.scored, value=m.value / m.scored, expected=m.expected
            ),
            m.spread,
        )
        for series, m in shift.moved[:MOST_CONTRIBUTIONS]
    ] or [(Contribution(metric="*", z=0.0, value=0.0, expected=0.0), 0.0)]
    first, spread = found[0]
    ratio = max(1.0, abs(first.z) / PLAIN) if shift.moved else 0.0
    return Anomaly(
        id=derive("anomaly", entity, "shift", shift.onset), entity=entity, ts=int(batch.ts[shift.sample]), state=state,
        kind=shift.kind, score=ratio, grade=grade(ratio, state), confidence=1.0 - math.exp(-ratio),
        metric=first.metric, direction="up" if first.z >= 0 else "down", value=first.value, expected=first.expected,
        low=first.expected - NOTABLE_Z * spread, high=first.expected + NOTABLE_Z * spread, onset=shift.onset,
        attribution=tuple(c for c, _ in found if abs(c.z) >= PLAIN), detector="shift", detector_version=1,
        evidence=evidence(batch, shift.sample), view="second",
    )  # fmt: skip


def of_range(batch: Batch, seen: Beyond) -> Anomaly:
    """A value out of the range that users or packs allow. `expected` is the nearest value within it."""
    entity, value = batch.names.entities[int(batch.entity[seen.sample])], float(batch.value[seen.point])
    metric, state = batch.names.series[int(batch.series[seen.point])][1], STATES[seen.event]
    low = seen.low if math.isfinite(seen.low) else min(value, seen.high)
    high = seen.high if math.isfinite(seen.high) else max(value, seen.low)
    nearest = min(max(value, low), high)
    ratio = 1.0 + abs(value - nearest) / max(abs(nearest), 1.0) if seen.event != CLEAR else 0.0
    side: Direction = "up" if value > nearest else "down"
    return Anomaly(
        id=derive("anomaly", entity, "range", metric, seen.onset), entity=entity, ts=int(batch.ts[seen.sample]),
        state=state, kind="point", score=ratio, grade=grade(ratio, state), confidence=1.0, metric=metric,
        direction=side, value=value, expected=nearest, low=low, high=high, onset=seen.onset,
        attribution=(Contribution(metric=metric, z=ratio if side == "up" else -ratio, value=value, expected=nearest),),
        detector="range", detector_version=1,
        evidence=evidence(batch, seen.sample), view="second",
    )  # fmt: skip


def of_absence(batch: Batch, lost: Lost) -> Anomaly:
    """Absence of data. Values are silences in seconds; the metric of a whole entity is `*`."""
    names = batch.names.series
    metrics = ["*" if at == WHOLE else names[at][1] for at in lost.absent[:MOST_CONTRIBUTIONS]]
    entity, ts = batch.names.entities[lost.entity], int(batch.ts[lost.sample])
    return _of_absence(lost, (entity, ts, evidence(batch, lost.sample)), metrics)


def of_forgotten(forgotten: Forgotten, lost: Lost) -> Anomaly:
    """The end of an absence whose entity or series is forgotten: what is not known any more is not missed."""
    entity = forgotten.entities.get(lost.entity) or forgotten.names.entities[lost.entity]
    return _of_absence(lost, (entity, forgotten.ts, forgotten.evidence), [])


def _of_absence(lost: Lost, sample: tuple[str, int, str], metrics: list[str]) -> Anomaly:
    entity, ts, origin = sample
    state: State = "cleared" if not lost.absent else "raised" if lost.began else "continuing"
    ratio = lost.silent_ms / lost.limit_ms if lost.absent else 0.0
    silent, gap = lost.silent_ms / 1000, lost.gap_ms / 1000
    return Anomaly(
        id=derive("anomaly", entity, "absence", lost.onset), entity=entity, ts=ts, state=state,
        kind="absence", score=ratio, grade=grade(ratio, state), confidence=1.0 - math.exp(-ratio),
        metric=metrics[0] if metrics else "*", direction="down", value=silent, expected=gap, low=0.0,
        high=lost.limit_ms / 1000, onset=lost.onset,
        attribution=tuple(Contribution(metric=m, z=-ratio, value=silent, expected=gap) for m in metrics),
        detector="absence", detector_version=1, evidence=origin, view="second",
    )  # fmt: skip


def _strongest(scored: Scored, first: int, end: int) -> list[int]:
    """Places of the values with the largest |z|; ties go to the earlier one."""
    order = np.argsort(-np.abs(scored.z[first:end]), kind="stable")[:MOST_CONTRIBUTIONS]
    return [first + int(at) for at in order]


def _contribution(batch: Batch, scored: Scored, place: int) -> Contribution:
    value, expected = float(batch.value[place]), float(scored.expected[place])
    return Contribution(
        metric=batch.names.series[batch.series[place]][1],
        z=math.copysign(float(scored.z[place]), value - expected),
        value=value,
        expected=expected,
    )


def grade(ratio: float, state: State) -> Grade:
    """How grave an alarm is, by its score in multiples of the boundary."""
    if state == "cleared":
        return "none"
    return next((grade for least, grade in GRADED if ratio >= least), "minor")


def evidence(batch: Batch, sample: int) -> str:
    """The place of the record that a sample came in."""
    return str(Origin(batch.topic, batch.partition, int(batch.offset[sample])))
