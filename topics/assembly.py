"""How samples of one moment are put together, sample by sample, in the order of the log: see `topics.moments`."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topics.batch import Float64, Int32, Int64
from topics.kernel import inlined, kernel

# of an entity: its last stamp as sent, and what it was taken for; the newest of these; how late its data comes; since
# when, and how late then, it comes much later; how far its clock is ahead, or behind; whether its last stamp was late
SENT, STAMP, NEWEST, KNOWN, USUAL, SINCE, SINCE_LAG, SHIFT, LATE = range(9)
# how far its last stamp that was ahead of arrival was so; whether its newest stamp was such a one; since when, of a
# clock that is ahead, none is as far ahead as that
AHEAD, TRIED, LESS = range(9, 12)
# the moment: its newest stamp, first series, series; whether it comes in parts, of how many series, moments of another
# number; its serial number; parts; moments of one part; samples for which it is watched whether they are parts; the
# newest stamp of the moment before
AT, FIRST, SERIES, PARTED, WHOLE, OTHERS, SERIAL, PARTS, SINGLE, WATCHED, OVER = range(12, 23)
# what is held of it: series, 1 + the first and the last of them, offset and lateness of the last part, arrival of the
# first; 1 + the entity held before and after it
HELD, HEAD, TAIL, OFFSET, HELD_LATE, ARRIVED, BEFORE, AFTER = range(23, 31)
FIELDS: Final = 31

AHEAD_MS: Final = 1_000  # that a stamp may be ahead of its arrival
LATE_MS: Final = 300_000  # more than an entity's data used to be late: some send a few minutes at a time
STEADY_MS: Final = 60_000  # of arrival: for so long late and not catching up, and it is the clock
CATCHES_UP_MS: Final = 5_000
APART_MS: Final = 250  # between the parts of one moment
HOLD_MS: Final = 1_000  # of arrival, that a part is held
TWICE: Final = 2  # moments of another number of series, after which that is the number
WHOLE_AGAIN: Final = 8  # moments of one part, after which an entity is not held any more
WATCH: Final = 8  # samples, after one that may be a part of the moment before
UNKNOWN: Final = 1 << 40  # series of a moment, when none has ended yet that was seen from its first part on
UNSEEN: Final = UNKNOWN + 1  # the same within a moment that was not
# of the queue: 1 + the entity held longest, and shortest; how many send parts; entities and values that are held
OLDEST, NEWEST_HELD, COUNT, ENTITIES, VALUES = range(5)


class Given(NamedTuple):
    """Samples as they were decoded."""

    entity: Int32
    ts: Int64
    start: Int32
    series: Int32
    value: Float64
    offset: Int64
    arrived: Int64  # at the broker, ms; 0: unknown


class Cells(NamedTuple):
    """What is kept."""

    rows: Int64  # (entities, FIELDS)
    last: Int64  # by series: the serial number of the moment in which it came last
    value: Float64  # by series: held
    after: Int32  # by series: 1 + the next one that is held with it
    queue: Int64  # (5,) OLDEST, ...


class Put(NamedTuple):
    """Room for samples as they are given on."""

    entity: Int32
    ts: Int64
    start: Int32
    series: Int32
    value: Float64
    offset: Int64
    late: NDArray[np.bool_]
    total: Int64  # (2,) samples, values


@inlined
def _clock(row: Int64, ts: int, arrived: int) -> None:
    """What the stamp of a sample is taken for: STAMP and LATE of its entity. Parts of a moment have the same.

    It is the stamp less a shift, which changes with the entity's clock alone: so what is sent again has the same once
    more, and is known as older than what came since.
    """
    if ts == row[SENT]:
        return
    row[SENT], row[STAMP], row[LATE] = ts, ts - row[SHIFT], 0
    if arrived > 0:
        lag = arrived - row[STAMP]
        if row[KNOWN] == 0:
            row[KNOWN], row[USUAL] = 1, max(lag, 0)
        if lag < -AHEAD_MS and row[SHIFT] < 0 and ts <= min(row[NEWEST], arrived + AHEAD_MS):
            row[STAMP] = ts  # of before its clock was set back
            _behind(row, ts, arrived, False)
        elif lag < -AHEAD_MS:
            _ahead(row, ts, arrived)
        else:
            row[USUAL] = min(row[USUAL], max(lag, 0))
            late = lag > row[USUAL] + LATE_MS
            if late or row[STAMP] <= row[NEWEST]:
                _behind(row, ts, arrived, late)
            else:
                row[SINCE] = row[SINCE_LAG] = row[TRIED] = 0
                if row[SHIFT] > 0:
                    _less(row, ts, arrived)
    row[NEWEST] = max(row[NEWEST], row[STAMP])


@inlined
def _ahead(row: Int64, ts: int, arrived: int) -> None:
    """A stamp is ahead of its arrival. One alone was a mistake; the next one is of a clock that is ahead."""
    own = row[STAMP] - row[AHEAD]
    if row[AHEAD] == 0 or own > arrived + AHEAD_MS or own < row[NEWEST] - STEADY_MS:
        own = ts if row[SHIFT] < 0 and ts <= arrived + AHEAD_MS else arrived  # it was set back, and is right again
        row[AHEAD], row[TRIED] = row[STAMP] - own, 1
    elif own > row[NEWEST]:
        if row[TRIED] == 1:
            row[SHIFT] += row[AHEAD]
            row[AHEAD] = row[TRIED] = 0
        else:
            row[TRIED] = 1
    if own > row[NEWEST]:
        row[SINCE] = row[SINCE_LAG] = 0
    row[STAMP] = own


@inlined
def _less(row: Int64, ts: int, arrived: int) -> None:
    """A stamp of a clock that is ahead: when none is as far ahead for a minute, the clock was set."""
    lag = arrived - row[STAMP]
    if lag <= AHEAD_MS:
        row[LESS] = 0
    elif row[LESS] == 0:
        row[LESS] = arrived
    elif arrived - row[LESS] >= STEADY_MS:
        row[SHIFT] = 0 if ts <= arrived + AHEAD_MS else row[SHIFT] - lag
        row[LESS] = 0


@inlined
def _behind(row: Int64, ts: int, arrived: int, late: bool) -> None:
    """A stamp is late, or not newer than others. When that goes on, its entity's data or its clock has changed."""
    lag = arrived - row[STAMP]
    if row[SINCE] == 0 or lag < row[SINCE_LAG] - CATCHES_UP_MS:
        row[SINCE], row[SINCE_LAG] = arrived, lag
    if arrived - row[SINCE] < STEADY_MS:
        row[LATE] = 1 if late else 0
        return
    row[SINCE] = row[SINCE_LAG] = 0
    if row[STAMP] > row[NEWEST]:
        row[USUAL] = lag
    elif row[SHIFT] > 0 and ts > row[NEWEST] and ts <= arrived + AHEAD_MS:
        row[SHIFT] = 0  # it was ahead, and is right now
    else:
        row[SHIFT] = ts - arrived  # it holds from the next one on: this one may be a repeat


