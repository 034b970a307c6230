"""Detects partitions with unread records and no progress, so that the worker ends and others take them."""

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
    """A partition of this worker has unread records, and none was processed within the limit."""


class Watchdog:
    """Tells stalled partitions from those without unread records.

    limit_s: tolerated time without progress, in seconds. After half of it the caller asks the broker for unread
    records; the partition has the other half to progress, since records may have arrived just then. A client with a
    backlog delivers in the order of its fetches: while it was never dry, a partition has `BACKLOG` times as long.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._still: dict[TopicPartition, tuple[int, float]] = {}  # next offset, and since when (s) it has not moved
        self._waits: dict[TopicPartition, float] = {}  # unread record: when (s) the partition is stuck

    def late(self, clock: float, places: Mapping[TopicPartition, int], dry: bool) -> dict[TopicPartition, int]:
        """Return the next offsets that have not moved for half of the limit. Each is returned once per half.

        dry: whether the client had delivered everything at some time since the last call.

        Raises:
            Stuck: a record waited at one of them for the whole limit.
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
        """Record that the partition has an unread record at or after `offset`."""
        if place in self._still and self._still[place][0] == offset:
            self._still[place] = offset, clock
            self._waits.setdefault(place, clock + BACKLOG * self.limit_s)


class StallDetector:
    """Runs the watchdog for the assignment of a confluent-kafka consumer. Asks the broker in `pool`.

    config: configuration of a consumer without a group.
    """

    def __init__(self, limit_s: float, config: Mapping[str, Any], pool: Executor) -> None:
        self._watchdog = Watchdog(limit_s)
        self._config = config
        self._pool = pool
        self._asked: tuple[Mapping[TopicPartition, int], Future[TopicPartition | None]] | None = (
            None  # partitions that may have unread records
        )

    def check(self, consumer: Any, clock: float, places: Mapping[TopicPartition, int], dry: bool) -> None:
        """Raise Stuck when a partition has unread records and no progress. places, dry: see `Watchdog.late`."""
        late = self._watchdog.late(clock, places, dry)
        if late and self._asked is None and (there := behind(late, _ends(consumer, late))):
            self._asked = late, self._pool.submit(waiting, self._config, there)
        if self._asked and self._asked[1].done():
            (asked, answer), self._asked = self._asked, None
            if place := answer.result():
                self._watchdog.waits(clock, place, asked[place])


def _ends(consumer: Any, places: Iterable[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """Return by partition the first offset that the group has to read, and the next one that will be written.

    A partition whose broker does not answer counts as having nothing to read. Uses two requests for all partitions:
    `get_watermark_offsets` takes 23 ms per partition, queued behind the fetches, and the worker would wait for it.
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
    """Return the offsets from which to read. ends: by partition the first readable offset and the next one."""
    first = {place: max(offset, ends[place][0]) for place, offset in late.items()}
    return {place: offset for place, offset in first.items() if offset < ends[place][1]}


def waiting(config: Mapping[str, Any], places: Mapping[TopicPartition, int]) -> TopicPartition | None:
    """Return a partition that has a readable record; None: none has. Blocks.

    An end beyond the next offset is no proof of a record: transactions end with a marker, and compacted or aborted
    records leave gaps. A partition whose broker does not answer counts as having nothing to read.
    """
    try:
        for raw in replay(config, places):
            return raw.topic, raw.partition
    except KafkaException:
        return None
    return None
