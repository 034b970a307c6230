"""Batches of telemetry become anomalies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final, Literal

import msgspec
import numpy as np

from agents._agent import Agent, Buffer, packed
from models.detection.absence import WHOLE, Absence, Lost
from models.detection.absence import Kept as KeptAbsence
from models.detection.alarm_trajectory import Trajectories, Trajectory
from models.detection.alarms import Alarms, Beyond, Deviation, Out, Ranges, ScoredSample, Told, strongest_levels
from models.detection.bank import Bank
from models.detection.columns import (
    CLEAR,
    CONTINUE,
    ENTITY_FIELDS,
    QUIET,
    RAISE,
    SAMPLES,
    SERIES,
    SERIES_FIELDS,
    TAIL_NOW,
    TAIL_THEN,
    TILE,
    Samples,
    Scored,
    rows_of,
    tiles_for,
    tiles_of,
)
from models.detection.detector_set import DetectorSet
from models.detection.entity_detectors import EntityDetectors, Finding, Kept
from models.detection.forks import Fork, Forks
from models.detection.hysteresis import Held, Hysteresis
from models.detection.season import Kept as KeptSeason
from models.detection.season import Season, renew
from models.detection.settings import DetectionSettings
from models.detection.shift import PLAIN, Shift, Shifts
from models.detection.shift import Kept as KeptShifts
from models.detection.univariate import FIELDS as UNIVARIATE_FIELDS
from topics.batch import Batch, Float64, Steer
from topics.learning import Feedback
from topics.signals import ANOMALIES, Anomaly, Contribution, Direction
from topics.spec import Instant, Origin, derive

State = Literal["raised", "continuing", "cleared"]
Grade = Literal["none", "minor", "major", "critical"]

NOTABLE_Z: Final = 3.0  # a series with less had nothing to do with it
MOST_CONTRIBUTIONS: Final = 10
GRADES: Final[tuple[tuple[float, Grade], ...]] = ((8.0, "critical"), (3.0, "major"))  # by multiples of the boundary
STATES: Final[dict[int, State]] = {RAISE: "raised", CONTINUE: "continuing", CLEAR: "cleared"}


class _Fork(msgspec.Struct):
    entity: int
    incidents: list[str]
    label: Feedback
    series: list[int]
    rows: bytes
    row: bytes
    univariate: bytes = b""


class _State(msgspec.Struct):
    """A snapshot: rows and tiles as little-endian float64. Tiles of series and rows of entities come after it."""

    version: int
    series: bytes = b""  # both are within it only in one of before
    entities: bytes = b""
    forks: list[_Fork] = []
    univariate: bytes = b""
    detectors: list[Kept] = []
    absence: KeptAbsence = msgspec.field(default_factory=KeptAbsence)
    told: dict[str, Told] = {}
    out: dict[int, Out] = {}
    ended: dict[int, int] = {}
    held: dict[str, Held] = {}
    shifts: KeptShifts = msgspec.field(default_factory=KeptShifts)
    trajectories: dict[str, Trajectory] = {}
    season: KeptSeason = msgspec.field(default_factory=KeptSeason)
    n_series: int = 0


_KEPT: Final = msgspec.msgpack.Decoder(tuple[_State, memoryview, memoryview])  # made before there are threads
_KEPT_IN_ROWS: Final = msgspec.msgpack.Decoder(_State)
_THREE: Final = b"\x93"  # how a tuple of three begins


class Detect(Agent[Batch | Steer]):
    """Scores every value of a partition, learns it, and says which entities are off.

    An `Anomaly` follows when an alarm is raised, for each further look while it is on (at most one in `repeat_ms` of
    event time), and when it is cleared. Its attribution has up to ten series with |z| >= 3, strongest first; the
    evidence is the record that the sample came in; `onset` is the event time of the first look above the boundary.
    Detectors that settings chose beside the bank have alarms of their own, with their own name and `view="second"`.
    """

    name = "detect"
    reads = ()
    writes = (ANOMALIES,)
    version = 2

    def __init__(self, settings: DetectionSettings | None = None) -> None:
        self.bank = Bank()
        self.forks = Forks(self.bank)
        self.settings = settings or DetectionSettings()
        self.detectors = DetectorSet(self.settings)
        self.season = Season(self.settings)
        self.trajectories = Trajectories()
        self.shifts = Shifts(self.settings)
        self.absence = Absence(self.settings)
        self.hysteresis = Hysteresis(self.settings)
        self.alarms = Alarms(self.settings)
        self.ranges = Ranges(self.settings)

    def step(self, records: Sequence[Batch | Steer], now: Instant) -> Iterator[Anomaly]:  # noqa: ARG002
        for batch in records:
            if isinstance(batch, Steer):
                if (anew := self.forks.steer(batch)) is not None:
                    self.detectors.restart(anew)
                    self.shifts.restart(anew)
                continue
            for _, said in self.scored(batch):
                yield from said

    def scored(self, batch: Batch) -> Iterator[tuple[Scored, list[Anomaly]]]:
        """What the bank makes of a batch and what is said of it, in parts that follow each other; it is learned."""
        self.bank.admit(batch.names)
        for part, value, proven in self.season.take(batch, self.forks.open):
            yield self._observe(part, value)
            if proven:
                renew(self.bank, batch.names, proven)

    def _observe(self, batch: Batch, value: Float64) -> tuple[Scored, list[Anomaly]]:
        """A part of a batch. value: what the bank is to see of it, in the order of the batch's own."""
        scored = self.forks.take(Samples(batch.entity, batch.ts, batch.start, batch.series, value))
        usual = None if value is batch.value else batch.value - value  # at this hour, beyond what is at all hours
        if usual is not None:
            scored = scored._replace(expected=scored.expected + usual)
        found = ((at, self._wanted(batch, scored, at)) for at in self.hysteresis.samples(batch, scored))
        said = [(at, _in_context(batch, usual, at, anomaly)) for at, anomaly in found if anomaly is not None]
        said += [(at, _second(batch, at, who, told)) for at, who, told in self.detectors.take(batch, self.forks.open)]
        said += [(s.sample, _shifted(batch, s)) for s in self.shifts.take(batch, scored, self.forks.open)]
        said += [(beyond.sample, _beyond(batch, beyond)) for beyond in self.ranges.take(batch)]
        said += [(lost.sample, _absent(batch, lost)) for lost in self.absence.take(batch)]
        return scored, [anomaly for _, anomaly in sorted(said, key=itemgetter(0))]  # for any cut into batches alike

    def _wanted(self, batch: Batch, scored: Scored, sample: int) -> Anomaly | None:
        """What the bank says of a look, if users want to know."""
        event, onset = self.hysteresis.event(batch, scored, sample)
        if event == QUIET:
            return None
        anomaly = self._anomaly(batch, scored, sample, (STATES[event], onset))
        if not self.alarms.chosen:
            return anomaly
        deviations = [Deviation(c.metric, c.value, c.expected, c.z) for c in anomaly.attribution]
        first = Deviation(anomaly.metric, anomaly.value, anomaly.expected)
        own = slice(int(batch.start[sample]), int(batch.start[sample + 1]))
        level = strongest_levels(batch.value[own], scored.expected[own], scored.spread[own])
        scored_sample = ScoredSample(anomaly.ts, anomaly.onset, anomaly.score, own.stop - own.start, level)
        heard = self.alarms.heard(anomaly.entity, event, scored_sample, deviations or [first])
        if heard == event:
            return anomaly
        return None if heard == QUIET else msgspec.structs.replace(anomaly, state=STATES[heard])

    def _anomaly(self, batch: Batch, scored: Scored, sample: int, told: tuple[State, int]) -> Anomaly:
        number, ts = int(batch.entity[sample]), int(batch.ts[sample])
        entity = batch.names.entities[number]
        state, onset = told
        ratio = float(scored.score[sample] / scored.boundary[sample])
        places = _strongest(scored, int(batch.start[sample]), int(batch.start[sample + 1]))
        found = [_contribution(batch, scored, place) for place in places]
        first, spread = found[0], float(scored.spread[places[0]])
        kind = self.trajectories.kind(entity, state, ts, found, spread)
        return Anomaly(
            id=derive("anomaly", entity, self.name, onset), entity=entity, ts=ts, state=state, kind=kind,
            score=ratio, grade=_grade(ratio, state), confidence=1.0 - math.exp(-ratio), metric=first.metric,
            direction="up" if first.z >= 0 else "down", value=first.value, expected=first.expected,
            low=first.expected - NOTABLE_Z * spread, high=first.expected + NOTABLE_Z * spread, onset=onset,
            attribution=tuple(c for c in found if abs(c.z) >= NOTABLE_Z), detector="bank",
            detector_version=self.version,
            evidence=str(Origin(batch.topic, batch.partition, int(batch.offset[sample]))),
        )  # fmt: skip

    def snapshot(self) -> bytes:
        return b"".join(self.pieces())

    def pieces(self) -> list[Buffer]:
        bank = self.bank
        forks = [
            _Fork(
                number,
                fork.incidents,
                fork.label,
                fork.series,
                _bytes(rows_of(fork.tiles, len(fork.series))),
                _bytes(fork.entity),
                _bytes(fork.univariate),
            )
            for number, fork in sorted(self.forks.open.items())
        ]
        small = _State(
            self.version,
            forks=forks,
            univariate=_bytes(bank.univariate_rows),
            detectors=self.detectors.dump(),
            absence=self.absence.dump(),
            told=self.alarms.told,
            out=self.ranges.out,
            ended=self.ranges.ended,
            held=self.hysteresis.held,
            shifts=self.shifts.dump(),
            trajectories=self.trajectories.open,
            season=self.season.dump(),
            n_series=bank.n_series,
        )
        tiles, entities = _bytes(bank.tiles[: tiles_for(bank.n_series)]), _bytes(bank.entities[: bank.n_entities])
        return [_THREE, msgspec.msgpack.encode(small), *packed([tiles]), *packed([entities])]

    def restore(self, state: Buffer) -> None:
        entities: Buffer
        if state[:1] == _THREE:
            kept, data, entities = _KEPT.decode(state)
            tiles, series = _floats(data).reshape(-1, SERIES_FIELDS, TILE), kept.n_series
        else:
            kept = _KEPT_IN_ROWS.decode(state)
            rows, entities = _rows(kept.series, SERIES_FIELDS), kept.entities
            tiles, series = tiles_of(rows), len(rows)
        if kept.version not in (1, self.version):
            raise ValueError(f"this worker reads version {self.version} of the learners' state, not {kept.version}")
        self.bank.load(tiles, series)
        self.bank.entities = _entities(entities, kept.version)
        self.bank.n_entities = len(self.bank.entities)
        self.bank.univariate = _univariate(kept.univariate)
        self.forks.open = {
            f.entity: Fork(
                f.incidents, f.label, f.series, tiles_of(_rows(f.rows, SERIES_FIELDS)),
                _entities(f.row, kept.version), _univariate(f.univariate),
            )
            for f in kept.forks
        }  # fmt: skip
        self.detectors.load(kept.detectors)
        self.absence.load(kept.absence)
        self.alarms.told, self.ranges.out, self.ranges.ended = kept.told, kept.out, kept.ended
        self.hysteresis.held = kept.held
        self.shifts.load(kept.shifts)
        self.trajectories.open = kept.trajectories
        self.season.load(kept.season)


