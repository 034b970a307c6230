"""The live detector over a history, once for each of several settings side by side: every alarm that each had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from agents.detect import Detect
from app.errors import UserError
from app.offline.tuning.histories import History, Progress
from models.detection.settings import DetectionSettings
from topics.batch import Batch
from topics.codec import DeadLetter
from topics.signals import Anomaly, severity
from topics.spec import Instant

FIRST: Final = "first"  # the view that incidents rest on, and that budgets bound


@dataclass(slots=True)
class Alarm:
    """One alarm, from when it was told to when it was cleared; event times in ms."""

    entity: str
    view: str
    onset: Instant
    told: Instant  # when it was raised; of a suppressed one, when it would have been
    ended: Instant
    path: str  # when it was told
    grade: str  # the gravest
    metric: str  # the first when it began, by which patterns judge it
    direction: str
    deviation: float  # the largest of that metric from what was expected
    expected: float
    score: float  # the highest, in boundaries
    suppressed: str  # whose budget could not pay for it, "entity" or "fleet"; empty when it was told


@dataclass(slots=True)
class Span:
    """When an entity was measured."""

    first: Instant
    last: Instant
    samples: int


@dataclass(slots=True)
class Backtest:
    """What a history held, and the alarms of each of the settings that were tried on it."""

    spans: dict[str, Span] = field(default_factory=dict)
    refused: int = 0  # messages that could not be decoded
    alarms: list[list[Alarm]] = field(default_factory=list)

    @property
    def samples(self) -> int:
        return sum(span.samples for span in self.spans.values())

    @property
    def first(self) -> Instant:
        return min(span.first for span in self.spans.values())

    @property
    def last(self) -> Instant:
        return max(span.last for span in self.spans.values())


def run_backtest(history: History, candidates: Sequence[DetectionSettings], progress: Progress) -> Backtest:
    """Feed a history to a live detector for each of `candidates`, cold.

    Raises:
        UserError: it holds no sample, or cannot be read.
    """
    backtest, heard = Backtest(), [Heard() for _ in candidates]
    lanes: dict[str, list[Detect]] = {}
    for lane, given in history.pieces(progress):
        if given is None:
            lanes.pop(lane, None)
        elif isinstance(given, DeadLetter):
            backtest.refused += 1
        else:
            if lane not in lanes:
                lanes[lane] = [Detect(settings, history.share) for settings in candidates]
            if isinstance(given, Batch):
                _measure(backtest.spans, given)
            for detect, own in zip(lanes[lane], heard, strict=True):
                for anomaly in detect.step([given], 0):
                    own.take(anomaly)
    if not backtest.spans:
        raise UserError("nothing was measured in that time", "Look at --from, --to and --broker", exit_code=1)
    backtest.alarms = [own.alarms for own in heard]
    return backtest


def _measure(spans: dict[str, Span], batch: Batch) -> None:
    """Add the samples of a batch to what is known of their entities."""
    if not len(batch):
        return
    order = np.argsort(batch.entity, kind="stable")
    numbers, begin = np.unique(batch.entity[order], return_index=True)
    ts = batch.ts[order]
    ends = [*begin[1:].tolist(), len(ts)]
    low, high = np.minimum.reduceat(ts, begin).tolist(), np.maximum.reduceat(ts, begin).tolist()
    for at, number in enumerate(numbers.tolist()):
        name, samples = batch.names.entities[number], ends[at] - int(begin[at])
        span = spans.setdefault(name, Span(low[at], high[at], 0))
        span.first, span.last = min(span.first, low[at]), max(span.last, high[at])
        span.samples += samples


class Heard:
    """The alarms in a stream of anomalies."""

    def __init__(self) -> None:
        self.alarms: list[Alarm] = []
        self._on: dict[tuple[str, str, str], Alarm] = {}

    def take(self, anomaly: Anomaly) -> None:
        key = (anomaly.entity, anomaly.detector, anomaly.id)
        alarm = self._on.get(key)
        suppressed = "" if anomaly.suppressed == "none" else str(anomaly.suppressed)
        if anomaly.state == "cleared" and (alarm is not None or not suppressed):
            if alarm is not None:
                alarm.ended = anomaly.ts
                del self._on[key]
            return
        off = abs(anomaly.value - anomaly.expected)
        if alarm is None:  # of one series, what is suppressed has ended at once; its next samples may be told yet
            alarm = self._on[key] = Alarm(
                anomaly.entity, anomaly.view, anomaly.onset, anomaly.ts, anomaly.ts, anomaly.path, anomaly.grade,
                anomaly.metric, anomaly.direction, off, anomaly.expected, anomaly.score, suppressed,
            )  # fmt: skip
            self.alarms.append(alarm)
            return
        if alarm.suppressed and not suppressed:  # too strange by now for any budget
            alarm.suppressed, alarm.told, alarm.path = "", anomaly.ts, anomaly.path
        alarm.ended = anomaly.ts
        alarm.grade = max(alarm.grade, anomaly.grade, key=severity)
        alarm.score = max(alarm.score, anomaly.score)
        if anomaly.metric == alarm.metric and off > alarm.deviation:
            alarm.deviation, alarm.expected = off, anomaly.expected
