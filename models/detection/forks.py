"""Forked learners: while an incident is open, the baseline of its entity is not changed, and a copy goes on learning.

At the close the label decides. Confirmed: the copy is dropped, and the same fault is as strange the next time. Expected
or new trend: the copy is the baseline from now on. False alarm: so it is, and the entity's boundary is wider.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, get_args

import msgspec
import numpy as np

from models.detection import columns
from models.detection.bank import Bank, take
from models.detection.columns import Rows, Samples, Scored, rows_of, tiles_of
from models.detection.points import workspace_of
from models.detection.univariate import FIELDS as UNIVARIATE_FIELDS
from models.detection.univariate import ROWS
from topics.batch import Float64, Forgotten, Steer
from topics.learning import Feedback

FRESH: Final = 16.0  # samples that a copy is taken to rest on: what it sees now soon outweighs what was
WIDER: Final = 0.25  # what a false alarm adds to the boundary of its entity, as a share ...
LABELS: Final[dict[str, Feedback]] = {label: label for label in get_args(Feedback)}
WIDEST: Final = 2.0  # ... up to this


class Fork(msgspec.Struct):
    """The copy of one entity's learner."""

    incidents: list[str]
    label: Feedback
    series: list[int]  # numbers in the bank, in the order of the tiles
    tiles: Float64  # (n_tiles, SERIES_FIELDS, TILE)
    entity: Float64  # (1, ENTITY_FIELDS)
    univariate: Float64  # (2, FIELDS of univariate.py) a table of one row


class Forks:
    """The copies of a partition, by entity."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.open: dict[int, Fork] = {}
        self.work = workspace_of()

    def steer(self, steer: Steer) -> tuple[int, Feedback] | None:
        """Open a fork for an incident, or close it. A control for what is not known, or is so already, changes nothing.

        Returns the number of an entity whose fork is closed, and as what: its copy is the baseline unless `confirmed`.
        """
        control = steer.control
        self.bank.admit(steer.names)
        try:
            number, series = steer.names.of(control.entity)
        except KeyError:
            return None
        fork = self.open.get(number)
        label = LABELS.get(control.label, "confirmed")  # what is not known is not learned
        if control.learning == "open":
            if fork is None:
                self._copy(number, series, control.incident)
            elif control.incident not in fork.incidents:
                fork.incidents.append(control.incident)
        elif control.learning == "close" and fork is not None and control.incident in fork.incidents:
            fork.incidents.remove(control.incident)
            fork.label = label if fork.label == "confirmed" else fork.label
            if not fork.incidents or label != "confirmed":
                self._close(number, fork)
                return number, fork.label
        return None

    def take(self, given: Samples) -> Scored:
        """Score a batch by the baselines, and let the copies learn it."""
        for number, fork in self.open.items():
            own = np.flatnonzero(given.entity == number)
            if len(own):
                self._learn(fork, given, own.tolist())
        return self.bank.take(given)

    def forget(self, forgotten: Forgotten) -> None:
        """Drop the copies of entities that have ended, and of others the series that have."""
        for number in self.open.keys() & forgotten.entities:
            del self.open[number]
        for number in self.open.keys() & forgotten.touched:
            fork = self.open[number]
            keep = ~np.isin(fork.series, forgotten.series)
            rows = rows_of(fork.tiles, len(fork.series))[keep]
            fork.series, fork.tiles = [at for at, stays in zip(fork.series, keep, strict=True) if stays], tiles_of(rows)

    def _copy(self, number: int, series: list[int], incident: str) -> None:
        rows, entity = self.bank.rows(series), self.bank.entities[number : number + 1].copy()
        rows[:, columns.COUNT] = np.minimum(rows[:, columns.COUNT], FRESH)
        entity[:, columns.SAMPLES] = np.maximum(entity[:, columns.SAMPLES], 1.0)
        univariate, row = np.zeros((2, UNIVARIATE_FIELDS)), int(entity[0, columns.UNIVARIATE])
        if row > 0:
            univariate[0, ROWS], univariate[1] = 1.0, self.bank.univariate[row]
        entity[:, columns.UNIVARIATE] = np.minimum(entity[:, columns.UNIVARIATE], 1.0)
        self.open[number] = Fork([incident], "confirmed", series, tiles_of(rows), entity, univariate)
        self.bank.entities[number, columns.FORKED] = columns.OPEN
        if self.bank.entities[number, columns.ONSET] > 0.0:  # what it took for usual since may be the fault
            self.bank.entities[number, columns.TAIL_NOW] = self.bank.entities[number, columns.TAIL_THEN]

    def _close(self, number: int, fork: Fork) -> None:
        del self.open[number]
        bank = self.bank
        if fork.label == "confirmed":
            bank.entities[number, columns.FORKED] = (
                columns.RECOVERING if bank.entities[number, columns.ALARMED] == 1.0 else 0.0
            )
            bank.entities[number, columns.RAISED_SAMPLE] = bank.entities[
                number, columns.SAMPLES
            ]  # its alarm may take so long to clear
            return
        bank.entities[number, columns.FORKED] = 0.0
        bank.put(fork.series, rows_of(fork.tiles, len(fork.series)))
        if bank.entities[number, columns.UNIVARIATE] > 0.0 and fork.entity[0, columns.UNIVARIATE] > 0.0:
            bank.univariate[int(bank.entities[number, columns.UNIVARIATE])] = fork.univariate[1]
        if fork.label == "false_alarm":
            bank.entities[number, columns.WIDE] = min(bank.entities[number, columns.WIDE] + WIDER, WIDEST)

    def _learn(self, fork: Fork, given: Samples, own: Iterable[int]) -> None:
        """Run the kernel over the copy alone, on the samples `own` of the batch."""
        place = {number: at for at, number in enumerate(fork.series)}
        series: list[int] = []
        value: list[float] = []
        start, stamps = [0], []
        for sample in own:
            points = range(int(given.start[sample]), int(given.start[sample + 1]))
            known = [point for point in points if int(given.series[point]) in place]
            series += [place[int(given.series[point])] for point in known]
            value += [float(given.value[point]) for point in known]
            start.append(len(series))
            stamps.append(int(given.ts[sample]))
        copied = Samples(
            np.zeros(len(stamps), np.int32), np.array(stamps, np.int64), np.array(start, np.int32),
            np.array(series, np.int32), np.array(value, np.float64),
        )  # fmt: skip
        rows, scored = (
            Rows(fork.tiles, fork.tiles.reshape(-1), fork.entity, fork.univariate),
            Scored.room(len(stamps), len(series)),
        )
        take(rows, copied, scored, self.work, (self.bank.config, self.bank.narrow, self.bank.univariate_config))