def _entities(data: Buffer, version: int) -> Float64:
    """Version 1 did not count the series of an entity: each goes on as one of many, with its boundary as it stands."""
    if version > 1:
        return _rows(data, ENTITY_FIELDS)
    rows = np.pad(_rows(data, SERIES), ((0, 0), (0, ENTITY_FIELDS - SERIES)))
    rows[rows[:, SAMPLES] > 0.0, SERIES] = 2.0
    rows[:, TAIL_THEN] = rows[:, TAIL_NOW]
    return rows


def _univariate(data: bytes) -> Float64:
    return _rows(data, UNIVARIATE_FIELDS) if data else np.zeros((2, UNIVARIATE_FIELDS))


def _in_context(batch: Batch, usual: Float64 | None, sample: int, anomaly: Anomaly) -> Anomaly:
    """A point whose first metric was held against what is usual at its hour is a contextual one."""
    if usual is None or anomaly.kind != "point":
        return anomaly
    for place in range(int(batch.start[sample]), int(batch.start[sample + 1])):
        if usual[place] != 0.0 and batch.names.series[int(batch.series[place])][1] == anomaly.metric:
            return msgspec.structs.replace(anomaly, kind="contextual")
    return anomaly


def _second(batch: Batch, sample: int, watch: EntityDetectors, finding: Finding) -> Anomaly:
    """What a detector beside the bank says of an entity."""
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
        kind=detector.kind, score=finding.ratio, grade=_grade(finding.ratio, state),
        confidence=1.0 - math.exp(-finding.ratio), metric=first.metric, direction="up" if first.z >= 0 else "down",
        value=first.value, expected=first.expected, low=first.expected - width, high=first.expected + width,
        onset=finding.onset, attribution=tuple(c for c in found if abs(c.z) >= NOTABLE_Z)[:MOST_CONTRIBUTIONS],
        detector=detector.name, detector_version=detector.version,
        evidence=str(Origin(batch.topic, batch.partition, int(batch.offset[sample]))), view="second",
    )  # fmt: skip


