"""Everything that detects on one partition: batches in, anomalies out, in the order of the log."""

from __future__ import annotations

import math
from collections.abc import Iterator
from operator import itemgetter

import msgspec

from models.detection import anomalies
from models.detection.absence import Absence
from models.detection.alarm_trajectory import Trajectories
from models.detection.alarms import OFF, Alarms, ScoredSample, strongest_levels
from models.detection.bank import Bank
from models.detection.columns import AGAIN, CLEAR, CONTINUE, OWN_BUDGET, QUIET, Samples, Scored
from models.detection.config import DetectorConfig
from models.detection.detector_set import DetectorSet
from models.detection.forks import Forks
from models.detection.hysteresis import Hysteresis
from models.detection.pace import Pace
from models.detection.ranges import Ranges
from models.detection.season import Season, renew
from models.detection.settings import DetectionSettings
from models.detection.shift import Shifts
from topics.batch import Batch, Float64, Forgotten, Names, Reused, Steer
from topics.meanings import Meanings
from topics.signals import Anomaly

Given = Batch | Steer | Forgotten | Reused | Meanings


class PartitionDetector:
    """Scores every value of a partition, learns it, and says which entities are off.

    The bank scores all entities. Beside it are the detectors that settings chose, quiet shifts, allowed ranges and
    absence of data; each has alarms of its own.
    """

    def __init__(self, settings: DetectionSettings | None = None, share: float = 1.0) -> None:
        """share: of the fleet that this partition is."""
        self.settings = settings or DetectionSettings()
        self.bank = Bank(DetectorConfig(budget=self.settings.false_alarms_a_week))
        self.forks = Forks(self.bank)
        self.detectors = DetectorSet(self.settings)
        self.season = Season(self.settings)
        self.trajectories = Trajectories()
        self.shifts = Shifts(self.settings)
        self.absence = Absence(self.settings)
        self.pace = Pace()
        self.hysteresis = Hysteresis(self.settings)
        self.alarms = Alarms(self.settings, share)
        self.ranges = Ranges(self.settings)

    def take(self, given: Given) -> Iterator[Anomaly]:
        """Take what the decoder gives: samples, a control, what packs say, numbers that end or stand for others."""
        if isinstance(given, Batch):
            for _, said in self.scored(given):
                yield from said
        elif isinstance(given, Steer):
            if closed := self.forks.steer(given):
                number, label = closed
                if label == "confirmed":
                    self.alarms.confirm(given.control.entity)
                else:
                    self.detectors.restart(number)
                    self.shifts.restart(number)
        elif isinstance(given, Forgotten):
            yield from self.forget(given)
        elif isinstance(given, Meanings):
            self.ranges.know(given)
        else:
            self.reuse(given)

    def scored(self, batch: Batch) -> Iterator[tuple[Scored, list[Anomaly]]]:
        """What the bank makes of a batch and what is said of it, in parts that follow each other; it is learned."""
        self._admit(batch.names)
        for part, value, proven in self.season.take(batch, self.forks.open):
            yield self._observe(part, value)
            if proven:
                renew(self.bank, batch.names, proven)

    def _admit(self, names: Names) -> None:
        known, budget = self.bank.n_entities, self.bank.config.budget
        self.bank.admit(names)
        if self.settings.says("false_alarms_a_week"):
            for number in range(known, self.bank.n_entities):
                own = self.settings.of_entity("false_alarms_a_week", names.entities[number])
                self.bank.entities[number, OWN_BUDGET] = math.log((own or budget) / budget)

    def forget(self, forgotten: Forgotten) -> list[Anomaly]:
        """Forget all that was learned of series and entities that have ended: absences that end so."""
        lost = [anomalies.of_forgotten(forgotten, each) for each in self.absence.forget(forgotten)]
        self.forks.forget(forgotten)
        self.bank.forget(forgotten)
        self.season.forget(forgotten)
        self.detectors.forget(forgotten)
        self.shifts.forget(forgotten)
        self.hysteresis.forget(forgotten)
        self.alarms.forget(forgotten)
        self.ranges.forget(forgotten)
        self.trajectories.forget(forgotten)
        self.pace.forget(forgotten)
        return lost

    def reuse(self, reused: Reused) -> None:
        """Begin anew with series and entities whose numbers were given out again."""
        self.bank.reuse(reused)
        self.season.reuse(reused)
        self.detectors.reuse(reused)
        self.shifts.reuse(reused)
        self.absence.reuse(reused)
        self.hysteresis.reuse(reused)
        self.ranges.reuse(reused)

    def _observe(self, batch: Batch, value: Float64) -> tuple[Scored, list[Anomaly]]:
        """A part of a batch. value: what the bank is to see of it, in the order of the batch's own."""
        beyond = list(self.ranges.take(batch, self.bank.newest))
        scored = self.forks.take(Samples(batch.entity, batch.ts, batch.start, batch.series, value))
        usual = None if value is batch.value else batch.value - value  # at this hour, beyond what is at all hours
        if usual is not None:
            scored = scored._replace(expected=scored.expected + usual)
        said = [
            (at, anomalies.in_context(batch, usual, at, anomaly))
            for at in self.hysteresis.samples(batch, scored)
            for anomaly in self._told(batch, scored, at)
        ]
        said += [
            (at, anomalies.of_detector(batch, at, who, finding))
            for at, who, finding in self.detectors.take(batch, self.forks.open)
        ]
        said += [
            (shift.sample, anomalies.of_shift(batch, shift))
            for shift in self.shifts.take(batch, scored, self.forks.open)
        ]
        said += [(each.sample, anomalies.of_range(batch, each)) for each in beyond]
        said += [(lost.sample, anomalies.of_absence(batch, lost)) for lost in self.absence.take(batch)]
        if batch.late is not None:  # it is learned, but what was long ago is no news
            late = batch.late
            said = [(at, a) for at, a in said if not late[at] or a.view == "first" or a.state == "cleared"]
        period = self.pace.take(batch)
        return scored, [  # for any cut into batches alike
            msgspec.structs.replace(anomaly, period_ms=int(period[at]))
            if batch.names.entities[int(batch.entity[at])] == anomaly.entity else anomaly
            for at, anomaly in sorted(said, key=itemgetter(0))
        ]  # fmt: skip

    def _told(self, batch: Batch, scored: Scored, sample: int) -> Iterator[Anomaly]:
        """What the bank says of a sample, if users want to know."""
        event, onset = self.hysteresis.event(batch, scored, sample)
        if event == QUIET:
            if scored.suppressed[sample] and onset == batch.ts[sample]:  # its budget is kept by the bank
                yield anomalies.of_bank(batch, scored, sample, ("cleared", onset, "entity"), self.trajectories)
            return
        number = int(batch.entity[sample])
        entity = batch.names.entities[number]
        if batch.late is not None and batch.late[sample] and event != CLEAR and not self.alarms.is_on(entity):
            return  # no alarm begins with what came late; one that goes on is told with the first fresh sample
        own = slice(int(batch.start[sample]), int(batch.start[sample + 1]))
        level = strongest_levels(batch.value[own], scored.expected[own], scored.spread[own])
        ts, ratio, tail = int(batch.ts[sample]), anomalies.ratio_of(scored, sample), float(scored.tail[sample])
        scored_sample = ScoredSample(ts, onset, ratio, own.stop - own.start, level, tail)
        heard, suppressed = self.alarms.heard(entity, event, scored_sample, anomalies.deviations(batch, scored, sample))
        if heard == AGAIN and (before := self.trajectories.onset(entity)):
            yield anomalies.of_bank(batch, scored, sample, ("cleared", before, "none"), self.trajectories)
        if heard in (CONTINUE, CLEAR):  # of the alarm that was told, also when a second one was not
            onset = self.trajectories.onset(entity) or onset
        if heard != QUIET:
            told = anomalies.STATES[heard], onset, suppressed
            anomaly = anomalies.of_bank(batch, scored, sample, told, self.trajectories)
            settled = heard == CLEAR and level >= OFF  # it is where it was not before, and nobody called it a fault
            yield msgspec.structs.replace(anomaly, kind="change_point") if settled else anomaly