@inlined
def _near(row: Int64, first: int) -> bool:
    """Whether a sample may be a part of the moment before: it is of its time, and begins with another series."""
    ahead = row[STAMP] - row[AT]
    return bool(row[SERIES] > 0 and ahead >= 0 and ahead <= APART_MS and first != row[FIRST])


@inlined
def _whole(row: Int64, first: int, series: int) -> None:
    """A whole sample: all that its moment has. One that is older than the moment before is none of the entity's now."""
    if row[STAMP] < row[AT]:
        return
    if row[STAMP] > row[AT]:
        row[OVER] = row[AT]
    row[AT], row[FIRST], row[SERIES] = row[STAMP], first, series


@kernel
def follow(cells: Cells, given: Given, ts: Int64, late: NDArray[np.bool_]) -> int:
    """Read the clock of each sample up to one that is a part: which one. `ts` and `late` (m,) are what it is taken for.

    The clock of the part was read as well: to read it again changes nothing.
    """
    for sample in range(len(given.entity)):
        row, first = cells.rows[given.entity[sample]], given.series[given.start[sample]]
        if row[PARTED] == 1 or row[WATCHED] > 0 or cells.queue[OLDEST] > 0:
            return sample
        _clock(row, given.ts[sample], given.arrived[sample])
        if _near(row, first):
            return sample
        ts[sample], late[sample] = row[STAMP], row[LATE] == 1
        _whole(row, first, given.start[sample + 1] - given.start[sample])
    return len(given.entity)


