"""Decoded telemetry as arrays, and the names that its numbers stand for."""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topics.kinds import BUCKET, DERIVED, SIGNAL, figures_of, meaning
from topics.learning import Learning
from topics.meanings import NOTHING, Meanings
from topics.series import FREE, Series

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

HOUR_MS: Final = 3_600_000
TTL_HOURS: Final = 240  # a series without data for ten days is forgotten
LONGEST_STEP: Final = 24  # hours that the clock moves at once: a partition that stood still ages by a day at most
LEAST_SILENCE: Final = 2  # whole hours: a series that was silent for less is never forgotten to make room
SHARE: Final = 64  # one in so many series is forgotten at once when a partition is full: each time costs a search
NEVER: Final = np.iinfo(np.int32).max  # the hour in which a free number was seen


class TooManySeries(Exception):
    """A bound on names is reached, and nothing was silent for long enough to make room; the text says which."""


class MustForget(Exception):
    """Series have to be forgotten first, after the samples so far are through: then what was tried is tried again."""

    def __init__(self, series: Int32) -> None:
        super().__init__(f"{len(series)} series have ended")
        self.series = series


class KeptNames(NamedTuple):
    """All names as data."""

    entities: list[str]
    metrics: list[str]
    entity: bytes  # int32 by series
    metric: bytes  # int32 by series
    seen: bytes  # int32 by series
    hour: int
    due: int