def _shifted(batch: Batch, shift: Shift) -> Anomaly:
    """A quiet change: values are the means of the looks that showed which series it is; at its end it says no more."""
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
        kind=shift.kind, score=ratio, grade=_grade(ratio, state), confidence=1.0 - math.exp(-ratio),
        metric=first.metric, direction="up" if first.z >= 0 else "down", value=first.value, expected=first.expected,
        low=first.expected - NOTABLE_Z * spread, high=first.expected + NOTABLE_Z * spread, onset=shift.onset,
        attribution=tuple(c for c, _ in found if abs(c.z) >= PLAIN), detector="shift", detector_version=1,
        evidence=str(Origin(batch.topic, batch.partition, int(batch.offset[shift.sample]))), view="second",
    )  # fmt: skip


def _beyond(batch: Batch, seen: Beyond) -> Anomaly:
    """What is out of the range that users allow; expected is the nearest value within it."""
    entity, value = batch.names.entities[int(batch.entity[seen.sample])], float(batch.value[seen.point])
    metric, state = batch.names.series[int(batch.series[seen.point])][1], STATES[seen.event]
    low = seen.low if math.isfinite(seen.low) else min(value, seen.high)
    high = seen.high if math.isfinite(seen.high) else max(value, seen.low)
    nearest = min(max(value, low), high)
    ratio = 1.0 + abs(value - nearest) / max(abs(nearest), 1.0) if seen.event != CLEAR else 0.0
    side: Direction = "up" if value > nearest else "down"
    return Anomaly(
        id=derive("anomaly", entity, "range", metric, seen.onset), entity=entity, ts=int(batch.ts[seen.sample]),
        state=state, kind="point", score=ratio, grade=_grade(ratio, state), confidence=1.0, metric=metric,
        direction=side, value=value, expected=nearest, low=low, high=high, onset=seen.onset,
        attribution=(Contribution(metric=metric, z=ratio if side == "up" else -ratio, value=value, expected=nearest),),
        detector="range", detector_version=1,
        evidence=str(Origin(batch.topic, batch.partition, int(batch.offset[seen.sample]))), view="second",
    )  # fmt: skip