@inlined
def _hold(cells: Cells, entity: int, arrived: int) -> None:
    """Put an entity at the end of the queue."""
    row, last = cells.rows[entity], cells.queue[NEWEST_HELD]
    row[ARRIVED], row[BEFORE], row[AFTER] = arrived, last, 0
    if last > 0:
        cells.rows[last - 1, AFTER] = entity + 1
    else:
        cells.queue[OLDEST] = entity + 1
    cells.queue[NEWEST_HELD] = entity + 1
    cells.queue[ENTITIES] += 1


@kernel
def give(cells: Cells, entity: int, put: Put) -> None:
    """Give on what is held of an entity, and take it out of the queue."""
    row, sample, place = cells.rows[entity], put.total[0], put.total[1]
    put.entity[sample], put.ts[sample] = entity, row[AT]
    put.offset[sample], put.late[sample] = row[OFFSET], row[HELD_LATE] == 1
    series = row[HEAD]
    while series > 0:
        number = series - 1
        put.series[place], put.value[place] = number, cells.value[number]
        place += 1
        series = cells.after[number]
        cells.value[number], cells.after[number] = 0.0, 0
    put.total[0], put.total[1], put.start[sample + 1] = sample + 1, place, place
    cells.queue[ENTITIES] -= 1
    cells.queue[VALUES] -= row[HELD]
    if row[BEFORE] > 0:
        cells.rows[row[BEFORE] - 1, AFTER] = row[AFTER]
    else:
        cells.queue[OLDEST] = row[AFTER]
    if row[AFTER] > 0:
        cells.rows[row[AFTER] - 1, BEFORE] = row[BEFORE]
    else:
        cells.queue[NEWEST_HELD] = row[BEFORE]
    row[HELD] = row[HEAD] = row[TAIL] = row[BEFORE] = row[AFTER] = 0


@inlined
def _copy(given: Given, sample: int, row: Int64, put: Put) -> None:
    """Give a sample on as it came."""
    to, place = put.total[0], put.total[1]
    put.entity[to], put.ts[to] = given.entity[sample], row[STAMP]
    put.offset[to], put.late[to] = given.offset[sample], row[LATE] == 1
    for point in range(given.start[sample], given.start[sample + 1]):
        put.series[place], put.value[place] = given.series[point], given.value[point]
        place += 1
    put.total[0], put.total[1], put.start[to + 1] = to + 1, place, place


@inlined
def _copy_older(cells: Cells, given: Given, sample: int, row: Int64, put: Put) -> None:
    """Give on a part of a moment that is over, without the series of which the moment now has a newer value.

    What is held is given on later, so that nobody else would know that these are late or sent again.
    """
    to, place = put.total[0], put.total[1]
    for point in range(given.start[sample], given.start[sample + 1]):
        if cells.last[given.series[point]] != row[SERIAL]:
            put.series[place], put.value[place] = given.series[point], given.value[point]
            place += 1
    if place > put.total[1]:
        put.entity[to], put.ts[to] = given.entity[sample], row[STAMP]
        put.offset[to], put.late[to] = given.offset[sample], row[LATE] == 1
        put.total[0], put.total[1], put.start[to + 1] = to + 1, place, place


@inlined
def _end(cells: Cells, row: Int64) -> None:
    """A moment is over: how many series the next one will have, and whether it will come in parts."""
    if row[WHOLE] == UNSEEN:
        row[WHOLE] = UNKNOWN
    elif row[WHOLE] == UNKNOWN or row[SERIES] == row[WHOLE]:
        row[WHOLE], row[OTHERS] = row[SERIES], 0
    else:
        row[OTHERS] += 1
        if row[OTHERS] >= TWICE:
            row[WHOLE], row[OTHERS] = row[SERIES], 0
    row[SINGLE] = row[SINGLE] + 1 if row[PARTS] == 1 else 0
    if row[SINGLE] >= WHOLE_AGAIN:
        row[PARTED], row[SINGLE] = 0, 0
        cells.queue[COUNT] -= 1
    row[SERIAL] += 1
    row[OVER] = row[AT]
    row[SERIES] = row[PARTS] = 0


@inlined
def _add(cells: Cells, given: Given, sample: int, row: Int64) -> int:
    """Hold what is new in its moment of a part: how many series."""
    added = 0
    for point in range(given.start[sample], given.start[sample + 1]):
        series = given.series[point]
        if cells.last[series] != row[SERIAL]:
            cells.last[series], cells.value[series], cells.after[series] = row[SERIAL], given.value[point], 0
            if row[TAIL] > 0:
                cells.after[row[TAIL] - 1] = series + 1
            else:
                row[HEAD] = series + 1
            row[TAIL] = series + 1
            added += 1
    row[SERIES] += added
    cells.queue[VALUES] += added
    return added


