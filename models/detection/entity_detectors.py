"""A detector at work on one entity: its features, their scale, the boundary of its score, its alarm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from models.detection import columns
from models.detection.base import WHOLE, Detector, StateError
from models.detection.columns import AGAIN, CLEAR, CONTINUE, ENTITY_FIELDS, QUIET, RAISE
from models.detection.config import DetectorConfig
from models.detection.judge import judge
from models.detection.members import MEMBERS, Member, member, names
from topics.batch import Float64
from topics.kernel import kernel

FEATURES_KEPT: Final = 64  # of an entity, in ascending order of their names
FARTHEST: Final = 20.0  # spreads: nothing is farther off

COUNT, MEAN, VARIANCE, PEAK = range(4)  # columns of a feature's scale
SCALE_FIELDS: Final = 4

CONFIG: Final = DetectorConfig(broad_rarer=0.0)  # nobody is woken by these, so they have no budget
SCALED: Final = 16  # samples after which the features have a scale, and the detector is asked
SETTLED: Final = 50  # samples after it is warm by which its own scores have one
NOTABLE_Z: Final = 3.0


class DetectorFinding(NamedTuple):
    """A sample with an event other than QUIET."""

    event: int  # RAISE, CONTINUE or CLEAR
    ratio: float  # 1.0 is the boundary
    onset: int
    place: int  # of the feature that tells most
    x: Float64  # (k,) in spreads; NaN where it was not measured
    mean: Float64  # (k,) before the sample
    spread: Float64  # (k,)


class DetectorState(msgspec.Struct):
    """A detector of an entity as data."""

    entity: int
    name: str
    version: int
    features: list[str]
    scale: bytes
    row: bytes
    own: tuple[float, float]
    scored: int
    last: int
    detector: bytes


@kernel
def standardise(scale: Float64, values: Float64, learn: bool, x: Float64, spreads: Float64) -> None:
    """Values in spreads from their means into `x`, then learned: West's weighted form, clipped as in the bank."""
    for at in range(len(values)):
        value = values[at]
        floor = 0.003 * scale[at, PEAK] + 0.001
        spread = math.sqrt(scale[at, VARIANCE] + floor * floor)
        spreads[at], x[at] = spread, math.nan
        if value != value:
            continue
        count = scale[at, COUNT]
        error = value - scale[at, MEAN] if count > 0.0 else 0.0
        x[at] = min(max(error / spread, -FARTHEST), FARTHEST)
        if learn:
            if count == 0.0:
                scale[at, MEAN] = value
            limit = 5.0 * spread if count >= 32.0 else 1e300
            error = min(max(error, -limit), limit)
            rate = max(1e-3, 1.0 / (count + 1.0))
            scale[at, MEAN] += rate * error
            scale[at, VARIANCE] = (1.0 - rate) * (scale[at, VARIANCE] + rate * error * error)
            scale[at, PEAK] = max(scale[at, PEAK], abs(scale[at, MEAN]))
            scale[at, COUNT] = count + 1.0