def _absent(batch: Batch, lost: Lost) -> Anomaly:
    """What has stopped coming: the values are silences in seconds, the metric of a whole entity is `*`."""
    entity, names = batch.names.entities[lost.entity], batch.names.series
    state: State = "cleared" if not lost.absent else "raised" if lost.began else "continuing"
    ratio = lost.silent_ms / lost.limit_ms if lost.absent else 0.0
    silent, gap = lost.silent_ms / 1000, lost.gap_ms / 1000
    metrics = ["*" if at == WHOLE else names[at][1] for at in lost.absent[:MOST_CONTRIBUTIONS]]
    return Anomaly(
        id=derive("anomaly", entity, "absence", lost.onset), entity=entity, ts=int(batch.ts[lost.sample]), state=state,
        kind="absence", score=ratio, grade=_grade(ratio, state), confidence=1.0 - math.exp(-ratio),
        metric=metrics[0] if metrics else "*", direction="down", value=silent, expected=gap, low=0.0,
        high=lost.limit_ms / 1000, onset=lost.onset,
        attribution=tuple(Contribution(metric=m, z=-ratio, value=silent, expected=gap) for m in metrics),
        detector="absence", detector_version=1,
        evidence=str(Origin(batch.topic, batch.partition, int(batch.offset[lost.sample]))), view="second",
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


def _grade(ratio: float, state: State) -> Grade:
    if state == "cleared":
        return "none"
    return next((grade for least, grade in GRADES if ratio >= least), "minor")


def _bytes(array: Float64) -> bytes:
    """A view of what is little-endian already; msgspec writes one as bytes."""
    return np.ascontiguousarray(array, "<f8").reshape(-1).view(np.uint8).data  # type: ignore[return-value]


def _rows(data: Buffer, fields: int) -> Float64:
    return _floats(data).reshape(-1, fields)


def _floats(data: Buffer) -> Float64:
    """A copy: what was read has no place that an array can be changed in."""
    return np.frombuffer(data, "<f8").copy()