@inlined
def _again(cells: Cells, given: Given, sample: int, row: Int64) -> bool:
    """Whether a series of a part has come in its moment before."""
    for point in range(given.start[sample], given.start[sample + 1]):
        if cells.last[given.series[point]] == row[SERIAL]:
            return True
    return False


@inlined
def _known(cells: Cells, given: Given, sample: int, row: Int64) -> bool:
    """Whether all series of a part have come in its moment before."""
    for point in range(given.start[sample], given.start[sample + 1]):
        if cells.last[given.series[point]] != row[SERIAL]:
            return False
    return True


@inlined
def _part(cells: Cells, given: Given, sample: int, put: Put) -> None:
    """Take a sample of an entity whose moments come in parts."""
    entity = int(given.entity[sample])
    row = cells.rows[entity]
    ahead = row[STAMP] - row[AT]
    over = row[STAMP] <= row[OVER] or ahead < -APART_MS
    if row[SERIES] > 0 and ahead < 0 and (over or _again(cells, given, sample, row)):
        _copy_older(cells, given, sample, row, put)
        return
    if row[SERIES] > 0 and ahead > 0 and (ahead > APART_MS or _again(cells, given, sample, row)):
        if row[HELD] > 0:
            give(cells, entity, put)
        _end(cells, row)
        if row[PARTED] == 0:
            _copy(given, sample, row, put)
            _whole(row, given.series[given.start[sample]], given.start[sample + 1] - given.start[sample])
            return
    added = _add(cells, given, sample, row)
    if added == 0:  # it is sent again
        return
    row[AT], row[PARTS] = max(row[AT], row[STAMP]), row[PARTS] + 1
    row[OFFSET], row[HELD_LATE] = given.offset[sample], row[LATE]
    if row[HELD] == 0:
        _hold(cells, entity, given.arrived[sample])
    row[HELD] += added
    if row[SERIES] >= row[WHOLE]:
        give(cells, entity, put)


@inlined
def _watch(cells: Cells, given: Given, sample: int, row: Int64) -> None:
    """Whether an entity sends parts: one has the stamp of the one before, or is near it and has no series of it.

    A sender that is soon again with other series, of which some are the same, sends whole samples.
    """
    near = _near(row, given.series[given.start[sample]])
    if near and row[STAMP] == row[AT] and row[WATCHED] == 0:
        row[SERIAL] += 1  # what came before is not known to have come
        row[PARTED], row[WHOLE] = 1, UNKNOWN
    elif near and row[WATCHED] > 0 and not _again(cells, given, sample, row):
        row[PARTED], row[WHOLE] = 1, UNSEEN
    if row[PARTED] == 1:
        row[OTHERS], row[SINGLE], row[PARTS], row[WATCHED] = 0, 0, 1, 0
        cells.queue[COUNT] += 1
        return
    if row[STAMP] == row[AT] and row[WATCHED] > 0 and _known(cells, given, sample, row):
        return  # it is sent again
    row[WATCHED] = row[WATCHED] - 1 if row[WATCHED] > 0 else WATCH
    row[SERIAL] += 1
    for point in range(given.start[sample], given.start[sample + 1]):
        cells.last[given.series[point]] = row[SERIAL]


@kernel
def assemble(cells: Cells, given: Given, first: int, put: Put) -> None:
    """Take samples from `first` on, and give on those that are whole."""
    for sample in range(first, len(given.entity)):
        arrived = given.arrived[sample]
        while cells.queue[OLDEST] > 0:
            oldest = cells.queue[OLDEST] - 1
            since = cells.rows[oldest, ARRIVED]
            if arrived <= 0 or since <= 0 or arrived - since <= HOLD_MS:
                break
            give(cells, oldest, put)
        row = cells.rows[given.entity[sample]]
        _clock(row, given.ts[sample], arrived)
        first_series = given.series[given.start[sample]]
        current = row[STAMP] >= row[AT]
        if row[PARTED] == 0 and current and (row[WATCHED] > 0 or _near(row, first_series)):
            _watch(cells, given, sample, row)
        if row[PARTED] == 1:
            _part(cells, given, sample, put)
        else:
            _copy(given, sample, row, put)
            _whole(row, first_series, given.start[sample + 1] - given.start[sample])