class Names:
    """The numbers of entities and series: the lowest free ones, in the order in which they are first seen.

    A series without data for `ttl_hours` ends, and so does an entity whose last series ends; their numbers are given
    out again. Time is the partition's own, in hours of event time in which something came. When there are more series
    than allowed, those that were silent longest end sooner.
    """

    def __init__(
        self, most_series: int = 2_000_000, most_metrics: int = 2_000, ttl_hours: int = TTL_HOURS,
        meanings: Meanings = NOTHING,
    ) -> None:  # fmt: skip
        """meanings: what packs say at first."""
        self.most_series = most_series  # of one partition
        self.most_metrics = most_metrics  # of one entity
        self.ttl_hours = ttl_hours
        self.entities: list[str] = []  # empty where a number stands for nothing
        self.series = Series(meanings=meanings)
        self.hour = 0  # hours so far
        self.due = 0  # event time from which it is the next one, ms; 0: there is no sample yet
        self.seen: Int32 = np.full(1024, NEVER, np.int32)  # by series: the hour in which it last came; longer than that
        self.reused = Reused(self, [], [])  # numbers that were given out again and that nobody was told of yet
        self._silent = -1, 0  # an hour, and how many series at most were silent for long enough in it
        self._entity: dict[str, int] = {}
        self._free: list[int] = []  # entities, a heap
        self._known: dict[int, dict[str, int]] = {}  # by entity: metric → series; what was asked for
        self._loaded: tuple[Int64, Int64] = np.zeros(0, np.int64), np.zeros(1, np.int64)

    def intern(self, entity: str, metrics: Iterable[str]) -> tuple[int, list[int]]:
        """The numbers of an entity and of its series; new ones are given out. All of them have come now.

        What follows from a histogram gets numbers with its first bucket, and ends with the last one; a derived signal
        does with the last and the first of its operands.

        Raises:
            MustForget: there is room for new ones when some others have ended; none is given out.
            TooManySeries: a bound would be passed; none is given out.
        """
        metrics = tuple(metrics)
        at = self._entity.get(entity)
        known = self._series(at) if at is not None else {}
        fresh = [metric for metric in dict.fromkeys(metrics) if metric not in known]
        fresh += [metric for metric in figures_of(fresh) if metric not in known]
        self.seen[[known[metric] for metric in metrics if metric in known]] = self.hour
        if fresh:
            fresh += self._derived(known, fresh)
            self._make_room(entity, known, len(fresh))
        if at is None:
            at = self._give(entity)
            self._known[at] = known
        self._number(at, known, fresh)
        self.seen[[known[metric] for metric in fresh if meaning(metric).kind != DERIVED]] = self.hour
        return at, [known[metric] for metric in metrics]

    @property
    def meanings(self) -> Meanings:
        """What packs say."""
        return self.series.meanings

    def _number(self, at: int, known: dict[str, int], fresh: Iterable[str]) -> None:
        for metric in fresh:
            number, again = self.series.add(at, metric)
            known[metric] = number
            if again:
                self.reused.series.append(number)
        self._grow()

    def _derived(self, known: dict[str, int], fresh: list[str]) -> list[str]:
        """The derived signals that an entity has with some more series. Raises MustForget: these have their names."""
        told = self.meanings
        if not told.derived:
            return []
        shown = (SIGNAL + told.meaning(name).shown for name in fresh)
        if taken := sorted(known[name] for name in shown if name in known):
            raise MustForget(np.array(taken, np.int32))
        if not any(map(told.hits, fresh)):
            return []
        room = min(self.most_metrics - len(known), self.most_series - self.series.used) - len(fresh)
        return self._signals({*known, *fresh}, known)[: max(room, 0)]

    def _signals(self, names: Iterable[str], known: Container[str] = ()) -> list[str]:
        """The derived signals of an entity with some series that are not known yet."""
        sent = (name for name in names if not name.startswith(SIGNAL))
        found = (SIGNAL + self.meanings.derived[place].name for place in self.meanings.signals(sent))
        return [name for name in found if name not in known]

    def outdated(self, meanings: Meanings) -> tuple[Int32, list[int]]:
        """The series that end when packs say this: derived signals that are none, or another. And those that begin
        anew, because they are a counter or are none any more. Both in ascending order."""
        places, held = np.array(self.series.metric, np.int32), self.meanings.same(meanings)
        ends = [n.startswith(SIGNAL) and n[len(SIGNAL) :] not in held for n in self.series.metrics]
        turns = [self.meanings.meaning(n).kind != meanings.meaning(n).kind for n in self.series.metrics]
        ended, anew = (np.flatnonzero(np.array([*which, False], np.bool_)[places]) for which in (ends, turns))
        return ended.astype(np.int32), anew.tolist()

    def know(self, meanings: Meanings) -> None:
        """Rest on what packs say from now on, and give numbers to the derived signals that there are with it."""
        self.series.know(meanings)
        hit = np.array([*(bool(meanings.hits(name)) for name in self.series.metrics), False], np.bool_)
        owners = np.array(self.series.entity, np.int32)[hit[np.array(self.series.metric, np.int32)]]
        for at in np.unique(owners).tolist():
            known = self._series(at)
            room = min(self.most_metrics - len(known), self.most_series - self.series.used)
            self._number(at, known, self._signals(known, known)[: max(room, 0)])

    def held(self, at: int) -> Mapping[str, int]:
        """The numbers of an entity's series, by the names under which they came."""
        return self._series(at)

    def taught(self, number: int) -> str:
        """The name by which a series is known to all (`models.detection.prior`); empty where it stands for nothing."""
        sent = self.series.sent(number)
        return (
            (self.meanings.like(sent[len(SIGNAL) :]) or SIGNAL) if sent.startswith(SIGNAL) else self.series[number][1]
        )

    def of(self, entity: str) -> tuple[int, list[int]]:
        """The numbers of an entity and, ascending, of its series. Raises KeyError when nothing is known of it."""
        at = self._entity[entity]
        return at, sorted(self._series(at).values())

    def number(self, entity: str) -> list[int]:
        """The number of an entity, if it has one."""
        return [self._entity[entity]] if entity in self._entity else []

    def figures(self, bucket: int) -> list[int]:
        """The numbers of what follows from the histogram of a bucket; -1 where it has none."""
        known = self._series(self.series.entity[bucket])
        return [known.get(name, FREE) for name in figures_of([self.series.sent(bucket)])]

    def metrics(self, entity: str) -> set[str]:
        """The metrics of an entity that have a number."""
        at = self._entity.get(entity)
        return set(self._series(at)) if at is not None else set()

    def advance(self, ts: int) -> Int32:
        """Move the clock to `ts`, which is `due`: the series that end by it, in ascending order."""
        if self.due:
            self.hour += min((ts - self.due) // HOUR_MS + 1, LONGEST_STEP)
        self.due = (ts // HOUR_MS + 1) * HOUR_MS
        return np.flatnonzero(self.seen < self.hour - self.ttl_hours).astype(np.int32)

    def forget(self, series: Int32) -> Forgotten:
        """Let series end, with each entity that has no others, and what follows from what is not there any more."""
        ended: dict[int, str] = {}
        series = self._with_derived(self._with_figures(series))
        owner = np.array(self.series.entity, np.int32)[series]
        for number, at in zip(series.tolist(), owner.tolist(), strict=True):
            known = self._series(at)
            del known[self.series.remove(number)]
            if not known:
                ended[at] = self.entities[at]
        self.seen[series] = NEVER
        for at, name in ended.items():
            del self._entity[name], self._known[at]
            self.entities[at] = ""
            heapq.heappush(self._free, at)
        return Forgotten(self, series, owner, ended)

    def _with_figures(self, series: Int32) -> Int32:
        """Some series that are to end, and what followed from histograms that have no bucket but these."""
        going: dict[int, set[str]] = {}
        for number in series.tolist():
            if meaning(metric := self.series.sent(number)).kind == BUCKET:
                going.setdefault(self.series.entity[number], set()).add(metric)
        more: list[int] = []
        for at, metrics in going.items():
            known = self._series(at)
            left = set(figures_of(known.keys() - metrics))
            more += [known[name] for name in figures_of(sorted(metrics)) if name in known and name not in left]
        return np.union1d(series, np.array(more, np.int32)).astype(np.int32) if more else series

    def _with_derived(self, series: Int32) -> Int32:
        """Some series that are to end, and the derived signals that miss an operand without them."""
        going: dict[int, set[str]] = {}
        for number in series.tolist() if self.meanings.derived else ():
            going.setdefault(self.series.entity[number], set()).add(self.series.sent(number))
        more: list[int] = []
        for at, names in going.items():
            left = self._series(at).keys() - names
            if own := {name for name in left if name.startswith(SIGNAL)}:
                more += [self._series(at)[name] for name in own.difference(self._signals(left))]
        return np.union1d(series, np.array(more, np.int32)).astype(np.int32) if more else series

    def take_reused(self) -> Reused:
        """The numbers that were given out again since the last call."""
        reused, self.reused = self.reused, Reused(self, [], [])
        return reused

    def _make_room(self, entity: str, known: dict[str, int], fresh: int) -> None:
        if fresh > self.most_metrics:
            raise TooManySeries(f"{entity} would have more than {self.most_metrics} metrics")
        if (over := len(known) + fresh - self.most_metrics) > 0:
            if derived := [number for name, number in known.items() if name.startswith(SIGNAL)]:
                raise MustForget(np.array(sorted(derived[-over:]), np.int32))  # the last ones: no other rests on them
            own = np.fromiter(known.values(), np.int32, len(known))
            raise self._instead(own, over, f"{entity} would have more than {self.most_metrics} metrics")
        if (over := self.series.used + fresh - self.most_series) > 0:
            text = f"the partition would have more than {self.most_series} series"
            if self._silent[0] == self.hour and over > self._silent[1]:
                raise TooManySeries(text)  # as the search would: within an hour none becomes silent for long enough
            every = np.flatnonzero(self.seen <= self.hour - LEAST_SILENCE).astype(np.int32)
            self._silent = self.hour, len(every)
            raise self._instead(every, over, text, self.most_series // SHARE)

    def _instead(self, candidates: Int32, over: int, text: str, many: int = 0) -> Exception:
        """What to raise when so many series of the candidates, or rather `many`, have to end."""
        silent = candidates[self.seen[candidates] <= self.hour - LEAST_SILENCE]
        if len(silent) < over:
            return TooManySeries(text)
        longest = silent[np.lexsort((silent, self.seen[silent]))]
        return MustForget(np.sort(longest[: max(over, many)]))

    def _give(self, entity: str) -> int:
        if self._free:
            at = heapq.heappop(self._free)
            self.entities[at] = entity
            self.reused.entities.append(at)
        else:
            at = len(self.entities)
            self.entities.append(entity)
        self._entity[entity] = at
        return at

    def _grow(self) -> None:
        if len(self.series) > len(self.seen):
            longer = np.full(max(len(self.series), 2 * len(self.seen)), NEVER, np.int32)
            longer[: len(self.seen)] = self.seen
            self.seen = longer

    def _series(self, at: int) -> dict[str, int]:
        """The series of an entity by metric; of what was loaded they are looked for once."""
        known = self._known.get(at)
        if known is None:
            order, first = self._loaded
            own = order[first[at] : first[at + 1]].tolist()
            known = self._known[at] = {self.series.sent(number): number for number in own}
        return known

    def dump(self) -> KeptNames:
        """All state, as data."""
        columns = self.series.entity.tobytes(), self.series.metric.tobytes(), self.seen[: len(self.series)].tobytes()
        return KeptNames(self.entities, self.series.metrics, *columns, self.hour, self.due)

    def load(self, kept: KeptNames, meanings: Meanings = NOTHING) -> None:
        """Restore what `dump` returned, with what packs said then."""
        self.entities, self.series = kept.entities, Series(kept.metrics, kept.entity, kept.metric, meanings)
        self.hour, self.due = kept.hour, kept.due
        self.seen = np.full(max(1024, len(self.series)), NEVER, np.int32)
        self.seen[: len(self.series)] = np.frombuffer(kept.seen, np.int32)
        self.take_reused()
        self._silent = -1, 0
        self._entity = {name: at for at, name in enumerate(self.entities) if name}
        self._free = [at for at, name in enumerate(self.entities) if not name]
        self._known.clear()
        owner = np.array(self.series.entity, np.int32)
        order = np.argsort(owner, kind="stable")[len(self.series.free) :]  # the free ones come first
        ends = np.bincount(owner[order], minlength=len(self.entities)).cumsum()
        self._loaded = order, np.concatenate(([0], ends))


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Series, and the entities that had no others, have ended. Samples before it are of them; none after it is."""

    names: Names
    series: Int32  # (k,) in ascending order
    owner: Int32  # (k,) the entity that each was of
    entities: dict[int, str]  # of these, the ones that have ended, and their names
    ts: int = 0  # the hour of event time that had begun
    evidence: str = ""  # place of the record that showed it

    @property
    def touched(self) -> set[int]:
        """The entities that had these series."""
        return set(self.owner.tolist())


@dataclass(frozen=True, slots=True)
class Reused:
    """Numbers that stand for other series and entities from now on."""

    names: Names
    series: list[int]
    entities: list[int]


@dataclass(frozen=True, slots=True)
class Steer:
    """A learning control between the samples of its partition."""

    names: Names
    control: Learning


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one partition in their order: m samples with n values in all."""

    topic: str
    partition: int
    names: Names
    entity: Int32  # (m,) number of the entity
    ts: Int64  # (m,) event time, ms
    start: Int32  # (m + 1,) sample i has the values start[i]:start[i + 1]
    series: Int32  # (n,) number of the series
    value: Float64  # (n,) finite
    offset: Int64  # (m,) of the record the sample came in
    late: NDArray[np.bool_] | None = None  # (m,) came long after it was measured: learned, never told; None: none did

    def __len__(self) -> int:
        return len(self.entity)

    def part(self, first: int, end: int) -> Batch:
        """The samples from `first` up to `end`."""
        low, high = int(self.start[first]), int(self.start[end])
        return Batch(
            self.topic, self.partition, self.names, self.entity[first:end], self.ts[first:end],
            self.start[first : end + 1] - np.int32(low), self.series[low:high], self.value[low:high],
            self.offset[first:end], None if self.late is None else self.late[first:end],
        )  # fmt: skip

    def only(self, keep: NDArray[np.bool_]) -> Batch:
        """The samples where `keep` (m,) says so."""
        count = np.diff(self.start)
        values = np.repeat(keep, count)
        start = np.concatenate(([0], np.cumsum(count[keep]))).astype(np.int32)
        return Batch(
            self.topic, self.partition, self.names, self.entity[keep], self.ts[keep], start, self.series[values],
            self.value[values], self.offset[keep], None if self.late is None else self.late[keep],
        )  # fmt: skip
