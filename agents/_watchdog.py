"""A worker that takes nothing although there is something must not keep its partitions from others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from agents._snapshots import TopicPartition, replay

BACKLOG: Final = 10.0


class Stuck(Exception):
    """There is something to read on a partition of this worker, and nothing was taken for a while."""


class Watchdog:
    """Tells partitions of which nothing is taken although there is something from those with nothing to read.

    limit_s: how long that may last. Half of it passes before the broker is asked, the other half after its answer, in
    which what had come just then is taken. A client with a backlog gives what it has in the order of its fetches: one
    that was not dry since has `BACKLOG` times as long.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._still: dict[TopicPartition, tuple[int, float]] = {}  # the next offset to take, and since when
        self._waits: dict[TopicPartition, float] = {}  # where a record was found, and until when others may come first

    def late(self, clock: float, places: Mapping[TopicPartition, int], dry: bool) -> dict[TopicPartition, int]:
        """Of the next offsets to take, those that have not moved for half of the limit; again after as long.

        dry: whether the client had nothing more to give at some time since the last call.

        Raises:
            Stuck: a record waited at one of them all the while.
        """
        still: dict[TopicPartition, tuple[int, float]] = {}
        for place, offset in places.items():
            was, since = self._still.get(place, (offset, clock))
            still[place] = offset, since if was == offset else clock
            if was != offset:
                self._waits.pop(place, None)
        self._still = still
        self._waits = {place: clock if dry else until for place, until in self._waits.items() if place in still}
        late = {place: offset for place, (offset, since) in still.items() if clock - since >= self.limit_s / 2}
        for topic, number in [place for place in late if self._waits.get(place, math.inf) <= clock]:
            raise Stuck(
                f"something waits from {late[topic, number]} of {topic}-{number} on, and nothing of it was taken for "
                f"{self.limit_s:g} s and more: it is left to others"
            )
        still |= {place: (offset, clock) for place, offset in late.items()}
        return late

    def waits(self, clock: float, place: TopicPartition, offset: int) -> None:
        """A record was found that is to be read from `offset` on."""
        if place in self._still and self._still[place][0] == offset:
            self._still[place] = offset, clock
            self._waits.setdefault(place, clock + BACKLOG * self.limit_s)


class StallDetector:
    """The watchdog over what a consumer of confluent-kafka was assigned; whether something waits is read in `pool`.

    config: of a consumer without a group.
    """

    def __init__(self, limit_s: float, config: Mapping[str, Any], pool: Executor) -> None:
        self._watchdog = Watchdog(limit_s)
        self._config = config
        self._pool = pool
        self._asked: tuple[Mapping[TopicPartition, int], Future[TopicPartition | None]] | None = (
            None  # where something may wait
        )

    def check(self, consumer: Any, clock: float, places: Mapping[TopicPartition, int], dry: bool) -> None:
        """Raises Stuck where something waits and nothing is taken. places, dry: as `Watchdog.late` takes them."""
        late = self._watchdog.late(clock, places, dry)
        if late and self._asked is None and (there := behind(late, _ends(consumer, late))):
            self._asked = late, self._pool.submit(waiting, self._config, there)
        if self._asked and self._asked[1].done():
            (asked, answer), self._asked = self._asked, None
            if place := answer.result():
                self._watchdog.waits(clock, place, asked[place])


def _ends(consumer: Any, places: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """Of each place the first offset that the group has to read, and the next one that will be written.

    A broker that does not answer has nothing to read. Its first and next offsets are those of two times of the
    protocol; `get_watermark_offsets` takes 23 ms a partition, behind the fetches, and the worker waits for it.
    """
    asked = [[ClientPartition(*place, edge) for place in places] for edge in (OFFSET_BEGINNING, OFFSET_END)]
    try:
        told = [consumer.committed([ClientPartition(*place) for place in places], timeout=2.0)]
        told += [consumer.offsets_for_times(times, timeout=2.0) for times in asked]
    except KafkaException:
        return dict.fromkeys(places, (0, 0))
    kept, low, high = ({(tp.topic, tp.partition): 0 if tp.error else tp.offset for tp in each} for each in told)
    return {place: (max(low[place], kept[place]), high[place]) for place in places}


def behind(
    late: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, tuple[int, int]]
) -> dict[TopicPartition, int]:
    """Where to look for records. ends: of each place the first offset that can be read, and the next to be written."""
    first = {place: max(offset, ends[place][0]) for place, offset in late.items()}
    return {place: offset for place, offset in first.items() if offset < ends[place][1]}


def waiting(config: Mapping[str, Any], places: Mapping[TopicPartition, int]) -> TopicPartition | None:
    """One of the places at which a record can be read; blocks.

    An end beyond the next offset does not say that there is one: transactions end with a mark, and what is compacted
    or aborted leaves a gap. A broker that does not answer has nothing to read.
    """
    try:
        for raw in replay(config, places):
            return raw.topic, raw.partition
    except KafkaException:
        return None
    return None