class EntityDetectors:
    """One detector on one entity."""

    def __init__(self, name: Member, features: Sequence[str]) -> None:
        self.name = name
        self.last = 0  # event time of the newest sample
        self._open(sorted(features)[:FEATURES_KEPT])

    def _open(self, features: Sequence[str]) -> None:
        self.detector: Detector = member(self.name)(features)
        self.place = {feature: at for at, feature in enumerate(features)}
        self.scale = np.zeros((len(features), SCALE_FIELDS))
        self.row = np.zeros((1, ENTITY_FIELDS))
        self.row[:, (columns.USUAL, columns.STRETCH)] = math.log(2.5), 0.2
        self.scored = 0  # that were learned
        self.own = (0.0, 0.0)  # mean and variance of the detector's scores

    def observe(self, ts: int, metrics: Mapping[str, float], forked: bool) -> DetectorFinding | None:
        """Score a sample and learn it. One that is not newer than the last is passed over.

        forked: an incident is open on the entity, so nothing is learned.
        """
        if ts <= self.last:
            return None
        self.last = ts
        self._grow(metrics)
        place = self.place
        values = np.full(len(place), math.nan)
        for metric, value in metrics.items():
            if (at := place.get(metric)) is not None:
                values[at] = value
        mean, x, spread = self.scale[:, MEAN].copy(), np.empty(len(place)), np.empty(len(place))
        ask = self._told if self.detector.tells else self._scored
        event, ratio, found = ask(ts, values, x, spread, not forked)
        if event == QUIET:
            return None
        if not 0 <= found < len(place):
            found = int(np.argmax(np.abs(np.nan_to_num(x))))
        return DetectorFinding(event, ratio, int(self.row[0, columns.ONSET]), found, x, mean, spread)

    def _grow(self, metrics: Mapping[str, float]) -> None:
        """Start anew when a young entity shows features that were not there at first."""
        if self.scored >= self.detector.warm or metrics.keys() <= self.place.keys():
            return
        if len(self.place) < FEATURES_KEPT:
            self._open(sorted({*self.place, *metrics})[:FEATURES_KEPT])

    def _scored(self, ts: int, values: Float64, x: Float64, spread: Float64, learn: bool) -> tuple[int, float, int]:
        """A detector with a score: the boundary is learned from its own, as the bank's is."""
        standardise(self.scale, values, learn, x, spread)
        self.scored += learn
        if self.scored <= SCALED:
            return QUIET, 0.0, WHOLE
        raw, found = self._asked(x, learn)
        if not math.isfinite(raw):
            self._open([*self.place])  # quarantined: what it has learned is no good
            return QUIET, 0.0, WHOLE
        own = self.scored - SCALED - self.detector.warm
        if own <= 0:
            return QUIET, 0.0, WHOLE
        mean, variance = self.own if own > 1 else (raw, 0.0)
        floor = 0.01 * abs(mean) + 0.001
        deviation = math.sqrt(variance + floor * floor)
        error = raw - mean
        if learn:
            rate = max(5e-3, 1.0 / (own + 1.0))
            clipped = min(max(error, -4.0 * deviation), 4.0 * deviation) if own > SETTLED else error
            self.own = (mean + rate * clipped, (1.0 - rate) * (variance + rate * clipped * clipped))
        if own <= SETTLED:
            return QUIET, 0.0, WHOLE
        self.row[0, columns.FORKED] = 0.0 if learn else columns.OPEN
        off = math.log1p(min(max(error / deviation, 0.0), CONFIG.cap))
        event, _, over = judge(self.row[0], (off, 0.0), (0.0, 0.0), float(ts), CONFIG)
        return CONTINUE if event == AGAIN else event, math.exp(over), found

    def _told(self, ts: int, values: Float64, x: Float64, spread: Float64, learn: bool) -> tuple[int, float, int]:
        """A detector that says by itself when something changed: held against a scale that stands still."""
        warm = self.scored >= self.detector.warm
        standardise(self.scale, values, learn and not warm, x, spread)
        self.scored += learn
        score, found = self._asked(x, learn) if warm else (0.0, WHOLE)
        if not math.isfinite(score):
            self._open([*self.place])  # as above
            return QUIET, 0.0, WHOLE
        row = self.row
        if score >= 1.0:
            if row[0, columns.ALARMED] == 0.0:
                row[0, columns.ONSET] = ts
            event = RAISE if row[0, columns.ALARMED] == 0.0 else CONTINUE
            row[0, columns.ALARMED], row[0, columns.CALM] = 1.0, 0.0
            self.scale[:], self.scored = 0.0, 0  # from here on what is new is what is ordinary
            return event, score, found
        row[0, columns.CALM] += 1.0
        if row[0, columns.ALARMED] == 1.0 and row[0, columns.CALM] >= CONFIG.calm:
            row[0, columns.ALARMED] = 0.0
            return CLEAR, 0.0, WHOLE
        return QUIET, 0.0, WHOLE

    def _asked(self, x: Float64, learn: bool) -> tuple[float, int]:
        """The detector's score of a sample and its place; NaN when a detector of another package raises."""
        try:
            return self.detector.observe(x, learn)
        except Exception:
            if self.name in MEMBERS:
                raise
            return math.nan, WHOLE

    def dump(self, entity: int) -> DetectorState:
        """All state, as data. Raises StateError when it is not finite."""
        if not (np.isfinite(self.scale).all() and np.isfinite(self.row).all() and all(map(math.isfinite, self.own))):
            raise StateError(f"the scale of {self.name} is not finite")
        return DetectorState(
            entity, self.name, self.detector.version, [*self.place], self.scale.astype("<f8").tobytes(),
            self.row.astype("<f8").tobytes(), self.own, self.scored, self.last, _state_of(self.detector),
        )  # fmt: skip


def _state_of(detector: Detector) -> bytes:
    """The detector's state. Raises StateError, also when a detector of another package raises something else."""
    try:
        return detector.dump()
    except Exception as error:
        if detector.name in MEMBERS:
            raise
        raise StateError(f"{detector.name} cannot be written: {error!r}") from None


def _load(detector: Detector, state: bytes) -> None:
    """Give a detector its state. Raises StateError, also when a detector of another package raises something else."""
    try:
        detector.load(state)
    except Exception as error:
        if detector.name in MEMBERS:
            raise
        raise StateError(f"{detector.name} cannot be read: {error!r}") from None


def revived(kept: DetectorState) -> EntityDetectors:
    """The detector that was dumped. Raises StateError when it is of another version, or none."""
    name = kept.name
    if name not in names() or member(name).version != kept.version:
        raise StateError(f"{kept.name} of version {kept.version} is not known here")
    if not 0 < len(kept.features) <= FEATURES_KEPT or sorted(set(kept.features)) != kept.features:
        raise StateError("features are names in ascending order")
    watch = EntityDetectors(name, kept.features)
    try:
        watch.scale = np.frombuffer(kept.scale, "<f8").reshape(watch.scale.shape).copy()
        watch.row = np.frombuffer(kept.row, "<f8").reshape(watch.row.shape).copy()
    except ValueError as error:
        raise StateError(f"no scale of {len(kept.features)} features: {error}") from None
    watch.own, watch.scored, watch.last = kept.own, kept.scored, kept.last
    _load(watch.detector, kept.detector)
    watch.dump(kept.entity)  # finite, or not taken
    return watch
