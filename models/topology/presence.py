"""Which entities of a partition send samples: told when one is new, grows, falls silent or comes back.

Time is counted while the partition is read, so that a pause of its reader makes nobody silent. What is looked at is
done for all entities at once every few seconds; a batch costs two assignments. Nothing is kept: after a restart
everybody is told of again, little by little.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from topics.batch import Batch, Forgotten, Int32, Int64, Names, Reused
from topics.spec import LATEST, Instant
from topics.telemetry import ENTITY, MOST_SERIES, SILENT, Event

CHECK_MS: Final = 5_000  # of reading
SILENT_MS: Final = 60_000  # without a sample is silence, unless it has paused for longer before
LONGER: Final = 3  # times the longest pause ...
MOST_MS: Final = 900_000  # ... of which no more than this counts
GROWN: Final = 2  # times as many series as were told
AT_ONCE: Final = 200  # events of one look
LONGEST: Final = 200  # characters of a series that is told


class Sightings:
    """What was told of the entities of a partition, by their numbers."""

    def __init__(self) -> None:
        self._clock = 1  # ms of reading
        self._read: Instant = 0  # when it was last moved
        self._look = 0  # the clock of the last look
        self._seen: Int64 = np.zeros(0, np.int64)  # the clock when a sample came last
        self._newest: Int64 = np.zeros(0, np.int64)  # its stamp; 0: none since the start
        self._pause: Int64 = np.zeros(0, np.int64)  # the longest one, ms
        self._left: Int64 = np.zeros(0, np.int64)  # the clock when a sample came last before it fell silent
        self._told: Int32 = np.zeros(0, np.int32)  # how many series it had; 0: nothing was told
        self._silent: NDArray[np.bool_] = np.zeros(0, np.bool_)

    def take(self, given: Batch | Forgotten | Reused) -> None:
        """Take samples, or entities that end or whose numbers stand for others."""
        self._grow(given.names)
        if isinstance(given, Batch):
            self._seen[given.entity] = self._clock
            self._newest[given.entity] = given.ts
            return
        for at in given.entities:
            self._seen[at], self._newest[at], self._pause[at] = self._clock, 0, 0
            self._told[at], self._silent[at] = 0, False

    def look(self, names: Names, now: Instant) -> Iterator[Event]:
        """What has changed, at most every `CHECK_MS`."""
        self._clock += min(max(0, now - self._read), CHECK_MS) if self._read else 0
        self._read = now
        if self._clock - self._look < CHECK_MS:
            return
        self._look = self._clock
        self._grow(names)
        owner = np.array(names.series.entity, np.int32)
        many = np.bincount(owner[owner >= 0], minlength=len(self._seen)).astype(np.int32)
        away = self._clock - self._seen
        limit = np.maximum(SILENT_MS, LONGER * self._pause)
        here = (many > 0) & (away < CHECK_MS + SILENT_MS) & (self._newest > 0)
        back = here & self._silent & (away <= CHECK_MS)
        news = here & ~self._silent & ((self._told == 0) | (many >= GROWN * self._told))
        gone = (many > 0) & ~self._silent & (away > limit)
        self._pause[back] = np.maximum(self._pause, np.minimum(self._seen - self._left, MOST_MS))[back]
        for at in np.flatnonzero(back | news)[:AT_ONCE].tolist():
            self._told[at], self._silent[at] = max(1, int(many[at])), False
            yield self._event(names, at, ENTITY, now, _some_series(names, at))
        for at in np.flatnonzero(gone)[:AT_ONCE].tolist():
            self._silent[at], self._left[at] = True, self._seen[at]
            yield self._event(names, at, SILENT, now, ())

    def _event(self, names: Names, at: int, kind: str, now: Instant, series: tuple[str, ...]) -> Event:
        ts = int(self._newest[at]) or now - int(self._clock - self._seen[at])
        return Event(entity=names.entities[at], ts=min(max(0, ts), LATEST), kind=kind, text="", series=series)

    def _grow(self, names: Names) -> None:
        more = len(names.entities) - len(self._seen)
        if more > 0:
            self._seen = np.concatenate((self._seen, np.full(more, self._clock, np.int64)))
            self._newest, self._pause, self._left = (
                np.concatenate((each, np.zeros(more, np.int64))) for each in (self._newest, self._pause, self._left)
            )
            self._told = np.concatenate((self._told, np.zeros(more, np.int32)))
            self._silent = np.concatenate((self._silent, np.zeros(more, np.bool_)))


def _some_series(names: Names, at: int) -> tuple[str, ...]:
    """Some series of an entity: one of each name, and one of each set of attributes."""
    stems: set[str] = set()
    found: list[str] = []
    for number in names.of(names.entities[at])[1]:
        shown = names.series[number][1]
        stem, _, attributes = shown.partition("{")
        if len(shown) <= LONGEST and not ({stem, "{" + attributes} <= stems):
            stems |= {stem, "{" + attributes}
            found.append(shown)
            if len(found) >= MOST_SERIES:
                break
    return tuple(found)
