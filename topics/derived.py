"""Derived signals: what packs compute from the series of one entity and moment, as further series of the sample.

An operand is the sum of all series that it means. It is known in a moment when one of them is there, and none is
missing that came within `GONE` periods of those that are there: half of a sum is another number. A part of what another
operand counts is 0 while there is no series of it: nothing of that kind has happened yet. What is not known, is divided
by zero or is too large to learn from has no value in that moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from topics.batch import Batch, Float64, Forgotten, Int32, Int64, Names, Reused
from topics.formats.native import MAX_SIZE
from topics.kernel import inlined, kernel
from topics.kinds import SIGNAL
from topics.meanings import ADD, DIVIDE, MULTIPLY, NOTHING, NUMBER, SUBTRACT, TIME, Hit, Meanings, mean_of
from topics.moments import longer

GONE: Final = 4
NONE: Final = -1
LEAST_POOL: Final = 1024


class Programs(NamedTuple):
    """The code of all derived signals."""

    first: Int32  # (programs + 1,) places in `code`
    operands: Int32  # (programs,) how many
    code: Int32
    number: Float64  # by place in `code`


class Cells(NamedTuple):
    """What is known of each entity and series.

    The plan of an entity lies in `pool`: its length, the number of its signals, and of each: its series, its program,
    and for each operand twice how many series are part of it, 1 more where it may have none, and `MEMBER` numbers of
    each of these.
    """

    plan: Int32  # by entity: 1 + the place in `pool`; 0: none
    signals: Int32  # by entity: how many
    pool: Int32
    part: NDArray[np.int8]  # by series: 1 where an operand may mean it, whether or not its entity has the signal
    last: Int64  # by such a series: event time at which it came last, ms; 0: never
    before: Int64  # and the time before that
    where: Int64  # by series: where it was found last, counted over all batches


# of a part of an operand: its series, where in a sample it was before, the mean that it is multiplied with or NONE, and
# where that was
SERIES, BEFORE, MEAN, MEAN_BEFORE, MEMBER = range(5)


class Work(NamedTuple):
    """Room for one signal, and where the sample stands."""

    operand: Float64
    stack: Float64
    at: Int64  # (5,) of `FIRST`, ...


# in the batch, where the sample begins and ends; whether it was searched; its stamp; values in the batches before
FIRST, END, SEARCHED, STAMP, BASE = range(5)


class Put(NamedTuple):
    """Room for samples as they are given on."""

    start: Int32
    series: Int32
    value: Float64


@inlined
def _note(cells: Cells, series: int, stamp: int) -> None:
    """Know that a series came."""
    if cells.part[series] == 1 and cells.last[series] < stamp:
        cells.before[series], cells.last[series] = cells.last[series], stamp


@inlined
def _find(cells: Cells, member: int, work: Work, put: Put) -> int:
    """Where in the batch a series of the sample is; NONE: it is not in it. It was where it most often is, or all are
    looked for once."""
    series, first, end = cells.pool[member], work.at[FIRST], work.at[END]
    place = first + cells.pool[member + 1]
    if place < end and put.series[place] == series:
        return int(place)
    base = work.at[BASE]
    if work.at[SEARCHED] == 0:
        work.at[SEARCHED] = 1
        for point in range(first, end):
            cells.where[put.series[point]] = base + point
    place = cells.where[series] - base
    if place < first:
        return NONE
    cells.pool[member + 1] = place - first
    return int(place)


@inlined
def _sum(cells: Cells, place: int, work: Work, put: Put) -> float:
    """The sum of the series that stand from `place` of the pool on, after how many they are; NaN: it is not known.

    It is 0 where none may be and none is there, or was in the last periods.
    """
    stamp = work.at[STAMP]
    total, period, missing, here, apart = 0.0, 0, 0, 0, 0
    for member in range(place + 1, place + 1 + MEMBER * (cells.pool[place] >> 1), MEMBER):
        series = cells.pool[member]
        found = _find(cells, member, work, put)
        if found < 0:
            missing = max(missing, cells.last[series])
            if cells.before[series] > 0:
                apart = max(apart, cells.last[series] - cells.before[series])
            continue
        before = cells.before[series] if cells.last[series] == stamp else cells.last[series]
        value = put.value[found]
        if cells.pool[member + MEAN] >= 0 and value != 0.0:
            mean = _find(cells, member + MEAN, work, put)
            value *= put.value[mean] if mean >= 0 else np.nan
        total += value
        here += 1
        if before > 0 and (period == 0 or stamp - before < period):
            period = stamp - before
    if here == 0 and cells.pool[place] & 1 == 1 and (missing == 0 or stamp - missing > GONE * apart > 0):
        return 0.0
    if here == 0 or (missing > 0 and (period <= 0 or stamp - missing <= GONE * period)):
        return np.nan
    return total


@inlined
def _result(programs: Programs, program: int, work: Work) -> float:
    """What a program makes of its operands; NaN where it has no value."""
    top, stack = 0, work.stack
    for place in range(programs.first[program], programs.first[program + 1]):
        code = programs.code[place]
        if code >= 0:
            stack[top] = work.operand[code]
            top += 1
        elif code in (NUMBER, TIME):
            stack[top] = programs.number[place] if code == NUMBER else work.at[STAMP] / 1000.0
            top += 1
        else:
            top -= 1
            right = stack[top]
            if code == ADD:
                stack[top - 1] += right
            elif code == SUBTRACT:
                stack[top - 1] -= right
            elif code == MULTIPLY:
                stack[top - 1] *= right
            elif code == DIVIDE:
                stack[top - 1] = stack[top - 1] / right if right != 0.0 else np.nan
    return float(stack[0])


@inlined
def _signals(cells: Cells, programs: Programs, plan: int, work: Work, put: Put) -> None:
    """Give on the signals of a sample, in their order."""
    place = plan + 2
    for _ in range(cells.pool[plan + 1]):
        series, program = cells.pool[place], cells.pool[place + 1]
        place += 2
        for operand in range(programs.operands[program]):
            work.operand[operand] = _sum(cells, place, work, put)
            place += 1 + MEMBER * (cells.pool[place] >> 1)
        value = _result(programs, program, work)
        if abs(value) <= MAX_SIZE:  # which NaN is not
            at = work.at[END]
            put.series[at], put.value[at] = series, value
            _note(cells, series, work.at[STAMP])
            work.at[END] += 1
            if work.at[SEARCHED] == 1:
                cells.where[series] = work.at[BASE] + at


@kernel
def derive(cells: Cells, programs: Programs, work: Work, given: tuple[Int32, Int64, Put], put: Put) -> int:
    """Give samples on, each with its derived signals; how many values there are. given: entity, ts, and the rest."""
    entities, ts, had = given
    at = 0
    for sample in range(len(entities)):
        work.at[FIRST] = at
        for point in range(had.start[sample], had.start[sample + 1]):
            put.series[at], put.value[at] = had.series[point], had.value[point]
            _note(cells, had.series[point], ts[sample])
            at += 1
        plan = cells.plan[entities[sample]] - 1
        if plan >= 0:
            work.at[END], work.at[SEARCHED], work.at[STAMP] = at, 0, ts[sample]
            _signals(cells, programs, plan, work, put)
            at = work.at[END]
        put.start[sample + 1] = at
    work.at[BASE] += at
    return int(at)


@kernel
def note(cells: Cells, ts: Int64, start: Int32, series: Int32) -> None:
    """Know which series came in samples without derived signals: one may have them with the next sample."""
    for sample in range(len(ts)):
        for point in range(start[sample], start[sample + 1]):
            _note(cells, series[point], ts[sample])


class DerivedState(msgspec.Struct, array_like=True):
    """All state, as data, little-endian."""

    series: bytes = b""  # int32, ascending: parts of operands that came
    last: bytes = b""  # int64
    before: bytes = b""


class Derived:
    """The derived signals of a partition."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.n_series = self._used = self._live = 0  # of the pool: what was written, and what of it holds
        self._parts = False  # whether any series may be part of an operand
        self._of = NOTHING  # of which `programs` are
        narrow, wide = np.zeros(0, np.int32), np.zeros(0, np.int64)
        self.programs = Programs(np.zeros(1, np.int32), narrow, narrow, np.zeros(0))
        self.work = Work(np.zeros(0), np.zeros(0), np.array([0, 0, 0, 0, 1], np.int64))
        flags = np.zeros(0, np.int8)
        self.cells = Cells(narrow, narrow, np.zeros(LEAST_POOL, np.int32), flags, wide, wide, wide)

    def take(self, batch: Batch) -> Batch:
        """A batch with the derived signals of its entities."""
        self.admit(batch.names)
        if not self._parts:
            return batch
        more = int(self.cells.signals[batch.entity].sum())
        if not more:
            note(self.cells, batch.ts, batch.start, batch.series)
            return batch
        room = len(batch.value) + more
        put = Put(np.zeros(len(batch) + 1, np.int32), np.empty(room, np.int32), np.empty(room))
        given = batch.entity, batch.ts, Put(batch.start, batch.series, batch.value)
        values = derive(self.cells, self.programs, self.work, given, put)
        return batch.having(put.start, put.series[:values], put.value[:values])

    def admit(self, names: Names) -> None:
        """Know the series that `names` has given out since."""
        known, wanted = self.n_series, len(names.series)
        if known == wanted:
            return
        self.n_series = wanted
        self._open(names, range(known, wanted))

    def reuse(self, reused: Reused) -> None:
        """Begin anew with series whose numbers were given out again."""
        known = self.n_series
        self.admit(reused.names)
        self._open(reused.names, [number for number in reused.series if number < known])

    def forget(self, forgotten: Forgotten) -> None:
        """Forget the series that have ended."""
        ended = forgotten.series[forgotten.series < len(self.cells.last)]
        self.cells.last[ended] = self.cells.before[ended] = 0
        planned = [at for at in sorted(forgotten.touched) if at < len(self.cells.plan) and self.cells.plan[at]]
        self._plan(forgotten.names, planned)

    def _open(self, names: Names, numbers: Sequence[int]) -> None:
        """Plan anew the entities of which some series are, where something rests on these."""
        if not names.meanings.derived:
            return
        if self._of is not names.meanings:
            self._of, self.programs = names.meanings, _compiled(names.meanings)
            most = max(map(len, (program.code for program in names.meanings.derived)))
            self.work = Work(np.zeros(most), np.zeros(most), self.work.at)
        cells, some = self.cells, len(names.series)
        wide = max(len(names.entities), 1)
        self.cells = cells._replace(
            plan=longer(cells.plan, wide), signals=longer(cells.signals, wide), part=longer(cells.part, some),
            last=longer(cells.last, some), before=longer(cells.before, some), where=longer(cells.where, some),
        )  # fmt: skip
        metrics, metric_of = names.series.metrics, names.series.metric
        own = {place for place in map(metric_of.__getitem__, numbers) if place >= 0}
        parts = {place for place in own if names.meanings.hits(metrics[place])}
        asked = parts | {place for place in own if metrics[place].startswith(SIGNAL)}
        for number in numbers:
            self.cells.part[number] = metric_of[number] in parts
        self._parts = self._parts or bool(parts)
        owners = {names.series.entity[number] for number in numbers if metric_of[number] in asked}
        self._plan(names, sorted(owners))

    def _plan(self, names: Names, entities: Iterable[int]) -> None:
        """Write the plans of some entities."""
        for at in entities:
            if self.cells.plan[at]:
                self._live -= int(self.cells.pool[self.cells.plan[at] - 1])
            self.cells.plan[at] = self.cells.signals[at] = 0
            if plan := self._planned(names, at):
                self._tidy(len(plan))
                self.cells.pool[self._used : self._used + len(plan)] = plan
                self.cells.plan[at], self.cells.signals[at] = self._used + 1, plan[1]
                self._used += len(plan)
                self._live += len(plan)

    def _planned(self, names: Names, at: int) -> list[int]:
        """The plan of an entity; empty where it has no derived signals."""
        known = names.held(at) if names.entities[at] else {}
        have = [
            (place, known[SIGNAL + program.name])
            for place, program in enumerate(names.meanings.derived) if SIGNAL + program.name in known
        ] if any(name.startswith(SIGNAL) for name in known) else []  # fmt: skip
        if not have:
            return []
        parts: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for name, number in known.items():
            for hit in names.meanings.hits(name):
                parts.setdefault(hit[:2], []).append((number, _mean(known, name, hit)))
        plan = [0, len(have)]
        for place, number in have:
            plan += [number, place]
            for operand in range(len(names.meanings.derived[place].operands)):
                members = sorted(parts.get((place, operand), ()))
                plan.append(2 * len(members) + names.meanings.may_lack(place, operand))
                for series, mean in members:
                    plan += [series, 0, mean, 0]
        plan[0] = len(plan)
        return plan

    def _tidy(self, more: int) -> None:
        """Make room in the pool."""
        cells = self.cells
        if self._used + more <= len(cells.pool):
            return
        pool = np.zeros(max(LEAST_POOL, 2 * (self._live + more)), np.int32)
        self._used = 0
        for at in np.flatnonzero(cells.plan).tolist():
            first = int(cells.plan[at]) - 1
            size = int(cells.pool[first])
            pool[self._used : self._used + size] = cells.pool[first : first + size]
            cells.plan[at] = self._used + 1
            self._used += size
        self.cells = cells._replace(pool=pool)

    def dump(self) -> DerivedState:
        """All state, as data."""
        series = np.flatnonzero(self.cells.last).astype("<i4")
        last, before = (column[series].astype("<i8").tobytes() for column in (self.cells.last, self.cells.before))
        return DerivedState(series.tobytes(), last, before)

    def load(self, names: Names, kept: DerivedState) -> None:
        """Restore what `dump` returned, of the series of `names`."""
        self.clear()
        self.admit(names)
        series = np.frombuffer(kept.series, "<i4")
        if len(self.cells.last):
            self.cells.last[series] = np.frombuffer(kept.last, "<i8")
            self.cells.before[series] = np.frombuffer(kept.before, "<i8")


def _mean(known: Mapping[str, int], name: str, hit: Hit) -> int:
    """The mean that a rate is multiplied with to be the rate of a sum."""
    return known.get(mean_of(name), NONE) if hit.of_sum else NONE


def _compiled(meanings: Meanings) -> Programs:
    """All programs as arrays."""
    first, code, number = [0], list[int](), list[float]()
    for program in meanings.derived:
        numbers = iter(program.numbers)
        code += program.code
        number += [next(numbers) if each == NUMBER else 0.0 for each in program.code]
        first.append(len(code))
    operands = [len(program.operands) for program in meanings.derived]
    return Programs(
        np.array(first, np.int32), np.array(operands, np.int32), np.array(code, np.int32), np.array(number, np.float64)
    )
